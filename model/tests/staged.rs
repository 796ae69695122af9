//! Staged rollouts through the planner: what nodes are assigned on the way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fleet;

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::*;
use littoral_model::check::check;
use littoral_model::evidence::{Evidence, Tally};
use littoral_model::function::Replicas;
use littoral_model::node::Availability;
use littoral_model::plan::plan;
use littoral_model::rollout::policy::Policy;
use littoral_model::rollout::state::{Code, State, Verb};
use littoral_model::snapshot::{Progress, Snapshot};

/// Stages of seconds.
fn quick() -> Policy {
    Policy {
        stages: ["nodes=kinds,weight=10,bake=5s", "nodes=rest,weight=50,bake=5s"]
            .map(|s| s.parse().unwrap())
            .into(),
        final_bake: Duration::from_secs(5),
        healthy: Duration::from_secs(1),
        samples: 0,
        ..Policy::default()
    }
}

/// Revision 1 everywhere and revision 2 on its way.
fn update(nodes: usize) -> Snapshot {
    let mut snapshot = fleet(nodes);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply_with(&mut snapshot, revision("hello", 2, Replicas::Every, &[]), quick());
    compile_all(&mut snapshot);
    snapshot
}

/// So many seconds, one look in each; nodes do at once what they are told.
fn run(snapshot: &mut Snapshot, seconds: u64) {
    for _ in 0..seconds {
        let next = plan(snapshot);
        check(&next, snapshot).expect("every plan passes the check");
        commit(snapshot, &next);
        report(snapshot, |_, _| Progress::Running(BEGINNING));
        snapshot.now = snapshot.now.plus(Duration::from_secs(1));
    }
}

fn run_until(snapshot: &mut Snapshot, state: State) {
    for _ in 0..200 {
        if the_state(snapshot) == state {
            return;
        }
        run(snapshot, 1);
    }
    panic!("it never came to {state}: {:?}", rollout(snapshot).reason);
}

fn rollout(snapshot: &Snapshot) -> &littoral_model::rollout::state::Rollout {
    &snapshot.functions.values().next().unwrap().rollout
}

fn the_state(snapshot: &Snapshot) -> State {
    rollout(snapshot).state
}

/// Weights of revisions 1 and 2 on each node.
fn weights(snapshot: &Snapshot) -> BTreeMap<String, (Option<u32>, Option<u32>)> {
    let of = |id: &littoral_model::id::NodeId, number| {
        let workloads = &snapshot.assignments[id].workloads;
        workloads.iter().find(|w| w.revision.0 == number).map(|w| w.weight)
    };
    snapshot.assignments.keys().map(|id| (id.to_string(), (of(id, 1), of(id, 2)))).collect()
}

fn all_have(snapshot: &Snapshot, wanted: (Option<u32>, Option<u32>)) -> bool {
    weights(snapshot).values().all(|have| *have == wanted)
}

#[test]
fn both_revisions_are_loaded_until_the_candidate_has_succeeded() {
    let mut snapshot = update(4);
    run_until(&mut snapshot, State::Preflight);
    run_until(&mut snapshot, State::Progressing);
    assert!(weights(&snapshot).values().filter(|have| **have == (Some(100), Some(0))).count() >= 3);
    run_until(&mut snapshot, State::Baking);
    assert_eq!(weights(&snapshot).values().filter(|have| **have == (Some(90), Some(10))).count(), 1);
    run_until(&mut snapshot, State::FinalBake);
    run(&mut snapshot, 4);
    assert!(all_have(&snapshot, (Some(0), Some(100))), "{:?}", weights(&snapshot));
    run_until(&mut snapshot, State::Succeeded);
    run(&mut snapshot, 1);
    assert!(all_have(&snapshot, (None, Some(100))), "{:?}", weights(&snapshot));
    assert!(plan(&snapshot).is_empty());
}

