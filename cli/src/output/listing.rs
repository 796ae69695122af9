//! Lists as columns, in the manner of kubectl: pure functions from rows to text.

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use littoral_model::time::Timestamp;
use serde::Serialize;

use super::{Format, plain};

/// Between two columns.
const GAP: u16 = 3;

/// A column of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) header: &'static str,
    /// Shown with `-o wide` alone.
    pub(crate) wide: bool,
    /// Changes by itself (an age): not a reason to print a watched row again.
    pub(crate) restless: bool,
}

/// Always shown.
pub(crate) const fn col(header: &'static str) -> Column {
    Column { header, wide: false, restless: false }
}

/// Shown with `-o wide`.
pub(crate) const fn wide(header: &'static str) -> Column {
    Column { header, wide: true, restless: false }
}

/// Shown always; changes by itself.
pub(crate) const fn restless(header: &'static str) -> Column {
    Column { header, wide: false, restless: true }
}

/// Shown with `-o wide`; changes by itself.
pub(crate) const fn restless_wide(header: &'static str) -> Column {
    Column { header, wide: true, restless: true }
}

/// How a value feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// One value in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Value {
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Value {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Something that is listed. Its serialised form is what `-o json` prints: field names never change.
pub(crate) trait Listed: Serialize {
    const COLUMNS: &'static [Column];

    /// What `-o name` prints, and what other verbs take.
    fn name(&self) -> String;

    /// One value for each of `COLUMNS`.
    fn values(&self, now: Timestamp) -> Vec<Value>;
}

/// A list in any format but JSON.
pub(crate) fn render<T: Listed>(rows: &[T], format: Format, now: Timestamp, color: bool) -> String {
    if format == Format::Name {
        return rows.iter().map(Listed::name).collect::<Vec<_>>().join("\n");
    }
    let shown: Vec<usize> = shown(T::COLUMNS, format == Format::Wide);
    let headers: Vec<&str> = shown.iter().map(|&i| T::COLUMNS[i].header).collect();
    let values: Vec<Vec<Value>> = rows.iter().map(|row| pick(row.values(now), &shown)).collect();
    grid(Some(&headers), &values, &[], color)
}

/// Indices of the columns that are shown.
pub(crate) fn shown(columns: &[Column], with_wide: bool) -> Vec<usize> {
    (0..columns.len()).filter(|&i| with_wide || !columns[i].wide).collect()
}

pub(crate) fn pick(values: Vec<Value>, shown: &[usize]) -> Vec<Value> {
    let wanted = |(i, value)| shown.contains(&i).then_some(value);
    values.into_iter().enumerate().filter_map(wanted).collect()
}

/// Columns without borders, each at least as wide as `widths` says.
pub(crate) fn grid(headers: Option<&[&str]>, rows: &[Vec<Value>], widths: &[u16], color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if let Some(headers) = headers {
        table.set_header(headers.to_vec());
    }
    for row in rows {
        table.add_row(row.iter().map(|value| cell(value, color)).collect::<Vec<_>>());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if let Some(width) = widths.get(index) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + GAP)));
        }
    }
    table.trim_fmt()
}

fn cell(value: &Value, color: bool) -> Cell {
    let cell = Cell::new(one_line(&value.text));
    match value.tone {
        Tone::Good if color => cell.fg(Color::Green),
        Tone::Warning if color => cell.fg(Color::Yellow),
        Tone::Bad if color => cell.fg(Color::Red),
        _ => cell,
    }
}

/// A cell is one line, and never a command to the terminal.
fn one_line(text: &str) -> String {
    if text.is_empty() {
        return "-".into();
    }
    plain(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row(&'static str, Tone2);
    #[derive(Serialize, Clone, Copy)]
    struct Tone2;

    impl Listed for Row {
        const COLUMNS: &'static [Column] = &[col("NAME"), col("STATE"), restless("AGE"), wide("LABELS")];

        fn name(&self) -> String {
            self.0.into()
        }

        fn values(&self, now: Timestamp) -> Vec<Value> {
            let age = super::super::units::age(now, 1_000);
            vec![self.0.into(), Value::toned("Ready", Tone::Good), age.into(), "".into()]
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(301_000);

    #[test]
    fn a_table_has_headers_and_aligned_columns_without_trailing_spaces() {
        let rows = [Row("a", Tone2), Row("longer-name", Tone2)];
        assert_eq!(
            render(&rows, Format::Table, NOW, false),
            "NAME          STATE   AGE\na             Ready   5m\nlonger-name   Ready   5m"
        );
    }

    #[test]
    fn wide_adds_columns_and_name_prints_names_alone() {
        let rows = [Row("a", Tone2), Row("b", Tone2)];
        let text = render(&rows, Format::Wide, NOW, false);
        assert_eq!(text.lines().next().unwrap(), "NAME   STATE   AGE   LABELS");
        assert!(text.ends_with("5m    -"), "{text}");
        assert_eq!(render(&rows, Format::Name, NOW, false), "a\nb");
    }

    #[test]
    fn colour_only_when_asked_for() {
        let rows = [Row("a", Tone2)];
        assert!(render(&rows, Format::Table, NOW, true).contains("\x1b["));
        assert!(!render(&rows, Format::Table, NOW, false).contains('\x1b'));
    }

    #[test]
    fn values_from_outside_stay_on_their_line() {
        let text = grid(None, &[vec!["a\nb\x1b[2J".into(), "c".into()]], &[], false);
        assert_eq!(text, "a b [2J   c");
    }
}
