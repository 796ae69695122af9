//! One look at the whole fleet: what has to change, and why something waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::assignment::{NodeAssignment, Workload};
use crate::function::{FunctionSpec, Replicas};
use crate::id::{FunctionName, NodeId};
use crate::node::{Availability, Node};
use crate::placement::{Placed, Reason, Request, Unfit, place, reservation};
use crate::quantity::Bytes;
use crate::rollout::policy::Strategy;
use crate::rollout::state::{Rollout, State};
use crate::rollout::step::step;
use crate::rollout::view::{Compiled, Member, Standing, View};
use crate::snapshot::{ArtifactKey, CompiledArtifact, Function, Progress, Revision, Snapshot};

/// With more of the fleet than this silent at once, the fault is ours, percent.
const FLEET_SILENT_PERCENT: usize = 30;
/// In a fleet of two or three, one silent node is a third of it.
const FLEET_SILENT_NODES: usize = 3;

/// A control plane that dies loses this much of what a rollout has seen.
const CHECKPOINT: Duration = Duration::from_secs(10);

/// What to write, and what to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Only of nodes whose workloads change, each with the next generation.
    pub assignments: BTreeMap<NodeId, NodeAssignment>,
    /// Of functions whose rollout moves, or has seen enough since it was last written.
    pub rollouts: BTreeMap<FunctionName, Rollout>,
    pub outlooks: BTreeMap<FunctionName, Outlook>,
}

/// How a function stands after this plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Nodes that it belongs on.
    pub wanted: u32,
    pub reasons: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.assignments.is_empty() && self.rollouts.is_empty()
    }
}

/// Decides the desired state of every node. A second call on an unchanged world is empty.
pub fn plan(snapshot: &Snapshot) -> Plan {
    let mut plan = Plan::default();
    let mut workloads: BTreeMap<NodeId, Vec<Workload>> = BTreeMap::new();
    let mut reserved = held_by_current(snapshot);
    let silent = silent_nodes(snapshot);
    for (name, function) in &snapshot.functions {
        let current = current_nodes(snapshot, name);
        release(&mut reserved, snapshot, name);
        let request = Request {
            spec: governing(function),
            nodes: &snapshot.nodes,
            current: &current,
            reserved: &reserved,
            replace_lost: silent.is_none() && snapshot.frozen.is_none(),
        };
        let placed = place(&request, |node| missing(snapshot, function, node));
        let frozen = snapshot.frozen.clone().or_else(|| silent.as_ref().map(ToString::to_string));
        let chosen = choose(snapshot, function, &placed, &current, frozen, &mut plan);
        for (id, workload) in chosen {
            let held = reserved.entry(id.clone()).or_default();
            held.0 += reservation(&function.candidate.spec).0;
            workloads.entry(id).or_default().push(workload);
        }
        let outlook = plan.outlooks.entry(name.clone()).or_default();
        outlook.wanted = placed.wanted;
        outlook.reasons.extend(placed.reason.iter().chain(&silent).map(ToString::to_string));
        outlook.reasons.extend(uncompiled(snapshot, function, &placed));
    }
    for id in snapshot.nodes.keys() {
        let mut wanted = workloads.remove(id).unwrap_or_default();
        wanted.sort();
        let current = snapshot.assignments.get(id);
        // After a restore a node may hold a later generation of the epoch before: it takes one of the new epoch.
        let is_of_this_epoch = current.is_none_or(|a| a.cluster_epoch == snapshot.cluster_epoch);
        if is_of_this_epoch && current.map_or(&[][..], |a| &a.workloads) == wanted.as_slice() {
            continue;
        }
        let generation = current.map(|a| a.generation).unwrap_or_default().next();
        let assignment = NodeAssignment {
            node: id.clone(),
            cluster_epoch: snapshot.cluster_epoch,
            generation,
            workloads: wanted,
        };
        plan.assignments.insert(id.clone(), assignment);
    }
    plan
}

/// The revision whose placement holds: after an abort, everything is as the stable one says.
fn governing(function: &Function) -> &FunctionSpec {
    match (&function.stable, function.rollout.state) {
        (Some(stable), State::Aborting | State::Aborted) => &stable.spec,
        _ => &function.candidate.spec,
    }
}

/// Why placed nodes cannot get the candidate yet.
fn uncompiled(snapshot: &Snapshot, function: &Function, placed: &Placed) -> Vec<String> {
    if !function.rollout.state.is_active() {
        return Vec::new();
    }
    let mut waiting: BTreeMap<Unfit, usize> = BTreeMap::new();
    for node in placed.nodes.iter().filter_map(|id| snapshot.nodes.get(id)) {
        if let Some(why) = artifact_missing(snapshot, &function.candidate, node) {
            *waiting.entry(why).or_default() += 1;
        }
    }
    let number = function.candidate.number;
    waiting
        .into_iter()
        .map(|(why, count)| {
            format!("{count} nodes stay on the stable revision: for revision {number} they {why}")
        })
        .collect()
}

