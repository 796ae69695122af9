//! One file or folder for each noun.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod function;
pub(crate) mod module;
pub(crate) mod node;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod version;

use std::time::Duration;

use crate::Shell;
use crate::args::Command;
use crate::errors::{Failure, Result};

pub(crate) async fn run(command: Command, shell: &Shell) -> Result<()> {
    match command {
        #[cfg(feature = "dev")]
        Command::Dev(dev) => crate::dev::run(dev, shell).await,
        Command::Module(command) => module::run(command, shell).await,
        Command::Validate(validate) => apply::validate(&validate, shell),
        Command::Apply(apply) => apply::run(apply, shell).await,
        Command::Function(command) => function::run(command, shell).await,
        Command::Node(command) => node::run(command, shell).await,
        Command::Token(command) => token::run(command, shell).await,
        Command::User(command) => user::run(command, shell).await,
        Command::Context(command) => context::run(command, shell),
        Command::Events(events) => events::run(&events, shell).await,
        Command::Status => status::run(shell).await,
        Command::Version(version) => version::run(&version, shell).await,
        Command::Completion(completion) => completion::run(&completion, shell),
    }
}

/// `10s`, `5m`: for flags.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    littoral_model::quantity::duration(text).map_err(|error| error.to_string())
}

/// `key=value`: for flags.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// Milliseconds of a span, as messages carry them.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The part of an answer that a server always sends.
pub(crate) fn present<T>(part: Option<T>, tried: &str) -> Result<T> {
    part.ok_or_else(|| {
        Failure::error(format!("could not {tried}: the control plane's answer is incomplete"))
            .hint("compare versions: littoral version")
    })
}
