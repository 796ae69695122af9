//! What one guest may hold, and what all guests may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{ResourceLimiter, Result};

/// As in the engine's pool: a table above it would only fit on demand, and behave differently there.
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Core instances of one component: composed ones have dozens.
const MAX_INSTANCES: usize = 128;
const MAX_TABLES: usize = 64;
const MAX_MEMORIES: usize = 16;

/// Linear memory of all guests of this process.
#[derive(Debug)]
pub(crate) struct HostMemory {
    used: AtomicU64,
    budget: u64,
}

impl HostMemory {
    pub(crate) fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), budget })
    }

    fn take(&self, bytes: u64) -> bool {
        let after = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if after <= self.budget {
            return true;
        }
        self.give(bytes);
        false
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Why memory was refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The function's own limit.
    Limit,
    /// The node has no more for guests.
    Budget,
}

/// Limits of one store. Memory is counted over all memories of the instance.
#[derive(Debug)]
pub(crate) struct Limits {
    host: Arc<HostMemory>,
    memory: u64,
    held: u64,
    last_grant: u64,
    refusal: Option<Refusal>,
}

impl Limits {
    pub(crate) fn new(host: Arc<HostMemory>, memory: u64) -> Self {
        Self { host, memory, held: 0, last_grant: 0, refusal: None }
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        if self.held.saturating_add(more) > self.memory {
            self.refusal = Some(Refusal::Limit);
            return Ok(false);
        }
        if !self.host.take(more) {
            self.refusal = Some(Refusal::Budget);
            return Ok(false);
        }
        self.held += more;
        self.last_grant = more;
        Ok(true)
    }

    /// The growth that was granted last did not happen.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.held -= self.last_grant;
        self.host.give(self.last_grant);
        self.last_grant = 0;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.host.give(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_its_limit_and_all_have_the_budget() {
        let host = HostMemory::new(100);
        let mut one = Limits::new(Arc::clone(&host), 80);
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(60, 90, None).unwrap());
        assert_eq!(one.refusal(), Some(Refusal::Limit));

        let mut other = Limits::new(Arc::clone(&host), 80);
        assert!(!other.memory_growing(0, 50, None).unwrap());
        assert_eq!(other.refusal(), Some(Refusal::Budget));
        drop(one);
        assert!(other.memory_growing(0, 50, None).unwrap());
        drop(other);
        assert_eq!(host.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_growth_that_failed_is_not_held() {
        let host = HostMemory::new(100);
        let mut limits = Limits::new(Arc::clone(&host), 80);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        limits.memory_grow_failed(wasmtime::format_err!("no address space")).unwrap();
        assert!(limits.memory_growing(0, 80, None).unwrap());
        drop(limits);
        assert_eq!(host.used.load(Ordering::Relaxed), 0);
    }
}
