//! Results as Markdown, which is read on a terminal as well.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- results: begin -->";
const END: &str = "<!-- results: end -->";

/// One benchmark's results.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) table: Table,
    /// What the table's numbers are made of, and what else was seen.
    pub(crate) notes: Vec<String>,
    pub(crate) goals: Vec<Goal>,
}

pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

pub(crate) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { headers: headers.map(str::to_owned).into(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    fn text(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.headers).chain(&self.rows);
            cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headers.len()).map(width).collect();
        let mut text = line(&self.headers, &widths);
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        text.push_str(&line(&rule, &widths));
        for row in &self.rows {
            text.push_str(&line(row, &widths));
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a String cannot fail.
        let _ = write!(text, " {cell:width$} |");
    }
    text + "\n"
}

impl Section {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n### {}\n\n{}", self.title, self.table.text());
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }
}

/// All goals in one table; empty when there are none.
pub(crate) fn goals(sections: &[Section]) -> String {
    let mut table = Table::new(["What", "Goal", "Measured", ""]);
    for goal in sections.iter().flat_map(|section| &section.goals) {
        let verdict = if goal.met { "met" } else { "**missed**" };
        table.row([goal.what.to_owned(), goal.goal.to_owned(), goal.measured.clone(), verdict.to_owned()]);
    }
    if table.rows.is_empty() { String::new() } else { format!("\n### Goals\n\n{}", table.text()) }
}

/// Replaces what stands between the two markers.
pub(crate) fn write(file: &Path, results: &str) -> Result<()> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("could not read {shown}"))?;
    let around = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = around.with_context(|| format!("{shown} has lost its markers {BEGIN} and {END}"))?;
    let text = format!("{head}{BEGIN}\n{results}\n{END}{tail}");
    std::fs::write(file, text).with_context(|| format!("could not write {shown}"))
}
