//! The same module answers the same bytes on every kind of CPU.

use harness::fleet::{EVERY, Fleet, everywhere};
use harness::http;
use harness::picture::png;
use harness::process::wait_for;

use crate::machines::{cortex_a53, neoverse_n1};

/// The first is not emulated: what it answers is right.
const NODES: [&str; 3] = ["n1", "a53", "neoverse"];

/// An emulated node takes a few times longer for everything.
const LIMITS: &str = "[limits]\ntimeout = \"60s\"\nmemory = \"256MiB\"\noutput = \"20MiB\"";

fn mixed_fleet() -> Fleet {
    let mut fleet = Fleet::start(1);
    fleet.add_agent_on("a53", cortex_a53());
    fleet.add_agent_on("neoverse", neoverse_n1());
    fleet.wait_for_ready(NODES.len());
    fleet
}

#[test]
fn http_functions_answer_the_same_and_are_counted_on_each_node() {
    let fleet = mixed_fleet();
    fleet.deploy_example("hello-http", &format!("{}\n{LIMITS}", everywhere("/*")));
    fleet.deploy_example("resize", &format!("{}\n{LIMITS}", everywhere("/resize")));
    let noise: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // The large picture needs more memory than a narrow one begins with: it moves.
    let requests: [(&str, &str, &[u8], u16); 6] = [
        ("GET", "/", b"", 200),
        ("POST", "/", &noise, 200),
        ("POST", "/resize?w=17", &png(64, 48), 200),
        ("POST", "/resize?w=300&h=200", &png(1600, 1200), 200),
        ("POST", "/resize?w=2", b"not a picture", 415),
        ("POST", "/resize?w=0", &png(4, 4), 400),
    ];
    for (method, path, body, status) in requests {
        let right = http::try_send(fleet.agents[0].http, method, path, body).unwrap();
        assert_eq!(right.status.as_u16(), status, "{path}: {}", right.text());
        for agent in &fleet.agents[1..] {
            let answer = http::try_send(agent.http, method, path, body).unwrap();
            assert_eq!(answer.status, right.status, "{} {path}: {}", agent.name, answer.text());
            assert!(answer.body == right.body, "{} answers {path} with other bytes", agent.name);
        }
    }
    for (function, requests) in [("hello-http", 2), ("resize", 4)] {
        wait_for("reports of all nodes", || {
            let function = fleet.json(["function", "describe", function]);
            let nodes = function["nodes"].as_array().unwrap();
            nodes.len() == NODES.len()
                && nodes.iter().all(|n| n["requests"] == requests && n["p99_us"].as_u64() > Some(0))
        });
    }
}

#[test]
fn commands_and_typed_functions_answer_the_same_on_the_node_that_is_named() {
    let fleet = mixed_fleet();
    fleet.deploy_example("upper", &format!("{EVERY}\n{LIMITS}"));
    fleet.deploy_example("typed", &format!("{EVERY}\n{LIMITS}"));
    let text: Vec<u8> = (0..200_000_u32).map(|n| b' ' + (n % 90) as u8).collect();
    for node in NODES {
        let upper = ["function", "invoke", "upper", "--node", node, "--data-file", "-"];
        let said = fleet.cli_with_input(upper, &text).ok();
        assert!(said.as_bytes() == text.to_ascii_uppercase(), "{node}");
        fleet.cli(["function", "invoke", "upper", "--node", node]).fails(1, &["exit code 3"]);
        let call = |call| fleet.cli(["function", "invoke", "typed", "--node", node, "--call", call]);
        assert_eq!(call("add(2147483647, 1)").ok(), "-2147483648\n", "{node}");
        assert_eq!(call("fib(93)").ok(), "12200160415121876738\n", "{node}");
        assert_eq!(call("greet(\"Málaga\")").ok(), "\"Hello, Málaga!\"\n", "{node}");
        // A trap is a signal to the process: it survives, and answers the next one.
        call("fib(94)").fails(1, &["trap"]);
        assert_eq!(call("fib(10)").ok(), "55\n", "{node}");
    }
}
