use littoral_model::assignment::{NodeAssignment, Workload};
use littoral_model::generation::{ClusterEpoch, FunctionRevision, Generation};

use super::{BadMessage, bad, parse};
use crate::v1;

pub fn assignment_to_pb(assignment: &NodeAssignment) -> v1::NodeAssignment {
    v1::NodeAssignment {
        node_id: assignment.node.to_string(),
        cluster_epoch: assignment.cluster_epoch.0,
        generation: assignment.generation.0,
        workloads: assignment.workloads.iter().map(workload_to_pb).collect(),
    }
}

pub fn assignment_from_pb(pb: &v1::NodeAssignment) -> Result<NodeAssignment, BadMessage> {
    Ok(NodeAssignment {
        node: parse("node_id", &pb.node_id)?,
        cluster_epoch: ClusterEpoch(pb.cluster_epoch),
        generation: Generation(pb.generation),
        workloads: pb.workloads.iter().map(workload_from_pb).collect::<Result<_, _>>()?,
    })
}

pub fn workload_to_pb(workload: &Workload) -> v1::Workload {
    v1::Workload {
        function: workload.function.to_string(),
        revision: workload.revision.0,
        spec_digest: workload.spec.to_string(),
        artifact_digest: workload.artifact.to_string(),
        statement_digest: workload.statement.to_string(),
        target: workload.target.to_string(),
        weight: workload.weight,
    }
}

pub fn workload_from_pb(pb: &v1::Workload) -> Result<Workload, BadMessage> {
    if pb.weight > 100 {
        return Err(bad("weight", format!("{} percent is more than all", pb.weight)));
    }
    Ok(Workload {
        function: parse("function", &pb.function)?,
        revision: FunctionRevision(pb.revision),
        spec: parse("spec_digest", &pb.spec_digest)?,
        artifact: parse("artifact_digest", &pb.artifact_digest)?,
        statement: parse("statement_digest", &pb.statement_digest)?,
        target: parse("target", &pb.target)?,
        weight: pb.weight,
    })
}
