//! Disks and memory that run out: what does not fit is said, everything else goes on, and room makes it well again.

use harness::compose::{Compose, NODES};
use harness::fleet::{EVERY, example};
use harness::process::wait_for;

use super::functions::{HELLO, apply, running_on};

pub fn node_disk_full(fleet: &Compose) {
    // What an agent reserves, and not enough beside it.
    fleet.node_disk.fill_but(64);
    // One whose artifact no node has.
    fleet.write("upper.wasm", std::fs::read(example("upper")).unwrap());
    apply(fleet, "upper", "upper.wasm", EVERY, &[]).ok();
    wait_for("shop-2 saying why it does not run it", || {
        fleet.cli(["function", "describe", "upper"]).stdout.contains("no room for")
    });
    fleet.wait_for_answer(&NODES, HELLO);
    fleet.node_disk.make_room();
    wait_for("all running it", || running_on(fleet, "upper").len() == NODES.len());
    fleet.cli(["function", "delete", "upper", "-y"]).ok();
}

pub fn control_disk_full(fleet: &Compose) {
    let push = |version: &str| {
        fleet.cli(["module", "push", "hello-http.wasm", "--name", "hello-http", "--version", version])
    };
    fleet.disk.fill_but(8);
    push("2.0.0").fails(1, &["disk"]);
    assert!(fleet.cli(["module", "list"]).ok().contains("hello-http"), "reading goes on");
    fleet.wait_for_answer(&NODES, HELLO);
    fleet.disk.make_room();
    push("2.0.0").ok();
}

/// Takes and touches so many pages of 64 KiB, and answers how many it has then.
const HUNGRY: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "take") (param $pages i32) (result i32)
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))
        (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536)))
        memory.size))"#;

pub fn memory(fleet: &Compose) {
    fleet.write("hungry.wasm", wat::parse_str(HUNGRY).unwrap());
    let limits = "[limits]\ntimeout = \"20s\"\nmemory = \"400MiB\"";
    apply(fleet, "hungry", "hungry.wasm", &format!("{EVERY}\n{limits}"), &["--wait"]).ok();
    let take = |mib: u32, node: &str| {
        let call = format!("take({})", mib * 16);
        fleet.cli(["function", "invoke", "hungry", "--call", &call, "--node", node, "--deadline", "30s"])
    };
    // Its own limit ends the guest alone.
    let container = fleet.inspect("shop-1", "{{.State.StartedAt}}");
    take(600, "shop-1").fails(1, &["oom"]);
    assert_eq!(take(10, "shop-1").ok().trim(), "161");

    // A node that promised more than it has: the kernel ends the worker, and the agent starts another one.
    let before = fleet.inspect("shop-2", "{{.State.Pid}} {{.State.StartedAt}}");
    assert_ne!(take(380, "shop-2").code, 0);
    let log = |fleet: &Compose| fleet.logs().into_iter().find(|(service, _)| service == "shop-2").unwrap().1;
    wait_for("the worker's end", || log(fleet).contains("the worker is gone"));
    wait_for("another worker", || take(10, "shop-2").code == 0);
    assert_eq!(fleet.inspect("shop-2", "{{.State.Pid}} {{.State.StartedAt}}"), before, "the agent lives on");
    assert_eq!(fleet.inspect("shop-1", "{{.State.StartedAt}}"), container);
    fleet.wait_for_answer(&NODES, HELLO);
    fleet.cli(["function", "delete", "hungry", "-y"]).ok();
}
