//! What people get wrong: each meets a clear error, and nothing is lost.

use std::fs::File;

use harness::fleet::{EVERY, Fleet, Ports, example, littorald};
use harness::process::{Done, free_port};

fn push(fleet: &Fleet, file: &str, name: &str) -> Done {
    fleet.cli(["module", "push", file, "--name", name, "--version", "1"])
}

#[test]
fn modules_that_cannot_run_are_refused_with_the_reason() {
    let fleet = Fleet::start(0);
    let whole = std::fs::read(example("hello-http")).unwrap();
    let text = fleet.write("text.wasm", "this is not a module");
    let half = fleet.write("half.wasm", &whole[..whole.len() / 2]);
    let wanting = "(module (import \"magic\" \"wand\" (func)) (func (export \"f\")))";
    let wanting = fleet.write("wanting.wasm", wat::parse_str(wanting).unwrap());
    let empty = fleet.write("empty.wasm", wat::parse_str("(component)").unwrap());
    push(&fleet, &text, "text").fails(1, &["not WebAssembly"]);
    push(&fleet, &half, "half").fails(1, &["ends in the middle"]);
    push(&fleet, &wanting, "wanting").fails(1, &["nobody provides", "magic.wand"]);
    push(&fleet, &empty, "empty").fails(1, &["nothing can be called"]);
    assert_eq!(fleet.json(["module", "list"]), serde_json::json!([]));
    push(&fleet, "absent.wasm", "absent").fails(1, &["absent.wasm"]);
}

#[test]
fn a_giant_file_is_refused_before_it_is_sent() {
    let fleet = Fleet::start(0);
    let giant = fleet.path("giant.wasm");
    File::create(&giant).unwrap().set_len(1 << 30).unwrap();
    push(&fleet, giant.to_str().unwrap(), "giant").fails(1, &["256MiB"]);
}

#[test]
fn a_version_never_changes_its_bytes() {
    let fleet = Fleet::start(0);
    let module = |n: i32| {
        wat::parse_str(format!("(module (func (export \"f\") (result i32) i32.const {n}))")).unwrap()
    };
    let (one, two) = (fleet.write("one.wasm", module(1)), fleet.write("two.wasm", module(2)));
    push(&fleet, &one, "m").ok();
    push(&fleet, &two, "m").fails(4, &["m@1", "other bytes"]);
}

#[test]
fn manifests_are_read_strictly() {
    let fleet = Fleet::start(0);
    let wasm = example("hello-http");
    let wasm = wasm.to_str().unwrap();
    fleet.apply("a", wasm, "colour = \"red\"", &[]).fails(1, &["colour", "line 4"]);
    let colour = "[placement]\nconstraints = [\"colour == red\"]";
    fleet.apply("a", wasm, colour, &[]).fails(1, &["constraint `colour == red`"]);
    fleet.apply("a", wasm, "[limits]\nmemory = \"lots\"", &[]).fails(1, &["limits.memory", "lots"]);
    fleet.apply("a", "absent@1", EVERY, &[]).fails(3, &["absent@1"]);
    fleet.apply("A", wasm, EVERY, &[]).fails(1, &["function.name"]);
    let upper = example("upper");
    let trigger = "[[trigger.http]]\npath = \"/\"";
    fleet.apply("a", upper.to_str().unwrap(), trigger, &[]).fails(1, &["answers no HTTP"]);
    assert_eq!(fleet.json(["function", "list"]), serde_json::json!([]));
}

#[test]
fn one_control_plane_a_directory() {
    let fleet = Fleet::start(0);
    let ports = Ports { grpc: free_port(), http: free_port() };
    let second = littorald(&fleet.path("control"), ports).output().unwrap();
    Done::of(second).fails(1, &["control", "another"]);
    fleet.cli(["status"]).ok();
}

#[test]
fn a_control_plane_that_is_not_there_is_named() {
    let mut fleet = Fleet::start(0);
    fleet.littorald.stop();
    fleet.cli(["node", "list"]).fails(6, &["127.0.0.1"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let fleet = Fleet::start(0);
    let ports = Ports { grpc: fleet.ports.grpc, http: free_port() };
    let second = littorald(&fleet.path("other"), ports).output().unwrap();
    Done::of(second).fails(1, &[&fleet.ports.grpc.to_string()]);
}
