//! A new revision goes out in batches and no further than two nodes that cannot load it.

use harness::fleet::{EVERY, Fleet, everywhere, example};
use harness::http;
use harness::process::wait_for;

#[test]
fn an_update_reaches_every_node_without_a_failed_request() {
    let fleet = Fleet::start(3);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    let wasm = example("hello-http");
    let changed = format!("{}\n[limits]\ntimeout = \"2s\"", everywhere("/*"));
    fleet.apply("hello-http", wasm.to_str().unwrap(), &changed, &[]).ok();
    wait_for("revision 2 being stable", || {
        for agent in &fleet.agents {
            assert_eq!(http::get(agent.http, "/").status, 200);
        }
        fleet.json(["function", "describe", "hello-http"])["function"]["stable_revision"] == 2
    });
}

#[test]
fn a_revision_that_two_nodes_cannot_load_is_taken_back() {
    let fleet = Fleet::start(3);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    // More memory from the start than its limit allows: it compiles, and no node can load it.
    let wasm = wat::parse_str("(module (memory 2000) (func (export \"f\")))").unwrap();
    let hungry = fleet.write("hungry.wasm", wasm);
    fleet
        .apply("hello-http", &hungry, EVERY, &["--wait", "--timeout", "60s"])
        .fails(8, &["could not load", "limits.memory"]);
    let function = fleet.json(["function", "describe", "hello-http"]);
    assert_eq!(
        (&function["function"]["revision"], &function["function"]["stable_revision"]),
        (&2.into(), &1.into())
    );
    for agent in &fleet.agents {
        assert_eq!(http::get(agent.http, "/").status, 200);
    }
}
