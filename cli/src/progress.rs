//! Long work: a bar on a terminal, plain lines in a pipe.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{Output, plain};

/// Faster than the eye minds, slower than a terminal over a bad link does.
const REDRAW: Duration = Duration::from_millis(100);

/// What is being done, on stderr.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    /// Bytes of a known number that are being moved; in a pipe, `what` is said once.
    pub(crate) fn bytes(output: Output, what: &str, total: u64) -> Self {
        let bar = visible(output).then(|| {
            let template = "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
            ProgressBar::new(total).with_style(style(template)).with_message(what.to_owned())
        });
        Self::begin(output, bar, what)
    }

    /// Something whose end is not known.
    pub(crate) fn waiting(output: Output, what: &str) -> Self {
        let bar = visible(output).then(|| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg}"));
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(REDRAW);
            bar
        });
        Self::begin(output, bar, what)
    }

    fn begin(output: Output, bar: Option<ProgressBar>, what: &str) -> Self {
        if bar.is_none() {
            output.note(what);
        }
        Self { output, bar, said: what.to_owned() }
    }

    /// A handle for the stream that moves the bytes.
    pub(crate) fn counter(&self) -> impl Fn(u64) + Send + 'static {
        let bar = self.bar.clone();
        move |bytes| {
            if let Some(bar) = &bar {
                bar.inc(bytes);
            }
        }
    }

    /// Says how it is now; in a pipe, a line when it has changed.
    pub(crate) fn now(&mut self, how: &str) {
        if self.said == how {
            return;
        }
        how.clone_into(&mut self.said);
        match &self.bar {
            Some(bar) => bar.set_message(plain(how)),
            None => self.output.note(&plain(how)),
        }
    }
}

/// The bar leaves nothing behind: the result is said by others.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn visible(output: Output) -> bool {
    // Words between would tear the bar apart.
    !output.quiet && !output.verbose && io::stderr().is_terminal()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
