//! What a person would have to look at: nothing but what these tests have done on purpose.

use harness::compose::Compose;

/// An ERROR that is expected: whose, a part of its text, and why.
const EXPECTED: &[(&str, &str, &str)] = &[];

pub fn no_unexpected_error(fleet: &Compose) {
    let mut unexpected = Vec::new();
    let mut lines = 0;
    for (service, log) in fleet.logs() {
        for line in log.lines() {
            lines += 1;
            let bad = [" ERROR ", "panicked at", "RUST_BACKTRACE"].iter().any(|mark| line.contains(mark));
            if bad && !EXPECTED.iter().any(|(whose, part, _)| *whose == service && line.contains(part)) {
                unexpected.push(format!("{service}: {line}"));
            }
        }
    }
    assert!(lines > 50, "the services have said nothing: {lines} lines");
    assert!(unexpected.is_empty(), "unexpected errors:\n{}", unexpected.join("\n"));
}
