//! Configurations of engines that load artifacts and never compile.

use littoral_model::target::MemoryClass;
use wasmtime::{Config, InstanceAllocationStrategy, ModuleVersionStrategy, Result};

use crate::fingerprint;
use crate::pool::Pool;
use crate::settings::Settings;

/// Stack of a guest. Deep recursion in interpreters needs more than wasmtime's 512 KiB.
const GUEST_STACK: usize = 1 << 20;
/// The whole stack that a guest's task runs on: what is over the guest's part is for host functions.
const TASK_STACK: usize = 2 << 20;
/// Frames in a trap's message: enough to see where it happened.
const BACKTRACE_FRAMES: usize = 8;

/// Loads artifacts of any CPU level that the host runs, and allocates instances on demand.
///
/// # Errors
/// Never in practice: wasmtime refuses version names over 255 bytes.
pub fn runtime_config(memory: MemoryClass) -> Result<Config> {
    let mut config = shared(memory)?;
    config
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(TASK_STACK)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES));
    if memory == MemoryClass::Narrow {
        // Not compiled in: wasmtime's default of 2 GiB is what narrow hosts do not have.
        config.memory_reservation_for_growth(16 << 20);
    }
    // A whole workspace in one build has the compiler: an engine that loads must not have it even then, or it
    // would take this host's CPU for the target.
    #[cfg(feature = "compile")]
    config.enable_compiler(false);
    Ok(config)
}

/// As [`runtime_config`] for the wide class, with instances from a pool: a fresh one costs microseconds.
///
/// # Errors
/// As [`runtime_config`]; that the address space is too small for it shows in `Engine::new`.
pub fn pooled_config(pool: Pool) -> Result<Config> {
    let mut config = runtime_config(MemoryClass::Wide)?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool.config()));
    Ok(config)
}

/// What compiler and runtime have in common.
pub(crate) fn shared(memory: MemoryClass) -> Result<Config> {
    let mut config = Config::new();
    Settings::of(memory).apply(&mut config);
    config.module_version(ModuleVersionStrategy::Custom(fingerprint::of_class(memory)))?;
    Ok(config)
}
