//! What the planner looks at: one consistent picture of the fleet at one time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::assignment::NodeAssignment;
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::function::FunctionSpec;
use crate::generation::{ClusterEpoch, FunctionRevision, Generation};
use crate::id::{FunctionName, NodeId};
use crate::node::Node;
use crate::rollout::state::Rollout;
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
    /// Of the rollouts that are under way, up to now; one that is not named has what its checkpoint says.
    pub evidence: BTreeMap<FunctionName, Evidence>,
    /// Why an operator has stopped everything that goes forward.
    pub frozen: Option<String>,
}

/// A function, its newest revision and the last one that was good.
#[derive(Clone, Debug)]
pub struct Function {
    pub candidate: Revision,
    /// The last revision whose rollout succeeded.
    pub stable: Option<Revision>,
    /// Of the candidate.
    pub rollout: Rollout,
    /// Taken off every node by an operator, until it is enabled again.
    pub disabled: bool,
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
    /// Of the assignment that it has put into effect.
    pub generation: Generation,
    /// When it was last heard of.
    pub heard: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Waiting, being fetched or being loaded.
    Underway,
    /// Since then.
    Running(Timestamp),
    /// It could not be verified, loaded or checked.
    Failed { message: String },
    /// It was given up on the node itself, for the revision before.
    FellBack { message: String },
}

impl Snapshot {
    pub fn progress(&self, node: &NodeId, spec: &Digest) -> Option<&Progress> {
        self.observed.get(node)?.workloads.get(spec)
    }
}
