//! How many instances a host can have at once, and what it keeps of them.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// Memory that a slot keeps for its next instance. Resetting it costs less than giving it back and faulting it in
/// again: with 2 MiB a Rust guest is reset without a single page fault.
const KEEP_RESIDENT: usize = 2 << 20;
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
/// A component is its own module, two adapters, and a few shims.
const CORE_INSTANCES_EACH: u32 = 6;
/// Most have one of each; composed ones and interpreters have more.
const MEMORIES_EACH: u32 = 2;
const TABLES_EACH: u32 = 4;
/// Interpreters compiled to WebAssembly have tens of thousands of functions in a table.
const TABLE_ELEMENTS: usize = 100_000;
/// Large interpreters need 1 to 2 MiB of bookkeeping.
const INSTANCE_BYTES: usize = 4 << 20;
/// Slots of functions that are not called at the moment and still hold their resident part.
const WARM: u32 = 64;
const MIN_INSTANCES: u32 = 64;
/// 4 GiB times two memories times this is 8 TiB of the 128 that user space has.
const MAX_INSTANCES: u32 = 1024;

/// How many instances run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub instances: u32,
}

impl Pool {
    /// The pool for guests that may hold `memory_budget` bytes together: kept memory takes at most a quarter.
    pub fn for_budget(memory_budget: u64) -> Self {
        let each = 4 * KEEP_RESIDENT as u64;
        let fits = u32::try_from(memory_budget / each).unwrap_or(u32::MAX);
        Self { instances: fits.clamp(MIN_INSTANCES, MAX_INSTANCES) }
    }

    pub(crate) fn smallest() -> Self {
        Self { instances: MIN_INSTANCES }
    }

    /// Enough to see what a larger one would cost.
    pub(crate) fn sample() -> Self {
        Self { instances: 2 }
    }

    pub(crate) fn config(self) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.instances * CORE_INSTANCES_EACH)
            .total_memories(self.instances * MEMORIES_EACH)
            .total_tables(self.instances * TABLES_EACH)
            .total_stacks(self.instances)
            .max_core_instance_size(INSTANCE_BYTES)
            .max_component_instance_size(INSTANCE_BYTES)
            .max_memories_per_module(MEMORIES_EACH)
            .max_tables_per_module(TABLES_EACH)
            .table_elements(TABLE_ELEMENTS)
            .max_unused_warm_slots(WARM)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(TABLE_KEEP_RESIDENT)
            // Resets only the pages that were written. Linux 6.7; older kernels reset all of the resident part.
            .pagemap_scan(Enabled::Auto);
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_budget_within_its_bounds() {
        let instances = |mib: u64| Pool::for_budget(mib << 20).instances;
        assert_eq!(instances(128), 64);
        assert_eq!(instances(2048), 256);
        assert_eq!(instances(1 << 20), 1024);
    }
}
