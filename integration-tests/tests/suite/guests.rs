//! Every kind of guest, on a fleet.

use harness::fleet::{EVERY, Fleet, everywhere};
use harness::http;
use harness::picture;

#[test]
fn a_command_in_c_reads_stdin_and_has_an_exit_code() {
    let fleet = Fleet::start(1);
    fleet.deploy_example("upper", EVERY);
    assert_eq!(fleet.cli(["function", "invoke", "upper", "--data", "high tide"]).ok(), "HIGH TIDE");
    let empty = fleet.cli(["function", "invoke", "upper"]);
    empty.fails(1, &["exit code 3"]);
    let large = vec![b'a'; 3 * 1024 * 1024];
    let done = fleet.cli_with_input(["function", "invoke", "upper", "--data-file", "-"], &large);
    assert_eq!(done.ok().len(), large.len());
}

#[test]
fn a_typed_component_is_called_in_wave() {
    let fleet = Fleet::start(1);
    fleet.deploy_example("typed", EVERY);
    let call = |text: &str| fleet.cli(["function", "invoke", "typed", "--call", text]);
    assert_eq!(call("add(40, 2)").ok().trim(), "42");
    assert_eq!(call("greet(\"sea\")").ok().trim(), "\"Hello, sea!\"");
    call("subtract(1, 2)").fails(1, &["subtract", "add"]);
    call("add(1)").fails(1, &["add"]);
    call("fib(94)").fails(1, &["trap"]);
}

#[test]
fn a_core_module_is_called_too() {
    let fleet = Fleet::start(1);
    let wasm = wat::parse_str(
        "(module (func (export \"mul\") (param i32 i32) (result i32) local.get 0 local.get 1 i32.mul))",
    );
    let module = fleet.write("mul.wasm", wasm.unwrap());
    fleet.deploy("mul", &module, EVERY);
    assert_eq!(fleet.cli(["function", "invoke", "mul", "--call", "mul(6, 7)"]).ok().trim(), "42");
}

#[test]
fn an_image_is_resized() {
    let fleet = Fleet::start(1);
    let limits = "[limits]\ntimeout = \"10s\"\nmemory = \"256MiB\"\noutput = \"20MiB\"";
    fleet.deploy_example("resize", &format!("{}\n{limits}", everywhere("/resize")));
    let resized = http::post(fleet.agents[0].http, "/resize?w=2", &picture::png(4, 4));
    assert_eq!(resized.status, 200, "{}", resized.text());
    assert_eq!(&resized.body[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&resized.body[16..24], [0, 0, 0, 2, 0, 0, 0, 2], "width and height");
    assert_eq!(http::post(fleet.agents[0].http, "/resize?w=2", b"not a picture").status, 415);
}
