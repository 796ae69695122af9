//! Links that are cut, one way or both: nodes go on serving, nothing moves, and what heals goes on where it was.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::fleet::{everywhere, example};
use harness::process::wait_for;

use crate::fleet::Fleet;

/// Longer than three missed reports: a node that falls out again does so within this.
const STEADY: Duration = Duration::from_secs(20);

fn deploy_hello(fleet: &Fleet, placement: &str) {
    let rest = format!("[[trigger.http]]\npath = \"/*\"\n{placement}");
    fleet.apply("hello", &example("hello-http"), &rest, &["--wait", "--timeout", "60s"]).ok();
}

#[test]
fn a_cut_in_one_direction_makes_a_node_unreachable_and_heals_without_flapping() {
    let fleet = Fleet::start(3);
    fleet.apply("hello", &example("hello-http"), &everywhere("/*"), &["--wait"]).ok();
    let [up, down, other] = &fleet.nodes[..] else { panic!("three nodes") };
    up.link.set_up(|way| way.cut = true);
    down.link.set_down(|way| way.cut = true);
    for node in [up, down] {
        fleet.wait_until(&node.name, "Unreachable");
        // The session that it had, and one that it tried to open over a link that carries one way alone.
        wait_for("a failed try to come back", || node.agent.log().matches("no session").count() >= 2);
        node.serves("/");
    }
    assert_eq!(fleet.availability(&other.name), "Ready");

    let (pids, sessions) = ([up.agent.pid(), down.agent.pid()], [up.sessions(), down.sessions()]);
    up.link.heal();
    down.link.heal();
    fleet.wait_until_all("Ready");
    let began = Instant::now();
    while began.elapsed() < STEADY {
        for node in &fleet.nodes {
            assert_eq!(fleet.availability(&node.name), "Ready", "{} has fallen out again", node.name);
            node.serves("/");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    // One session more each, of the same processes.
    assert_eq!([up.agent.pid(), down.agent.pid()], pids);
    assert_eq!([up.sessions(), down.sessions()], sessions.map(|n| n + 1));
}

#[test]
fn a_node_that_reboots_behind_a_cut_link_serves() {
    let mut fleet = Fleet::start(1);
    deploy_hello(&fleet, "[placement]\nreplicas = \"every\"");
    let node = &mut fleet.nodes[0];
    node.link.cut();
    node.reboot();
    let began = Instant::now();
    node.wait_for_answer("/");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    node.link.heal();
    fleet.wait_until_all("Ready");
}

#[test]
fn a_fleet_that_is_cut_off_as_a_whole_is_left_as_it_is() {
    let fleet = Fleet::start(3);
    deploy_hello(&fleet, "[placement]\nreplicas = 2");
    let placed = fleet.generations();
    let serving: Vec<_> = fleet.nodes.iter().filter(|n| n.get("/").is_ok_and(|a| a.status == 200)).collect();
    assert_eq!(serving.len(), 2);
    for node in &fleet.nodes {
        node.link.cut();
    }
    fleet.wait_until_all("Unreachable");
    let describe = || fleet.cli(&["function", "describe", "hello"]).ok();
    wait_for("the reason in words", || describe().contains("3 of 3 nodes are silent at once"));
    let began = Instant::now();
    while began.elapsed() < STEADY {
        assert_eq!(fleet.generations(), placed, "something was moved");
        for node in &serving {
            node.serves("/");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for node in &fleet.nodes {
        node.link.heal();
    }
    fleet.wait_until_all("Ready");
    assert_eq!(fleet.generations(), placed, "something was moved when they came back");
    assert!(!describe().contains("silent"), "{}", describe());
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let fleet = Fleet::start(1);
    let node = &fleet.nodes[0];
    let module = large_module(&fleet, 3_000_000);
    node.link.set_down(|down| down.bits_per_second = Some(2_000_000));
    fleet.apply("large", &module, "[placement]\nreplicas = \"every\"", &[]).ok();
    let received = || node.metric("littoral_artifact_bytes_total");
    wait_for("a third of the artifact", || received() > 1e6);
    node.link.cut();
    wait_for("the agent noticing", || node.metric("littoral_node_session_up") == 0.0);
    let before = received();
    assert!(before < 2.9e6, "the cut came too late: {before}");
    node.link.heal();
    wait_for("the function running", || {
        fleet.json(&["function", "describe", "large"]).to_string().contains("\"Running\"")
    });
    let again = received() - 3e6;
    assert!(again < 0.6e6, "{again} bytes came twice, of {before} before the cut");
    fleet.wait_until_all("Ready");
}

/// A core module whose native code has so many bytes and some more.
pub fn large_module(fleet: &Fleet, bytes: usize) -> PathBuf {
    let data = "\\a5\\5a".repeat(bytes / 2);
    let pages = bytes.div_ceil(64 << 10);
    let text = format!("(module (memory {pages}) (data (i32.const 0) \"{data}\") (func (export \"run\")))");
    let path = fleet.path("large.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path
}
