use std::time::Duration;

use littoral_model::generation::{ClusterEpoch, Generation};

use super::*;
use crate::assignment::AssignmentNumber;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn workload(function: &str, revision: u64, weight: u32) -> Workload {
    let name = |part: &str| digest(&format!("{function}-{revision}-{part}"));
    Workload {
        function: function.parse().unwrap(),
        revision: FunctionRevision(revision),
        spec: name("spec"),
        artifact: name("artifact"),
        statement: name("statement"),
        weight,
    }
}

fn assignment(workloads: &[Workload]) -> Assignment {
    let number = AssignmentNumber { epoch: ClusterEpoch(1), generation: Generation(1) };
    Assignment { number, workloads: workloads.to_vec() }
}

fn view(workloads: &[Workload]) -> View {
    View {
        desired: Some(assignment(workloads)),
        worker: Some(WorkerView { open: true, ..WorkerView::default() }),
        connected: true,
        ..View::default()
    }
}

/// Does everything that was decided, at once and without a failure.
fn apply(view: &mut View, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Fetch(digest, _) => {
                view.cached.insert(*digest);
            }
            Action::Load(w) => {
                let loaded = Loaded { revision: w.revision, artifact: w.artifact, load_us: 1 };
                view.worker.as_mut().unwrap().loaded.insert(w.spec, loaded);
            }
            Action::Route(routes) => {
                let worker = view.worker.as_mut().unwrap();
                worker.routes = routes.clone();
                worker.open = true;
            }
            Action::Unload(spec) => {
                view.worker.as_mut().unwrap().loaded.remove(spec);
            }
        }
    }
}

/// Applies decisions until there are none, and returns all of them.
fn settle(view: &mut View) -> Vec<Action> {
    let mut all = Vec::new();
    for _ in 0..100 {
        let actions = decide(view, NOW);
        if actions.is_empty() {
            return all;
        }
        apply(view, &actions);
        all.extend(actions);
    }
    panic!("it never settles: {all:#?}");
}

fn routed(view: &View) -> Vec<(&str, u32)> {
    view.worker.as_ref().unwrap().routes.values().map(|(f, w)| (f.as_str(), *w)).collect()
}

#[test]
fn from_nothing_everything_comes_to_run_and_then_rests() {
    let mut view = view(&[workload("a", 1, 100), workload("b", 1, 100)]);
    settle(&mut view);
    assert_eq!(view.worker.as_ref().unwrap().loaded.len(), 2);
    let mut names = routed(&view);
    names.sort_unstable();
    assert_eq!(names, [("a", 100), ("b", 100)]);
    assert_eq!(decide(&view, NOW), []);
}

#[test]
fn no_assignment_changes_nothing_but_an_empty_one_unloads() {
    let mut view = view(&[workload("a", 1, 100)]);
    settle(&mut view);
    view.desired = None;
    assert_eq!(decide(&view, NOW), []);
    view.desired = Some(assignment(&[]));
    assert_eq!(decide(&view, NOW), [Action::Route(Routes::new())]);
    settle(&mut view);
    assert_eq!(view.worker, Some(WorkerView { open: true, ..WorkerView::default() }));
}

#[test]
fn a_new_worker_takes_requests_only_when_all_that_it_can_load_is_loaded() {
    let all: Vec<Workload> = (0..9).map(|n| workload(&format!("f{n}"), 1, 100)).collect();
    let mut view = view(&all);
    settle(&mut view);
    view.worker = Some(WorkerView::default());
    view.cached.remove(&all[3].artifact);
    view.connected = false;
    let failure = Failure { count: 1, message: "damaged".into(), retry_at: Timestamp::from_millis(u64::MAX) };
    view.failures.insert(Step::Load(all[5].spec), failure);
    for action in settle(&mut view) {
        if let Action::Route(routes) = action {
            assert_eq!(routes.len(), 7, "all at once, but for what is not here and what has failed");
        }
    }
    assert!(view.worker.as_ref().unwrap().open);
}

#[test]
fn without_an_assignment_a_new_worker_answers_that_nothing_is_here() {
    let mut view = View { worker: Some(WorkerView::default()), ..View::default() };
    assert_eq!(settle(&mut view), [Action::Route(Routes::new())]);
    assert!(view.worker.as_ref().unwrap().open);
}

#[test]
fn the_new_revision_is_loaded_and_routed_before_the_old_one_goes() {
    let (old, new) = (workload("a", 1, 100), workload("a", 2, 100));
    let mut view = view(std::slice::from_ref(&old));
    settle(&mut view);
    view.desired = Some(assignment(std::slice::from_ref(&new)));
    let actions = settle(&mut view);
    let at = |wanted: &Action| actions.iter().position(|a| a == wanted).unwrap();
    let load = at(&Action::Load(new.clone()));
    let route = at(&Action::Route(Routes::from([(new.spec, (new.function.clone(), 100))])));
    let unload = at(&Action::Unload(old.spec));
    assert!(load < route && route < unload, "{actions:#?}");
    assert!(actions[..load].iter().all(|a| matches!(a, Action::Fetch(..))));
}

