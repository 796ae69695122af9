//! A backup of the control plane, brought back after the fleet has moved on.

use std::path::Path;
use std::process::Command;

use harness::fleet::{Fleet, everywhere, example};
use harness::http;
use harness::process::wait_for;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn nodes_follow_a_restored_control_plane_from_later_generations() {
    let mut fleet = Fleet::start(1);
    let wasm = example("hello-http");
    let module = wasm.to_str().unwrap();
    fleet.deploy("hello", module, &everywhere("/old"));
    fleet.littorald.stop();
    let (data, backup) = (fleet.path("control"), fleet.path("backup"));
    copy(&data, &backup);
    fleet.restart_littorald();
    for path in ["/newer", "/newest"] {
        fleet.deploy("hello", module, &everywhere(path));
    }
    let http = fleet.agents[0].http;
    let answers = |path: &str| http::try_send(http, "POST", path, b"x").is_ok_and(|a| a.status == 200);
    assert!(answers("/newest") && !answers("/old"));

    fleet.littorald.stop();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    std::fs::write(data.join("restored"), "").unwrap();
    fleet.restart_littorald();
    wait_for("what the backup says", || answers("/old") && !answers("/newest"));
    fleet.wait_for_ready(1);
    assert!(!data.join("restored").exists());
    assert!(fleet.cli(["events"]).ok().contains("ClusterRestored"));
    // And the fleet can be changed again.
    fleet.deploy("hello", module, &everywhere("/after"));
    assert!(answers("/after"));
}
