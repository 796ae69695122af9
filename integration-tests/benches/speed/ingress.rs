//! HTTP requests a second: a fresh instance for each, beside wasmtime's own server and beside no guest at all.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::fleet::{Fleet, loopback, trigger};
use crate::guest::example;
use crate::http;
use crate::process::{Program, cpu, free_port};
use crate::report::{Goal, Section, Table};
use crate::samples::{Samples, number};
use crate::wrk;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(5);
const GREETING: &str = "Hello from Littoral";

struct Contender {
    name: &'static str,
    address: SocketAddr,
    pids: Vec<u32>,
    rate: Vec<f64>,
    cpu_us: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Ends with it.
    _program: Option<Program>,
}

impl Contender {
    fn new(name: &'static str, address: SocketAddr, pids: Vec<u32>, program: Option<Program>) -> Self {
        let empty = Vec::new;
        Self {
            name,
            address,
            pids,
            rate: empty(),
            cpu_us: empty(),
            p50: empty(),
            p99: empty(),
            _program: program,
        }
    }

    fn started(name: &'static str, address: SocketAddr, command: Command, dir: &Path) -> Result<Self> {
        let mut program = Program::start(name, command, &dir.join(format!("{}.log", address.port())))?;
        program.wait_until("answer", || http::is_ok(address, "localhost", "/", GREETING))?;
        Ok(Self::new(name, address, vec![program.pid()], Some(program)))
    }

    fn round(&mut self) -> Result<()> {
        let before = cpu(&self.pids)?;
        let load = wrk::run(self.address, DURATION)?;
        let used = cpu(&self.pids)? - before;
        self.rate.push(load.per_second);
        self.cpu_us.push(used.as_secs_f64() * 1e6 / load.requests);
        self.p50.push(load.p50);
        self.p99.push(load.p99);
        Ok(())
    }
}

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let fleet = Fleet::start(bench, "ingress", 1)?;
    let agent = &fleet.agents[0];
    fleet.deploy("hello", &std::fs::read(example("hello-http"))?, &trigger("*"))?;
    let pids = vec![agent.program.pid(), agent.worker()?];
    let mut all = vec![Contender::new("Littoral, a fresh instance", agent.http, pids, None)];
    all.extend(others(bench)?);
    for contender in &all {
        wrk::run(contender.address, WARM_UP)?;
    }
    let rounds = bench.rounds(ROUNDS);
    for round in 0..rounds {
        // Nobody always comes after the same one.
        for turn in 0..all.len() {
            let next = (round + turn) % all.len();
            all[next].round()?;
        }
    }
    Ok(section(&all, rounds))
}

/// In the order that [`section`] expects.
fn others(bench: &Bench) -> Result<[Contender; 3]> {
    let dir = bench.work.path();
    let mut plain = Command::new(std::env::current_exe()?);
    let address = loopback(free_port()?);
    plain.args(["plain-http", &address.to_string()]);
    let plain = Contender::started("hyper without a guest", address, plain, dir)?;
    let wasmtime = |name, flags: &[&str]| {
        let mut command = Command::new(&bench.settings.wasmtime);
        let address = loopback(free_port()?);
        command.args(["serve", "-S", "cli", "--addr", &address.to_string()]).args(flags);
        command.arg(example("hello-http"));
        Contender::started(name, address, command, dir)
    };
    let fresh = wasmtime("`wasmtime serve`, a fresh instance", &[])?;
    let reused =
        wasmtime("`wasmtime serve`, 128 requests an instance", &["--max-instance-reuse-count", "128"])?;
    Ok([plain, fresh, reused])
}

fn section(all: &[Contender], rounds: usize) -> Section {
    let [littoral, plain, fresh, reused] = all else { unreachable!("there are four contenders") };
    let headers = ["", "requests/s", "to plain hyper", "CPU µs/request", "p50 µs", "p99 µs"];
    let mut table = Table::new(headers);
    for contender in all {
        table.row([
            contender.name.to_owned(),
            Samples::new(contender.rate.clone()).show(0),
            Samples::ratios(&contender.rate, &plain.rate).show(3),
            Samples::new(contender.cpu_us.clone()).show(1),
            Samples::new(contender.p50.clone()).show(0),
            Samples::new(contender.p99.clone()).show(0),
        ]);
    }
    let to_fresh = Samples::ratios(&littoral.rate, &fresh.rate);
    let to_plain = Samples::ratios(&littoral.rate, &plain.rate);
    let to_reused = Samples::ratios(&littoral.rate, &reused.rate);
    let cpu_to_fresh = Samples::ratios(&littoral.cpu_us, &fresh.cpu_us);
    let notes = vec![
        format!(
            "{rounds} rounds of {} s each, in turns; median (minimum–maximum). wrk runs on the same cores.",
            DURATION.as_secs()
        ),
        format!(
            "Littoral to `wasmtime serve` with fresh instances: {}, in CPU {}.",
            to_fresh.show(2),
            cpu_to_fresh.show(2)
        ),
        format!("Littoral to `wasmtime serve` with reused instances: {}.", to_reused.show(2)),
    ];
    let goals = vec![
        Goal {
            what: "requests/s, to `wasmtime serve` with fresh instances",
            goal: "≥ 3",
            measured: number(to_fresh.median(), 2),
            met: to_fresh.median() >= 3.0,
        },
        Goal {
            what: "requests/s, to plain hyper",
            goal: "≥ 0.15",
            measured: number(to_plain.median(), 3),
            met: to_plain.median() >= 0.15,
        },
    ];
    Section { title: "Ingress", table, notes, goals }
}
