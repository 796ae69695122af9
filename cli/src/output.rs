//! Where output goes: data to stdout, everything else to stderr.

pub(crate) mod listing;
pub(crate) mod sections;
pub(crate) mod units;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use littoral_platform::clock;
use serde::Serialize;

use crate::errors::{Exit, Failure, Result};
use listing::Listed;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // No doc comments here: they would be listed in every --help.
    #[default]
    Table,
    Wide,
    Json,
    Name,
}

/// The command's two streams and how to use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// Colours on stdout.
    pub(crate) color: bool,
}

impl Output {
    pub(crate) fn new(format: Format, quiet: bool, verbose: bool) -> Self {
        // https://no-color.org: present and not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, quiet, verbose, color: !no_color && io::stdout().is_terminal() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Data, as it is.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| stdout_failed(&error))
    }

    /// A line of data.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.bytes(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
    }

    /// One object, indented.
    pub(crate) fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value);
        self.line(&text.map_err(|error| Failure::caused("write the answer as JSON", &error))?)
    }

    /// One object on one line, for streams of them.
    pub(crate) fn json_line<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string(value);
        self.line(&text.map_err(|error| Failure::caused("write the answer as JSON", &error))?)
    }

    /// A list in the chosen format; `what` is said when it is empty.
    pub(crate) fn list<T: Listed>(&self, rows: &[T], what: &str) -> Result<()> {
        if self.is_json() {
            return self.json(rows);
        }
        if rows.is_empty() {
            self.note(&format!("no {what}"));
            return Ok(());
        }
        self.line(&listing::render(rows, self.format, clock::now(), self.color))
    }

    /// One object: whole as JSON, its name, or the text for people.
    pub(crate) fn object<T: Listed>(&self, object: &T, text: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            Format::Json => self.json(object),
            Format::Name => self.line(&object.name()),
            Format::Table | Format::Wide => self.line(&text()),
        }
    }

    /// What was done, for people: on stderr, unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// More than most want to know.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            say(text);
        }
    }
}

/// What comes from outside must not command the terminal: one line, without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A line on stderr. Nobody is left to tell when that fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn stdout_failed(error: &io::Error) -> Failure {
    // `littoral function list | head` has got what it wanted.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::silent(Exit::Ok);
    }
    Failure::caused("write to stdout", error).hint("check that its file system has space left")
}