/// What each node gets of a function, and what becomes of its rollout.
fn choose(
    snapshot: &Snapshot,
    function: &Function,
    placed: &Placed,
    current: &BTreeSet<NodeId>,
    frozen: Option<String>,
    plan: &mut Plan,
) -> Vec<(NodeId, Workload)> {
    let name = &function.candidate.spec.name;
    if function.disabled {
        return Vec::new();
    }
    let is_frozen = frozen.is_some();
    let unwanted = function.candidate.spec.placement.replicas == Replicas::Count(0);
    let evidence = snapshot.evidence.get(name).unwrap_or(&function.rollout.evidence);
    let members =
        placed.nodes.iter().filter_map(|id| Some(member(snapshot, function, snapshot.nodes.get(id)?)));
    let view = View { now: snapshot.now, unwanted, members: members.collect(), evidence, frozen };
    let step = step(&function.rollout, &view);
    let state = step.rollout.state;
    let mut chosen = Vec::new();
    for id in &placed.nodes {
        let Some(node) = snapshot.nodes.get(id) else { continue };
        // What is new on a node is a change that goes forward.
        if is_frozen && !current.contains(id) {
            continue;
        }
        let weight = step.weights.get(id).copied();
        let wanted = revisions(snapshot, function, &step.rollout, node, weight);
        // Without an artifact for what it should have, or a stable revision to go back to, it keeps what it has.
        let kept =
            || snapshot.assignments.get(id).into_iter().flat_map(|a| a.workloads_of(name).cloned()).collect();
        let workloads: Vec<Workload> = wanted.unwrap_or_else(kept);
        chosen.extend(workloads.into_iter().map(|workload| (id.clone(), workload)));
    }
    // Until the candidate is everywhere it belongs, nodes where it no longer does go on with what they have.
    if state.is_active() || is_frozen {
        let placed: BTreeSet<&NodeId> = placed.nodes.iter().collect();
        for id in current.iter().filter(|id| !placed.contains(id)) {
            let there = snapshot.assignments.get(id).into_iter().flat_map(|a| a.workloads_of(name));
            chosen.extend(there.map(|workload| (id.clone(), workload.clone())));
        }
    }
    if step.moved || is_due(&function.rollout, snapshot) {
        plan.rollouts.insert(name.clone(), step.rollout);
    }
    chosen
}

/// What has to be remembered over a restart without anything having moved.
fn is_due(rollout: &Rollout, snapshot: &Snapshot) -> bool {
    rollout.policy.strategy == Strategy::Staged
        && rollout.state.is_active()
        && (snapshot.now.since(rollout.as_of) >= CHECKPOINT || snapshot.now < rollout.as_of)
}

fn member(snapshot: &Snapshot, function: &Function, node: &Node) -> Member {
    let candidate = &function.candidate;
    let assigned = snapshot.assignments.get(&node.id);
    let held = assigned.and_then(|a| a.workloads.iter().find(|w| w.spec == candidate.digest));
    let observed = snapshot.observed.get(&node.id);
    let in_effect = observed.map(|o| o.generation) >= assigned.map(|a| a.generation);
    let connected = node.availability.is_connected();
    Member {
        id: node.id.clone(),
        name: node.name.clone(),
        zone: node.labels.get("zone").cloned().unwrap_or_default(),
        cpu: node.target.cpu,
        connected,
        silent_since: observed.filter(|_| !connected).map(|observed| observed.heard),
        compiled: match artifact_missing(snapshot, candidate, node) {
            None => Compiled::Ready,
            Some(Unfit::NotCompiled(why)) => Compiled::Failed(why),
            Some(_) => Compiled::Underway,
        },
        held: held.map(|workload| u8::try_from(workload.weight).unwrap_or(100)),
        standing: match snapshot.progress(&node.id, &candidate.digest) {
            Some(Progress::Running(since)) if in_effect => Standing::Running(*since),
            Some(Progress::Failed { message }) => Standing::Failed(message.clone()),
            Some(Progress::FellBack { message }) => Standing::FellBack(message.clone()),
            Some(_) => Standing::Underway,
            None if held.is_some() => Standing::Underway,
            None => Standing::Absent,
        },
    }
}

