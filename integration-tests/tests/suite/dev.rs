//! `littoral dev`: a fleet from one command, and nothing left of it afterwards.

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use harness::fleet::littoral;
use harness::http;
use harness::process::{Program, children_of, wait_for};

fn start(dir: &Path) -> Program {
    let mut command = littoral(&dir.join("cli"));
    command.args(["dev", "--nodes", "2", "--base-port", "0", "--dir"]).arg(dir.join("state"));
    Program::start("littoral dev", command, &dir.join("dev.log"))
}

fn descendants(pid: i32) -> Vec<i32> {
    let children = children_of(pid);
    children.iter().flat_map(|child| std::iter::once(*child).chain(descendants(*child))).collect()
}

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn dev_answers_survives_a_restart_and_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    for round in 0..2 {
        let mut dev = start(dir.path());
        let mut url = None;
        wait_for("the URL of the first node", || {
            assert!(dev.is_running(), "{}", dev.log());
            let log = dev.log();
            let line = log.lines().filter(|l| l.contains("curl http://")).nth(round);
            url = line
                .and_then(|l| l.split("http://").nth(1))
                .map(|u| u.split(['/', ' ']).next().unwrap().to_owned());
            url.is_some()
        });
        let address = url.unwrap().replace("localhost", "127.0.0.1").parse().unwrap();
        assert_eq!(http::get(address, "/").text(), "Hello from Littoral\n");
        let all = descendants(dev.pid());
        assert!(all.len() >= 5, "a control plane, two agents and their workers: {all:?}");
        // A hard kill in one round, Ctrl-C in the other.
        if round == 0 {
            dev.signal(Signal::INT);
            assert!(dev.ended().success(), "{}", dev.log());
        } else {
            dev.kill_9();
        }
        wait_for("the end of all that it started", || !all.iter().any(|pid| alive(*pid)));
    }
}
