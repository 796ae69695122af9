//! `littoral` as the tests start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    littoral::run(std::env::args_os(), std::env::current_exe().ok())
}
