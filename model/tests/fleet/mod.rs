//! A fleet to plan for, and what applying a plan does to it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use littoral_model::assignment::Workload;
use littoral_model::digest::Digest;
use littoral_model::function::{
    Capabilities, FunctionSpec, GuestKind, Limits, Placement, Replicas, ResolvedModule,
};
use littoral_model::generation::{ClusterEpoch, FunctionRevision};
use littoral_model::id::{FunctionName, NodeId};
use littoral_model::node::{Availability, Node};
use littoral_model::plan::{Plan, artifact_key, plan};
use littoral_model::quantity::Bytes;
use littoral_model::rollout::policy::Policy;
use littoral_model::rollout::state::{Rollout, State};
use littoral_model::snapshot::{CompiledArtifact, Function, Observed, Progress, Revision, Snapshot};
use littoral_model::target::Target;
use littoral_model::time::Timestamp;

pub const BEGINNING: Timestamp = Timestamp::from_millis(0);
pub const ENGINE: &str = "engine-1";

pub fn empty() -> Snapshot {
    Snapshot {
        now: Timestamp::from_millis(1),
        cluster_epoch: ClusterEpoch(1),
        nodes: BTreeMap::new(),
        functions: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        engines: Target::compiled().map(|target| (target, ENGINE.to_owned())).collect(),
        assignments: BTreeMap::new(),
        observed: BTreeMap::new(),
        evidence: BTreeMap::new(),
        frozen: None,
    }
}

pub fn node(name: &str, target: &str, zone: &str, budget: Bytes) -> Node {
    Node {
        id: name.parse().unwrap(),
        name: name.parse().unwrap(),
        labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        target: target.parse().unwrap(),
        engine: ENGINE.to_owned(),
        cores: 2,
        memory: Bytes::gib(4),
        memory_budget: budget,
        availability: Availability::Ready,
    }
}

pub fn add_node(snapshot: &mut Snapshot, node: Node) {
    snapshot.nodes.insert(node.id.clone(), node);
}

/// `count` equal nodes n00, n01 … in zones a, b and c.
pub fn fleet(count: usize) -> Snapshot {
    let mut snapshot = empty();
    for index in 0..count {
        let zone = ["a", "b", "c"][index % 3];
        add_node(&mut snapshot, node(&format!("n{index:02}"), "x86_64-v3-wide", zone, Bytes::gib(1)));
    }
    snapshot
}

pub fn revision(name: &str, number: u64, replicas: Replicas, constraints: &[&str]) -> Revision {
    let spec = FunctionSpec {
        name: name.parse().unwrap(),
        module: format!("{name}@{number}").parse().unwrap(),
        resolved: Some(ResolvedModule { digest: source(name, number), kind: GuestKind::Http }),
        triggers: Vec::new(),
        placement: Placement {
            replicas,
            constraints: constraints.iter().map(|c| c.parse().unwrap()).collect(),
            spread: Some("zone".to_owned()),
        },
        limits: Limits::default(),
        args: Vec::new(),
        capabilities: Capabilities::default(),
    };
    let digest = Digest::of(format!("{name}{number}{replicas}{constraints:?}").as_bytes());
    Revision { number: FunctionRevision(number), digest, spec: Arc::new(spec) }
}

fn source(name: &str, number: u64) -> Digest {
    Digest::of(format!("source {name}@{number}").as_bytes())
}

/// Applies a new revision, as the API does for one that goes out in batches.
pub fn apply(snapshot: &mut Snapshot, revision: Revision) {
    apply_with(snapshot, revision, Policy::batches());
}

pub fn apply_with(snapshot: &mut Snapshot, revision: Revision, policy: Policy) {
    let name = revision.spec.name.clone();
    let before = snapshot.functions.get(&name);
    let stable = before.and_then(|f| f.stable.clone());
    let number = before.map_or(0, |f| f.rollout.number) + 1;
    let policy = if stable.is_some() { policy } else { Policy::batches() };
    let rollout = Rollout::start(number, policy, snapshot.now);
    snapshot.functions.insert(name, Function { candidate: revision, stable, rollout, disabled: false });
}

/// Compiles everything that every node needs.
pub fn compile_all(snapshot: &mut Snapshot) {
    for node in snapshot.nodes.values() {
        for function in snapshot.functions.values() {
            let key = artifact_key(&function.candidate.spec, node).unwrap();
            let text = format!("{key:?}");
            let ready = CompiledArtifact::Ready {
                artifact: Digest::of(text.as_bytes()),
                statement: Digest::of(format!("statement {text}").as_bytes()),
            };
            snapshot.artifacts.entry(key).or_insert(ready);
        }
    }
}

/// Writes a plan, as the planner does.
pub fn commit(snapshot: &mut Snapshot, plan: &Plan) {
    snapshot.assignments.extend(plan.assignments.clone());
    for (name, rollout) in &plan.rollouts {
        let function = snapshot.functions.get_mut(name).unwrap();
        function.rollout = rollout.clone();
        if rollout.state == State::Succeeded {
            function.stable = Some(function.candidate.clone());
        }
    }
}

/// Connected nodes report what they were assigned, as `says` has it.
pub fn report(snapshot: &mut Snapshot, says: impl Fn(&NodeId, &Workload) -> Progress) {
    for (id, assignment) in &snapshot.assignments {
        if snapshot.nodes.get(id).is_some_and(|node| node.availability.is_connected()) {
            let workloads = assignment.workloads.iter().map(|w| (w.spec, says(id, w))).collect();
            let observed = Observed { workloads, generation: assignment.generation, heard: snapshot.now };
            snapshot.observed.insert(id.clone(), observed);
        }
    }
}

/// Plans, commits and reports until nothing changes; panics when that does not end.
pub fn settle(snapshot: &mut Snapshot, says: impl Fn(&NodeId, &Workload) -> Progress) -> Plan {
    for _ in 0..200 {
        let next = plan(snapshot);
        if next.is_empty() {
            return next;
        }
        littoral_model::check::check(&next, snapshot).expect("every plan passes the check");
        commit(snapshot, &next);
        report(snapshot, &says);
    }
    panic!("the plan never settles");
}

pub fn all_running(_: &NodeId, _: &Workload) -> Progress {
    Progress::Running(BEGINNING)
}

/// Which nodes have a function, and which revision of it.
pub fn where_is(snapshot: &Snapshot, name: &str) -> BTreeMap<String, u64> {
    let name: FunctionName = name.parse().unwrap();
    let on = |(id, a): (&NodeId, &littoral_model::assignment::NodeAssignment)| {
        a.workloads_of(&name).next().map(|w| (id.to_string(), w.revision.0))
    };
    snapshot.assignments.iter().filter_map(on).collect()
}
