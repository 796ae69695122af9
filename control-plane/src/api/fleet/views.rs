//! From the world to what operators are shown.

use littoral_model::time::Timestamp;
use littoral_proto::store::{FunctionRecord, NodeRecord};
use littoral_proto::v1::{Function, FunctionOnNode, Node, Workload, WorkloadState, WorkloadStatus};

use crate::planner::Outlooks;
use crate::world::World;

pub(super) fn function(record: &FunctionRecord, world: &World, outlooks: &Outlooks) -> Function {
    let name = record.spec.as_ref().map_or("", |spec| &spec.name);
    let outlook = outlooks.get(name).cloned().unwrap_or_default();
    let (mut assigned, mut running) = (0, 0);
    for (_, _, status) in world.nodes_of(name) {
        assigned += 1;
        running += u32::from(status.is_some_and(|status| status.state() == WorkloadState::Running));
    }
    Function {
        name: name.to_owned(),
        spec: record.spec.clone(),
        revision: record.revision,
        spec_digest: record.spec_digest.clone(),
        stable_revision: record.stable_revision,
        rollout: record.rollout,
        rollout_message: record.rollout_message.clone(),
        applied_at_ms: record.applied_at_ms,
        applied_by: record.applied_by.clone(),
        assigned,
        running,
        wanted: outlook.wanted,
        waiting: outlook.reasons,
    }
}

/// The function on each node that it is assigned to.
pub(super) fn function_on_nodes(function: &str, world: &World) -> Vec<FunctionOnNode> {
    let on_node = |(node, workload, status): (&NodeRecord, &Workload, Option<&WorkloadStatus>)| {
        let stats = world.observed(&node.id).and_then(|observed| observed.stats.get(function));
        let quantile = |share| stats.and_then(|stats| stats.quantile(share)).unwrap_or(0);
        FunctionOnNode {
            node_id: node.id.clone(),
            node_name: node.name.clone(),
            status: Some(status.cloned().unwrap_or_else(|| unknown(workload))),
            ingress_address: node.capacity.as_ref().map(|c| c.ingress_address.clone()).unwrap_or_default(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            requests: stats.map_or(0, |stats| stats.requests()),
            errors: stats.map_or(0, |stats| stats.errors()),
        }
    };
    world.nodes_of(function).map(on_node).collect()
}

/// Of a workload that the node has said nothing of yet.
fn unknown(workload: &Workload) -> WorkloadStatus {
    WorkloadStatus {
        function: workload.function.clone(),
        revision: workload.revision,
        spec_digest: workload.spec_digest.clone(),
        state: WorkloadState::Pending.into(),
        ..WorkloadStatus::default()
    }
}

pub(super) fn node(record: &NodeRecord, world: &World, now: Timestamp) -> Node {
    let observed = world.observed(&record.id);
    let heard = observed.filter(|observed| observed.heard.reported);
    Node {
        id: record.id.clone(),
        name: record.name.clone(),
        labels: record.labels.clone(),
        availability: world.availability(record, now).into(),
        capacity: record.capacity.clone(),
        joined_at_ms: record.joined_at_ms,
        last_seen_ms: heard.map_or(0, |observed| observed.heard.last.as_millis()),
        desired_generation: world.assignment(&record.id).map_or(0, |assignment| assignment.generation),
        observed_generation: observed.map_or(0, |observed| observed.observed_generation),
        load: observed.map(|observed| observed.load),
        certificate_expires_at_ms: record.certificate_expires_at_ms,
        clock_skew_ms: observed.map_or(0, |observed| observed.clock_skew_ms),
    }
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
