//! What to do next, as a pure function of what should be, what is, and the time.

use std::collections::{BTreeMap, BTreeSet};

use littoral_model::digest::Digest;
use littoral_model::generation::FunctionRevision;
use littoral_model::id::FunctionName;
use littoral_model::time::Timestamp;

use crate::assignment::{Assignment, Workload};

/// Downloads under way at once: enough to hide a link's latency, few enough that each one gets somewhere.
const MAX_FETCHES: usize = 4;
/// Loads under way at once. Each hashes a whole artifact: more would only compete for the same cores.
const MAX_LOADS: usize = 4;

/// One thing to do. Each succeeds or fails alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bring a blob into the cache.
    Fetch(Digest, BlobKind),
    /// Have the worker verify, map and link a revision. Replaces an older load of the same spec.
    Load(Workload),
    /// Tell the worker which loaded revisions answer, whole.
    Route(Routes),
    Unload(Digest),
}

/// What a blob is decides how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobKind {
    Spec,
    Statement,
    Artifact,
}

/// Spec digest → (function, weight above zero).
pub(crate) type Routes = BTreeMap<Digest, (FunctionName, u32)>;

/// What the worker holds under a spec's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub revision: FunctionRevision,
    pub artifact: Digest,
    /// Microseconds.
    pub load_us: u64,
}

/// A step that can fail, and is waited with after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Fetch(Digest),
    /// By spec.
    Load(Digest),
    Route,
    /// By spec.
    Unload(Digest),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Consecutive.
    pub count: u32,
    pub message: String,
    pub retry_at: Timestamp,
}

/// What is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy {
    pub fetches: BTreeSet<Digest>,
    pub loads: BTreeSet<Digest>,
    pub unloads: BTreeSet<Digest>,
    pub routing: bool,
}

/// Everything that a decision looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// None: the ledger is empty. Then nothing is changed.
    pub desired: Option<Assignment>,
    /// Blobs in the cache.
    pub cached: BTreeSet<Digest>,
    /// None: there is no worker at the moment.
    pub worker: Option<WorkerView>,
    /// What the last worker was routing: loaded first in a new one.
    pub routed_before: BTreeSet<Digest>,
    /// Whether anything can be fetched.
    pub connected: bool,
    pub failures: BTreeMap<Step, Failure>,
    pub busy: Busy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerView {
    pub loaded: BTreeMap<Digest, Loaded>,
    pub routes: Routes,
    /// Whether it was told its routes, if only that there are none: until then it takes no requests, and they wait.
    pub open: bool,
}

impl WorkerView {
    pub(crate) fn holds(&self, workload: &Workload) -> bool {
        self.loaded
            .get(&workload.spec)
            .is_some_and(|l| l.artifact == workload.artifact && l.revision == workload.revision)
    }
}

impl View {
    fn waits(&self, step: Step, now: Timestamp) -> bool {
        self.failures.get(&step).is_some_and(|failure| failure.retry_at > now)
    }

    /// When the first of the failed steps may be tried again, if any waits.
    pub(crate) fn next_retry(&self, now: Timestamp) -> Option<Timestamp> {
        self.failures.values().map(|failure| failure.retry_at).filter(|at| *at > now).min()
    }
}

/// All that can be begun now. Calling it again after applying a part of the answer gives the rest.
pub(crate) fn decide(view: &View, now: Timestamp) -> Vec<Action> {
    let Some(desired) = &view.desired else { return open_empty(view, now) };
    let ordered = in_order(desired, &view.routed_before);
    let mut actions = fetches(view, &ordered, now);
    let Some(worker) = &view.worker else { return actions };
    actions.extend(loads(view, worker, &ordered, now));
    let wanted = wanted_routes(desired, worker);
    if !worker.open && ordered.iter().any(|w| may_still_load(view, worker, w)) {
        return actions;
    }
    if wanted != worker.routes || !worker.open {
        if !view.busy.routing && !view.waits(Step::Route, now) {
            actions.push(Action::Route(wanted));
        }
        // Unloading waits until the worker has confirmed that nothing is routed there.
        return actions;
    }
    actions.extend(unloads(view, worker, desired, now));
    actions
}

/// A node without an assignment answers too, if only that nothing is here.
fn open_empty(view: &View, now: Timestamp) -> Vec<Action> {
    let closed = view.worker.as_ref().is_some_and(|worker| !worker.open);
    let begin = closed && !view.busy.routing && !view.waits(Step::Route, now);
    if begin { vec![Action::Route(Routes::new())] } else { Vec::new() }
}

