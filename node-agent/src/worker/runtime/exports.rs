//! Finding the function that a call means.

/// Names in a message: enough to find the right one.
const MAX_LISTED: usize = 40;

/// Name of an exported function: alone, or inside an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportName {
    /// As in `docs:adder/add@0.1.0`.
    pub(crate) interface: Option<String>,
    pub(crate) function: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadCall {
    #[error("`{0}` is not a call: write it as NAME(ARGUMENTS) in WAVE syntax, as in add(1, 2)")]
    Syntax(String),
    #[error("there is no function `{name}`; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("`{name}` could be any of: {known}; say which")]
    Ambiguous { name: String, known: String },
    #[error("the arguments of `{name}` do not fit, it is {signature}: {why}")]
    Arguments { name: String, signature: String, why: String },
    #[error("`{name}` cannot be called from outside: {why}")]
    Unsupported { name: String, why: String },
}

impl ExportName {
    /// How it is listed and can be called: `add.sum` for `sum` of `docs:adder/add@0.1.0`.
    pub(crate) fn short(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{}.{}", short_interface(interface), self.function),
            None => self.function.clone(),
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        if self.function == name {
            return true;
        }
        let Some(interface) = &self.interface else { return false };
        let rest = name.strip_suffix(self.function.as_str()).unwrap_or_default();
        [interface.as_str(), short_interface(interface)].iter().any(|interface| {
            rest.strip_prefix(interface).is_some_and(|separator| [".", "#"].contains(&separator))
        })
    }
}

fn short_interface(interface: &str) -> &str {
    let path = interface.split('@').next().unwrap_or(interface);
    path.rsplit('/').next().unwrap_or(path)
}

/// The function's name and its arguments with their parentheses.
pub(crate) fn split(call: &str) -> Result<(&str, &str), BadCall> {
    let call = call.trim();
    let bad = || BadCall::Syntax(call.chars().take(80).collect());
    let paren = call.find('(').ok_or_else(bad)?;
    let (name, arguments) = call.split_at(paren);
    if name.trim().is_empty() || !arguments.ends_with(')') {
        return Err(bad());
    }
    Ok((name.trim(), arguments))
}

/// Which of `exports` is called `name`: a function by its own name where that is enough, otherwise with its interface.
pub(crate) fn find(exports: &[ExportName], name: &str) -> Result<usize, BadCall> {
    let found: Vec<usize> = (0..exports.len()).filter(|i| exports[*i].answers_to(name)).collect();
    // A function of the world itself needs no qualification.
    let own = found.iter().find(|i| exports[**i].interface.is_none());
    match (own, found.as_slice()) {
        (Some(own), _) => Ok(*own),
        (None, [one]) => Ok(*one),
        (None, []) => Err(BadCall::Unknown { name: clip(name), known: list(exports.iter()) }),
        (None, several) => {
            Err(BadCall::Ambiguous { name: clip(name), known: list(several.iter().map(|i| &exports[*i])) })
        }
    }
}

fn list<'a>(exports: impl ExactSizeIterator<Item = &'a ExportName>) -> String {
    let more = exports.len().saturating_sub(MAX_LISTED);
    let mut names: Vec<String> = exports.take(MAX_LISTED).map(ExportName::short).collect();
    if names.is_empty() {
        return "none".into();
    }
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn clip(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exports() -> Vec<ExportName> {
        [
            (None, "run"),
            (Some("docs:adder/add@0.1.0"), "sum"),
            (Some("docs:adder/sub@0.1.0"), "sum"),
            (Some("docs:adder/sub@0.1.0"), "difference"),
            (Some("docs:adder/sub@0.1.0"), "run"),
        ]
        .map(|(interface, function)| ExportName {
            interface: interface.map(str::to_owned),
            function: function.into(),
        })
        .to_vec()
    }

    #[test]
    fn names_need_as_much_as_makes_them_unique() {
        let find = |name| find(&exports(), name);
        for (name, index) in [
            ("run", 0),
            ("difference", 3),
            ("sub.sum", 2),
            ("docs:adder/add@0.1.0.sum", 1),
            ("docs:adder/add@0.1.0#sum", 1),
            ("sub.run", 4),
        ] {
            assert_eq!(find(name), Ok(index), "{name}");
        }
        assert_eq!(
            find("sum").unwrap_err().to_string(),
            "`sum` could be any of: add.sum, sub.sum; say which"
        );
        assert_eq!(
            find("nope").unwrap_err().to_string(),
            "there is no function `nope`; there are: run, add.sum, sub.sum, sub.difference, sub.run"
        );
    }

    #[test]
    fn a_call_is_a_name_and_parentheses() {
        assert_eq!(split(" add (1, 2)"), Ok(("add", "(1, 2)")));
        assert_eq!(split("f(\"(\")"), Ok(("f", "(\"(\")")));
        for bad in ["", "add", "(1)", "add(1", "add 1"] {
            assert!(matches!(split(bad), Err(BadCall::Syntax(_))), "{bad}");
        }
    }
}