/// Both revisions with their weights, or one of them alone; `None`: what the node should have it cannot have.
fn revisions(
    snapshot: &Snapshot,
    function: &Function,
    rollout: &Rollout,
    node: &Node,
    weight: Option<u8>,
) -> Option<Vec<Workload>> {
    let with = |revision: &Revision, weight: u8| {
        workload(snapshot, revision, node).map(|w| Workload { weight: u32::from(weight), ..w })
    };
    let candidate = |weight| with(&function.candidate, weight);
    let Some(stable) = &function.stable else {
        // The first revision of all stays where it is after an abort: there is nothing to go back to.
        return weight.map(|_| candidate(100).into_iter().collect::<Vec<_>>()).filter(|all| !all.is_empty());
    };
    // The stable revision stays loaded until the candidate has succeeded: the way back takes no loading.
    let alone = rollout.policy.strategy == Strategy::Batches || rollout.state == State::Succeeded;
    match weight {
        None => Some(vec![with(stable, 100)?]),
        Some(100) if alone => Some(vec![candidate(100)?]),
        Some(weight) => {
            let mut both = vec![candidate(weight)?];
            match with(stable, 100 - weight) {
                Some(stable) => both.push(stable),
                // There is no code of the stable revision for this node: with all requests or with none.
                None if weight == 100 => {}
                None => return None,
            }
            Some(both)
        }
    }
}

fn workload(snapshot: &Snapshot, revision: &Revision, node: &Node) -> Option<Workload> {
    let key = artifact_key(&revision.spec, node)?;
    let Some(CompiledArtifact::Ready { artifact, statement }) = snapshot.artifacts.get(&key) else {
        return None;
    };
    Some(Workload {
        function: revision.spec.name.clone(),
        revision: revision.number,
        spec: revision.digest,
        artifact: *artifact,
        statement: *statement,
        target: key.target,
        weight: 100,
    })
}

/// The artifact that a node needs of a function's module.
pub fn artifact_key(spec: &FunctionSpec, node: &Node) -> Option<ArtifactKey> {
    let source = spec.resolved?.digest;
    Some(ArtifactKey { source, target: node.target.compiled_as(), engine: node.engine.clone() })
}

/// Why a node that has not got the function yet cannot get it now.
fn missing(snapshot: &Snapshot, function: &Function, node: &Node) -> Option<Unfit> {
    // A node that joins in the middle of a rollout may start with the stable revision.
    let stable = function.stable.as_ref().filter(|_| function.rollout.state != State::Succeeded);
    if stable.is_some_and(|stable| artifact_missing(snapshot, stable, node).is_none()) {
        return None;
    }
    artifact_missing(snapshot, &function.candidate, node)
}

fn artifact_missing(snapshot: &Snapshot, revision: &Revision, node: &Node) -> Option<Unfit> {
    if snapshot.engines.get(&node.target.compiled_as()) != Some(&node.engine) {
        return Some(Unfit::OtherEngine);
    }
    match artifact_key(&revision.spec, node).and_then(|key| snapshot.artifacts.get(&key)) {
        Some(CompiledArtifact::Ready { .. }) => None,
        Some(CompiledArtifact::Failed { message }) => Some(Unfit::NotCompiled(message.clone())),
        None => Some(Unfit::Compiling),
    }
}

fn current_nodes(snapshot: &Snapshot, name: &FunctionName) -> BTreeSet<NodeId> {
    let has = |a: &&NodeAssignment| a.workloads_of(name).next().is_some();
    snapshot.assignments.values().filter(has).map(|a| a.node.clone()).collect()
}

/// What each node's budget holds before anything is decided.
fn held_by_current(snapshot: &Snapshot) -> BTreeMap<NodeId, Bytes> {
    let mut held: BTreeMap<NodeId, Bytes> = BTreeMap::new();
    for assignment in snapshot.assignments.values() {
        for workload in &assignment.workloads {
            let Some(function) = snapshot.functions.get(&workload.function) else { continue };
            held.entry(assignment.node.clone()).or_default().0 += reservation(&function.candidate.spec).0;
        }
    }
    held
}

/// Gives back what one function holds, so that it does not stand in its own way.
fn release(held: &mut BTreeMap<NodeId, Bytes>, snapshot: &Snapshot, name: &FunctionName) {
    let Some(function) = snapshot.functions.get(name) else { return };
    let size = reservation(&function.candidate.spec).0;
    for assignment in snapshot.assignments.values() {
        let count = assignment.workloads_of(name).count() as u64;
        held.entry(assignment.node.clone())
            .and_modify(|bytes| bytes.0 = bytes.0.saturating_sub(size * count));
    }
}

fn silent_nodes(snapshot: &Snapshot) -> Option<Reason> {
    let away = |node: &&Node| matches!(node.availability, Availability::Unreachable | Availability::Lost);
    let (silent, nodes) = (snapshot.nodes.values().filter(away).count(), snapshot.nodes.len());
    let ours = silent >= FLEET_SILENT_NODES && silent * 100 > nodes * FLEET_SILENT_PERCENT;
    ours.then_some(Reason::FleetSilent { silent, nodes })
}
