use std::time::Duration;

use littoral_model::rollout::state::State;
use littoral_model::time::Timestamp;
use littoral_platform::clock;
use littoral_proto::convert::{encode_spec, spec_to_pb};
use littoral_proto::store::{FunctionRecord, NodeRecord};
use littoral_proto::v1;

use super::*;
use crate::records::TxnRecords as _;
use crate::store::{MemoryStore, Txn};

fn node(id: &str) -> NodeRecord {
    let capacity = v1::NodeCapacity {
        target: "x86_64-v4-wide".into(),
        engine: "e1".into(),
        memory_bytes: 1 << 30,
        memory_budget_bytes: 1 << 29,
        ..v1::NodeCapacity::default()
    };
    NodeRecord { id: id.into(), name: id.into(), capacity: Some(capacity), ..NodeRecord::default() }
}

fn function() -> FunctionRecord {
    let text = "[function]\nname = \"hello\"\nmodule = \"hello@1\"\n";
    let manifest = littoral_model::manifest::Manifest::parse(text).unwrap();
    let spec = manifest.into_spec("hello@1".parse().unwrap());
    let digest = encode_spec(&spec).1.to_string();
    FunctionRecord {
        spec: Some(spec_to_pb(&spec)),
        revision: 3,
        spec_digest: digest,
        ..FunctionRecord::default()
    }
}

async fn started(store: &Arc<MemoryStore>, observations: &Observations, tasks: &Tasks) -> WorldHandle {
    start(store.clone(), observations.clone(), BTreeMap::new(), tasks).await.unwrap()
}

#[tokio::test]
async fn what_is_committed_and_what_is_said_both_appear() {
    let (store, observations, tasks) = (Arc::new(MemoryStore::new()), Observations::default(), Tasks::new());
    let mut handle = started(&store, &observations, &tasks).await;
    assert!(handle.targets.borrow().is_empty());
    store.commit(Txn::new().create(&node("n1")).create(&function())).await.unwrap();
    let world = handle.world.wait_for(|w| w.nodes.len() == 1).await.unwrap().clone();
    assert_eq!(world.find_node("n1").unwrap().id, "n1");
    let targets = handle.targets.wait_for(|t| !t.is_empty()).await.unwrap().clone();
    assert_eq!(targets.into_iter().map(|t| t.to_string()).collect::<Vec<_>>(), ["x86_64-v3-wide"]);
    let now = clock::now();
    let id = "n1".parse().unwrap();
    observations.update(&id, || ObservedNode::new(now, Duration::from_secs(5)), |o| o.heard.reported = true);
    let world = handle.world.wait_for(|w| w.observed("n1").is_some()).await.unwrap().clone();
    let mut errors = Vec::new();
    let snapshot = world.snapshot(now, &mut errors);
    assert_eq!(errors, Vec::<String>::new());
    assert!(snapshot.nodes["n1"].availability.is_connected());
    assert_eq!(snapshot.functions["hello"].rollout.state, State::Progressing);
    assert_eq!(snapshot.functions["hello"].candidate.number.0, 3);
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_revoked_node_is_known_and_gets_no_work() {
    let (store, tasks) = (Arc::new(MemoryStore::new()), Tasks::new());
    let revoked = NodeRecord { revoked: true, ..node("n1") };
    store.commit(Txn::new().create(&revoked)).await.unwrap();
    let world = started(&store, &Observations::default(), &tasks).await.world.borrow().clone();
    assert!(world.snapshot(clock::now(), &mut Vec::new()).nodes.is_empty());
    assert_eq!(world.availability(&revoked, clock::now()), v1::Availability::Revoked);
    assert!(world.targets().is_empty());
    assert_eq!(world.find_node("n1").unwrap().id, "n1");
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_stays_silent_after_a_restart_is_lost_in_the_end() {
    let (store, tasks) = (Arc::new(MemoryStore::new()), Tasks::new());
    store.commit(Txn::new().create(&node("n1"))).await.unwrap();
    let world = started(&store, &Observations::default(), &tasks).await.world.borrow().clone();
    let at = |minutes: u64| {
        let now = world.started.plus(Duration::from_secs(minutes * 60));
        world.snapshot(now, &mut Vec::new()).nodes["n1"].availability
    };
    assert_eq!(at(1), littoral_model::node::Availability::Unreachable);
    assert_eq!(at(16), littoral_model::node::Availability::Lost);
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_name_is_that_of_the_node_that_was_not_revoked() {
    let (store, tasks) = (Arc::new(MemoryStore::new()), Tasks::new());
    let old = NodeRecord { revoked: true, name: "shop".into(), ..node("n1") };
    let new = NodeRecord { name: "shop".into(), ..node("n2") };
    store.commit(Txn::new().create(&old).create(&new)).await.unwrap();
    let world = started(&store, &Observations::default(), &tasks).await.world.borrow().clone();
    assert_eq!(world.find_node("shop").unwrap().id, "n2");
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn one_record_that_makes_no_sense_is_named_and_does_not_stop_the_rest() {
    let (store, tasks) = (Arc::new(MemoryStore::new()), Tasks::new());
    let mut bad = function();
    bad.spec.as_mut().unwrap().name = "other".into();
    bad.spec_digest = "nonsense".into();
    store.commit(Txn::new().create(&function()).create(&bad)).await.unwrap();
    let world = started(&store, &Observations::default(), &tasks).await.world.borrow().clone();
    let mut errors = Vec::new();
    assert_eq!(world.snapshot(Timestamp::from_millis(1), &mut errors).functions.len(), 1);
    assert!(errors[0].starts_with("other: spec_digest"), "{errors:?}");
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[test]
fn stats_age_and_errors_are_told_from_answers() {
    let window = |outcome: v1::Outcome, count| v1::FunctionWindow {
        outcomes: vec![v1::OutcomeCount { outcome: outcome.into(), count }],
        latency: Some(v1::Histogram {
            grouping_power: 5,
            max_value_power: 36,
            index: vec![40],
            count: vec![count],
        }),
        ..v1::FunctionWindow::default()
    };
    let mut stats = FunctionStats::default();
    let at = |minutes: u64| Timestamp::from_millis(minutes * 60_000 + 1_000_000);
    stats.add(&window(v1::Outcome::Ok, 8), at(0));
    stats.add(&window(v1::Outcome::Trap, 2), at(1));
    stats.add(&window(v1::Outcome::Cancelled, 1), at(1));
    assert_eq!((stats.requests(), stats.errors()), (11, 2));
    assert!(stats.quantile(0.5).is_some());
    stats.add(&window(v1::Outcome::Ok, 1), at(4));
    assert_eq!(stats.requests(), 12, "the span before still counts");
    stats.add(&window(v1::Outcome::Ok, 1), at(8));
    assert_eq!((stats.requests(), stats.errors()), (2, 0), "and the one before that does not");
}
