//! Names that people and programs give to things, checked once, when they come in.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// RFC 1123 labels are at most 63 characters: names are usable as host names and metric labels.
pub const MAX_NAME: usize = 63;
/// SemVer strings with build metadata stay well below this.
pub const MAX_VERSION: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadName {
    #[error("{what} is empty: give it a name of 1 to {MAX_NAME} characters a-z, 0-9 and -")]
    Empty { what: &'static str },
    #[error(
        "`{text}` is not a {what}: use 1 to {MAX_NAME} characters a-z, 0-9 and -, beginning and ending with a letter or digit"
    )]
    Characters { what: &'static str, text: String },
    #[error(
        "`{text}` is not a version: use 1 to {MAX_VERSION} characters A-Z, a-z, 0-9, `.`, `-`, `+` and `_`"
    )]
    Version { text: String },
}

fn check_label(what: &'static str, text: &str) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty { what });
    }
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if text.len() > MAX_NAME || !inner || !edge(text.bytes().next()) || !edge(text.bytes().last()) {
        return Err(BadName::Characters { what, text: text.chars().take(80).collect() });
    }
    Ok(())
}

fn check_version(_: &'static str, text: &str) -> Result<(), BadName> {
    let fits = (1..=MAX_VERSION).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+_".contains(&b)) {
        return Ok(());
    }
    Err(BadName::Version { text: text.chars().take(80).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                $check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// Name of a function: an RFC 1123 label.
    FunctionName, "function name", check_label
}
name! {
    /// Name of a module: an RFC 1123 label.
    ModuleName, "module name", check_label
}
name! {
    /// Version of a module, chosen by whoever pushes it; immutable once pushed.
    Version, "version", check_version
}
name! {
    /// A node's id, chosen by the control plane at join: a UUID in lower case.
    NodeId, "node id", check_label
}
name! {
    /// What a node is called by people; unique in the cluster.
    NodeName, "node name", check_label
}
name! {
    /// Name of an operator or a program that acts as one.
    UserName, "user name", check_label
}

/// `name@version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleRef {
    pub name: ModuleName,
    pub version: Version,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadModuleRef {
    #[error("`{0}` names no version: write it as NAME@VERSION")]
    NoVersion(String),
    #[error(transparent)]
    Name(#[from] BadName),
}

impl FromStr for ModuleRef {
    type Err = BadModuleRef;

    fn from_str(text: &str) -> Result<Self, BadModuleRef> {
        let (name, version) =
            text.split_once('@').ok_or_else(|| BadModuleRef::NoVersion(text.chars().take(80).collect()))?;
        Ok(Self { name: name.parse()?, version: version.parse()? })
    }
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "resize", "a-1", &"x".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a_b", "a/b", "ü", &"x".repeat(64)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn module_references_need_a_version() {
        assert_eq!("resize@1.4.0".parse::<ModuleRef>().unwrap().to_string(), "resize@1.4.0");
        assert!(matches!("resize".parse::<ModuleRef>(), Err(BadModuleRef::NoVersion(_))));
        assert!("resize@".parse::<ModuleRef>().is_err());
        assert!("resize@1/2".parse::<ModuleRef>().is_err());
    }
}
