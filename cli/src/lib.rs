//! The operator's command of Littoral.
//!
//! It holds no rule that the control plane does not enforce: it reads manifests and files, calls `littoral.v1`
//! over mTLS, and prints. Waiting for the fleet happens here and nowhere else.

mod args;
#[cfg(feature = "dev")]
mod children;
mod commands;
mod confirm;
mod connection;
#[cfg(feature = "dev")]
mod dev;
mod errors;
mod manifests;
mod output;
mod progress;
mod upload;
mod views;
mod watch;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use littoral_platform::telemetry::{LOG_ENV, LogSettings};

use args::Cli;
use connection::Target;
use errors::{Exit, Failure, Result};
use output::Output;

/// What every command gets.
#[derive(Clone, Debug)]
struct Shell {
    output: Output,
    target: Target,
    /// What `dev` starts its children with.
    #[cfg_attr(not(feature = "dev"), expect(dead_code, reason = "only `dev` starts children"))]
    executable: Option<PathBuf>,
}

/// Runs the command to its end. `args` begins with the program's name; `executable` is a program that calls this
/// function, started again by `dev` for its children.
pub fn run(args: impl IntoIterator<Item = OsString>, executable: Option<PathBuf>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    #[cfg(feature = "dev")]
    if let Some(code) = children::run(&args, executable.as_deref()) {
        return code;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed stream leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    start_logging();
    let shell = Shell { output: cli.global.output(), target: cli.global.target(), executable };
    match block_on(commands::run(cli.command, &shell)) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            let text = failure.render();
            if !text.is_empty() {
                output::say(text.trim_end());
            }
            failure.exit.into()
        }
    }
}

/// Logs of the libraries, for those who look for a fault: only when `LITTORAL_LOG` asks for them.
fn start_logging() {
    if connection::config::variable(LOG_ENV).is_none() {
        return;
    }
    if let Err(error) =
        LogSettings::from_env().and_then(|settings| littoral_platform::telemetry::init(&settings))
    {
        output::say(&format!("no logs: {error}"));
    }
}

/// One thread is enough for an operator, and the parent-death signal of `dev`'s children is bound to the thread
/// that started them: this one lives as long as the process.
fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("start", &error))?;
    let result = runtime.block_on(Box::pin(command));
    // A read of stdin may never return: nobody waits for it.
    runtime.shutdown_background();
    result
}
