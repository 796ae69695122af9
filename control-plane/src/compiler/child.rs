//! The compiler's own process: WebAssembly on stdin, native code on stdout, a reason on stderr.
//!
//! A module can make a compiler loop, eat memory, or worse. So it runs here, where it has limits, reads no file and
//! reaches no network, and where nothing is but the module itself.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use littoral_engine::CompileError;
use littoral_model::target::Target;

use super::confine::{self, Limits};

/// The module cannot be compiled, and never will be by this engine.
pub(super) const EXIT_REJECTED: u8 = 65;
/// Something else went wrong; the reason is on stderr.
const EXIT_FAULT: u8 = 70;
/// The parent sends what the registry took, which has a cap of its own.
const MAX_WASM: u64 = 1 << 30;

/// What the parent asks for: `--target T --memory BYTES --cpu-seconds N`.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    target: Target,
    limits: Limits,
}

/// Runs as the compiler's child. `args` are those that follow the command that the parent was given.
pub fn compile_child_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = parse(args).and_then(|request| {
        confine::apply(&request.limits).map_err(|error| error.to_string())?;
        Ok(compile(request.target))
    });
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Refused::Module(reason))) => fail(EXIT_REJECTED, &reason),
        Ok(Err(Refused::Fault(reason))) | Err(reason) => fail(EXIT_FAULT, &reason),
    }
}

enum Refused {
    Module(String),
    Fault(String),
}

fn compile(target: Target) -> Result<(), Refused> {
    let fault = |error: io::Error| Refused::Fault(error.to_string());
    let mut wasm = Vec::new();
    io::stdin().lock().take(MAX_WASM).read_to_end(&mut wasm).map_err(fault)?;
    let code = littoral_engine::compile(&wasm, target).map_err(|error| match error {
        CompileError::Engine { .. } => Refused::Fault(error.to_string()),
        CompileError::NotWasm(_) | CompileError::Rejected { .. } => Refused::Module(error.to_string()),
    })?;
    let mut out = io::stdout().lock();
    out.write_all(&code).and_then(|()| out.flush()).map_err(fault)
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let (mut target, mut memory, mut cpu) = (None, None, None);
    let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} has no value"))?;
        match name.as_str() {
            "--target" => target = Some(value.parse::<Target>().map_err(|e| e.to_string())?),
            "--memory" => memory = Some(value.parse::<u64>().map_err(|e| format!("{name}: {e}"))?),
            "--cpu-seconds" => cpu = Some(value.parse::<u64>().map_err(|e| format!("{name}: {e}"))?),
            other => return Err(format!("`{other}` is not an argument of the compiler's process")),
        }
    }
    match (target, memory, cpu) {
        (Some(target), Some(memory_bytes), Some(cpu_seconds)) => {
            Ok(Request { target, limits: Limits { memory_bytes, cpu_seconds } })
        }
        _ => {
            Err("the compiler's process is started by littorald: --target, --memory and --cpu-seconds"
                .to_owned())
        }
    }
}

fn fail(code: u8, reason: &str) -> ExitCode {
    // The parent reads it; if it is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Request, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_all_there_and_known() {
        let good = ["--target", "x86_64-v1-wide", "--memory", "1000", "--cpu-seconds", "3"];
        let request = parsed(&good).unwrap();
        assert_eq!(request.target.to_string(), "x86_64-v1-wide");
        assert_eq!(request.limits, Limits { memory_bytes: 1000, cpu_seconds: 3 });
        for bad in [&good[..4], &good[..5], &["--target", "vax"], &["--colour", "red"], &[]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
