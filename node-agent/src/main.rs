//! `littoral-agent`: see `littoral_agent::run_cli`.

use std::process::ExitCode;

use littoral_agent::WorkerCommand;
use mimalloc::MiMalloc;

/// Each request makes and drops a store and some hundred small objects, often on different threads: with the C library's
/// allocator they took a fifth of a worker's CPU time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: cannot find this program's own file, which runs the worker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let worker = WorkerCommand { program, args: vec!["worker".into()] };
    littoral_agent::run_cli(std::env::args_os(), worker)
}
