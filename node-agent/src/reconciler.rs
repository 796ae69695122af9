//! The loop that makes what is into what should be: look at everything, decide, begin what can be begun, wait.
//!
//! Actions run beside one another and fail alone. Nothing is remembered of an event but its effect: whatever wakes
//! the loop, it looks at everything again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use littoral_model::time::Timestamp;
use littoral_proto::v1::WorkloadStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::artifacts::Cache;
use crate::assignment::AssignmentNumber;
use crate::events::Events;
use crate::ledger::{Desired, Ledger};
use crate::link::Link;
use crate::metrics::AgentMetrics;
use crate::steady::SteadyClock;
use crate::supervisor::WorkerState;

mod act;
mod decide;
mod progress;
mod status;

use act::Done;
pub(crate) use decide::BlobKind;
use decide::{View, WorkerView, decide};
use status::History;
pub(crate) use status::settled;

/// A level that nobody announced is noticed at the latest after this long.
const TICK: Duration = Duration::from_secs(30);

/// What is, as the reconciler saw it last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The assignment that the statuses belong to.
    pub number: AssignmentNumber,
    pub workloads: Vec<WorkloadStatus>,
    /// The worker is there, and every workload is Running or Failed.
    pub settled: bool,
}

/// What the reconciler looks at and works with.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub ledger: Arc<Ledger>,
    pub cache: Cache,
    /// Bytes that the cache may hold of what no assignment needs.
    pub cache_quota: u64,
    pub worker: watch::Receiver<WorkerState>,
    pub link: watch::Receiver<Link>,
    pub clock: SteadyClock,
    pub events: Events,
    pub metrics: AgentMetrics,
}

pub(crate) struct Reconciler {
    inputs: Inputs,
    desired: watch::Receiver<Desired>,
    view: View,
    /// The worker that `view.worker` describes.
    instance: Option<u64>,
    history: History,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    observed: watch::Sender<Arc<Observed>>,
    /// The assignment after which the cache was tidied last.
    tidied: Option<AssignmentNumber>,
}

impl Reconciler {
    pub(crate) fn new(inputs: Inputs) -> Self {
        Self {
            desired: inputs.ledger.subscribe(),
            inputs,
            view: View::default(),
            instance: None,
            history: History::default(),
            running: FuturesUnordered::new(),
            observed: watch::Sender::new(Arc::default()),
            tidied: None,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Observed>> {
        self.observed.subscribe()
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = self.inputs.clock.now();
            self.look();
            for action in decide(&self.view, now) {
                self.begin(action, now);
            }
            let settled = self.publish(now);
            if settled && self.running.is_empty() {
                self.tidy().await;
            }
            stop.run_until_cancelled(self.wait(now)).await;
        }
    }

    /// Everything that may have changed outside of this loop.
    fn look(&mut self) {
        self.view.desired = self.desired.borrow_and_update().as_deref().cloned();
        self.view.connected = self.inputs.link.borrow_and_update().bulk().is_some();
        let blobs = self.view.desired.iter().flat_map(|desired| desired.blobs());
        self.view.cached = self.inputs.cache.present_among(blobs);
        let instance = self.inputs.worker.borrow_and_update().as_ref().map(|worker| worker.instance);
        if instance != self.instance {
            self.instance = instance;
            if let Some(gone) = self.view.worker.take()
                && !gone.routes.is_empty()
            {
                self.view.routed_before = gone.routes.into_keys().collect();
            }
            self.view.worker = instance.map(|_| WorkerView::default());
            self.view.busy.forget_worker();
        }
        self.forget_undesired();
    }

    async fn wait(&mut self, now: Timestamp) {
        let retry = self.view.next_retry(now).map(|at| self.inputs.clock.instant(at));
        let wake = retry.unwrap_or(Instant::now() + TICK).min(Instant::now() + TICK);
        tokio::select! {
            // None of the senders goes away before this loop does; if one did, the tick would still look.
            Ok(()) = self.desired.changed() => {}
            Ok(()) = self.inputs.worker.changed() => {}
            Ok(()) = self.inputs.link.changed() => {}
            Some(done) = self.running.next() => self.finish(done),
            () = sleep_until(wake) => {}
        }
    }

    /// Returns whether the assignment has settled.
    fn publish(&mut self, now: Timestamp) -> bool {
        let workloads = self.history.statuses(&self.view, now);
        let observed = Observed {
            // Without an assignment there is nothing to do, and a node that can take one is ready for it.
            number: self.view.desired.as_ref().map(|desired| desired.number).unwrap_or_default(),
            settled: self.view.worker.is_some() && settled(&workloads),
            workloads,
        };
        let generation = observed.number.generation.0;
        self.inputs.metrics.desired_generation.set(generation);
        if observed.settled {
            self.inputs.metrics.observed_generation.set(generation);
        }
        let settled = observed.settled;
        self.observed.send_if_modified(|before| {
            let changed = **before != observed;
            if changed {
                *before = Arc::new(observed);
            }
            changed
        });
        settled
    }

    /// Once for each assignment that has settled.
    async fn tidy(&mut self) {
        let number = self.view.desired.as_ref().map(|desired| desired.number);
        if self.tidied == number {
            return;
        }
        self.tidied = number;
        let mut keep: std::collections::BTreeSet<_> = self.inputs.ledger.blobs().into_iter().collect();
        keep.extend(self.view.worker.iter().flat_map(|w| w.loaded.values()).map(|loaded| loaded.artifact));
        let (cache, quota) = (self.inputs.cache.clone(), self.inputs.cache_quota);
        match tokio::task::spawn_blocking(move || cache.collect(&keep, quota)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => {
                tracing::info!(bytes, "removed what is no longer needed from the artifact cache")
            }
            Ok(Err(error)) => tracing::warn!("could not tidy the artifact cache: {error}"),
            Err(error) => tracing::warn!("tidying the artifact cache ended early: {error}"),
        }
    }
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler").finish_non_exhaustive()
    }
}
