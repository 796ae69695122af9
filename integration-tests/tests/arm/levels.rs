//! A node gets code that its CPU runs, and no other.

use harness::fleet::{Fleet, everywhere};
use harness::process::wait_for;
use littoral_model::target::{MemoryClass, Target};

use crate::machines::{cortex_a53, few_addresses, nehalem, neoverse_n1};

/// The target of a node, and that of the code which it runs.
fn targets(fleet: &Fleet, node: &str) -> (Target, Target) {
    let described = fleet.json(["node", "describe", node]);
    let target = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
    assert_eq!(described["workloads"][0]["state"], "Running", "{described}");
    (target(&described["node"]["target"]), target(&described["workloads"][0]["target"]))
}

#[test]
fn every_node_runs_the_best_code_for_its_cpu() {
    let mut fleet = Fleet::start(1);
    for (name, machine) in
        [("few", few_addresses()), ("nehalem", nehalem()), ("a53", cortex_a53()), ("neoverse", neoverse_n1())]
    {
        fleet.add_agent_on(name, machine);
    }
    fleet.wait_for_ready(5);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    for agent in &fleet.agents {
        assert_eq!(agent.wait_for_answer("/"), "Hello from Littoral\n", "{}", agent.name);
        let (node, code) = targets(&fleet, &agent.name);
        assert!(node.runs(code), "{}: {code} on {node}", agent.name);
    }
    for (name, node, code) in [
        ("nehalem", "x86_64-v2-narrow", "x86_64-v1-narrow"),
        ("a53", "aarch64-v8.0-narrow", "aarch64-v8.0-narrow"),
        ("neoverse", "aarch64-v8.1-narrow", "aarch64-v8.1-narrow"),
    ] {
        assert_eq!(targets(&fleet, name), (node.parse().unwrap(), code.parse().unwrap()), "{name}");
    }
    let (here, _) = targets(&fleet, "n1");
    assert_eq!(targets(&fleet, "few").0, Target { memory: MemoryClass::Narrow, ..here });
    let module = fleet.json(["module", "inspect", "hello-http"]);
    let artifacts = module["artifacts"].as_array().unwrap();
    for code in ["x86_64-v1-narrow", "aarch64-v8.0-narrow", "aarch64-v8.1-narrow"] {
        assert!(artifacts.iter().any(|artifact| artifact["target"] == code), "{code}: {artifacts:?}");
    }
}

/// Its disk holds the identity of a node and code with instructions that the older board does not have.
#[test]
fn a_disk_that_moves_to_an_older_board_gets_other_code() {
    let mut fleet = Fleet::start(0);
    fleet.add_agent_on("board", neoverse_n1());
    fleet.wait_for_ready(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    assert_eq!(targets(&fleet, "board").1.to_string(), "aarch64-v8.1-narrow");
    assert!(fleet.agents[0].program.stop().success());
    fleet.agents[0].machine = cortex_a53();
    fleet.agents[0].restart();
    assert_eq!(fleet.agents[0].wait_for_answer("/"), "Hello from Littoral\n");
    wait_for("code for the older board", || {
        let described = fleet.json(["node", "describe", "board"]);
        described["workloads"][0]["state"] == "Running"
            && described["workloads"][0]["target"] == "aarch64-v8.0-narrow"
    });
}
