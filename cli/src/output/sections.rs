//! What `describe` prints: fields, aligned, and sections below them.

use std::fmt::Display;

use super::listing::{Value, grid};
use super::plain;

/// Builds the text from top to bottom.
#[derive(Debug)]
pub(crate) struct Sections {
    fields: Vec<(String, String)>,
    text: String,
    color: bool,
}

impl Sections {
    pub(crate) fn new(color: bool) -> Self {
        Self { fields: Vec::new(), text: String::new(), color }
    }

    /// `Name:  value`.
    pub(crate) fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.fields.push((format!("{name}:"), value.to_string()));
        self
    }

    /// A field with one value a line; nothing when there are none.
    pub(crate) fn list(&mut self, name: &str, values: &[String]) -> &mut Self {
        for (index, value) in values.iter().enumerate() {
            let name = if index == 0 { format!("{name}:") } else { String::new() };
            self.fields.push((name, value.clone()));
        }
        self
    }

    /// A table of its own under a title; `(none)` when it has no rows.
    pub(crate) fn table(&mut self, title: &str, headers: &[&str], rows: &[Vec<Value>]) -> &mut Self {
        let body = if rows.is_empty() { "(none)".into() } else { grid(Some(headers), rows, &[], self.color) };
        self.block(title, &body)
    }

    /// Lines under a title; nothing when there are none.
    pub(crate) fn lines(&mut self, title: &str, lines: &[String]) -> &mut Self {
        if lines.is_empty() {
            return self;
        }
        let clean: Vec<String> = lines.iter().map(|line| plain(line)).collect();
        self.block(title, &clean.join("\n"))
    }

    pub(crate) fn finish(&mut self) -> String {
        self.flush();
        std::mem::take(&mut self.text)
    }

    fn block(&mut self, title: &str, body: &str) -> &mut Self {
        self.flush();
        self.text.push_str(&format!("{title}:\n"));
        for line in body.lines() {
            self.text.push_str(&format!("  {line}\n"));
        }
        self
    }

    fn flush(&mut self) {
        let rows: Vec<Vec<Value>> = self
            .fields
            .drain(..)
            .map(|(name, value)| {
                vec![Value::from(if name.is_empty() { " ".into() } else { name }), value.into()]
            })
            .collect();
        if !rows.is_empty() {
            self.text.push_str(&grid(None, &rows, &[], self.color));
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_aligned_and_sections_indented() {
        let mut sections = Sections::new(false);
        sections.field("Name", "hello").field("Revision", 3);
        sections.list("Triggers", &["*/a".into(), "*/b".into()]);
        sections.table("Nodes", &["NAME", "STATE"], &[vec!["n-1".into(), "Running".into()]]);
        sections.table("Failures", &["NODE"], &[]);
        sections.lines("Waiting", &["no node has room\x1b[1m".into()]);
        sections.lines("Nothing", &[]);
        assert_eq!(
            sections.finish(),
            "Name:       hello\nRevision:   3\nTriggers:   */a\n            */b\n\
             Nodes:\n  NAME   STATE\n  n-1    Running\nFailures:\n  (none)\nWaiting:\n  no node has room [1m\n"
        );
    }
}
