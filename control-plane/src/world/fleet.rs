//! One picture of the fleet, and the planner's view of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use littoral_model::generation::{ClusterEpoch, FunctionRevision, Generation};
use littoral_model::id::{FunctionName, NodeId};
use littoral_model::node::{Availability, Node};
use littoral_model::quantity::Bytes;
use littoral_model::rollout::policy::Policy;
use littoral_model::rollout::state::{Rollout, State};
use littoral_model::snapshot::{
    ArtifactKey, CompiledArtifact, Function, Observed, Progress, Revision, Snapshot,
};
use littoral_model::target::Target;
use littoral_model::time::Timestamp;
use littoral_proto::convert::{BadMessage, assignment_from_pb, spec_from_pb};
use littoral_proto::store::{AssignmentRecord, FunctionRecord, NodeRecord};
use littoral_proto::v1;

use super::observed::ObservedNode;
use crate::records::Stored;

/// Cheap to clone in part: every row is shared.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// When this control plane began to listen: nobody is Lost before it has had time to report.
    pub started: Timestamp,
    /// Of the store, when the records were read.
    pub revision: crate::store::Revision,
    pub cluster_epoch: u64,
    pub functions: BTreeMap<String, Arc<Stored<FunctionRecord>>>,
    /// By id; revoked ones too.
    pub nodes: BTreeMap<String, Arc<Stored<NodeRecord>>>,
    /// By node id.
    pub assignments: BTreeMap<String, Arc<Stored<AssignmentRecord>>>,
    pub(crate) artifacts: Vec<Arc<Stored<v1::Artifact>>>,
    pub(crate) failures: Vec<Arc<Stored<v1::CompileFailure>>>,
    pub observed: BTreeMap<NodeId, Arc<ObservedNode>>,
    pub(crate) engines: BTreeMap<Target, String>,
}

impl World {
    /// Targets that the fleet's nodes need code for.
    pub fn targets(&self) -> BTreeSet<Target> {
        let active = self.nodes.values().filter(|row| !row.value.revoked);
        let capacities = active.filter_map(|row| row.value.capacity.as_ref());
        capacities.filter_map(|c| c.target.parse::<Target>().ok()).map(Target::compiled_as).collect()
    }

    pub fn assignment(&self, node_id: &str) -> Option<&v1::NodeAssignment> {
        self.assignments.get(node_id)?.value.assignment.as_ref()
    }

    pub fn observed(&self, node_id: &str) -> Option<&Arc<ObservedNode>> {
        self.observed.get(node_id)
    }

    /// By id or by name. The name of a revoked node is free: whoever has it now comes first.
    pub fn find_node(&self, name_or_id: &str) -> Option<&NodeRecord> {
        let named = self.nodes.values().filter(|row| row.value.name == name_or_id);
        let by_name = || named.min_by_key(|row| row.value.revoked);
        self.nodes.get(name_or_id).or_else(by_name).map(|row| &row.value)
    }

