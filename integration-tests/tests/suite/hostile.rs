//! Guests that want too much: each ends alone, is told apart, and the node goes on.

use crate::fleet::{EVERY, Fleet, everywhere};
use crate::http;
use crate::process::wait_for;

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
        [("spin", "timeout"), ("trap", "trap"), ("recurse", "stack_overflow"), ("grow", "out_of_memory")]
    {
        call(name).fails(1, &[outcome]);
        assert_eq!(call("fine").ok().trim(), "7", "after {name}");
    }
    assert_eq!(fleet.agents[0].worker(), worker, "the worker that it was");
    wait_for("outcomes in the metrics", || {
        let metrics = fleet.agents[0].metrics();
        ["timeout", "trap", "stack_overflow", "out_of_memory"].iter().all(|o| metrics.contains(&format!("outcome=\"{o}\"")))
    });
}

#[test]
fn a_giant_body_is_cut_off_and_counted() {
    let fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &format!("{}\n[limits]\noutput = \"64KiB\"", everywhere("/*")));
    let agent = &fleet.agents[0];
    assert_eq!(http::post(agent.http, "/", &[1; 60 * 1024]).body.len(), 60 * 1024);
    match http::try_send(agent.http, "POST", "/", &vec![1; 1024 * 1024]) {
        Ok(answer) => assert!(answer.status.is_server_error(), "{} {}", answer.status, answer.body.len()),
        Err(_cut_off_in_the_middle) => {}
    }
    wait_for("the outcome", || agent.metrics().contains("outcome=\"output_limit\""));
    assert_eq!(http::get(agent.http, "/").status, 200);
}
