//! Takes the worker's counters every few seconds: into the metrics, and into the windows that are reported.
//!
//! It is also how a worker that no longer answers is noticed.

use std::time::Duration;

use littoral_platform::clock::PersistedClock;
use littoral_proto::worker::DrainRequest;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::AgentMetrics;
use crate::stats::Stats;
use crate::supervisor::WorkerState;

/// A worker that dies loses at most this much of its counters.
const INTERVAL: Duration = Duration::from_secs(5);
/// Reading counters takes microseconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// Fifteen seconds and more without an answer: it is stuck, not busy.
const MAX_MISSES: u32 = 3;
/// How often the end of the last requests is looked for while the agent stops.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What the worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerLoad {
    pub in_flight: u32,
    pub rss_bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub worker: watch::Receiver<WorkerState>,
    pub stats: Stats,
    pub metrics: AgentMetrics,
    pub clock: PersistedClock,
    pub load: watch::Sender<WorkerLoad>,
}

impl Collector {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut misses = 0;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(worker) = self.worker.borrow().clone() else {
                misses = 0;
                continue;
            };
            misses = if self.collect().await.is_some() { 0 } else { misses + 1 };
            if misses >= MAX_MISSES {
                tracing::warn!("the worker does not answer: ending it");
                worker.restart();
                misses = 0;
            }
        }
    }

    /// Takes the counters now. `None` when there is no worker or it does not answer.
    pub(crate) async fn collect(&self) -> Option<WorkerLoad> {
        let mut worker = self.worker.borrow().clone()?;
        let response = timeout(DEADLINE, worker.client.drain(DrainRequest {})).await;
        let drained = match response {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!("could not take the worker's counters: {}", status.message());
                return None;
            }
            Err(_) => return None,
        };
        self.metrics.functions.add(&drained.functions);
        self.stats.add(drained.functions, self.clock.now());
        self.metrics
            .telemetry_backlog_bytes
            .set(u64::try_from(self.stats.backlog_bytes()).unwrap_or(u64::MAX));
        self.metrics.telemetry_dropped.set(self.stats.dropped());
        let load = WorkerLoad { in_flight: drained.in_flight, rss_bytes: drained.rss_bytes };
        self.load.send_replace(load);
        Some(load)
    }

    /// Completes when no request is under way any more, or there is no worker.
    pub(crate) async fn drained(&self) {
        while self.collect().await.is_some_and(|load| load.in_flight > 0) {
            sleep(DRAIN_POLL).await;
        }
    }
}
