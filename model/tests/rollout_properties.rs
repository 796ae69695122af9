//! What holds for every rollout, whatever happens to it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "fleet/simulated.rs"]
mod simulated;

use std::time::Duration;

use littoral_model::rollout::policy::{LowTraffic, Policy};
use littoral_model::rollout::state::{State, Verb};
use littoral_model::rollout::step::step;
use proptest::prelude::*;

use simulated::{Health, Simulation};

/// Names are also zones and kinds: see [`fleet`].
const NODES: usize = 7;

#[derive(Clone, Debug)]
enum Event {
    Run(u64),
    Connect(usize, bool),
    Health(usize, Health),
    Rate(&'static str, f64),
    Requests(u64),
    Freeze(bool),
    Command(Verb),
    Away(u64),
    ClockBack(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let health = prop_oneof![Just(Health::Well), Just(Health::Broken), Just(Health::FellBack)];
    let verb = prop_oneof![
        Just(Verb::Pause),
        Just(Verb::Resume),
        Just(Verb::Promote { full: false }),
        Just(Verb::Promote { full: true }),
        Just(Verb::Abort { why: String::new() }),
    ];
    prop_oneof![
        8 => (1..300u64).prop_map(Event::Run),
        3 => (0..NODES, any::<bool>()).prop_map(|(node, there)| Event::Connect(node, there)),
        1 => (0..NODES, health).prop_map(|(node, health)| Event::Health(node, health)),
        1 => (prop_oneof![Just("errors"), Just("slow"), Just("traps")], 0.0..0.2f64).prop_map(|(m, r)| Event::Rate(m, r)),
        1 => (0..50u64).prop_map(Event::Requests),
        1 => any::<bool>().prop_map(Event::Freeze),
        1 => verb.prop_map(Event::Command),
        1 => (1..10_000u64).prop_map(Event::Away),
        1 => (1..10_000u64).prop_map(Event::ClockBack),
    ]
}

fn fleet(staged: bool, hold: bool) -> Simulation {
    let mut policy = if staged { Policy::default() } else { Policy::batches() };
    policy.low_traffic = if hold { LowTraffic::Hold } else { LowTraffic::Bake };
    let mut fleet = Simulation::new(policy);
    for node in [
        "a1/a/x86_64-v3",
        "a2/a/x86_64-v1",
        "a3/a/x86_64-v3",
        "b1/b/aarch64-v8.0",
        "b2/b/x86_64-v3",
        "c1/c/aarch64-v8.1",
        "c2/c/x86_64-v4",
    ] {
        fleet.add(node);
    }
    fleet
}

/// Plays the events; each second is handed to `look`, with the state before it.
fn play(fleet: &mut Simulation, events: &[Event], mut look: impl FnMut(&mut Simulation)) {
    for event in events {
        let name = |index: usize, fleet: &Simulation| fleet.nodes[index].id.to_string();
        match event {
            Event::Run(seconds) => (0..*seconds).for_each(|_| look(fleet)),
            Event::Connect(node, there) => fleet.connect(&name(*node, fleet), *there),
            Event::Health(node, health) => fleet.nodes[*node].health = *health,
            Event::Rate(metric, rate) => *fleet.candidate.rate(metric).unwrap() = *rate,
            Event::Requests(count) => fleet.requests = *count,
            Event::Freeze(frozen) => fleet.frozen = *frozen,
            Event::Command(verb) => fleet.command(verb),
            Event::Away(seconds) => fleet.now = fleet.now.plus(Duration::from_secs(*seconds)),
            Event::ClockBack(seconds) => fleet.now = fleet.now.minus(Duration::from_secs(*seconds)),
        }
    }
}

fn tick(fleet: &mut Simulation) {
    drop(fleet.tick(Duration::from_secs(1)));
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_state_has_a_reason_and_the_end_is_the_end(events in events(), staged: bool, hold: bool) {
        let mut fleet = fleet(staged, hold);
        play(&mut fleet, &events, |fleet| {
            let before = fleet.rollout.state;
            tick(fleet);
            assert!(!fleet.rollout.reason.text.is_empty());
            assert!(before.is_active() || fleet.rollout.state == before, "{before} went on to {}", fleet.rollout.state);
        });
    }

    #[test]
    fn after_a_failure_no_node_has_the_candidate_and_none_gets_it(events in events(), staged: bool) {
        let mut fleet = fleet(staged, true);
        play(&mut fleet, &events, |fleet| {
            let decided = fleet.tick(Duration::from_secs(1));
            if matches!(fleet.rollout.state, State::Aborting | State::Aborted) {
                assert!(decided.weights.is_empty(), "{:?}", decided.weights);
                assert!(fleet.nodes.iter().all(|node| node.held.is_none() || !node.connected));
            }
        });
    }

    #[test]
    fn no_node_has_more_than_its_stage_gives(events in events()) {
        let mut fleet = fleet(true, false);
        play(&mut fleet, &events, |fleet| {
            let decided = fleet.tick(Duration::from_secs(1));
            let rollout = &fleet.rollout;
            let most = match rollout.state {
                State::Pending | State::Preflight => 0,
                State::Progressing | State::Baking | State::Held => rollout.policy.stages[rollout.stage].weight,
                _ => 100,
            };
            for (node, weight) in &decided.weights {
                assert!(*weight <= most, "{node} has {weight}% in {} {}", rollout.state, rollout.stage);
            }
        });
    }

    #[test]
    fn while_frozen_no_weight_rises(events in events()) {
        let mut fleet = fleet(true, false);
        play(&mut fleet, &events, |fleet| {
            let before: Vec<_> = fleet.nodes.iter().map(|node| node.held.map(|(weight, _)| weight)).collect();
            let active = fleet.rollout.state.is_active();
            let decided = fleet.tick(Duration::from_secs(1));
            if fleet.frozen && active {
                for (node, before) in fleet.nodes.iter().zip(before) {
                    assert!(decided.weights.get(&node.id).copied() <= before, "{} rose", node.id);
                }
            }
        });
    }

    #[test]
    fn a_second_look_at_the_same_time_does_nothing_more(events in events(), staged: bool) {
        let mut fleet = fleet(staged, true);
        play(&mut fleet, &events, tick);
        let first = step(&fleet.rollout, &fleet.view());
        let second = step(&first.rollout, &fleet.view());
        prop_assert!(!second.moved, "{} {} -> {} {}", first.rollout.state, first.rollout.stage, second.rollout.state, second.rollout.stage);
        prop_assert_eq!(first.weights, second.weights);
    }

    #[test]
    fn the_same_events_come_out_the_same(events in events(), staged: bool) {
        let (mut one, mut other) = (fleet(staged, true), fleet(staged, true));
        play(&mut one, &events, tick);
        play(&mut other, &events, tick);
        prop_assert_eq!(one.rollout, other.rollout);
        prop_assert_eq!(one.log, other.log);
    }

    /// Left alone with a good candidate, traffic and all nodes, it comes to an end, whatever happened before, unless a person
    /// is asked for.
    #[test]
    fn every_rollout_ends_or_waits_for_a_person(events in events(), hold: bool) {
        let mut fleet = fleet(true, hold);
        play(&mut fleet, &events, tick);
        fleet.frozen = false;
        fleet.requests = 20;
        for rate in ["errors", "slow", "traps"] {
            *fleet.candidate.rate(rate).unwrap() = 0.0;
        }
        for node in 0..NODES {
            fleet.nodes[node].health = Health::Well;
            let name = fleet.nodes[node].id.to_string();
            fleet.connect(&name, true);
        }
        for _ in 0..3 * 3600 {
            if !fleet.rollout.state.is_active() || matches!(fleet.rollout.state, State::Held | State::Paused(_)) {
                break;
            }
            tick(&mut fleet);
        }
        let state = fleet.rollout.state;
        let rests = !state.is_active() || matches!(state, State::Held | State::Paused(_));
        prop_assert!(rests, "{state} {}: {}", fleet.rollout.stage, fleet.rollout.reason.text);
    }
}
