//! What the control plane is told every few seconds: everything that is, whole.

use std::sync::{Arc, Mutex, PoisonError};

use littoral_platform::clock::PersistedClock;
use littoral_proto::v1::{AgentEvent, NodeLoad, NodeReport};
use tokio::sync::watch;

use crate::collector::WorkerLoad;
use crate::events::Events;
use crate::host::{self, CpuMeter};
use crate::reconciler::Observed;
use crate::stats::Stats;

/// The protocol's limit.
const MAX_WINDOWS: usize = 32;
/// A report stays well below the largest message, statuses included.
const MAX_WINDOW_BYTES: usize = 2 << 20;
/// Of at most 1 KiB each.
const MAX_EVENTS: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    pub observed: watch::Receiver<Arc<Observed>>,
    pub worker: watch::Receiver<WorkerLoad>,
    pub stats: Stats,
    pub events: Events,
    pub clock: PersistedClock,
    pub cpu: Arc<Mutex<CpuMeter>>,
}

impl Reporter {
    /// Closes the open window and takes the events: give them back with [`Reporter::not_sent`] if it cannot be sent.
    pub(crate) fn report(&self, session_epoch: u64) -> NodeReport {
        let now = self.clock.now();
        self.stats.close(now);
        let observed = Arc::clone(&self.observed.borrow());
        NodeReport {
            session_epoch,
            observed_generation: observed.number.generation.0,
            workloads: observed.workloads.clone(),
            load: Some(self.load()),
            windows: self.stats.pending(MAX_WINDOWS, MAX_WINDOW_BYTES),
            now_ms: now.as_millis(),
            settled: observed.settled,
            events: self.events.take(MAX_EVENTS),
        }
    }

    pub(crate) fn not_sent(&self, events: Vec<AgentEvent>) {
        self.events.put_back(events);
    }

    fn load(&self) -> NodeLoad {
        let worker = *self.worker.borrow();
        NodeLoad {
            cpu_permille: self.cpu.lock().unwrap_or_else(PoisonError::into_inner).permille(),
            memory_used_bytes: host::memory_used(),
            agent_rss_bytes: host::own_rss(),
            worker_rss_bytes: worker.rss_bytes,
            requests_in_flight: worker.in_flight,
        }
    }
}
