//! What nodes last said. In memory alone: after a restart they say it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use littoral_model::id::NodeId;
use littoral_model::latency::Latencies;
use littoral_model::node::{Availability, Heard, availability};
use littoral_model::time::Timestamp;
use littoral_proto::v1;
use tokio::sync::watch;

/// How long a function's latencies count: two spans of this, the current and the one before.
const STATS_SPAN: Duration = Duration::from_secs(150);

/// One node, as of its last report.
#[derive(Clone, Debug)]
pub struct ObservedNode {
    pub epoch: u64,
    /// Whether its session is open.
    pub connected: bool,
    pub heard: Heard,
    pub report_interval: Duration,
    pub observed_generation: u64,
    pub workloads: Arc<Vec<v1::WorkloadStatus>>,
    pub load: v1::NodeLoad,
    /// Its clock minus ours, milliseconds.
    pub clock_skew_ms: i64,
    pub stats: BTreeMap<String, FunctionStats>,
    /// Last window that was counted: (boot id, sequence).
    pub(crate) window: Option<(String, u64)>,
}

impl ObservedNode {
    pub fn new(now: Timestamp, report_interval: Duration) -> Self {
        Self {
            epoch: 0,
            connected: false,
            heard: Heard { last: now, reported: false, settled: false },
            report_interval,
            observed_generation: 0,
            workloads: Arc::default(),
            load: v1::NodeLoad::default(),
            clock_skew_ms: 0,
            stats: BTreeMap::new(),
            window: None,
        }
    }

    pub fn availability(&self, now: Timestamp) -> Availability {
        availability(self.heard, self.report_interval, now)
    }

    /// What it says of one revision.
    pub fn status(&self, spec_digest: &str) -> Option<&v1::WorkloadStatus> {
        self.workloads.iter().find(|status| status.spec_digest == spec_digest)
    }
}

/// Requests of one function on one node, of its last minutes.
#[derive(Clone, Debug, Default)]
pub struct FunctionStats {
    current: Span,
    previous: Span,
    since: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Span {
    latencies: Latencies,
    requests: u64,
    errors: u64,
}

impl FunctionStats {
    pub(crate) fn add(&mut self, window: &v1::FunctionWindow, now: Timestamp) {
        if now.since(self.since) >= STATS_SPAN {
            self.previous = std::mem::take(&mut self.current);
            self.since = now;
        }
        if let Some(pb) = &window.latency {
            match Latencies::from_parts(
                pb.grouping_power,
                pb.max_value_power,
                pb.index.clone(),
                pb.count.clone(),
            ) {
                Ok(latencies) => self.current.latencies.add(&latencies),
                Err(error) => tracing::debug!(function = %window.function, "latencies left out: {error}"),
            }
        }
        for outcome in &window.outcomes {
            self.current.requests += outcome.count;
            if is_error(outcome.outcome()) {
                self.current.errors += outcome.count;
            }
        }
    }

    pub fn requests(&self) -> u64 {
        self.current.requests + self.previous.requests
    }

    pub fn errors(&self) -> u64 {
        self.current.errors + self.previous.errors
    }

    /// Microseconds; `None` without requests.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let mut both = self.current.latencies.clone();
        both.add(&self.previous.latencies);
        both.quantile(share)
    }
}

fn is_error(outcome: v1::Outcome) -> bool {
    !matches!(outcome, v1::Outcome::Ok | v1::Outcome::Cancelled)
}

/// All nodes' last reports, shared by the sessions that write them and the world that reads them.
#[derive(Clone)]
pub struct Observations {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Mutex<BTreeMap<NodeId, Arc<ObservedNode>>>,
    changed: watch::Sender<u64>,
}

impl Default for Observations {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { nodes: Mutex::default(), changed: watch::channel(0).0 }) }
    }
}

impl Observations {
    /// A level that rises with every report.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    pub fn all(&self) -> BTreeMap<NodeId, Arc<ObservedNode>> {
        self.lock().clone()
    }

    /// Changes what is known of a node; `first` makes what there is before its first report.
    pub fn update<T>(
        &self,
        id: &NodeId,
        first: impl FnOnce() -> ObservedNode,
        change: impl FnOnce(&mut ObservedNode) -> T,
    ) -> T {
        let result = {
            let mut nodes = self.lock();
            let node = nodes.entry(id.clone()).or_insert_with(|| Arc::new(first()));
            change(Arc::make_mut(node))
        };
        self.inner.changed.send_modify(|level| *level += 1);
        result
    }

    pub fn forget(&self, id: &NodeId) {
        self.lock().remove(id);
        self.inner.changed.send_modify(|level| *level += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Arc<ObservedNode>>> {
        // A panic while it was held leaves a report that is whole: each is replaced as one value.
        self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
