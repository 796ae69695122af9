//! What this node should run, checked: the protocol's message turned into types that cannot be wrong.

use std::collections::BTreeSet;

use littoral_model::digest::{BadDigest, Digest};
use littoral_model::generation::{ClusterEpoch, FunctionRevision, Generation};
use littoral_model::id::{BadName, FunctionName};
use littoral_proto::v1;

/// Far above what one node's memory holds; keeps a broken message from growing every table of the agent.
const MAX_WORKLOADS: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAssignment {
    #[error("the assignment is for the node {found}, and this is {own}")]
    OtherNode { found: String, own: String },
    #[error("the assignment holds {0} workloads; at most {MAX_WORKLOADS} are accepted")]
    TooMany(usize),
    #[error("the assignment lists the spec {0} twice")]
    Twice(Digest),
    #[error("a workload of the assignment has no valid function name")]
    Function(#[source] BadName),
    #[error("the {what} digest of the function {function} is not valid")]
    Digest {
        what: &'static str,
        function: FunctionName,
        #[source]
        source: BadDigest,
    },
    #[error("the function {function} has the weight {weight}: expected 0 to 100")]
    Weight { function: FunctionName, weight: u32 },
}

/// Orders assignments: the epoch first, since a restore of the control plane starts its generations over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AssignmentNumber {
    pub epoch: ClusterEpoch,
    pub generation: Generation,
}

/// The whole desired state of this node under one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub number: AssignmentNumber,
    pub workloads: Vec<Workload>,
}

/// One revision of one function. Its spec's digest identifies it on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub function: FunctionName,
    pub revision: FunctionRevision,
    pub spec: Digest,
    pub artifact: Digest,
    pub statement: Digest,
    /// Percent of the function's requests on this node.
    pub weight: u32,
}

impl Assignment {
    /// # Errors
    /// Names the first thing that is wrong; nothing of a wrong assignment is used.
    pub(crate) fn from_proto(message: v1::NodeAssignment, own_id: &str) -> Result<Self, BadAssignment> {
        if message.node_id != own_id {
            let found = message.node_id.chars().take(80).collect();
            return Err(BadAssignment::OtherNode { found, own: own_id.to_owned() });
        }
        if message.workloads.len() > MAX_WORKLOADS {
            return Err(BadAssignment::TooMany(message.workloads.len()));
        }
        let mut specs = BTreeSet::new();
        let mut workloads = Vec::with_capacity(message.workloads.len());
        for entry in message.workloads {
            let workload = Workload::from_proto(entry)?;
            if !specs.insert(workload.spec) {
                return Err(BadAssignment::Twice(workload.spec));
            }
            workloads.push(workload);
        }
        let number = AssignmentNumber {
            epoch: ClusterEpoch(message.cluster_epoch),
            generation: Generation(message.generation),
        };
        Ok(Self { number, workloads })
    }

    /// Every blob that this assignment refers to.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.workloads.iter().flat_map(|w| [w.spec, w.statement, w.artifact])
    }
}

impl Workload {
    fn from_proto(entry: v1::Workload) -> Result<Self, BadAssignment> {
        let function: FunctionName = entry.function.parse().map_err(BadAssignment::Function)?;
        let digest = |what, text: &str| {
            text.parse().map_err(|source| BadAssignment::Digest { what, function: function.clone(), source })
        };
        if entry.weight > 100 {
            return Err(BadAssignment::Weight { function, weight: entry.weight });
        }
        Ok(Self {
            spec: digest("spec", &entry.spec_digest)?,
            artifact: digest("artifact", &entry.artifact_digest)?,
            statement: digest("statement", &entry.statement_digest)?,
            revision: FunctionRevision(entry.revision),
            weight: entry.weight,
            function,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: &str) -> v1::Workload {
        let digest = |part: &str| Digest::of(format!("{function}{part}").as_bytes()).to_string();
        v1::Workload {
            function: function.into(),
            revision: 1,
            spec_digest: digest("spec"),
            artifact_digest: digest("artifact"),
            statement_digest: digest("statement"),
            target: "x86_64-v1-wide".into(),
            weight: 100,
        }
    }

    fn message(workloads: Vec<v1::Workload>) -> v1::NodeAssignment {
        v1::NodeAssignment { node_id: "n1".into(), cluster_epoch: 1, generation: 2, workloads }
    }

    #[test]
    fn a_good_one_is_read_whole() {
        let read = Assignment::from_proto(message(vec![entry("a"), entry("b")]), "n1").unwrap();
        assert_eq!(read.number.generation, Generation(2));
        assert_eq!(read.workloads[1].function.as_str(), "b");
        assert_eq!(read.blobs().count(), 6);
    }

    #[test]
    fn another_nodes_assignment_is_refused() {
        assert!(matches!(
            Assignment::from_proto(message(vec![]), "n2"),
            Err(BadAssignment::OtherNode { .. })
        ));
    }

    #[test]
    fn one_wrong_entry_refuses_the_whole() {
        let mut wrong_name = entry("a");
        wrong_name.function = "A B".into();
        let mut wrong_digest = entry("a");
        wrong_digest.artifact_digest = "sha256:12".into();
        let mut wrong_weight = entry("a");
        wrong_weight.weight = 101;
        for wrong in [wrong_name, wrong_digest, wrong_weight, entry("ok")] {
            assert!(Assignment::from_proto(message(vec![entry("ok"), wrong]), "n1").is_err());
        }
    }

    #[test]
    fn the_epoch_is_compared_before_the_generation() {
        let number = |epoch, generation| AssignmentNumber {
            epoch: ClusterEpoch(epoch),
            generation: Generation(generation),
        };
        assert!(number(2, 1) > number(1, 900));
        assert!(number(1, 2) > number(1, 1));
    }
}
