//! The compiler's side: WebAssembly in, native code for one target out.

use littoral_model::target::{Cpu, Target};
use wasmtime::{Config, Engine, OptLevel, Result};

use crate::{cpu, runtime};

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("these {0} bytes are neither a WebAssembly module nor a component: they do not begin as one")]
    NotWasm(usize),
    #[error("could not set up the compiler for {target}: {reason}")]
    Engine { target: Target, reason: String },
    #[error("could not compile for {target}: {reason}")]
    Rejected { target: Target, reason: String },
}

/// Compiles a module or a component. The result is an ELF file for `Module::deserialize` or
/// `Component::deserialize` in an engine with the same fingerprint. Uses all cores; big modules take minutes and
/// gigabytes, so run it in a process with limits.
///
/// # Errors
/// `NotWasm` and `Rejected` are about the bytes and stay; `Engine` is a fault of ours.
pub fn compile(wasm: &[u8], target: Target) -> Result<Vec<u8>, CompileError> {
    let is_component = match wasm {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => false,
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => true,
        _ => return Err(CompileError::NotWasm(wasm.len())),
    };
    let engine = compiler_config(target)
        .and_then(|config| Engine::new(&config))
        .map_err(|e| CompileError::Engine { target, reason: format!("{e:#}") })?;
    let code = if is_component { engine.precompile_component(wasm) } else { engine.precompile_module(wasm) };
    code.map_err(|e| CompileError::Rejected { target, reason: format!("{e:#}") })
}

/// The configuration that compiles for `target` and nothing else: CPU features are never taken from the machine
/// that compiles.
///
/// # Errors
/// When the architecture was not built in.
pub fn compiler_config(target: Target) -> Result<Config> {
    let mut config = runtime::shared(target.memory)?;
    // Naming the target switches the inference of CPU features off, for the host's own triple too.
    config.target(cpu::triple(target.cpu))?;
    config.cranelift_opt_level(OptLevel::Speed);
    // For debuggers and profilers alone: wasmtime unwinds by frame pointers. It is a twelfth of an artifact, and a node that
    // loads many registers each with the C library, in time that grows with their number.
    config.native_unwind_info(false);
    allow_cpu_features(&mut config, target.cpu);
    Ok(config)
}

#[expect(unsafe_code, reason = "wasmtime has no other way to say which CPU features code may use")]
fn allow_cpu_features(config: &mut Config, cpu: Cpu) {
    for flag in cpu::flags(cpu) {
        // SAFETY: the flags only name instructions that every CPU of this level has; they change no invariant of
        // generated code. A host that lacks one refuses the artifact, by our target check and by wasmtime's own.
        unsafe { config.cranelift_flag_enable(flag) };
    }
}
