//! Networks that fail, wholly or in one direction; every node serves all the while.

use harness::compose::{Compose, NODES, docker, inside};
use harness::fleet::everywhere;
use harness::process::wait_for;

use super::functions::{HELLO, apply, running_on};

/// A rule in a container's own network, taken back when it is dropped.
struct Deaf<'a> {
    fleet: &'a Compose,
    service: &'static str,
    rule: [&'static str; 7],
}

impl<'a> Deaf<'a> {
    fn to(fleet: &'a Compose, service: &'static str, rule: [&'static str; 7]) -> Self {
        let deaf = Self { fleet, service, rule };
        deaf.iptables("-A");
        deaf
    }

    fn iptables(&self, verb: &str) {
        let command: Vec<&str> = ["iptables", verb].into_iter().chain(self.rule).collect();
        inside(self.fleet.pid(self.service), &command).ok();
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.iptables("-D");
    }
}

fn cut(fleet: &Compose, service: &str) {
    docker(["network", "disconnect", &fleet.network(), &fleet.container(service)]);
}

fn heal(fleet: &Compose, service: &str) {
    docker(["network", "connect", "--alias", service, &fleet.network(), &fleet.container(service)]);
}

pub fn nodes(fleet: &Compose) {
    cut(fleet, "shop-1");
    // It hears the control plane and is not heard.
    let mute = Deaf::to(fleet, "pi-1", ["OUTPUT", "-p", "tcp", "--dport", "7443", "-j", "DROP"]);
    fleet.wait_for_availability("shop-1", "Unreachable");
    fleet.wait_for_availability("pi-1", "Unreachable");
    assert_eq!(fleet.availability("shop-2"), "Ready");
    serves_inside(fleet, "shop-1");
    fleet.wait_for_answer(&["shop-2", "pi-1"], HELLO);

    // Whoever is there gets what is new; the others do when they are back.
    apply(fleet, "news", "hello-http@1.0.1", &everywhere("/news"), &[]).ok();
    wait_for("shop-2 running what is new", || running_on(fleet, "news") == ["shop-2"]);
    drop(mute);
    heal(fleet, "shop-1");
    fleet.wait_for_ready(&NODES);
    wait_for("all running what is new", || running_on(fleet, "news").len() == NODES.len());
    fleet.wait_for_status(&NODES, "/news", 200);
    fleet.cli(["function", "delete", "news", "-y"]).ok();
}

pub fn control_plane(fleet: &Compose) {
    // It hears the nodes and cannot answer them.
    let mute = Deaf::to(fleet, "littorald", ["OUTPUT", "-p", "tcp", "--sport", "7443", "-j", "DROP"]);
    fleet.cli(["node", "list"]).fails(6, &["littorald"]);
    fleet.wait_for_answer(&NODES, HELLO);
    drop(mute);
    fleet.wait_for_ready(&NODES);

    // It may come back under another address.
    cut(fleet, "littorald");
    fleet.wait_for_answer(&NODES, HELLO);
    for node in NODES {
        let status = || docker(["exec", &fleet.container(node), "/usr/bin/littoral-agent", "status"]);
        wait_for(&format!("{node} noticing"), || status().contains("disconnected"));
    }
    heal(fleet, "littorald");
    fleet.wait_for_ready(&NODES);
    fleet.wait_for_answer(&NODES, HELLO);
}

fn serves_inside(fleet: &Compose, node: &str) {
    let answer = fleet.answer_inside(node, "/").ok();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(HELLO.trim()), "{answer}");
}
