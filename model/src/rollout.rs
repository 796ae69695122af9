//! How a new revision reaches the nodes: in batches, and no further once two nodes could not load it.
//!
//! This is the seam for staged rollouts: [`step`] is all that the planner asks of a rollout.

pub mod gate;
pub mod policy;
pub mod stages;
pub mod state;
pub mod step;
pub mod view;

use std::collections::BTreeSet;

use crate::function::Replicas;
use crate::id::NodeId;
use crate::snapshot::{Function, Progress, Snapshot};

/// One bad node is a bad node; two are a bad revision.
pub const FAILURES_TO_ABORT: usize = 2;
/// No batch is larger than this share of the nodes, percent.
const LARGEST_BATCH_PERCENT: usize = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    Progressing,
    Succeeded,
    /// Nodes failed to load it: all are back on the stable revision.
    Aborted,
}

/// What a rollout wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These nodes may have the candidate; all others keep what they have.
    Advance {
        nodes: BTreeSet<NodeId>,
    },
    /// Every node has it: it becomes the stable revision.
    Succeed,
    Abort {
        why: String,
    },
    /// Over already.
    Rest,
}

/// Decides the next step of a function's rollout.
///
/// `placed` are the nodes that the function belongs on, in the order in which they get a new revision; `has_artifact` tells
/// which of them the candidate is compiled for.
pub fn step(
    function: &Function,
    placed: &[NodeId],
    snapshot: &Snapshot,
    has_artifact: impl Fn(&NodeId) -> bool,
) -> Step {
    if function.rollout != RolloutState::Progressing {
        return Step::Rest;
    }
    if function.candidate.spec.placement.replicas == Replicas::Count(0) {
        return Step::Succeed;
    }
    let candidate = &function.candidate.digest;
    let mut holding = BTreeSet::new();
    let mut failures = Vec::new();
    let (mut running, mut pending, mut waiting) = (0, 0, 0);
    for id in placed {
        let connected = snapshot.nodes.get(id).is_some_and(|node| node.availability.is_connected());
        let assigned = snapshot.assignments.get(id);
        if !assigned.is_some_and(|a| a.workloads.iter().any(|w| w.spec == *candidate)) {
            waiting += usize::from(connected);
            continue;
        }
        holding.insert(id.clone());
        match snapshot.progress(id, candidate) {
            Some(Progress::Running) => running += 1,
            Some(Progress::Failed { message }) => failures.push((id, message)),
            // A node that is away neither blocks the others nor counts.
            Some(Progress::Underway) | None => pending += usize::from(connected),
        }
    }
    if failures.len() >= FAILURES_TO_ABORT || (!failures.is_empty() && placed.len() == 1) {
        return Step::Abort { why: describe(&failures, snapshot) };
    }
    if running > 0 && pending == 0 && waiting == 0 && failures.is_empty() {
        return Step::Succeed;
    }
    let room = if pending > 0 { 0 } else { batch(running, placed.len()) };
    let ready = |id: &&NodeId| !holding.contains(*id) && reachable(snapshot, id) && has_artifact(id);
    let next: Vec<NodeId> = placed.iter().filter(ready).take(room).cloned().collect();
    holding.extend(next);
    Step::Advance { nodes: holding }
}

/// How many more nodes may get the candidate when `running` have it: 1, 1, 2, 4 … up to a quarter of them.
fn batch(running: usize, placed: usize) -> usize {
    running.clamp(1, (placed * LARGEST_BATCH_PERCENT).div_ceil(100).max(1))
}

fn reachable(snapshot: &Snapshot, id: &NodeId) -> bool {
    snapshot.nodes.get(id).is_some_and(|node| node.availability.is_connected())
}

fn describe(failures: &[(&NodeId, &String)], snapshot: &Snapshot) -> String {
    let named: Vec<String> = failures
        .iter()
        .map(|(id, message)| {
            let name = snapshot.nodes.get(*id).map_or(id.as_str(), |node| node.name.as_str());
            format!("{name}: {message}")
        })
        .collect();
    format!("{} nodes could not load it ({})", failures.len(), named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_double_up_to_a_quarter() {
        let mut have = 0;
        let mut sizes = Vec::new();
        while have < 100 {
            let size = batch(have, 100).min(100 - have);
            sizes.push(size);
            have += size;
        }
        assert_eq!(sizes, [1, 1, 2, 4, 8, 16, 25, 25, 18]);
    }
}
