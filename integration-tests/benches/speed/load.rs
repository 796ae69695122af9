//! What a node does to have a function, beside what the control plane has done for it: loading and compiling.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::fleet::Fleet;
use crate::guest;
use crate::process::{ThreadTimes, children, cpu_of_ended_children};
use crate::report::{Goal, Section, Table};
use crate::samples::{Samples, number};

const ROUNDS: usize = 10;

/// Of one module, in each round.
#[derive(Default)]
struct Costs {
    wasm_bytes: usize,
    artifact_bytes: f64,
    /// CPU time of the compiler's process, in milliseconds.
    compile_ms: Vec<f64>,
    /// Of verifying, mapping and linking, in milliseconds.
    load_ms: Vec<f64>,
    /// CPU time of the worker from the apply until the function runs, in milliseconds.
    load_cpu_ms: Vec<f64>,
}

/// One module, one time.
struct Round {
    artifact_bytes: f64,
    compile_ms: f64,
    load_ms: f64,
    load_cpu_ms: f64,
}

type Module = fn(usize) -> Result<Vec<u8>>;

const MODULES: [(&str, Module); 2] =
    [("hello", |number| Ok(guest::hello(number)?.wasm)), ("resize", guest::resize)];

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let fleet = Fleet::start(bench, "load", 1)?;
    let mut all: [Costs; 2] = Default::default();
    // What starts the compiler for the first time reads its program from the disk.
    for number in 0..=bench.rounds(ROUNDS) {
        for ((name, module), costs) in MODULES.iter().zip(&mut all) {
            let wasm = module(number)?;
            let round = round(&fleet, &format!("{name}-{number}"), &wasm)?;
            (costs.wasm_bytes, costs.artifact_bytes) = (wasm.len(), round.artifact_bytes);
            if number > 0 {
                costs.compile_ms.push(round.compile_ms);
                costs.load_ms.push(round.load_ms);
                costs.load_cpu_ms.push(round.load_cpu_ms);
            }
        }
    }
    Ok(section(&all))
}

fn round(fleet: &Fleet, name: &str, wasm: &[u8]) -> Result<Round> {
    let littorald = fleet.littorald.pid();
    let worker = *children(fleet.agents[0].program.pid())?.first().context("the agent has no worker")?;
    let (before, worker_before) = (cpu_of_ended_children(littorald)?, ThreadTimes::of(worker)?);
    fleet.deploy(name, wasm, "")?;
    let loading = ThreadTimes::of(worker)?.since(&worker_before);
    let compiling = cpu_of_ended_children(littorald)? - before;
    let function = fleet.json(["function", "describe", name])?;
    let load_us = function["nodes"][0]["load_us"].as_f64().context("the node told no time of loading")?;
    let spec = function["function"]["spec"]["module"].as_str().context("the function has no module")?;
    let module = fleet.json(["module", "inspect", spec])?;
    let artifact_bytes =
        module["artifacts"][0]["size_bytes"].as_f64().context("the module has no artifact")?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Round { artifact_bytes, compile_ms: ms(compiling), load_ms: load_us / 1e3, load_cpu_ms: ms(loading) })
}

fn section(all: &[Costs]) -> Section {
    let mut table = Table::new([
        "module",
        "WebAssembly",
        "native code",
        "compiling, CPU ms",
        "loading, CPU ms",
        "ratio",
        "loading, ms",
    ]);
    let mut lowest = f64::INFINITY;
    for ((name, _), costs) in MODULES.iter().zip(all) {
        let ratio = Samples::ratios(&costs.compile_ms, &costs.load_cpu_ms);
        lowest = lowest.min(ratio.median());
        table.row([
            (*name).to_owned(),
            format!("{} kB", costs.wasm_bytes / 1000),
            format!("{} kB", number(costs.artifact_bytes / 1e3, 0)),
            Samples::new(costs.compile_ms.clone()).show(0),
            Samples::new(costs.load_cpu_ms.clone()).show(2),
            ratio.show(0),
            Samples::new(costs.load_ms.clone()).show(2),
        ]);
    }
    let notes = vec![
        format!("{} rounds; median (minimum–maximum).", all[0].load_ms.len()),
        "Loading in CPU is all that the worker uses from the apply until the function runs: being asked over its socket, \
         reading and hashing the file, checking signature, target and engine, mapping, linking, and the new routes. The last \
         column is the wall clock of loading alone, as the node reports it."
            .to_owned(),
    ];
    let goals = vec![Goal {
        what: "compiling to loading, in CPU, the lower of both modules",
        goal: "≥ 200",
        measured: number(lowest, 0),
        met: lowest >= 200.0,
    }];
    Section { title: "Loading beside compiling", table, notes, goals }
}
