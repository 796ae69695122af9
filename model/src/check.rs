//! What must hold of every plan before it is written: a second opinion that shares no code with the first.

use crate::assignment::NodeAssignment;
use crate::id::{FunctionName, NodeId};
use crate::plan::Plan;
use crate::quantity::Bytes;
use crate::snapshot::Snapshot;
use crate::target::Target;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Violation {
    #[error("the plan assigns work to {0}, which is not in the fleet")]
    UnknownNode(NodeId),
    #[error("the plan does not raise the generation of {0} by one")]
    Generation(NodeId),
    #[error("the plan gives {node} code for {artifact}, and it is {host}")]
    Target { node: NodeId, host: Target, artifact: Target },
    #[error("the plan gives {node} {function} with weights that add up to {sum}, not 100")]
    Weights { node: NodeId, function: FunctionName, sum: u32 },
    #[error("the plan promises {promised} of {node}'s {budget} of memory")]
    Budget { node: NodeId, promised: Bytes, budget: Bytes },
}

/// Checks every assignment of a plan.
pub fn check(plan: &Plan, snapshot: &Snapshot) -> Result<(), Violation> {
    plan.assignments.values().try_for_each(|assignment| check_node(assignment, snapshot))
}

fn check_node(assignment: &NodeAssignment, snapshot: &Snapshot) -> Result<(), Violation> {
    let id = &assignment.node;
    let node = snapshot.nodes.get(id).ok_or_else(|| Violation::UnknownNode(id.clone()))?;
    let before = snapshot.assignments.get(id);
    if assignment.generation != before.map(|a| a.generation).unwrap_or_default().next() {
        return Err(Violation::Generation(id.clone()));
    }
    for workload in &assignment.workloads {
        if !node.target.runs(workload.target) {
            return Err(Violation::Target { node: id.clone(), host: node.target, artifact: workload.target });
        }
        let sum = assignment.workloads_of(&workload.function).map(|w| w.weight).sum();
        if sum != 100 {
            return Err(Violation::Weights { node: id.clone(), function: workload.function.clone(), sum });
        }
    }
    check_budget(assignment, before, node.memory_budget, snapshot)
}

/// A budget that shrank may be overdrawn by what is there already, never by something new.
fn check_budget(
    assignment: &NodeAssignment,
    before: Option<&NodeAssignment>,
    budget: Bytes,
    snapshot: &Snapshot,
) -> Result<(), Violation> {
    let size =
        |name: &FunctionName| snapshot.functions.get(name).map_or(0, |f| f.candidate.spec.limits.memory.0);
    let promised = Bytes(assignment.workloads.iter().map(|w| size(&w.function)).sum());
    let is_new = |name| before.is_none_or(|a| a.workloads_of(name).next().is_none());
    if promised > budget && assignment.workloads.iter().any(|w| is_new(&w.function)) {
        return Err(Violation::Budget { node: assignment.node.clone(), promised, budget });
    }
    Ok(())
}