#[test]
fn errors_at_the_canary_send_it_back_at_the_next_look() {
    let mut snapshot = update(4);
    run_until(&mut snapshot, State::Baking);
    let canary = weights(&snapshot).into_iter().find(|(_, have)| have.1 == Some(10)).unwrap().0;
    let mut evidence = Evidence::default();
    let bad = Tally { requests: 100, errors: 20, ..Tally::default() };
    let good = Tally { requests: 900, errors: 1, ..Tally::default() };
    evidence.observe(&canary.parse().unwrap(), &bad, &good, 1.25);
    let name = snapshot.functions.keys().next().unwrap().clone();
    snapshot.evidence.insert(name, evidence);
    run(&mut snapshot, 1);
    assert_eq!((the_state(&snapshot), rollout(&snapshot).reason.code), (State::Aborting, Code::Errors));
    assert!(all_have(&snapshot, (Some(100), None)), "{:?}", weights(&snapshot));
    run(&mut snapshot, 1);
    assert_eq!(the_state(&snapshot), State::Aborted);
    assert!(plan(&snapshot).is_empty(), "and it stays there");
}

#[test]
fn a_third_version_in_the_middle_begins_from_the_stable_one() {
    let mut snapshot = update(4);
    run_until(&mut snapshot, State::FinalBake);
    apply_with(&mut snapshot, revision("hello", 3, Replicas::Every, &[]), quick());
    compile_all(&mut snapshot);
    run(&mut snapshot, 3);
    assert!(weights(&snapshot).values().all(|have| *have == (Some(100), None)), "{:?}", weights(&snapshot));
    run_until(&mut snapshot, State::Succeeded);
    assert!(where_is(&snapshot, "hello").values().all(|revision| *revision == 3));
}

#[test]
fn a_freeze_stops_what_goes_forward_and_not_the_way_back() {
    let mut snapshot = update(4);
    run_until(&mut snapshot, State::Baking);
    snapshot.frozen = Some("a storm".into());
    let before = weights(&snapshot);
    add_node(&mut snapshot, node("n99", "x86_64-v3-wide", "a", littoral_model::quantity::Bytes::gib(1)));
    run(&mut snapshot, 60);
    let mut after = weights(&snapshot);
    after.remove("n99");
    assert_eq!(before, after);
    assert!(!where_is(&snapshot, "hello").contains_key("n99"), "new work is a change that goes forward");
    let function = snapshot.functions.values_mut().next().unwrap();
    function.rollout = function.rollout.command(&Verb::Abort { why: "now".into() }, snapshot.now).unwrap();
    run(&mut snapshot, 2);
    assert_eq!(the_state(&snapshot), State::Aborted);
    assert!(weights(&snapshot).values().filter(|have| **have == (Some(100), None)).count() == 4);
}

#[test]
fn a_disabled_function_is_nowhere_frozen_or_not() {
    let mut snapshot = update(3);
    run_until(&mut snapshot, State::Baking);
    snapshot.frozen = Some("a storm".into());
    snapshot.functions.values_mut().next().unwrap().disabled = true;
    run(&mut snapshot, 1);
    assert!(where_is(&snapshot, "hello").is_empty());
    snapshot.frozen = None;
    snapshot.functions.values_mut().next().unwrap().disabled = false;
    run(&mut snapshot, 60);
    assert_eq!(where_is(&snapshot, "hello").len(), 3);
}

#[test]
fn a_node_that_was_away_through_all_of_it_gets_the_candidate() {
    // One of six is excused; of four it would be held for a person.
    let mut snapshot = update(6);
    let away = snapshot.nodes.keys().next_back().unwrap().clone();
    snapshot.nodes.get_mut(&away).unwrap().availability = Availability::Unreachable;
    run_until(&mut snapshot, State::FinalBake);
    assert_eq!(weights(&snapshot)[away.as_str()], (Some(100), None));
    run_until(&mut snapshot, State::Succeeded);
    snapshot.nodes.get_mut(&away).unwrap().availability = Availability::Ready;
    run(&mut snapshot, 2);
    assert!(where_is(&snapshot, "hello").values().all(|revision| *revision == 2), "{:?}", weights(&snapshot));
}

#[test]
fn what_was_seen_is_written_every_ten_seconds() {
    let mut snapshot = update(4);
    run_until(&mut snapshot, State::Baking);
    let mut policy = quick();
    policy.stages[0].bake = Duration::from_secs(600);
    snapshot.functions.values_mut().next().unwrap().rollout.policy = policy;
    let writes = (0..60)
        .filter(|_| {
            let writes = !plan(&snapshot).rollouts.is_empty();
            run(&mut snapshot, 1);
            writes
        })
        .count();
    assert!((5..=7).contains(&writes), "{writes} in a minute");
}
