//! Push, compile, sign, assign, serve, report.

use harness::fleet::{Fleet, everywhere, example};
use harness::http;
use harness::process::wait_for;

#[test]
fn a_module_is_pushed_once_and_answers_on_every_node() {
    let fleet = Fleet::start(3);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    for agent in &fleet.agents {
        assert_eq!(http::get(agent.http, "/").text(), "Hello from Littoral\n", "{}", agent.name);
        let echo = http::post(agent.http, "/anything", b"there and back");
        assert_eq!((echo.status.as_u16(), echo.text().as_str()), (200, "there and back"));
    }
    let functions = fleet.json(["function", "list"]);
    let hello = &functions[0];
    assert_eq!(
        (&hello["name"], &hello["running"], &hello["wanted"]),
        (&"hello-http".into(), &3.into(), &3.into())
    );
}

#[test]
fn invocations_go_to_a_node_that_runs_it_or_to_the_one_that_is_named() {
    let fleet = Fleet::start(2);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    assert_eq!(fleet.cli(["function", "invoke", "hello-http"]).ok(), "Hello from Littoral\n");
    for node in ["n1", "n2"] {
        let done = fleet.cli(["function", "invoke", "hello-http", "--data", "x", "--node", node, "-v"]);
        assert!(done.stderr.contains(node), "{}", done.stderr);
        assert_eq!(done.ok(), "x");
    }
    fleet.cli(["function", "invoke", "hello-http", "--node", "n9"]).fails(3, &["n9"]);
    fleet.cli(["function", "invoke", "absent"]).fails(3, &["absent"]);
}

#[test]
fn every_node_reports_its_health_and_its_latencies() {
    let fleet = Fleet::start(2);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    for agent in &fleet.agents {
        for _ in 0..20 {
            http::get(agent.http, "/");
        }
    }
    wait_for("latencies of both nodes", || {
        let function = fleet.json(["function", "describe", "hello-http"]);
        let nodes = function["nodes"].as_array().unwrap();
        nodes.len() == 2
            && nodes.iter().all(|n| n["requests"].as_u64() >= Some(20) && n["p99_us"].as_u64() > Some(0))
    });
    let node = fleet.json(["node", "describe", "n1"]);
    assert_eq!(node["node"]["desired_generation"], node["node"]["observed_generation"]);
    let metrics = fleet.agents[0].metrics();
    let counted = metrics
        .lines()
        .find(|l| l.starts_with("littoral_faas_invocations_total{") && l.contains("hello-http"));
    assert!(counted.is_some_and(|line| line.ends_with(" 20")), "{counted:?}");
    let control = http::get(([127, 0, 0, 1], fleet.ports.http).into(), "/metrics").text();
    for name in [
        "littoral_build_info",
        "littoral_plans_total",
        "littoral_compile_duration_seconds",
        "littoral_sessions 2",
    ] {
        assert!(control.contains(name), "{name} is not in: {control}");
    }
}

#[test]
fn the_same_push_and_the_same_apply_change_nothing() {
    let fleet = Fleet::start(1);
    let wasm = example("hello-http");
    let push = ["module", "push", wasm.to_str().unwrap(), "--name", "hello", "--version", "1.0.0"];
    let first = fleet.json(push);
    let second = fleet.json(push);
    assert_eq!((&first["created"], &second["created"]), (&true.into(), &false.into()));
    assert_eq!(first["module"]["digest"], second["module"]["digest"]);
    fleet.apply("hello", "hello@1.0.0", &everywhere("/"), &["--wait", "--timeout", "60s"]).ok();
    let generation =
        |fleet: &Fleet| fleet.json(["node", "describe", "n1"])["node"]["desired_generation"].clone();
    let before = generation(&fleet);
    fleet.apply("hello", "hello@1.0.0", &everywhere("/"), &["--wait", "--timeout", "60s"]).ok();
    assert_eq!(generation(&fleet), before);
}

#[test]
fn a_deleted_function_is_gone_from_every_node() {
    let fleet = Fleet::start(2);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    fleet.cli(["function", "delete", "hello-http", "-y"]).ok();
    for agent in &fleet.agents {
        wait_for("404", || http::try_send(agent.http, "GET", "/", b"").is_ok_and(|a| a.status == 404));
    }
    fleet.cli(["function", "describe", "hello-http"]).fails(3, &["hello-http"]);
}

#[test]
fn constraints_and_labels_decide_where_it_runs() {
    let mut fleet = Fleet::start(0);
    fleet.add_agent("a1", &["--label", "zone=a"]);
    fleet.add_agent("b1", &["--label", "zone=b"]);
    fleet.wait_for_ready(2);
    let rest = "[[trigger.http]]\npath = \"/\"\n[placement]\nreplicas = \"every\"\nconstraints = [\"label.zone == b\"]";
    fleet.deploy_example("hello-http", rest);
    let nodes = fleet.json(["function", "describe", "hello-http"])["nodes"].clone();
    assert_eq!(nodes.as_array().unwrap().iter().map(|n| &n["node_name"]).collect::<Vec<_>>(), ["b1"]);
    let rest = "[placement]\nreplicas = 3\nconstraints = [\"arch == aarch64\"]";
    let wasm = example("hello-http");
    fleet.apply("nowhere", wasm.to_str().unwrap(), rest, &[]).ok();
    wait_for("the reason", || {
        let text = fleet.cli(["function", "describe", "nowhere"]).ok();
        text.contains("0 of 2 nodes fit, 3 wanted: 2 do not meet `arch == aarch64`")
    });
}
