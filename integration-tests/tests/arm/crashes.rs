//! An ARM node comes back by itself.

use harness::fleet::{Fleet, everywhere};
use harness::process::{send, wait_for};
use rustix::process::Signal;

use crate::machines::{cortex_a53, neoverse_n1};

#[test]
fn a_killed_worker_and_a_killed_agent_are_back() {
    let mut fleet = Fleet::start(0);
    fleet.add_agent_on("neoverse", neoverse_n1());
    fleet.wait_for_ready(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    let node = &fleet.agents[0];
    assert_eq!(node.wait_for_answer("/"), "Hello from Littoral\n");
    let before = node.worker();
    send(before, Signal::KILL);
    wait_for("another worker", || node.worker() != before);
    assert_eq!(node.wait_for_answer("/"), "Hello from Littoral\n");
    wait_for("the restart in the metrics", || node.metrics().contains("littoral_worker_restarts_total 1"));

    fleet.agents[0].program.kill_9();
    fleet.agents[0].restart();
    assert_eq!(fleet.agents[0].wait_for_answer("/"), "Hello from Littoral\n");
    fleet.wait_for_ready(1);
    wait_for("a report that nothing is left to do", || {
        let node = fleet.json(["node", "describe", "neoverse"]);
        node["workloads"][0]["state"] == "Running"
            && node["node"]["desired_generation"] == node["node"]["observed_generation"]
    });
}

#[test]
fn a_node_boots_and_serves_with_no_control_plane_in_reach() {
    let mut fleet = Fleet::start(0);
    fleet.add_agent_on("a53", cortex_a53());
    fleet.wait_for_ready(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    fleet.littorald.kill_9();
    fleet.agents[0].program.kill_9();
    fleet.agents[0].restart();
    assert_eq!(fleet.agents[0].wait_for_answer("/"), "Hello from Littoral\n");
    fleet.restart_littorald();
    fleet.wait_for_ready(1);
}
