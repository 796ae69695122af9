//! What holds of every plan, whatever the fleet.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};

use fleet::*;
use littoral_model::function::Replicas;
use littoral_model::node::Availability;
use littoral_model::plan::plan;
use littoral_model::quantity::Bytes;
use littoral_model::snapshot::{Progress, Snapshot};
use proptest::prelude::*;

const TARGETS: [&str; 4] = ["x86_64-v1-wide", "x86_64-v3-wide", "aarch64-v8.0-narrow", "aarch64-v8.1-wide"];
const CONSTRAINTS: [&[&str]; 4] = [&[], &["arch == x86_64"], &["label.zone != a"], &["cpu >= aarch64-v8.1"]];

fn nodes() -> impl Strategy<Value = Snapshot> {
    prop::collection::vec((0..4usize, 0..3usize, 64..512u64, 0..10u8), 0..14).prop_map(|rows| {
        let mut snapshot = empty();
        for (index, (target, zone, mib, luck)) in rows.into_iter().enumerate() {
            let zone = ["a", "b", "c"][zone];
            let mut made = node(&format!("n{index:02}"), TARGETS[target], zone, Bytes::mib(mib));
            made.availability = match luck {
                0 => Availability::Lost,
                1 => Availability::Unreachable,
                2 => Availability::WarmingUp,
                _ => Availability::Ready,
            };
            add_node(&mut snapshot, made);
        }
        snapshot
    })
}

fn fleets() -> impl Strategy<Value = Snapshot> {
    let functions = prop::collection::vec((0..4usize, prop::option::of(0..8u32)), 0..5);
    (nodes(), functions).prop_map(|(mut snapshot, functions)| {
        for (index, (constraint, replicas)) in functions.into_iter().enumerate() {
            let replicas = replicas.map_or(Replicas::Every, Replicas::Count);
            apply(&mut snapshot, revision(&format!("f{index}"), 1, replicas, CONSTRAINTS[constraint]));
        }
        compile_all(&mut snapshot);
        snapshot
    })
}

proptest! {
    #[test]
    fn a_second_plan_on_an_unchanged_world_is_empty(mut snapshot in fleets()) {
        settle(&mut snapshot, all_running);
        prop_assert!(plan(&snapshot).is_empty());
    }

    #[test]
    fn constraints_hold_and_no_node_is_over_its_budget(mut snapshot in fleets()) {
        settle(&mut snapshot, all_running);
        for (id, assignment) in &snapshot.assignments {
            let node = &snapshot.nodes[id];
            let mut promised = 0;
            for workload in &assignment.workloads {
                let spec = &snapshot.functions[&workload.function].candidate.spec;
                promised += spec.limits.memory.0;
                prop_assert!(spec.placement.constraints.iter().all(|c| c.allows(node)));
                prop_assert!(node.target.runs(workload.target));
            }
            prop_assert!(promised <= node.memory_budget.0);
        }
    }

    #[test]
    fn as_many_replicas_as_asked_for_or_a_reason(mut snapshot in fleets()) {
        let last = settle(&mut snapshot, all_running);
        for (name, function) in &snapshot.functions {
            let have = where_is(&snapshot, name.as_str()).len();
            let outlook = &last.outlooks[name];
            if let Replicas::Count(count) = function.candidate.spec.placement.replicas {
                prop_assert!(have <= count as usize);
            }
            prop_assert!(have == outlook.wanted as usize || !outlook.reasons.is_empty(), "{have} {outlook:?}");
        }
    }

    #[test]
    fn generations_rise_by_one_and_only_with_a_change(mut snapshot in fleets()) {
        for _ in 0..30 {
            let next = plan(&snapshot);
            for (id, assignment) in &next.assignments {
                let before = snapshot.assignments.get(id);
                prop_assert_eq!(assignment.generation.0, before.map_or(0, |a| a.generation.0) + 1);
                prop_assert_ne!(before.map(|a| &a.workloads), Some(&assignment.workloads));
            }
            commit(&mut snapshot, &next);
            report(&mut snapshot, all_running);
        }
    }

    #[test]
    fn one_lost_node_moves_only_its_own_replicas(mut snapshot in fleets(), victim in 0..14usize) {
        for node in snapshot.nodes.values_mut() {
            node.availability = Availability::Ready;
            node.memory_budget = Bytes::gib(8);
        }
        settle(&mut snapshot, all_running);
        let before = everything(&snapshot);
        let Some(victim) = snapshot.nodes.keys().nth(victim).cloned() else { return Ok(()) };
        snapshot.nodes.get_mut(&victim).unwrap().availability = Availability::Lost;
        settle(&mut snapshot, all_running);
        let after = everything(&snapshot);
        for (name, nodes) in &before {
            prop_assert!(nodes.is_subset(&after[name]), "something was taken away: {nodes:?} {after:?}");
            let moved = after[name].len() - nodes.len();
            prop_assert!(moved <= usize::from(nodes.contains(victim.as_str())));
        }
    }

    #[test]
    fn the_order_in_which_nodes_joined_makes_no_difference(snapshot in fleets(), gone in 0..14usize) {
        let mut whole = snapshot.clone();
        let mut late = snapshot;
        let Some(id) = late.nodes.keys().nth(gone).cloned() else { return Ok(()) };
        let node = late.nodes.remove(&id).unwrap();
        late.nodes.insert(id, node);
        settle(&mut whole, all_running);
        settle(&mut late, all_running);
        prop_assert_eq!(everything(&whole), everything(&late));
    }

    #[test]
    fn updates_end_whatever_nodes_say(mut snapshot in fleets(), luck in prop::collection::vec(any::<bool>(), 14)) {
        settle(&mut snapshot, all_running);
        for name in snapshot.functions.keys().cloned().collect::<Vec<_>>() {
            let (replicas, old) = {
                let spec = &snapshot.functions[&name].candidate.spec.placement;
                (spec.replicas, spec.constraints.iter().map(ToString::to_string).collect::<Vec<_>>())
            };
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            apply(&mut snapshot, revision(name.as_str(), 2, replicas, &old));
        }
        compile_all(&mut snapshot);
        // Panics if it never comes to rest.
        settle(&mut snapshot, |id, workload| {
            let index: usize = id.as_str()[1..].parse().unwrap();
            if workload.revision.0 == 1 || luck[index] {
                return Progress::Running(BEGINNING);
            }
            Progress::Failed { message: "bad luck".into() }
        });
    }
}

fn everything(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let on = |name: &str| where_is(snapshot, name).into_keys().collect();
    snapshot.functions.keys().map(|name| (name.to_string(), on(name.as_str()))).collect()
}
