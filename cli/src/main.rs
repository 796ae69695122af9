use std::process::ExitCode;

fn main() -> ExitCode {
    // `littoral dev` starts this very program again, as control plane and agents.
    littoral::run(std::env::args_os(), std::env::current_exe().ok())
}
