//! What must be equal where an artifact is compiled and where it is loaded.

use littoral_model::target::MemoryClass;
use wasmtime::{Config, Inlining, WasmFeatures};

/// The release of wasmtime that the workspace pins. Artifacts of another patch release are refused: the layout
/// of generated code is only promised within one.
pub(crate) const WASMTIME: &str = "48.0.8";

/// One field for each setting that is compiled into an artifact. Its `Debug` form is part of the fingerprint, so
/// a field that is added, renamed or changed makes new artifacts necessary, as it must.
#[derive(Debug)]
pub(crate) struct Settings {
    memory_reservation: u64,
    memory_guard_size: u64,
    memory_may_move: bool,
    guard_before_linear_memory: bool,
    signals_based_traps: bool,
    memory_init_cow: bool,
    table_lazy_init: bool,
    epoch_interruption: bool,
    consume_fuel: bool,
    concurrency_support: bool,
    relaxed_simd_deterministic: bool,
    debug_info: bool,
    debug_symbols: bool,
    inlining: Inlining,
    features: WasmFeatures,
}

impl Settings {
    pub(crate) fn of(memory: MemoryClass) -> Self {
        let (memory_reservation, memory_guard_size, memory_may_move) = match memory {
            // Every 32-bit address falls into the reservation or its guard: no bounds check is needed. 32 MiB is
            // wasmtime's default, and more than the constant offsets that compilers emit.
            MemoryClass::Wide => (4 << 30, 32 << 20, false),
            // Room for most functions without a move, small enough for thousands in a 39-bit address space.
            MemoryClass::Narrow => (16 << 20, 64 << 10, true),
        };
        Self {
            memory_reservation,
            memory_guard_size,
            memory_may_move,
            guard_before_linear_memory: true,
            signals_based_traps: true,
            memory_init_cow: true,
            table_lazy_init: true,
            // Always: the wall clock limit of every function rests on it.
            epoch_interruption: true,
            consume_fuel: false,
            // Only guests of WASI 0.3 need it, and every entry of every other guest pays for it: 15 % of an HTTP hello.
            // Such guests will have an engine of their own.
            concurrency_support: false,
            // A function gives the same results on every kind of CPU in a fleet.
            relaxed_simd_deterministic: true,
            debug_info: false,
            debug_symbols: false,
            inlining: Inlining::No,
            features: wasm_features(),
        }
    }

    pub(crate) fn apply(&self, config: &mut Config) {
        config
            .memory_reservation(self.memory_reservation)
            .memory_guard_size(self.memory_guard_size)
            .memory_may_move(self.memory_may_move)
            .guard_before_linear_memory(self.guard_before_linear_memory)
            .signals_based_traps(self.signals_based_traps)
            .memory_init_cow(self.memory_init_cow)
            .table_lazy_init(self.table_lazy_init)
            .epoch_interruption(self.epoch_interruption)
            .consume_fuel(self.consume_fuel)
            .concurrency_support(self.concurrency_support)
            .relaxed_simd_deterministic(self.relaxed_simd_deterministic)
            .debug_info(self.debug_info)
            .debug_symbols(self.debug_symbols)
            // Otherwise an environment variable decides, and it is compiled in.
            .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
            .compiler_inlining(self.inlining)
            // Both ways, so that neither wasmtime's defaults nor Cargo features that some other crate of a build
            // switches on (gc, threads) change what is accepted.
            .wasm_features(WasmFeatures::all().difference(self.features), false)
            .wasm_features(self.features, true);
    }
}

/// The WebAssembly proposals that Littoral accepts: WebAssembly 2.0, tail calls, extended constants, several and
/// 64-bit memories, relaxed SIMD, and the component model. Its async functions, garbage collection, exceptions and
/// threads are not among them.
pub fn wasm_features() -> WasmFeatures {
    // `GC_TYPES` is the parser's word for external references: they need a collector.
    WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES)
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::COMPONENT_MODEL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_release_is_the_one_that_is_built() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")), "{WASMTIME}");
    }
}
