//! The whole desired state of one node.

use crate::digest::Digest;
use crate::generation::{ClusterEpoch, FunctionRevision, Generation};
use crate::id::{FunctionName, NodeId};
use crate::target::Target;

/// All that one node should run, under one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAssignment {
    pub node: NodeId,
    pub cluster_epoch: ClusterEpoch,
    pub generation: Generation,
    /// Sorted, by function and then revision.
    pub workloads: Vec<Workload>,
}

/// One revision of a function on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    pub function: FunctionName,
    pub revision: FunctionRevision,
    pub spec: Digest,
    pub artifact: Digest,
    pub statement: Digest,
    pub target: Target,
    /// Share of the function's requests on this node, percent.
    pub weight: u32,
}

impl NodeAssignment {
    /// What a node that was never assigned anything has.
    pub fn empty(node: NodeId, cluster_epoch: ClusterEpoch) -> Self {
        Self { node, cluster_epoch, generation: Generation(0), workloads: Vec::new() }
    }

    pub fn workloads_of<'a>(&'a self, function: &'a FunctionName) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().filter(move |workload| workload.function == *function)
    }
}
