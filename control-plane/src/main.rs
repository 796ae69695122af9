//! `littorald`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Only a program may start its own executable again: see `ChildCommands`.
    let program = std::env::current_exe().unwrap_or_else(|_| "littorald".into());
    littorald::run_cli(std::env::args_os(), program)
}