#[test]
fn the_old_revision_answers_for_as_long_as_the_new_one_fails() {
    let (old, new) = (workload("a", 1, 100), workload("a", 2, 100));
    let mut view = view(std::slice::from_ref(&old));
    settle(&mut view);
    view.desired = Some(assignment(std::slice::from_ref(&new)));
    let failure = |retry_at| Failure { count: 1, message: "bad".into(), retry_at };
    view.failures.insert(Step::Load(new.spec), failure(NOW.plus(Duration::from_secs(1))));
    settle(&mut view);
    assert!(view.worker.as_ref().unwrap().routes.contains_key(&old.spec));
    assert_eq!(view.next_retry(NOW), Some(NOW.plus(Duration::from_secs(1))));
    view.failures.insert(Step::Load(new.spec), failure(NOW));
    assert_eq!(decide(&view, NOW), [Action::Load(new)]);
}

#[test]
fn requests_are_split_once_the_candidate_is_loaded_and_given_back_at_once() {
    let (stable, candidate) = (workload("a", 1, 90), workload("a", 2, 10));
    let mut view = view(&[workload("a", 1, 100)]);
    settle(&mut view);
    view.desired = Some(assignment(&[stable, candidate.clone()]));
    view.busy.fetches.insert(candidate.artifact);
    settle(&mut view);
    assert_eq!(routed(&view), [("a", 90)], "the candidate is not there yet");
    view.busy.fetches.clear();
    settle(&mut view);
    assert_eq!(view.worker.as_ref().unwrap().routes[&candidate.spec].1, 10);

    view.desired = Some(assignment(&[workload("a", 1, 100), workload("a", 2, 0)]));
    assert!(matches!(&decide(&view, NOW)[..], [Action::Route(_)]));
    settle(&mut view);
    assert_eq!(routed(&view), [("a", 100)]);
    assert_eq!(view.worker.as_ref().unwrap().loaded.len(), 2, "weight 0 stays loaded");
}

#[test]
fn what_answered_before_is_loaded_first_in_a_new_worker() {
    let all: Vec<Workload> = (0..9).map(|n| workload(&format!("f{n}"), 1, 100)).collect();
    let mut view = view(&all);
    settle(&mut view);
    view.worker = Some(WorkerView::default());
    view.routed_before = BTreeSet::from([all[7].spec, all[8].spec]);
    let actions = decide(&view, NOW);
    assert_eq!(actions.len(), MAX_LOADS);
    assert_eq!(actions[..2], [Action::Load(all[7].clone()), Action::Load(all[8].clone())]);
}

#[test]
fn a_blob_shared_by_two_functions_is_fetched_once_and_downloads_are_bounded() {
    let mut other = workload("b", 1, 100);
    other.artifact = workload("a", 1, 100).artifact;
    let mut view = view(&[workload("a", 1, 100), other, workload("c", 1, 100)]);
    let actions = decide(&view, NOW);
    assert_eq!(actions.len(), MAX_FETCHES);
    let all = settle(&mut view);
    let fetched: Vec<Digest> =
        all.iter().filter_map(|a| if let Action::Fetch(d, _) = a { Some(*d) } else { None }).collect();
    assert_eq!(fetched.len(), 8);
    assert_eq!(fetched.iter().collect::<BTreeSet<_>>().len(), 8);
}

#[test]
fn without_a_connection_the_cache_is_enough_and_nothing_is_fetched() {
    let (cached, missing) = (workload("a", 1, 100), workload("b", 1, 100));
    let mut view = view(&[cached.clone(), missing]);
    view.connected = false;
    view.cached.extend(blobs(&cached).map(|(digest, _)| digest));
    let actions = settle(&mut view);
    assert!(actions.iter().all(|a| !matches!(a, Action::Fetch(..))));
    assert_eq!(routed(&view), [("a", 100)]);
}

#[test]
fn a_recompiled_artifact_of_the_same_spec_replaces_the_old_load() {
    let mut w = workload("a", 1, 100);
    let mut view = view(std::slice::from_ref(&w));
    settle(&mut view);
    w.artifact = digest("recompiled");
    view.desired = Some(assignment(std::slice::from_ref(&w)));
    let actions = settle(&mut view);
    assert_eq!(actions, [Action::Fetch(w.artifact, BlobKind::Artifact), Action::Load(w.clone())]);
}

#[test]
fn nothing_that_is_under_way_is_begun_again() {
    let w = workload("a", 1, 100);
    let mut view = view(std::slice::from_ref(&w));
    view.busy.fetches.extend(blobs(&w).map(|(digest, _)| digest));
    assert_eq!(decide(&view, NOW), []);
    view.busy.fetches.clear();
    view.cached.extend(blobs(&w).map(|(digest, _)| digest));
    view.busy.loads.insert(w.spec);
    assert_eq!(decide(&view, NOW), []);
    view.busy.loads.clear();
    view.busy.unloads.insert(w.spec);
    assert_eq!(decide(&view, NOW), []);
}

#[test]
fn without_a_worker_blobs_are_still_fetched() {
    let mut view = view(&[workload("a", 1, 100)]);
    view.worker = None;
    let actions = settle(&mut view);
    assert_eq!(actions.len(), 3);
    assert!(actions.iter().all(|a| matches!(a, Action::Fetch(..))));
}
