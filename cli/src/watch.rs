//! `-w`: a list, and then each row that changes.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use littoral_platform::clock;

use crate::errors::Result;
use crate::output::listing::{self, Listed, Value};
use crate::output::{Format, Output};

/// Nodes report every few seconds: more often shows nothing new.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints the list, or until interrupted the list and its changes.
///
/// # Errors
/// Those of `fetch`.
pub(crate) async fn list<T, F>(output: Output, watch: bool, what: &str, fetch: impl Fn() -> F) -> Result<()>
where
    T: Listed,
    F: Future<Output = Result<Vec<T>>>,
{
    if !watch {
        return output.list(&fetch().await?, what);
    }
    let mut seen = Seen::default();
    loop {
        let rows = fetch().await?;
        for gone in seen.gone(&rows) {
            output.note(&format!("{gone} is gone"));
        }
        let changed = seen.changed(&rows);
        print(output, &mut seen, &changed)?;
        tokio::time::sleep(INTERVAL).await;
    }
}

fn print<T: Listed>(output: Output, seen: &mut Seen, rows: &[&T]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match output.format {
        Format::Json => rows.iter().try_for_each(|row| output.json_line(row)),
        Format::Name => rows.iter().try_for_each(|row| output.line(&row.name())),
        Format::Table | Format::Wide => {
            let shown = listing::shown(T::COLUMNS, output.format == Format::Wide);
            let now = clock::now();
            let values: Vec<Vec<Value>> =
                rows.iter().map(|row| listing::pick(row.values(now), &shown)).collect();
            let headers: Vec<&str> = shown.iter().map(|&i| T::COLUMNS[i].header).collect();
            let first = seen.widen(&headers, &values);
            output.line(&listing::grid(first.then_some(&headers), &values, &seen.widths, output.color))
        }
    }
}

/// What was printed last.
#[derive(Debug, Default)]
struct Seen {
    rows: BTreeMap<String, Vec<String>>,
    widths: Vec<u16>,
}

impl Seen {
    /// Rows whose lasting values differ from those printed last.
    fn changed<'a, T: Listed>(&mut self, rows: &'a [T]) -> Vec<&'a T> {
        rows.iter().filter(|row| self.note(row.name(), lasting(*row))).collect()
    }

    fn note(&mut self, name: String, values: Vec<String>) -> bool {
        self.rows.insert(name, values.clone()).is_none_or(|before| before != values)
    }

    /// Names of rows that were printed and are no more.
    fn gone<T: Listed>(&mut self, rows: &[T]) -> Vec<String> {
        let names: Vec<String> = rows.iter().map(Listed::name).collect();
        let gone: Vec<String> = self.rows.keys().filter(|name| !names.contains(name)).cloned().collect();
        gone.iter().for_each(|name| {
            self.rows.remove(name);
        });
        gone
    }

    /// Makes room for these values below those printed before; true for the first.
    fn widen(&mut self, headers: &[&str], rows: &[Vec<Value>]) -> bool {
        let first = self.widths.is_empty();
        self.widths.resize(headers.len(), 0);
        for (index, width) in self.widths.iter_mut().enumerate() {
            let texts = rows.iter().filter_map(|row| row.get(index)).map(|value| value.text.as_str());
            let widest = texts.chain([headers[index]]).map(|text| text.chars().count()).max().unwrap_or(0);
            *width = (*width).max(u16::try_from(widest).unwrap_or(u16::MAX));
        }
        first
    }
}

/// The values of a row that do not change by themselves.
fn lasting<T: Listed>(row: &T) -> Vec<String> {
    let values = row.values(clock::now()).into_iter();
    let lasting = values.zip(T::COLUMNS).filter(|(_, column)| !column.restless);
    lasting.map(|(value, _)| value.text).collect()
}

#[cfg(test)]
mod tests {
    use littoral_proto::v1 as pb;

    use super::*;
    use crate::views::user::UserView;

    fn user(name: &str, role: pb::Role) -> UserView {
        pb::User { name: name.into(), role: role.into(), created_at_ms: 5 }.into()
    }

    #[test]
    fn only_what_changed_is_printed_again() {
        let mut seen = Seen::default();
        let before = [user("ada", pb::Role::Admin), user("bob", pb::Role::Viewer)];
        assert_eq!(seen.changed(&before).len(), 2);
        assert!(seen.changed(&before).is_empty());
        let after = [user("ada", pb::Role::Viewer)];
        assert_eq!(seen.gone(&after), ["bob"]);
        assert_eq!(seen.changed(&after).len(), 1);
        assert_eq!(seen.changed(&before).len(), 2);
    }

    #[test]
    fn later_rows_stand_below_the_first() {
        let mut seen = Seen::default();
        assert!(seen.widen(&["NAME", "ROLE"], &[vec!["a-long-name".into(), "x".into()]]));
        assert!(!seen.widen(&["NAME", "ROLE"], &[vec!["b".into(), "y".into()]]));
        let row = listing::grid(None, &[vec!["b".into(), "y".into()]], &seen.widths, false);
        assert_eq!(row, "b             y");
    }
}
