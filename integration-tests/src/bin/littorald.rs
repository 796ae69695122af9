//! `littorald` as the tests start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let program = std::env::current_exe().unwrap_or_default();
    littorald::run_cli(std::env::args_os(), program)
}
