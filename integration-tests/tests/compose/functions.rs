//! What operators do, with the operator's command in a container.

use harness::compose::{Compose, NODES};
use harness::fleet::{EVERY, everywhere, example};
use harness::process::Done;
use harness::{http, picture};

pub const HELLO: &str = "Hello from Littoral\n";

pub fn push_and_apply(fleet: &Compose) {
    for name in ["hello-http", "resize", "typed"] {
        fleet.write(&format!("{name}.wasm"), std::fs::read(example(name)).unwrap());
    }
    fleet.cli(["module", "push", "hello-http.wasm", "--name", "hello-http", "--version", "1.0.0"]).ok();
    let hello = format!("[[trigger.http]]\npath = \"/echo\"\n{}", everywhere("/"));
    apply(fleet, "hello", "hello-http@1.0.0", &hello, &["--wait", "--timeout", "60s"]).ok();
    let limits = "[limits]\ntimeout = \"10s\"\nmemory = \"128MiB\"\noutput = \"20MiB\"";
    let resize = format!("{}\n{limits}", everywhere("/resize"));
    apply(fleet, "resize", "resize.wasm", &resize, &["--wait", "--timeout", "60s"]).ok();
    apply(fleet, "typed", "typed.wasm", EVERY, &["--wait", "--timeout", "60s"]).ok();

    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    same_everywhere(fleet, "GET", "/", b"");
    same_everywhere(fleet, "POST", "/echo", &bytes);
    same_everywhere(fleet, "POST", "/resize?w=37", &picture::png(160, 120));
    let calls = NODES
        .map(|node| fleet.cli(["function", "invoke", "typed", "--call", "fib(80)", "--node", node]).ok());
    assert!(calls.iter().all(|answer| answer.trim() == "23416728348467685"), "{calls:?}");
    for name in ["resize", "typed"] {
        fleet.cli(["function", "delete", name, "-y"]).ok();
    }
}

/// The answers of x86-64 and ARM, byte for byte.
fn same_everywhere(fleet: &Compose, method: &str, path: &str, body: &[u8]) {
    let answers = NODES.map(|node| {
        let answer = http::try_send(fleet.http(node), method, path, body);
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path} at {node}: {error}"));
        assert_eq!(answer.status, 200, "{method} {path} at {node}: {}", answer.text());
        answer.body
    });
    assert!(!answers[0].is_empty());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {path}");
}

pub fn update_and_remove(fleet: &Compose) {
    fleet.cli(["module", "push", "hello-http.wasm", "--name", "hello-http", "--version", "1.0.1"]).ok();
    apply(fleet, "second", "hello-http@1.0.1", &everywhere("/old"), &["--wait", "--timeout", "60s"]).ok();
    fleet.wait_for_status(&NODES, "/old", 200);
    let constrained = format!("{}\nconstraints = [\"label.zone == b\"]", everywhere("/new"));
    apply(fleet, "second", "hello-http@1.0.1", &constrained, &["--wait", "--timeout", "60s"]).ok();
    fleet.wait_for_status(&["shop-2", "pi-1"], "/new", 200);
    fleet.wait_for_status(&["shop-1"], "/new", 404);
    fleet.wait_for_status(&NODES, "/old", 404);
    fleet.cli(["function", "delete", "second", "-y"]).ok();
    fleet.wait_for_status(&NODES, "/new", 404);
    fleet.cli(["function", "describe", "second"]).fails(3, &["second"]);
    fleet.wait_for_answer(&NODES, HELLO);
}

/// Names of the nodes that report this function Running, in order.
pub fn running_on(fleet: &Compose, function: &str) -> Vec<String> {
    let described = fleet.json(&["function", "describe", function]);
    let running = described["nodes"].as_array().unwrap().iter().filter(|n| n["state"] == "Running");
    let mut names: Vec<String> = running.map(|n| n["node_name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

pub fn apply(fleet: &Compose, name: &str, module: &str, rest: &str, flags: &[&str]) -> Done {
    let file = format!("{name}.toml");
    fleet.write(&file, format!("[function]\nname = \"{name}\"\nmodule = \"{module}\"\n{rest}\n"));
    fleet.cli(["apply", "-f", &file].iter().chain(flags))
}
