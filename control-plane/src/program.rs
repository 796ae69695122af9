//! The command line: arguments → configuration → run.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use littoral_platform::error::Chain;
use littoral_platform::tasks::Tasks;
use littoral_platform::{probe, signal, telemetry};

use crate::compiler::compile_child_main;
use crate::config::{Config, ConfigError, Flags};
use crate::shared::{COMPILE_VERB, ChildCommands};
use crate::startup::{ControlPlane, RunError};

/// The control plane of Littoral
#[derive(Debug, Parser)]
#[command(name = "littorald", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the control plane that runs here with these flags whether it is ready
    Health,
}

#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] telemetry::TelemetryError),
    #[error("could not start the program's threads")]
    Runtime(#[source] io::Error),
    #[error("could not install the handlers of signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Health(#[from] probe::ProbeError),
}

/// Runs `littorald` with these arguments, the first being the program's name. `commands` are what it starts as children; a
/// path stands for a program that takes the hidden verb as this one does.
pub fn run_cli(args: impl IntoIterator<Item = OsString>, commands: impl Into<ChildCommands>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Before anything else: the compiler's process should start in a millisecond.
    if args.get(1).is_some_and(|verb| verb == COMPILE_VERB) {
        return compile_child_main(args.into_iter().skip(2));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let done = match cli.command {
        Some(Command::Health) => health(cli.flags),
        None => start(cli.flags, commands.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn health(flags: Flags) -> Result<(), ProgramError> {
    let (config, _) = Config::load(flags)?;
    Ok(probe::ready(config.http)?)
}

fn start(flags: Flags, commands: ChildCommands) -> Result<(), ProgramError> {
    let (config, log) = Config::load(flags)?;
    telemetry::init(&log)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ProgramError::Runtime)?;
    let done = runtime.block_on(serve(config, commands));
    // Whatever did not end in its phase of the shutdown is not waited for again.
    runtime.shutdown_background();
    done
}

async fn serve(config: Config, commands: ChildCommands) -> Result<(), ProgramError> {
    let stop = signal::shutdown_signal();
    let mut stop = std::pin::pin!(stop);
    let plane = tokio::select! {
        started = ControlPlane::start(config, commands, Tasks::new()) => started?,
        name = &mut stop => {
            tracing::info!("{} while starting", name.map_err(ProgramError::Signals)?);
            return Ok(());
        }
    };
    if let Some(path) = &plane.ready().operator {
        introduce(path);
    }
    let stopped = async {
        match stop.await {
            Ok(name) => tracing::info!("{name}: stopping"),
            Err(error) => tracing::error!("signals cannot be received, stopping: {error}"),
        }
    };
    Ok(plane.serve_until(stopped).await?)
}

fn introduce(credential: &Path) {
    let path = credential.display();
    let _ = writeln!(
        io::stderr(),
        "This is a new cluster. Its operator's credential is in {path}; use it with\n\n    \
         littoral context add local --from {path}\n    littoral context use local\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_variable_with_the_prefix() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        for arg in
            Cli::command().get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        {
            let variable = arg.get_env().unwrap_or_default().to_string_lossy().into_owned();
            assert!(variable.starts_with("LITTORAL_"), "{}: {variable}", arg.get_id());
        }
    }
}
