//! Time for waiting, which goes on when the machine's clock stands still or jumps.

use littoral_model::time::Timestamp;
use tokio::time::Instant;

/// Begins at a time of day and runs with the monotonic clock from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SteadyClock {
    base: Timestamp,
    started: Instant,
}

impl SteadyClock {
    pub(crate) fn starting_at(base: Timestamp) -> Self {
        Self { base, started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    /// When `time` will be.
    pub(crate) fn instant(&self, time: Timestamp) -> Instant {
        self.started + time.since(self.base)
    }
}
