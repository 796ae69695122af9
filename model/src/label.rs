//! Labels of nodes and the patterns that match them.

use std::collections::BTreeMap;

/// Labels of one node, in key order.
pub type Labels = BTreeMap<String, String>;

/// Keys and values are metric- and DNS-friendly; 63 is what RFC 1123 allows a label.
const MAX_LABEL: usize = 63;
/// A node with more labels than this is described, not labelled.
const MAX_LABELS: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadLabel {
    #[error("label key `{0}` must be 1 to {MAX_LABEL} characters a-z, 0-9, `.`, `_` and `-`")]
    Key(String),
    #[error(
        "value `{value}` of label `{key}` must be 1 to {MAX_LABEL} characters A-Z, a-z, 0-9, `.`, `_` and `-`"
    )]
    Value { key: String, value: String },
    #[error("{0} labels are too many: at most {MAX_LABELS}")]
    TooMany(usize),
}

/// Checks what somebody wants to put on a node.
pub fn check_labels(labels: &Labels) -> Result<(), BadLabel> {
    if labels.len() > MAX_LABELS {
        return Err(BadLabel::TooMany(labels.len()));
    }
    labels.iter().try_for_each(|(key, value)| {
        check_key(key)?;
        check_value(key, value)
    })
}

pub fn check_key(key: &str) -> Result<(), BadLabel> {
    let fits = (1..=MAX_LABEL).contains(&key.len());
    let plain = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if fits && plain { Ok(()) } else { Err(BadLabel::Key(key.chars().take(80).collect())) }
}

fn check_value(key: &str, value: &str) -> Result<(), BadLabel> {
    let fits = (1..=MAX_LABEL).contains(&value.len());
    if fits && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Ok(());
    }
    Err(BadLabel::Value { key: key.to_owned(), value: value.chars().take(80).collect() })
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters.
///
/// Linear in both: it goes back to the last `*` only.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("eu-*", "eu-west", true),
            ("eu-*", "us-east", false),
            ("*", "", true),
            ("*-1", "shop-1", true),
            ("*-1", "shop-12", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn labels_are_checked() {
        let labels = |k: &str, v: &str| Labels::from([(k.to_owned(), v.to_owned())]);
        assert!(check_labels(&labels("zone", "a")).is_ok());
        assert!(check_labels(&labels("Zone", "a")).is_err());
        assert!(check_labels(&labels("zone", "")).is_err());
        assert!(check_labels(&labels("zone", "a b")).is_err());
    }
}
