//! One look at the whole fleet: what has to change, and why something waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::assignment::{NodeAssignment, Workload};
use crate::function::FunctionSpec;
use crate::id::{FunctionName, NodeId};
use crate::node::{Availability, Node};
use crate::placement::{Placed, Reason, Request, Unfit, place, reservation};
use crate::quantity::Bytes;
use crate::rollout::{RolloutState, Step, step};
use crate::snapshot::{ArtifactKey, CompiledArtifact, Function, Revision, Snapshot};

/// With more of the fleet than this silent at once, the fault is ours, percent.
const FLEET_SILENT_PERCENT: usize = 30;
/// In a fleet of two or three, one silent node is a third of it.
const FLEET_SILENT_NODES: usize = 3;

/// What to write, and what to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Only of nodes whose workloads change, each with the next generation.
    pub assignments: BTreeMap<NodeId, NodeAssignment>,
    /// Only of functions whose rollout moves to another state.
    pub rollouts: BTreeMap<FunctionName, RolloutChange>,
    pub outlooks: BTreeMap<FunctionName, Outlook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutChange {
    /// The candidate becomes the stable revision.
    Succeeded,
    Aborted {
        why: String,
    },
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
            replace_lost: silent.is_none(),
        };
        let placed = place(&request, |node| missing(snapshot, function, node));
        let mut chosen = choose_revisions(snapshot, function, &placed, &mut plan);
        if function.rollout == RolloutState::Progressing && !plan.rollouts.contains_key(name) {
            keep_others(snapshot, name, &current, &mut chosen);
        }
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
    match (&function.stable, function.rollout) {
        (Some(stable), RolloutState::Aborted) => &stable.spec,
        _ => &function.candidate.spec,
    }
}

/// Until the candidate is everywhere it belongs, nodes where it no longer does go on with what they have.
fn keep_others(
    snapshot: &Snapshot,
    name: &FunctionName,
    current: &BTreeSet<NodeId>,
    chosen: &mut Vec<(NodeId, Workload)>,
) {
    let placed: BTreeSet<NodeId> = chosen.iter().map(|(id, _)| id.clone()).collect();
    for id in current.difference(&placed) {
        let workload = snapshot.assignments.get(id).and_then(|a| a.workloads_of(name).next());
        chosen.extend(workload.map(|w| (id.clone(), w.clone())));
    }
}

/// Why placed nodes cannot get the candidate yet.
fn uncompiled(snapshot: &Snapshot, function: &Function, placed: &Placed) -> Vec<String> {
    if function.rollout != RolloutState::Progressing {
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

/// Which revision each placed node gets, and what becomes of the rollout.
fn choose_revisions(
    snapshot: &Snapshot,
    function: &Function,
    placed: &Placed,
    plan: &mut Plan,
) -> Vec<(NodeId, Workload)> {
    let name = &function.candidate.spec.name;
    let mut state = function.rollout;
    let mut allowed: Option<BTreeSet<NodeId>> = None;
    let has_artifact = |id: &NodeId| {
        snapshot
            .nodes
            .get(id)
            .is_some_and(|node| artifact_missing(snapshot, &function.candidate, node).is_none())
    };
    match step(function, &placed.nodes, snapshot, has_artifact) {
        Step::Rest => {}
        Step::Advance { nodes } => allowed = Some(nodes),
        Step::Succeed => {
            plan.rollouts.insert(name.clone(), RolloutChange::Succeeded);
            state = RolloutState::Succeeded;
        }
        Step::Abort { why } => {
            plan.rollouts.insert(name.clone(), RolloutChange::Aborted { why });
            state = RolloutState::Aborted;
        }
    }
    let mut chosen = Vec::new();
    for id in &placed.nodes {
        let Some(node) = snapshot.nodes.get(id) else { continue };
        let current = snapshot.assignments.get(id).and_then(|a| a.workloads_of(name).next());
        let revision = match state {
            RolloutState::Succeeded => Some(&function.candidate),
            RolloutState::Progressing if allowed.as_ref().is_some_and(|nodes| nodes.contains(id)) => {
                Some(&function.candidate)
            }
            RolloutState::Progressing | RolloutState::Aborted => function.stable.as_ref(),
        };
        let workload = revision.and_then(|revision| workload(snapshot, revision, node));
        // Without an artifact for what it should have, or a stable revision to go back to, it keeps what it has.
        if let Some(workload) = workload.or_else(|| current.cloned()) {
            chosen.push((id.clone(), workload));
        }
    }
    chosen
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
    let stable = function.stable.as_ref().filter(|_| function.rollout != RolloutState::Succeeded);
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
