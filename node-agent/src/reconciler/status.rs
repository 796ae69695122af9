//! The state of each workload as it is reported, derived from the same view that decides.

use std::collections::BTreeMap;

use littoral_model::digest::Digest;
use littoral_model::time::Timestamp;
use littoral_proto::v1::{WorkloadState, WorkloadStatus};

use super::decide::{Failure, Step, View, blobs};
use crate::assignment::Workload;
use crate::events::clip;

/// Since when each spec has been in which state.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<Digest, (WorkloadState, Timestamp)>);

impl History {
    /// One status for each desired workload, in the assignment's order.
    pub(crate) fn statuses(&mut self, view: &View, now: Timestamp) -> Vec<WorkloadStatus> {
        let workloads = view.desired.iter().flat_map(|d| &d.workloads);
        let mut next = BTreeMap::new();
        let mut statuses = Vec::new();
        for workload in workloads {
            let (state, message) = state_of(workload, view);
            let since = match self.0.get(&workload.spec) {
                Some((before, since)) if *before == state => *since,
                _ => now,
            };
            next.insert(workload.spec, (state, since));
            statuses.push(WorkloadStatus {
                function: workload.function.to_string(),
                revision: workload.revision.0,
                spec_digest: workload.spec.to_string(),
                state: state.into(),
                message: clip(message),
                failures: failure_of(workload, view).map_or(0, |failure| failure.count),
                since_ms: since.as_millis(),
                load_us: load_us(workload, view),
            });
        }
        self.0 = next;
        statuses
    }
}

/// Whether every workload came as far as it will for now.
pub(crate) fn settled(statuses: &[WorkloadStatus]) -> bool {
    statuses.iter().all(|s| matches!(s.state(), WorkloadState::Running | WorkloadState::Failed))
}

fn state_of(workload: &Workload, view: &View) -> (WorkloadState, String) {
    let held = view.worker.as_ref().filter(|worker| worker.holds(workload));
    if let Some(worker) = held {
        if workload.weight == 0 || worker.routes.contains_key(&workload.spec) {
            return (WorkloadState::Running, String::new());
        }
        return (WorkloadState::Loading, "loaded, not routed yet".into());
    }
    let missing: Vec<Digest> = missing(workload, view).collect();
    if !missing.is_empty() {
        // A link that breaks says nothing about the revision: only what arrived and cannot be loaded has Failed.
        let failure = missing.iter().find_map(|digest| view.failures.get(&Step::Fetch(*digest)));
        let message = match failure {
            Some(failure) => failure.message.as_str(),
            None if view.connected => "",
            None => "waiting for a connection to the control plane",
        };
        return (WorkloadState::Fetching, message.into());
    }
    if let Some(failure) = view.failures.get(&Step::Load(workload.spec)) {
        return (WorkloadState::Failed, failure.message.clone());
    }
    if view.worker.is_none() {
        return (WorkloadState::Pending, "the worker is starting".into());
    }
    if view.busy.loads.contains(&workload.spec) {
        return (WorkloadState::Loading, String::new());
    }
    (WorkloadState::Pending, String::new())
}

fn missing(workload: &Workload, view: &View) -> impl Iterator<Item = Digest> {
    blobs(workload).into_iter().map(|(digest, _)| digest).filter(|digest| !view.cached.contains(digest))
}

/// The failure that keeps it from running. One of a blob that arrived meanwhile is over.
fn failure_of<'a>(workload: &Workload, view: &'a View) -> Option<&'a Failure> {
    let mut fetches = missing(workload, view).filter_map(|digest| view.failures.get(&Step::Fetch(digest)));
    fetches.next().or_else(|| view.failures.get(&Step::Load(workload.spec)))
}

fn load_us(workload: &Workload, view: &View) -> u64 {
    let loaded = view.worker.as_ref().and_then(|worker| worker.loaded.get(&workload.spec));
    loaded.map_or(0, |loaded| loaded.load_us)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use littoral_model::generation::FunctionRevision;

    use super::*;
    use crate::assignment::{Assignment, AssignmentNumber};
    use crate::reconciler::decide::{Loaded, WorkerView};

    const NOW: Timestamp = Timestamp::from_millis(5_000);

    fn workload(weight: u32) -> Workload {
        Workload {
            function: "f".parse().unwrap(),
            revision: FunctionRevision(3),
            spec: Digest::of(b"spec"),
            artifact: Digest::of(b"artifact"),
            statement: Digest::of(b"statement"),
            weight,
        }
    }

    fn view(weight: u32) -> View {
        let number = AssignmentNumber::default();
        View {
            desired: Some(Assignment { number, workloads: vec![workload(weight)] }),
            connected: true,
            ..View::default()
        }
    }

    fn state(view: &View) -> WorkloadState {
        state_of(&workload(view.desired.as_ref().unwrap().workloads[0].weight), view).0
    }

    #[test]
    fn the_states_follow_one_another() {
        let mut view = view(100);
        assert_eq!(state(&view), WorkloadState::Fetching);
        view.cached = blobs(&workload(100)).map(|(digest, _)| digest).into();
        assert_eq!(state(&view), WorkloadState::Pending);
        view.worker = Some(WorkerView::default());
        view.busy.loads = BTreeSet::from([workload(100).spec]);
        assert_eq!(state(&view), WorkloadState::Loading);
        let loaded = Loaded { revision: FunctionRevision(3), artifact: Digest::of(b"artifact"), load_us: 7 };
        view.worker.as_mut().unwrap().loaded.insert(workload(100).spec, loaded);
        assert_eq!(state(&view), WorkloadState::Loading, "it does not answer yet");
        let route = (workload(100).function, 100);
        view.worker.as_mut().unwrap().routes.insert(workload(100).spec, route);
        assert_eq!(state(&view), WorkloadState::Running);
        assert_eq!(History::default().statuses(&view, NOW)[0].load_us, 7);
    }

    #[test]
    fn a_failure_is_told_until_what_failed_is_there() {
        let mut view = view(0);
        let failure = Failure { count: 4, message: "connection cut".into(), retry_at: NOW };
        view.failures.insert(Step::Fetch(Digest::of(b"artifact")), failure);
        let status = History::default().statuses(&view, NOW).remove(0);
        assert_eq!(
            (status.state(), status.failures),
            (WorkloadState::Fetching, 4),
            "a rollout must not count it"
        );
        assert_eq!(status.message, "connection cut");
        view.cached.insert(Digest::of(b"artifact"));
        assert_eq!(History::default().statuses(&view, NOW)[0].message, "");
        view.cached = blobs(&workload(0)).map(|(digest, _)| digest).into();
        let failure = Failure { count: 1, message: "digest mismatch".into(), retry_at: NOW };
        view.failures.insert(Step::Load(workload(0).spec), failure);
        assert_eq!(state(&view), WorkloadState::Failed);
    }

    #[test]
    fn since_is_when_the_state_began() {
        let mut history = History::default();
        let view = view(100);
        let later = NOW.plus(Duration::from_secs(9));
        assert_eq!(history.statuses(&view, NOW)[0].since_ms, NOW.as_millis());
        assert_eq!(history.statuses(&view, later)[0].since_ms, NOW.as_millis());
        let mut fetched = view.clone();
        fetched.cached = blobs(&workload(100)).map(|(digest, _)| digest).into();
        assert_eq!(history.statuses(&fetched, later)[0].since_ms, later.as_millis());
    }
}
