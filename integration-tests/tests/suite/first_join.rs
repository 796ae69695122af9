//! A machine that is no node yet, and has a token: `run` joins first. In containers nobody types `join`.

use std::process::Command;

use harness::fleet::Fleet;
use harness::process::{Done, Program, free_port, program, wait_for};

struct Machine<'a> {
    fleet: &'a Fleet,
    token_file: String,
    admin: String,
}

impl<'a> Machine<'a> {
    fn new(fleet: &'a Fleet, token: &str) -> Self {
        let token_file = fleet.write("machine.token", token);
        Self { fleet, token_file, admin: format!("127.0.0.1:{}", free_port()) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program("it-agent"));
        command.args(["run", "--http", "127.0.0.1:0", "--name", "machine", "--admin", &self.admin]);
        command.args(["--server", &self.fleet.server(), "--token-file", &self.token_file]);
        command.arg("--data-dir").arg(self.fleet.path("machine"));
        command
    }

    fn start(&self) -> Program {
        Program::start("machine", self.command(), &self.fleet.path("machine.log"))
    }

    fn health(&self) -> Done {
        Done::of(Command::new(program("it-agent")).args(["health", "--admin", &self.admin]).output().unwrap())
    }
}

#[test]
fn an_agent_with_a_token_joins_waits_for_its_control_plane_and_joins_once() {
    let mut fleet = Fleet::start(0);
    let token = fleet.token(&["--label", "zone=a"]);
    fleet.littorald.kill_9();
    let machine = Machine::new(&fleet, &token);
    let agent = machine.start();
    wait_for("an attempt", || agent.log().contains("could not join yet"));
    machine.health().fails(1, &["nothing answers", &machine.admin]);
    drop(agent);
    let Machine { token_file, admin, .. } = machine;

    fleet.restart_littorald();
    let machine = Machine { fleet: &fleet, token_file, admin };
    let mut agent = machine.start();
    fleet.wait_for_ready(1);
    assert_eq!(fleet.json(["node", "list"])[0]["labels"]["zone"], "a");
    wait_for("health", || machine.health().code == 0);

    // It is a node now: what the token file holds is not looked at any more.
    agent.kill_9();
    std::fs::write(&machine.token_file, "nonsense").unwrap();
    let _agent = machine.start();
    wait_for("health", || machine.health().code == 0);
}

#[test]
fn an_agent_asked_to_stop_before_it_has_joined_stops() {
    let mut fleet = Fleet::start(0);
    let token = fleet.token(&[]);
    fleet.littorald.kill_9();
    let machine = Machine::new(&fleet, &token);
    let mut agent = machine.start();
    wait_for("an attempt", || agent.log().contains("could not join yet"));
    assert!(agent.stop().success());
}

#[test]
fn a_token_that_is_refused_ends_the_agent_with_the_reason() {
    let fleet = Fleet::start(0);
    let token = fleet.token(&[]);
    fleet.join("other", &token).ok();
    let machine = Machine::new(&fleet, &token);
    Done::of(machine.command().output().unwrap()).fails(5, &["has been used: create another"]);
}

#[test]
fn the_control_plane_tells_its_health_and_its_operator_needs_no_context() {
    let fleet = Fleet::start(0);
    let http = format!("127.0.0.1:{}", fleet.ports.http);
    let health = || {
        Done::of(Command::new(program("it-littorald")).args(["--http", &http, "health"]).output().unwrap())
    };
    health().ok();
    let credential = fleet.path("control/operator.toml");
    let out = fleet.path("out.token");
    let mut command = Command::new(program("it-littoral"));
    command.env("LITTORAL_CONFIG", fleet.path("none.toml")).arg("--credential").arg(credential);
    Done::of(command.args(["token", "create", "--out"]).arg(&out).output().unwrap()).ok();
    let token = std::fs::read_to_string(&out).unwrap();
    fleet.join("n1", token.trim()).ok();
}
