//! Golden stories: what the planner does with a fleet, step by step.

mod fleet;

use fleet::*;
use littoral_model::function::Replicas;
use littoral_model::node::Availability;
use littoral_model::plan::plan;
use littoral_model::quantity::Bytes;
use littoral_model::rollout::state::State;
use littoral_model::snapshot::{CompiledArtifact, Progress};

#[test]
fn a_first_deployment_reaches_every_node_and_rests() {
    let mut snapshot = fleet(5);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    let waiting = plan(&snapshot);
    assert!(waiting.is_empty(), "nothing is compiled");
    let reason = &waiting.outlooks.values().next().unwrap().reasons[0];
    assert_eq!(reason, "0 of 5 nodes fit, 5 wanted: 5 wait for it to be compiled");
    compile_all(&mut snapshot);
    let last = settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello").len(), 5);
    let outlook = last.outlooks.values().next().unwrap();
    assert_eq!((outlook.wanted, outlook.reasons.len()), (5, 0));
}

#[test]
fn a_function_for_every_node_waits_for_the_first_and_one_for_none_waits_for_nobody() {
    let mut snapshot = fleet(0);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    apply(&mut snapshot, revision("off", 1, Replicas::Count(0), &[]));
    settle(&mut snapshot, all_running);
    let state =
        |name: &str| snapshot.functions.iter().find(|(n, _)| n.as_str() == name).unwrap().1.rollout.state;
    assert_eq!((state("hello"), state("off")), (State::Progressing, State::Succeeded));
}

