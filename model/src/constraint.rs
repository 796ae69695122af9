//! Constraints: where a function may run, as one line each.

use std::fmt;
use std::str::FromStr;

use crate::label::{check_key, glob};
use crate::node::Node;
use crate::quantity::Bytes;
use crate::target::{Arch, Cpu};

/// One condition on a node. All of a function's must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    Arch { is: bool, arch: Arch },
    CpuAtLeast(Cpu),
    Label { key: String, is: bool, value: String },
    LabelMatches { key: String, pattern: String },
    MemoryAtLeast(Bytes),
    CoresAtLeast(u32),
    Node { is: bool, name: String },
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("constraint `{text}`: {why}")]
pub struct BadConstraint {
    text: String,
    why: String,
}

const FORMS: &str = "it is one of `arch == x86_64`, `arch != aarch64`, `cpu >= x86_64-v3`, `label.KEY == VALUE`, \
    `label.KEY != VALUE`, `label.KEY ~ PATTERN`, `memory >= 512MiB`, `cores >= 2`, `node == NAME` and `node != NAME`";

impl Constraint {
    pub fn allows(&self, node: &Node) -> bool {
        match self {
            Self::Arch { is, arch } => (node.target.cpu.arch() == *arch) == *is,
            Self::CpuAtLeast(cpu) => node.target.cpu.runs(*cpu),
            Self::Label { key, is, value } => (node.labels.get(key) == Some(value)) == *is,
            Self::LabelMatches { key, pattern } => node.labels.get(key).is_some_and(|v| glob(pattern, v)),
            Self::MemoryAtLeast(bytes) => node.memory >= *bytes,
            Self::CoresAtLeast(cores) => node.cores >= *cores,
            Self::Node { is, name } => (node.name.as_str() == name) == *is,
        }
    }
}

impl FromStr for Constraint {
    type Err = BadConstraint;

    fn from_str(text: &str) -> Result<Self, BadConstraint> {
        let shown: String = text.chars().take(120).collect();
        let bad = |why: String| BadConstraint { text: shown.clone(), why };
        let mut words = text.split_whitespace();
        let (Some(subject), Some(operator), Some(value), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad(format!("{FORMS}, with spaces around the operator")));
        };
        let equality = match operator {
            "==" => Some(true),
            "!=" => Some(false),
            _ => None,
        };
        if let Some(key) = subject.strip_prefix("label.") {
            check_key(key).map_err(|e| bad(e.to_string()))?;
            let key = key.to_owned();
            return match (equality, operator) {
                (Some(is), _) => Ok(Self::Label { key, is, value: value.to_owned() }),
                (None, "~") => Ok(Self::LabelMatches { key, pattern: value.to_owned() }),
                _ => Err(bad(format!("a label is compared with ==, != or ~, not `{operator}`"))),
            };
        }
        match (subject, operator, equality) {
            ("arch", _, Some(is)) => match value {
                "x86_64" => Ok(Self::Arch { is, arch: Arch::X86_64 }),
                "aarch64" => Ok(Self::Arch { is, arch: Arch::Aarch64 }),
                _ => Err(bad(format!("`{value}` is not an architecture: x86_64 or aarch64"))),
            },
            ("node", _, Some(is)) => Ok(Self::Node { is, name: value.to_owned() }),
            ("cpu", ">=", _) => value.parse().map(Self::CpuAtLeast).map_err(|_| {
                let levels: Vec<_> = Cpu::ALL.iter().map(|cpu| cpu.as_str()).collect();
                bad(format!("`{value}` is not a CPU level: {}", levels.join(", ")))
            }),
            ("memory", ">=", _) => value.parse().map(Self::MemoryAtLeast).map_err(|e| bad(format!("{e}"))),
            ("cores", ">=", _) => value
                .parse()
                .map(Self::CoresAtLeast)
                .map_err(|_| bad(format!("`{value}` is not a whole number"))),
            _ => Err(bad(FORMS.to_owned())),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equality = |is: &bool| if *is { "==" } else { "!=" };
        match self {
            Self::Arch { is, arch } => write!(f, "arch {} {arch}", equality(is)),
            Self::CpuAtLeast(cpu) => write!(f, "cpu >= {cpu}"),
            Self::Label { key, is, value } => write!(f, "label.{key} {} {value}", equality(is)),
            Self::LabelMatches { key, pattern } => write!(f, "label.{key} ~ {pattern}"),
            Self::MemoryAtLeast(bytes) => write!(f, "memory >= {bytes}"),
            Self::CoresAtLeast(cores) => write!(f, "cores >= {cores}"),
            Self::Node { is, name } => write!(f, "node {} {name}", equality(is)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back() {
        for text in [
            "arch == aarch64",
            "arch != x86_64",
            "cpu >= x86_64-v3",
            "label.site == eu-1",
            "label.site != eu-1",
            "label.site ~ eu-*",
            "memory >= 512MiB",
            "cores >= 2",
            "node == shop-3",
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_constraint_says_what_there_is() {
        for (text, part) in [
            ("colour == red", "it is one of"),
            ("arch==x86_64", "spaces around"),
            ("arch == riscv64", "not an architecture"),
            ("cpu >= pentium", "not a CPU level"),
            ("cpu == x86_64-v3", "it is one of"),
            ("memory >= much", "not a size"),
            ("label.Site == a", "label key"),
            ("label.site >= a", "compared with"),
        ] {
            let error = text.parse::<Constraint>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
    }
}
