//! `littoral-agent` as the tests start it.

use std::path::PathBuf;
use std::process::ExitCode;

use littoral_agent::WorkerCommand;

/// An emulator that this program runs in: a kernel starts a program of its own architecture outside of it.
const EMULATOR: &str = "LITTORAL_TEST_EMULATOR";

fn main() -> ExitCode {
    let program = std::env::current_exe().unwrap_or_default();
    let worker = match std::env::var_os(EMULATOR) {
        Some(emulator) => {
            let args = vec![program.into(), "worker".into()];
            WorkerCommand { program: PathBuf::from(emulator), args }
        }
        None => WorkerCommand { program, args: vec!["worker".into()] },
    };
    littoral_agent::run_cli(std::env::args_os(), worker)
}
