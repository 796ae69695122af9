//! Which node joins a rollout in which stage.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;
use crate::rollout::policy::{Selection, Stage};
use crate::target::Cpu;

/// A node that the function belongs on, as far as stages are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: NodeId,
    /// Value of its label `zone`, its failure domain. Nodes without one are together in one.
    pub zone: String,
    pub cpu: Cpu,
}

/// The stage of each node, by its index. `nodes` are in the order in which they get a new revision.
///
/// The first stages stay within one zone, so that what goes wrong goes wrong in one place: the zone with the most kinds of
/// CPU. A kind that this zone does not have is looked for elsewhere: a candidate that fails on one kind only must be met early.
pub fn assign(stages: &[Stage], nodes: &[Candidate]) -> BTreeMap<NodeId, usize> {
    let home = home(nodes);
    let mut assigned = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        let left: Vec<&Candidate> = nodes.iter().filter(|node| !assigned.contains_key(&node.id)).collect();
        let at_home = || left.iter().copied().filter(|node| node.zone == home);
        let chosen: Vec<&Candidate> = match stage.nodes {
            Selection::Kinds => one_of_each(at_home().chain(left.iter().copied())),
            // A number is what somebody wants, zone or not.
            Selection::Count(count) => {
                let elsewhere = left.iter().copied().filter(|node| node.zone != home);
                at_home().chain(elsewhere).take(count as usize).collect()
            }
            Selection::Percent(share) => {
                at_home().take((nodes.len() * usize::from(share)).div_ceil(100)).collect()
            }
            Selection::Zone => at_home().collect(),
            Selection::Rest => left.clone(),
        };
        assigned.extend(chosen.into_iter().map(|node| (node.id.clone(), index)));
    }
    assigned
}

fn one_of_each<'a>(nodes: impl Iterator<Item = &'a Candidate>) -> Vec<&'a Candidate> {
    let mut seen = BTreeSet::new();
    nodes.filter(|node| seen.insert(node.cpu.compiled_as())).collect()
}

/// The zone with the most kinds of CPU; of those the one with the fewest nodes; of those the first by name.
fn home(nodes: &[Candidate]) -> &str {
    let mut zones: BTreeMap<&str, (BTreeSet<Cpu>, usize)> = BTreeMap::new();
    for node in nodes {
        let (kinds, count) = zones.entry(&node.zone).or_default();
        kinds.insert(node.cpu.compiled_as());
        *count += 1;
    }
    let best = zones.iter().min_by_key(|(name, (kinds, count))| (usize::MAX - kinds.len(), *count, **name));
    best.map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::Policy;

    fn node(id: &str, zone: &str, cpu: Cpu) -> Candidate {
        Candidate { id: id.parse().unwrap(), zone: zone.into(), cpu }
    }

    fn shown(nodes: &[Candidate]) -> String {
        let assigned = assign(&Policy::default().stages, nodes);
        let stage = |index| {
            let names = assigned.iter().filter(|(_, stage)| **stage == index).map(|(id, _)| id.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        (0..4).map(stage).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn the_canary_meets_every_kind_and_the_rest_of_the_early_stages_stay_in_one_zone() {
        use Cpu::{Aarch64V80, X86_64V3, X86_64V4};
        let nodes = [
            node("a1", "a", X86_64V3),
            node("a2", "a", X86_64V4),
            node("a3", "a", X86_64V3),
            node("b1", "b", X86_64V3),
            node("b2", "b", Aarch64V80),
            node("b3", "b", X86_64V3),
            node("c1", "c", Cpu::Aarch64V81),
        ];
        // v3 and v4 run the same code; ARMv8.1 is only in zone c.
        assert_eq!(shown(&nodes), "b1 b2 c1 | b3 |  | a1 a2 a3");
    }

    #[test]
    fn one_node_is_the_canary_of_itself() {
        assert_eq!(shown(&[node("only", "", Cpu::X86_64V1)]), "only |  |  | ");
    }

    #[test]
    fn every_node_has_one_stage() {
        let nodes: Vec<Candidate> =
            (0..200).map(|i| node(&format!("n{i:03}"), ["a", "b", "c"][i % 3], Cpu::X86_64V3)).collect();
        let assigned = assign(&Policy::default().stages, &nodes);
        assert_eq!(assigned.len(), nodes.len());
        let size = |stage| assigned.values().filter(|s| **s == stage).count();
        // The smallest zone has 66 nodes: one canary, five per cent of all, and its rest.
        assert_eq!([size(0), size(1), size(2), size(3)], [1, 10, 55, 134]);
    }
}