    /// Nodes that are assigned a function, each with what it says of it.
    pub fn nodes_of<'a>(
        &'a self,
        function: &'a str,
    ) -> impl Iterator<Item = (&'a NodeRecord, &'a v1::Workload, Option<&'a v1::WorkloadStatus>)> {
        self.assignments.values().filter_map(move |row| {
            let assignment = row.value.assignment.as_ref()?;
            let workload = assignment.workloads.iter().find(|w| w.function == function)?;
            let node = &self.nodes.get(&assignment.node_id)?.value;
            let status = self.observed(&assignment.node_id).and_then(|o| o.status(&workload.spec_digest));
            Some((node, workload, status))
        })
    }

    pub fn availability(&self, node: &NodeRecord, now: Timestamp) -> v1::Availability {
        if node.revoked {
            return v1::Availability::Revoked;
        }
        if node.capacity.is_none() {
            return v1::Availability::NeverSeen;
        }
        match self.heard_of(&node.id, now) {
            Availability::Ready => v1::Availability::Ready,
            Availability::WarmingUp => v1::Availability::WarmingUp,
            Availability::Unreachable => v1::Availability::Unreachable,
            Availability::Lost => v1::Availability::Lost,
        }
    }

    fn heard_of(&self, node_id: &str, now: Timestamp) -> Availability {
        let silent = || ObservedNode::new(self.started, Duration::ZERO).availability(now);
        self.observed(node_id).map_or_else(silent, |observed| observed.availability(now))
    }

    /// What the planner decides on. A record that makes no sense is left out and named in `errors`: one bad record must
    /// not stop the fleet.
    pub fn snapshot(&self, now: Timestamp, errors: &mut Vec<String>) -> Snapshot {
        let mut note = |key: &str, error: BadMessage| errors.push(format!("{key}: {error}"));
        let mut functions = BTreeMap::new();
        for (name, row) in &self.functions {
            match read_function(&row.value) {
                Ok((name, function)) => drop(functions.insert(name, function)),
                Err(error) => note(name, error),
            }
        }
        let mut assignments = BTreeMap::new();
        for (id, row) in &self.assignments {
            match row.value.assignment.as_ref().map(assignment_from_pb) {
                Some(Ok(assignment)) => drop(assignments.insert(assignment.node.clone(), assignment)),
                Some(Err(error)) => note(id, error),
                None => {}
            }
        }
        let nodes = self.nodes.values().filter(|row| !row.value.revoked);
        let nodes = nodes.filter_map(|row| self.read_node(&row.value, now));
        let nodes: BTreeMap<NodeId, Node> = nodes.map(|node| (node.id.clone(), node)).collect();
        Snapshot {
            now,
            cluster_epoch: ClusterEpoch(self.cluster_epoch),
            nodes,
            functions,
            artifacts: self.read_artifacts(),
            engines: self.engines.clone(),
            assignments,
            observed: self.observed.iter().map(|(id, node)| (id.clone(), read_observed(node))).collect(),
            evidence: BTreeMap::new(),
            frozen: None,
        }
    }

    /// `None` until it has said once what it is.
    fn read_node(&self, record: &NodeRecord, now: Timestamp) -> Option<Node> {
        let capacity = record.capacity.as_ref()?;
        Some(Node {
            id: record.id.parse().ok()?,
            name: record.name.parse().ok()?,
            labels: record.labels.clone(),
            target: capacity.target.parse().ok()?,
            engine: capacity.engine.clone(),
            cores: capacity.cores,
            memory: Bytes(capacity.memory_bytes),
            memory_budget: Bytes(capacity.memory_budget_bytes),
            availability: self.heard_of(&record.id, now),
        })
    }

    fn read_artifacts(&self) -> BTreeMap<ArtifactKey, CompiledArtifact> {
        let key = |source: &str, target: &str, engine: &str| {
            let (source, target) = (source.parse().ok()?, target.parse().ok()?);
            Some(ArtifactKey { source, target, engine: engine.to_owned() })
        };
        let failed = self.failures.iter().filter_map(|row| {
            let f = &row.value;
            let failed = CompiledArtifact::Failed { message: f.message.clone() };
            Some((key(&f.source_digest, &f.target, &f.engine)?, failed))
        });
        let ready = self.artifacts.iter().filter_map(|row| {
            let a = &row.value;
            let (artifact, statement) = (a.digest.parse().ok()?, a.statement_digest.parse().ok()?);
            Some((
                key(&a.source_digest, &a.target, &a.engine)?,
                CompiledArtifact::Ready { artifact, statement },
            ))
        });
        // A success replaces the failure before it.
        failed.chain(ready).collect()
    }
}

fn read_function(record: &FunctionRecord) -> Result<(FunctionName, Function), BadMessage> {
    let missing = || BadMessage { field: "spec", why: "it is missing".to_owned() };
    let candidate =
        read_revision(record.spec.as_ref().ok_or_else(missing)?, record.revision, &record.spec_digest)?;
    let stable = match &record.stable_spec {
        Some(spec) => Some(read_revision(spec, record.stable_revision, &record.stable_spec_digest)?),
        None => None,
    };
    let started = Timestamp::from_millis(record.applied_at_ms);
    let state = match record.rollout() {
        v1::RolloutState::Unspecified | v1::RolloutState::Progressing => State::Progressing,
        v1::RolloutState::Succeeded => State::Succeeded,
        v1::RolloutState::Aborted => State::Aborted,
        other => return Err(BadMessage { field: "rollout", why: other.as_str_name().to_owned() }),
    };
    let rollout = Rollout { state, ..Rollout::start(record.revision, Policy::batches(), started) };
    Ok((candidate.spec.name.clone(), Function { candidate, stable, rollout, disabled: false }))
}

fn read_revision(spec: &v1::FunctionSpec, number: u64, digest: &str) -> Result<Revision, BadMessage> {
    let digest = digest.parse().map_err(|e| BadMessage { field: "spec_digest", why: format!("{e}") })?;
    Ok(Revision { number: FunctionRevision(number), digest, spec: Arc::new(spec_from_pb(spec)?) })
}

fn read_observed(node: &ObservedNode) -> Observed {
    let progress = |status: &v1::WorkloadStatus| match status.state() {
        v1::WorkloadState::Running => Progress::Running(Timestamp::from_millis(status.since_ms)),
        v1::WorkloadState::Failed => Progress::Failed { message: status.message.clone() },
        v1::WorkloadState::Unspecified
        | v1::WorkloadState::Pending
        | v1::WorkloadState::Fetching
        | v1::WorkloadState::Loading => Progress::Underway,
    };
    let workloads = node.workloads.iter().filter_map(|s| Some((s.spec_digest.parse().ok()?, progress(s))));
    Observed {
        workloads: workloads.collect(),
        generation: Generation(node.observed_generation),
        heard: node.heard.last,
    }
}
