//! `littoral-agent` as the tests start it.

use std::process::ExitCode;

use littoral_agent::WorkerCommand;

fn main() -> ExitCode {
    let program = std::env::current_exe().unwrap_or_default();
    littoral_agent::run_cli(std::env::args_os(), WorkerCommand { program, args: vec!["worker".into()] })
}
