//! `deploy/compose.yaml` as users start it: started, changed, killed, paused, cut and filled up. `integration-tests/compose`
//! prepares and starts this; it takes root and a container engine.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and look at the clock"
)]

mod cuts;
mod functions;
mod kills;
mod limits;
mod logs;
mod losses;
mod observe;
mod start;

use std::time::Instant;

use harness::compose::Compose;

type Step = (&'static str, fn(&Compose));

/// In this order on one fleet: starting one takes longer than most steps.
const STEPS: &[Step] = &[
    ("up from nothing", start::up_from_nothing),
    ("up again changes nothing", start::up_again_changes_nothing),
    ("push, apply, and the same answers on every kind of CPU", functions::push_and_apply),
    ("update and remove", functions::update_and_remove),
    ("load, and metrics of it", observe::load_and_metrics),
    ("a node killed", kills::node_killed),
    ("the control plane killed", kills::control_plane_killed),
    ("a node and the control plane paused", kills::paused),
    ("nodes cut off, wholly and in one direction", cuts::nodes),
    ("the control plane mute, then cut off", cuts::control_plane),
    ("a node's volume lost", losses::node_volume),
    ("a node's disk full", limits::node_disk_full),
    ("the control plane's disk full", limits::control_disk_full),
    ("memory limits hit", limits::memory),
    ("the control plane's volume lost, and put back", losses::control_volume),
    ("no unexpected error was logged", logs::no_unexpected_error),
];

#[test]
fn a_fleet_in_containers() {
    let tag = std::env::var("LITTORAL_TAG").expect("start this suite with integration-tests/compose");
    let fleet = Compose::prepare(&tag);
    for (name, step) in STEPS {
        let began = Instant::now();
        step(&fleet);
        eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f64());
    }
}
