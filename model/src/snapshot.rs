//! What the planner looks at: one consistent picture of the fleet at one time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::assignment::NodeAssignment;
use crate::digest::Digest;
use crate::function::FunctionSpec;
use crate::generation::{ClusterEpoch, FunctionRevision};
use crate::id::{FunctionName, NodeId};
use crate::node::Node;
use crate::rollout::RolloutState;
use crate::target::Target;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub now: Timestamp,
    pub cluster_epoch: ClusterEpoch,
    /// Without the revoked ones.
    pub nodes: BTreeMap<NodeId, Node>,
    pub functions: BTreeMap<FunctionName, Function>,
    pub artifacts: BTreeMap<ArtifactKey, CompiledArtifact>,
    /// Fingerprint of the engine that artifacts are compiled with, by target.
    pub engines: BTreeMap<Target, String>,
    pub assignments: BTreeMap<NodeId, NodeAssignment>,
    pub observed: BTreeMap<NodeId, Observed>,
}

/// A function, its newest revision and the last one that was good.
#[derive(Clone, Debug)]
pub struct Function {
    pub candidate: Revision,
    /// The last revision that reached every node.
    pub stable: Option<Revision>,
    pub rollout: RolloutState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub number: FunctionRevision,
    /// Of the encoded spec.
    pub digest: Digest,
    pub spec: Arc<FunctionSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactKey {
    pub source: Digest,
    pub target: Target,
    /// Fingerprint of the engine.
    pub engine: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompiledArtifact {
    Ready { artifact: Digest, statement: Digest },
    Failed { message: String },
}

/// What a node last said of each revision that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub workloads: BTreeMap<Digest, Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Waiting, being fetched or being loaded.
    Underway,
    Running,
    /// It could not be verified or loaded.
    Failed {
        message: String,
    },
}

impl Snapshot {
    pub fn progress(&self, node: &NodeId, spec: &Digest) -> Option<&Progress> {
        self.observed.get(node)?.workloads.get(spec)
    }
}
