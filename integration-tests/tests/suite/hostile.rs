//! Guests that want too much: each ends alone, is told apart, and the node goes on.

use harness::fleet::{EVERY, Fleet, everywhere};
use harness::http;
use harness::process::wait_for;

const HOSTILE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "spin") (loop br 0))
    (func (export "trap") unreachable)
    (func $deeper (export "recurse") (result i32) call $deeper i32.const 1 i32.add)
    (func (export "grow") (result i32)
        (loop
            (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        unreachable)
    (func (export "fine") (result i32) i32.const 7))"#;

#[test]
fn loops_traps_recursion_and_endless_growth_have_outcomes_of_their_own() {
    let fleet = Fleet::start(1);
    let module = fleet.write("hostile.wasm", wat::parse_str(HOSTILE).unwrap());
    fleet.deploy("hostile", &module, &format!("{EVERY}\n[limits]\ntimeout = \"300ms\""));
    let call = |name: &str| fleet.cli(["function", "invoke", "hostile", "--call", &format!("{name}()")]);
    let worker = fleet.agents[0].worker();
    for (name, outcome) in
        [("spin", "timeout"), ("trap", "trap"), ("recurse", "stack_overflow"), ("grow", "oom")]
    {
        call(name).fails(1, &[outcome]);
        assert_eq!(call("fine").ok().trim(), "7", "after {name}");
    }
    assert_eq!(fleet.agents[0].worker(), worker, "the worker that it was");
    wait_for("outcomes in the metrics", || {
        let metrics = fleet.agents[0].metrics();
        ["timeout", "trap", "stack_overflow", "oom"]
            .iter()
            .all(|o| metrics.contains(&format!("outcome=\"{o}\"")))
    });
}

#[test]
fn a_giant_body_is_cut_off_and_counted() {
    let fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &format!("{}\n[limits]\noutput = \"64KiB\"", everywhere("/*")));
    let agent = &fleet.agents[0];
    assert_eq!(http::post(agent.http, "/", &[1; 60 * 1024]).body.len(), 60 * 1024);
    match http::try_send(agent.http, "POST", "/", &vec![1; 1024 * 1024]) {
        Ok(answer) => assert_eq!(answer.outcome.as_deref(), Some("output_limit"), "{}", answer.status),
        Err(_cut_off_in_the_middle) => {}
    }
    wait_for("the outcome", || agent.metrics().contains("outcome=\"output_limit\""));
    assert_eq!(http::get(agent.http, "/").status, 200);
}

#[test]
fn more_requests_than_fit_are_told_to_come_again() {
    let fleet = Fleet::start(1);
    let slow = "(module (memory (export \"memory\") 1) (func (export \"spin\") (loop br 0)))";
    let module = fleet.write("slow.wasm", wat::parse_str(slow).unwrap());
    fleet.deploy("slow", &module, &format!("{EVERY}\n[limits]\ntimeout = \"3s\"\nconcurrency = 1"));
    let call = || fleet.cli_command(["function", "invoke", "slow", "--call", "spin()"]).spawn().unwrap();
    let calls: Vec<_> = (0..12).map(|_| call()).collect();
    let said: Vec<String> = calls
        .into_iter()
        .map(|call| String::from_utf8(call.wait_with_output().unwrap().stderr).unwrap())
        .collect();
    assert!(said.iter().any(|s| s.contains("timeout")), "{said:?}");
    assert!(said.iter().any(|s| s.contains("queue_full")), "{said:?}");
    assert!(fleet.agents[0].metrics().contains("littoral_build"), "the agent answers meanwhile");
}
