//! What a node does to have a function, beside what the control plane has done for it: loading and compiling.

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::fleet::Fleet;
use crate::guest;
use crate::process::cpu_of_ended_children;
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
    /// Verifying, mapping and linking, in milliseconds.
    load_ms: Vec<f64>,
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
            let (compile_ms, load_ms, artifact_bytes) = round(&fleet, &format!("{name}-{number}"), &wasm)?;
            (costs.wasm_bytes, costs.artifact_bytes) = (wasm.len(), artifact_bytes);
            if number > 0 {
                costs.compile_ms.push(compile_ms);
                costs.load_ms.push(load_ms);
            }
        }
    }
    Ok(section(&all))
}

fn round(fleet: &Fleet, name: &str, wasm: &[u8]) -> Result<(f64, f64, f64)> {
    let littorald = fleet.littorald.pid();
    let before = cpu_of_ended_children(littorald)?;
    fleet.deploy(name, wasm, "")?;
    let compiling = cpu_of_ended_children(littorald)? - before;
    let function = fleet.json(["function", "describe", name])?;
    let load_us = function["nodes"][0]["load_us"].as_f64().context("the node told no time of loading")?;
    let spec = function["function"]["spec"]["module"].as_str().context("the function has no module")?;
    let module = fleet.json(["module", "inspect", spec])?;
    let size = module["artifacts"][0]["size_bytes"].as_f64().context("the module has no artifact")?;
    Ok((compiling.as_secs_f64() * 1e3, load_us / 1e3, size))
}

fn section(all: &[Costs]) -> Section {
    let mut table =
        Table::new(["module", "WebAssembly", "native code", "compiling, CPU ms", "loading, ms", "ratio"]);
    let mut lowest = f64::INFINITY;
    for ((name, _), costs) in MODULES.iter().zip(all) {
        let ratio = Samples::ratios(&costs.compile_ms, &costs.load_ms);
        lowest = lowest.min(ratio.median());
        table.row([
            (*name).to_owned(),
            format!("{} kB", costs.wasm_bytes / 1000),
            format!("{} kB", number(costs.artifact_bytes / 1e3, 0)),
            Samples::new(costs.compile_ms.clone()).show(0),
            Samples::new(costs.load_ms.clone()).show(2),
            ratio.show(0),
        ]);
    }
    let notes = vec![
        format!("{} rounds; median (minimum–maximum).", all[0].load_ms.len()),
        "Loading is wall clock as the node reports it, which is no less than its CPU time: reading and hashing the \
         file, checking signature, target and engine, mapping and linking."
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
