//! What one spec says differently from another, a line each, for people.

use littoral_proto::v1::placement::Replicas;
use littoral_proto::v1::{Capabilities, FunctionSpec, HttpTrigger, Limits, Placement};

/// Named by the keys of the manifest. Without a spec before: one line.
pub(super) fn between(before: Option<&FunctionSpec>, after: &FunctionSpec) -> Vec<String> {
    let Some(before) = before else { return vec![format!("new, with {}", after.module)] };
    let mut changes = Changes::default();
    changes.compare("function.module", &before.module, &after.module);
    if before.module == after.module {
        changes.compare("module digest", &before.module_digest, &after.module_digest);
    }
    changes.list("function.args", &before.args, &after.args);
    changes.list("trigger.http", &routes(&before.http_triggers), &routes(&after.http_triggers));
    let none = Placement::default();
    let (a, b) = (before.placement.as_ref().unwrap_or(&none), after.placement.as_ref().unwrap_or(&none));
    changes.compare("placement.replicas", &replicas(a), &replicas(b));
    changes.list("placement.constraints", &a.constraints, &b.constraints);
    changes.compare("placement.spread", &a.spread, &b.spread);
    let none = Limits::default();
    let (a, b) = (before.limits.as_ref().unwrap_or(&none), after.limits.as_ref().unwrap_or(&none));
    changes.compare("limits.timeout", &format!("{}ms", a.timeout_ms), &format!("{}ms", b.timeout_ms));
    changes.compare("limits.memory", &bytes(a.memory_bytes), &bytes(b.memory_bytes));
    changes.compare("limits.concurrency", &a.concurrency.to_string(), &b.concurrency.to_string());
    changes.compare("limits.output", &bytes(a.output_bytes), &bytes(b.output_bytes));
    changes.list("capabilities.env", &env(before.capabilities.as_ref()), &env(after.capabilities.as_ref()));
    changes.lines
}

#[derive(Default)]
struct Changes {
    lines: Vec<String>,
}

impl Changes {
    fn compare(&mut self, key: &str, before: &str, after: &str) {
        if before != after {
            self.lines.push(format!("{key}: {} -> {}", shown(before), shown(after)));
        }
    }

    fn list(&mut self, key: &str, before: &[String], after: &[String]) {
        if before == after {
            return;
        }
        let unchanged = self.lines.len();
        let missing_in = |list: &[String], item: &String| !list.contains(item);
        self.lines.extend(
            before.iter().filter(|item| missing_in(after, item)).map(|item| format!("{key}: - {item}")),
        );
        self.lines.extend(
            after.iter().filter(|item| missing_in(before, item)).map(|item| format!("{key}: + {item}")),
        );
        if self.lines.len() == unchanged {
            self.lines.push(format!("{key}: {} -> {}", before.join(" "), after.join(" ")));
        }
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

fn replicas(placement: &Placement) -> String {
    match placement.replicas {
        None => "1".to_owned(),
        Some(Replicas::Count(count)) => count.to_string(),
        Some(Replicas::Every(_)) => "every".to_owned(),
    }
}

fn bytes(bytes: u64) -> String {
    littoral_model::quantity::Bytes(bytes).to_string()
}

fn routes(triggers: &[HttpTrigger]) -> Vec<String> {
    triggers.iter().map(|trigger| format!("{}{}", trigger.host, trigger.path)).collect()
}

fn env(capabilities: Option<&Capabilities>) -> Vec<String> {
    let env = capabilities.map(|capabilities| &capabilities.env);
    env.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_a_line_and_no_difference_is_none() {
        let before = FunctionSpec {
            module: "a@1".into(),
            args: vec!["-x".into(), "-y".into()],
            limits: Some(Limits { timeout_ms: 1000, memory_bytes: 64 << 20, ..Limits::default() }),
            placement: Some(Placement { replicas: Some(Replicas::Count(2)), ..Placement::default() }),
            ..FunctionSpec::default()
        };
        assert_eq!(between(Some(&before), &before), Vec::<String>::new());
        assert_eq!(between(None, &before), ["new, with a@1"]);
        let mut after = before.clone();
        after.module = "a@2".into();
        after.args = vec!["-y".into(), "-x".into()];
        after.limits.as_mut().unwrap().timeout_ms = 2000;
        let placement = after.placement.as_mut().unwrap();
        placement.replicas = Some(Replicas::Every(true));
        placement.spread = "label.zone".into();
        after.capabilities = Some(Capabilities { env: [("LOG".to_owned(), "info".to_owned())].into() });
        assert_eq!(
            between(Some(&before), &after),
            [
                "function.module: a@1 -> a@2",
                "function.args: -x -y -> -y -x",
                "placement.replicas: 2 -> every",
                "placement.spread: none -> label.zone",
                "limits.timeout: 1000ms -> 2000ms",
                "capabilities.env: + LOG=info",
            ]
        );
    }
}