#[test]
fn an_update_goes_out_one_node_first() {
    let mut snapshot = fleet(8);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply(&mut snapshot, revision("hello", 2, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    let first = plan(&snapshot);
    assert_eq!(first.assignments.len(), 1);
    commit(&mut snapshot, &first);
    assert!(plan(&snapshot).is_empty(), "it waits for the first to report");
    report(&mut snapshot, all_running);
    settle(&mut snapshot, all_running);
    assert!(where_is(&snapshot, "hello").values().all(|revision| *revision == 2));
}

#[test]
fn two_nodes_that_cannot_load_it_send_all_back() {
    let mut snapshot = fleet(8);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply(&mut snapshot, revision("hello", 2, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    let mut most = 0;
    let mut aborted = None;
    for _ in 0..20 {
        let next = plan(&snapshot);
        let aborting = next.rollouts.values().find(|rollout| rollout.state == State::Aborting);
        aborted = aborted.or_else(|| aborting.map(|rollout| rollout.reason.text.clone()));
        commit(&mut snapshot, &next);
        most = most.max(where_is(&snapshot, "hello").values().filter(|r| **r == 2).count());
        report(&mut snapshot, |_, w| match w.revision.0 {
            1 => Progress::Running(BEGINNING),
            _ => Progress::Failed { message: "digest mismatch".into() },
        });
    }
    let why = aborted.unwrap();
    assert!(why.starts_with("2 nodes could not load it") && why.contains("digest mismatch"), "{why}");
    assert_eq!(most, 2, "no third node ever got it");
    assert!(where_is(&snapshot, "hello").values().all(|revision| *revision == 1));
    assert!(plan(&snapshot).is_empty(), "and it stays there");
}

#[test]
fn one_bad_node_neither_stops_the_others_nor_lets_it_succeed() {
    let mut snapshot = fleet(6);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, |id, _| match id.as_str() {
        "n03" => Progress::Failed { message: "no space left".into() },
        _ => Progress::Running(BEGINNING),
    });
    assert_eq!(where_is(&snapshot, "hello").len(), 6);
    assert_eq!(snapshot.functions.values().next().unwrap().rollout.state, State::Progressing);
}

#[test]
fn a_node_that_is_away_blocks_nothing_and_gets_it_later() {
    let mut snapshot = fleet(4);
    snapshot.nodes.values_mut().next().unwrap().availability = Availability::Unreachable;
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    let last = settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello").len(), 3);
    assert_eq!(
        last.outlooks.values().next().unwrap().reasons,
        ["3 of 4 nodes fit, 4 wanted: 1 are not connected"]
    );
    assert_eq!(snapshot.functions.values().next().unwrap().rollout.state, State::Succeeded);
    snapshot.nodes.values_mut().next().unwrap().availability = Availability::Ready;
    settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello").len(), 4);
}

#[test]
fn a_lost_node_is_replaced_and_what_it_had_is_not_taken_away() {
    let mut snapshot = fleet(6);
    apply(&mut snapshot, revision("hello", 1, Replicas::Count(2), &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    let before = where_is(&snapshot, "hello");
    let gone = before.keys().next().unwrap().clone();
    snapshot.nodes.get_mut(gone.as_str()).unwrap().availability = Availability::Lost;
    settle(&mut snapshot, all_running);
    let after = where_is(&snapshot, "hello");
    assert_eq!(after.len(), 3);
    assert!(before.keys().all(|node| after.contains_key(node)));
    snapshot.nodes.get_mut(gone.as_str()).unwrap().availability = Availability::Ready;
    settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello").len(), 2);
}

#[test]
fn when_much_of_the_fleet_is_silent_nothing_moves() {
    let mut snapshot = fleet(6);
    apply(&mut snapshot, revision("hello", 1, Replicas::Count(2), &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    let before = where_is(&snapshot, "hello");
    for id in ["n00", "n01", "n02", "n03", "n04"] {
        snapshot.nodes.get_mut(id).unwrap().availability = Availability::Lost;
    }
    let last = settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello"), before);
    let reasons = &last.outlooks.values().next().unwrap().reasons;
    assert!(reasons.iter().any(|r| r.contains("5 of 6 nodes are silent at once")), "{reasons:?}");
}

#[test]
fn replicas_move_only_after_the_new_ones_run() {
    let mut snapshot = fleet(3);
    add_node(&mut snapshot, node("arm", "aarch64-v8.1-wide", "a", Bytes::gib(1)));
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &["arch == x86_64"]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply(&mut snapshot, revision("hello", 2, Replicas::Every, &["arch == aarch64"]));
    compile_all(&mut snapshot);
    let first = plan(&snapshot);
    commit(&mut snapshot, &first);
    assert_eq!(where_is(&snapshot, "hello").len(), 4, "the old ones serve until the new one does");
    report(&mut snapshot, all_running);
    settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello"), [("arm".to_owned(), 2)].into());
}

#[test]
fn scaling_to_nothing_and_deleting_take_it_everywhere_away() {
    let mut snapshot = fleet(3);
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply(&mut snapshot, revision("hello", 2, Replicas::Count(0), &[]));
    settle(&mut snapshot, all_running);
    assert!(where_is(&snapshot, "hello").is_empty());
    apply(&mut snapshot, revision("hello", 3, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    snapshot.functions.clear();
    settle(&mut snapshot, all_running);
    assert!(where_is(&snapshot, "hello").is_empty());
}

#[test]
fn a_kind_of_cpu_that_it_cannot_be_compiled_for_keeps_the_old_revision_and_says_why() {
    let mut snapshot = fleet(2);
    add_node(&mut snapshot, node("arm", "aarch64-v8.1-wide", "a", Bytes::gib(1)));
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    apply(&mut snapshot, revision("hello", 2, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    for (key, artifact) in &mut snapshot.artifacts {
        let second = snapshot.functions.values().next().unwrap().candidate.spec.resolved.unwrap().digest;
        if key.source == second && key.target.to_string().starts_with("aarch64") {
            *artifact = CompiledArtifact::Failed { message: "took more than 300 s".into() };
        }
    }
    let last = settle(&mut snapshot, all_running);
    assert_eq!(
        where_is(&snapshot, "hello"),
        [("arm", 1), ("n00", 2), ("n01", 2)].map(|(n, r)| (n.to_owned(), r)).into()
    );
    assert_eq!(
        last.outlooks.values().next().unwrap().reasons,
        [
            "1 nodes stay on the stable revision: for revision 2 they have a CPU that it could not be compiled for \
          (took more than 300 s)"
        ]
    );
}

#[test]
fn what_does_not_fit_the_memory_budget_is_not_placed() {
    let mut snapshot = empty();
    add_node(&mut snapshot, node("small", "x86_64-v1-wide", "a", Bytes::mib(100)));
    apply(&mut snapshot, revision("first", 1, Replicas::Every, &[]));
    apply(&mut snapshot, revision("second", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    let last = settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "first").len() + where_is(&snapshot, "second").len(), 1);
    assert_eq!(
        last.outlooks["second"].reasons,
        ["0 of 1 nodes fit, 1 wanted: 1 have no memory left in their budget"]
    );
}

#[test]
fn replicas_spread_over_zones() {
    let mut snapshot = fleet(9);
    apply(&mut snapshot, revision("hello", 1, Replicas::Count(6), &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    let mut zones = std::collections::BTreeMap::<_, usize>::new();
    for node in where_is(&snapshot, "hello").keys() {
        *zones.entry(snapshot.nodes[node.as_str()].labels["zone"].clone()).or_default() += 1;
    }
    assert!(zones.values().all(|count| *count == 2), "{zones:?}");
}

#[test]
fn a_node_of_another_release_gets_nothing_and_it_is_said_why() {
    let mut snapshot = fleet(2);
    snapshot.nodes.values_mut().next().unwrap().engine = "engine-0".to_owned();
    apply(&mut snapshot, revision("hello", 1, Replicas::Every, &[]));
    compile_all(&mut snapshot);
    let last = settle(&mut snapshot, all_running);
    assert_eq!(where_is(&snapshot, "hello").len(), 1);
    assert!(last.outlooks["hello"].reasons[0].contains("1 run an agent whose engine differs"));
}

#[test]
fn after_a_restore_every_node_gets_its_assignment_again_once() {
    let mut snapshot = fleet(3);
    apply(&mut snapshot, revision("hello", 1, Replicas::Count(2), &[]));
    compile_all(&mut snapshot);
    settle(&mut snapshot, all_running);
    let before = where_is(&snapshot, "hello");
    snapshot.cluster_epoch = snapshot.cluster_epoch.next();
    let again = plan(&snapshot);
    assert_eq!(again.assignments.len(), 2, "those that have one");
    assert!(again.assignments.values().all(|a| a.cluster_epoch == snapshot.cluster_epoch));
    commit(&mut snapshot, &again);
    assert_eq!(where_is(&snapshot, "hello"), before, "nothing moves");
    assert!(plan(&snapshot).is_empty());
}
