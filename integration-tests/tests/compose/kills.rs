//! Programs that end or stand still from one moment to the next.

use harness::compose::{Compose, NODES, docker};
use harness::process::send;
use rustix::process::Signal;

use super::functions::{HELLO, apply};

pub fn node_killed(fleet: &Compose) {
    let pid = fleet.pid("shop-1");
    // Not by the engine's command, after which the engine would not start it again.
    send(pid, Signal::KILL);
    fleet.wait_for_answer(&["shop-2", "pi-1"], HELLO);
    fleet.wait_for_answer(&["shop-1"], HELLO);
    assert_ne!(fleet.pid("shop-1"), pid);
    fleet.wait_for_ready(&NODES);
}

pub fn control_plane_killed(fleet: &Compose) {
    docker(["kill", &fleet.container("littorald")]);
    fleet.wait_for_answer(&NODES, HELLO);
    // A node that boots now serves what it had.
    docker(["restart", "-t", "10", &fleet.container("shop-2")]);
    fleet.wait_for_answer(&NODES, HELLO);
    fleet.cli(["node", "list"]).fails(6, &["littorald"]);
    docker(["start", &fleet.container("littorald")]);
    fleet.wait_for_ready(&NODES);
    apply(fleet, "again", "hello-http@1.0.1", &harness::fleet::everywhere("/again"), &["--wait"]).ok();
    fleet.cli(["function", "delete", "again", "-y"]).ok();
}

pub fn paused(fleet: &Compose) {
    docker(["pause", &fleet.container("shop-1")]);
    fleet.wait_for_availability("shop-1", "Unreachable");
    fleet.wait_for_answer(&["shop-2", "pi-1"], HELLO);
    docker(["unpause", &fleet.container("shop-1")]);
    fleet.wait_for_ready(&NODES);
    fleet.wait_for_answer(&NODES, HELLO);

    docker(["pause", &fleet.container("littorald")]);
    fleet.cli(["node", "list"]).fails(6, &["littorald"]);
    fleet.wait_for_answer(&NODES, HELLO);
    docker(["unpause", &fleet.container("littorald")]);
    fleet.wait_for_ready(&NODES);
}
