//! Taking in what came of actions: into the view, the failures, and what operators are told.

use std::collections::BTreeSet;
use std::time::Duration;

use littoral_model::digest::Digest;
use littoral_platform::backoff::Backoff;
use littoral_platform::error::Chain;
use littoral_platform::random;

use super::Reconciler;
use super::act::Done;
use super::decide::{Busy, Failure, Loaded, Step, blobs};
use crate::assignment::Workload;
use crate::load::LoadError;

const RETRY_BASE: Duration = Duration::from_secs(1);
/// What fails for a minute fails for a reason that goes away by itself rarely.
const RETRY_CAP: Duration = Duration::from_secs(60);

impl Busy {
    /// What was under way with a worker ended with it.
    pub(super) fn forget_worker(&mut self) {
        self.loads.clear();
        self.unloads.clear();
        self.routing = false;
    }
}

impl Reconciler {
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Fetched { digest, result } => {
                self.view.busy.fetches.remove(&digest);
                let result = result.map_err(|error| Chain(&error).to_string());
                self.record(Step::Fetch(digest), "FetchFailed", &self.function_of(&digest), result);
            }
            Done::Loaded { instance, workload, result } => self.loaded(instance, &workload, result),
            Done::Routed { instance, routes, result } => {
                if Some(instance) != self.instance {
                    return;
                }
                self.view.busy.routing = false;
                if result.is_ok()
                    && let Some(worker) = &mut self.view.worker
                {
                    worker.routes = routes;
                    worker.open = true;
                }
                self.record(Step::Route, "RouteFailed", "", result);
            }
            Done::Unloaded { instance, spec, result } => {
                if Some(instance) != self.instance {
                    return;
                }
                self.view.busy.unloads.remove(&spec);
                if result.is_ok()
                    && let Some(worker) = &mut self.view.worker
                {
                    worker.loaded.remove(&spec);
                }
                self.record(Step::Unload(spec), "UnloadFailed", "", result);
            }
        }
    }

    fn loaded(&mut self, instance: u64, workload: &Workload, result: Result<u64, LoadError>) {
        if Some(instance) == self.instance {
            self.view.busy.loads.remove(&workload.spec);
        } else if !matches!(result, Err(LoadError::Worker(_))) {
            return;
        }
        // A worker that died while loading this counts against it, even when the next worker is already up: a module
        // that kills its worker must not do so ten times a second.
        if let Err(error) = &result
            && error.is_verification()
        {
            self.inputs.metrics.verify_failures.inc();
            let message = format!("artifact {}: {error}", workload.artifact);
            self.inputs.events.add("VerificationFailed", workload.function.as_str(), message);
        }
        if let (Ok(load_us), Some(worker)) = (&result, &mut self.view.worker) {
            let loaded =
                Loaded { revision: workload.revision, artifact: workload.artifact, load_us: *load_us };
            worker.loaded.insert(workload.spec, loaded);
        }
        let result = result.map(|_| ()).map_err(|error| Chain(&error).to_string());
        self.record(Step::Load(workload.spec), "LoadFailed", workload.function.as_str(), result);
    }

    fn record(&mut self, step: Step, reason: &str, function: &str, result: Result<(), String>) {
        let Err(message) = result else {
            self.view.failures.remove(&step);
            return;
        };
        let count = self.view.failures.get(&step).map_or(0, |failure| failure.count).saturating_add(1);
        // The first of a series is worth an operator's look; the rest is in the status.
        if count == 1 {
            self.inputs.events.add(reason, function, message.clone());
        }
        let retry_at = self.inputs.clock.now().plus(retry_after(count));
        self.view.failures.insert(step, Failure { count, message, retry_at });
    }

    /// Failures of what is no longer wanted are no longer of interest.
    pub(super) fn forget_undesired(&mut self) {
        let desired = self.view.desired.iter().flat_map(|d| &d.workloads);
        let wanted: BTreeSet<Digest> = desired.flat_map(|w| blobs(w).map(|(digest, _)| digest)).collect();
        let worker = &self.view.worker;
        self.view.failures.retain(|step, _| match step {
            Step::Fetch(digest) | Step::Load(digest) => wanted.contains(digest),
            Step::Route => worker.is_some(),
            Step::Unload(spec) => worker.as_ref().is_some_and(|w| w.loaded.contains_key(spec)),
        });
    }

    /// The name of one function that needs this blob.
    fn function_of(&self, digest: &Digest) -> String {
        let mut workloads = self.view.desired.iter().flat_map(|d| &d.workloads);
        let needs = |w: &&Workload| blobs(w).iter().any(|(blob, _)| blob == digest);
        workloads.find(needs).map(|w| w.function.to_string()).unwrap_or_default()
    }
}

/// After the `count`-th failure in a row.
fn retry_after(count: u32) -> Duration {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    for _ in 1..count.min(10) {
        backoff.next(0);
    }
    backoff.next(random::number())
}