/// Whether a new worker should be waited for to load this before it opens: the bytes are here and have not failed.
fn may_still_load(view: &View, worker: &WorkerView, workload: &Workload) -> bool {
    let cached = blobs(workload).iter().all(|(digest, _)| view.cached.contains(digest));
    let failed =
        view.failures.contains_key(&Step::Load(workload.spec)) && !view.busy.loads.contains(&workload.spec);
    workload.weight > 0 && cached && !failed && !worker.holds(workload)
}

/// What answered before first, then what gets requests, then the rest (pre-staged).
fn in_order<'a>(desired: &'a Assignment, routed_before: &BTreeSet<Digest>) -> Vec<&'a Workload> {
    let mut ordered: Vec<&Workload> = desired.workloads.iter().collect();
    ordered.sort_by_key(|w| (!routed_before.contains(&w.spec), w.weight == 0));
    ordered
}

fn fetches(view: &View, ordered: &[&Workload], now: Timestamp) -> Vec<Action> {
    if !view.connected {
        return Vec::new();
    }
    let mut room = MAX_FETCHES.saturating_sub(view.busy.fetches.len());
    let mut chosen = BTreeSet::new();
    let mut actions = Vec::new();
    for workload in ordered {
        if view.worker.as_ref().is_some_and(|worker| worker.holds(workload)) {
            continue;
        }
        for (digest, kind) in blobs(workload) {
            let begun = view.busy.fetches.contains(&digest) || chosen.contains(&digest);
            if view.cached.contains(&digest) || begun || view.waits(Step::Fetch(digest), now) {
                continue;
            }
            if room == 0 {
                return actions;
            }
            room -= 1;
            chosen.insert(digest);
            actions.push(Action::Fetch(digest, kind));
        }
    }
    actions
}

/// The small ones first.
pub(crate) fn blobs(workload: &Workload) -> [(Digest, BlobKind); 3] {
    [
        (workload.spec, BlobKind::Spec),
        (workload.statement, BlobKind::Statement),
        (workload.artifact, BlobKind::Artifact),
    ]
}

fn loads(view: &View, worker: &WorkerView, ordered: &[&Workload], now: Timestamp) -> Vec<Action> {
    let room = MAX_LOADS.saturating_sub(view.busy.loads.len());
    let ready = |w: &&&Workload| {
        let cached = blobs(w).iter().all(|(digest, _)| view.cached.contains(digest));
        let begun = view.busy.loads.contains(&w.spec) || view.busy.unloads.contains(&w.spec);
        cached && !worker.holds(w) && !begun && !view.waits(Step::Load(w.spec), now)
    };
    ordered.iter().filter(ready).take(room).map(|w| Action::Load((*w).clone())).collect()
}

/// The routes that the loaded revisions allow: a function moves to its desired revisions as soon as one of them
/// that gets requests is loaded, and stays with the old ones until then.
fn wanted_routes(desired: &Assignment, worker: &WorkerView) -> Routes {
    let mut routes = Routes::new();
    let mut waiting: BTreeSet<&FunctionName> = BTreeSet::new();
    for workload in desired.workloads.iter().filter(|w| w.weight > 0) {
        waiting.insert(&workload.function);
        if worker.loaded.contains_key(&workload.spec) {
            routes.insert(workload.spec, (workload.function.clone(), workload.weight));
        }
    }
    for (function, _) in routes.values() {
        waiting.remove(function);
    }
    let kept = worker.routes.iter().filter(|(spec, _)| worker.loaded.contains_key(spec));
    for (spec, (function, weight)) in kept {
        if waiting.contains(function) {
            routes.insert(*spec, (function.clone(), *weight));
        }
    }
    routes
}

fn unloads(view: &View, worker: &WorkerView, desired: &Assignment, now: Timestamp) -> Vec<Action> {
    let wanted: BTreeSet<Digest> = desired.workloads.iter().map(|w| w.spec).collect();
    let stays = |spec: &Digest| {
        let begun = view.busy.unloads.contains(spec) || view.waits(Step::Unload(*spec), now);
        wanted.contains(spec) || worker.routes.contains_key(spec) || begun
    };
    worker.loaded.keys().filter(|spec| !stays(spec)).map(|spec| Action::Unload(*spec)).collect()
}

#[cfg(test)]
mod tests;
