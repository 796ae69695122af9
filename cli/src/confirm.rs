//! Asking before something is gone.

use std::io::{self, IsTerminal, Write};

use clap::Args;

use crate::errors::{Exit, Failure, Result};

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Confirm {
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
}

impl Confirm {
    /// Asks on a terminal. Where nobody can be asked, `-y` is needed.
    ///
    /// # Errors
    /// When the answer is anything but yes.
    pub(crate) fn ask(self, question: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(
                Failure::usage(format!("nobody can be asked here: {question}")).hint("repeat it with -y")
            );
        }
        let tried = "ask on the terminal";
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .map_err(|error| Failure::caused(tried, &error))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|error| Failure::caused(tried, &error))?;
        if is_yes(&answer) { Ok(()) } else { Err(Failure::new(Exit::Error, "nothing was changed")) }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("yep\n", false)] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
