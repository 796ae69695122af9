//! Which function answers a host and a path.

use std::collections::HashMap;

/// Entries by host and path. The most specific wins: a named host before `*`, then a whole path before a prefix, then
/// the longer prefix.
#[derive(Debug)]
pub(crate) struct RouteTable<T> {
    hosts: HashMap<String, PathTable<T>>,
    any_host: PathTable<T>,
}

#[derive(Debug)]
struct PathTable<T> {
    exact: HashMap<String, T>,
    /// Up to and with the last `/`, longest first.
    prefixes: Vec<(String, T)>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { hosts: HashMap::new(), any_host: PathTable::default() }
    }
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), prefixes: Vec::new() }
    }
}

impl<T: Default> RouteTable<T> {
    /// The entry for a trigger, made if it is not there. `host` is `*` or a name in lower case; `path` begins with `/`,
    /// and a last segment of `*` stands for every rest.
    pub(crate) fn entry(&mut self, host: &str, path: &str) -> &mut T {
        let paths = if host == "*" { &mut self.any_host } else { self.hosts.entry(host.into()).or_default() };
        match path.strip_suffix('*') {
            Some(prefix) => paths.prefix(prefix),
            None => paths.exact.entry(path.into()).or_default(),
        }
    }
}

impl<T> RouteTable<T> {
    /// `host` as in a request: with or without a port, in any case.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&T> {
        self.named(host).and_then(|paths| paths.find(path)).or_else(|| self.any_host.find(path))
    }

    fn named(&self, host: &str) -> Option<&PathTable<T>> {
        if self.hosts.is_empty() {
            return None;
        }
        let name = without_port(host);
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.hosts.get(&name.to_ascii_lowercase());
        }
        self.hosts.get(name)
    }
}

impl<T: Default> PathTable<T> {
    fn prefix(&mut self, prefix: &str) -> &mut T {
        let at = self.prefixes.iter().position(|(known, _)| known == prefix).unwrap_or_else(|| {
            let at = self.prefixes.partition_point(|(known, _)| known.len() > prefix.len());
            self.prefixes.insert(at, (prefix.into(), T::default()));
            at
        });
        &mut self.prefixes[at].1
    }
}

impl<T> PathTable<T> {
    fn find(&self, path: &str) -> Option<&T> {
        let exact = self.exact.get(path);
        exact.or_else(|| self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, t)| t))
    }
}

fn without_port(host: &str) -> &str {
    // The colons of an IPv6 address are inside brackets.
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    host[end..].find(':').map_or(host, |colon| &host[..end + colon])
}

/// Chooses one of several by weight; `draw` is evenly distributed over all of `u64`. Weights of 0 are never chosen.
pub(crate) fn choose<T>(weighted: &[(T, u32)], draw: u64) -> Option<&T> {
    let total: u64 = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let mut rest = draw % total;
    for (item, weight) in weighted {
        let weight = u64::from(*weight);
        if rest < weight {
            return Some(item);
        }
        rest -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str)]) -> RouteTable<String> {
        let mut table = RouteTable::default();
        for (host, path) in routes {
            *table.entry(host, path) = format!("{host}{path}");
        }
        table
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = table(&[
            ("*", "/*"),
            ("*", "/a/*"),
            ("*", "/a/b"),
            ("*", "/a/b/c/*"),
            ("example.com", "/only"),
            ("example.com", "/a/*"),
        ]);
        for (host, path, found) in [
            ("x", "/", "*/*"),
            ("x", "/a", "*/*"),
            ("x", "/a/", "*/a/*"),
            ("x", "/a/b", "*/a/b"),
            ("x", "/a/b/c", "*/a/*"),
            ("x", "/a/b/c/d", "*/a/b/c/*"),
            ("example.com", "/a/b", "example.com/a/*"),
            ("EXAMPLE.com:8080", "/only", "example.com/only"),
            ("example.com", "/other", "*/*"),
            ("www.example.com", "/only", "*/*"),
            ("[::1]:8080", "/a/", "*/a/*"),
        ] {
            assert_eq!(table.find(host, path).unwrap(), found, "{host}{path}");
        }
    }

    #[test]
    fn nothing_matches_an_empty_table() {
        assert_eq!(table(&[]).find("x", "/"), None);
        assert_eq!(table(&[("x", "/*")]).find("y", "/"), None);
    }

    #[test]
    fn ports_are_not_part_of_a_host() {
        for (host, name) in [("a:1", "a"), ("a", "a"), ("[::1]:1", "[::1]"), ("[::1]", "[::1]"), ("", "")] {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let weighted = [("old", 90), ("new", 10), ("off", 0)];
        let mut counts = HashMap::new();
        for draw in 0..1000 {
            *counts.entry(*choose(&weighted, draw).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(counts, HashMap::from([("old", 900), ("new", 100)]));
        assert_eq!(choose(&[("off", 0)], 5), None);
        assert_eq!(choose::<&str>(&[], 5), None);
    }
}
