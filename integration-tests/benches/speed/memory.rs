//! Memory of the processes: with nothing to do, and what each loaded function adds.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::Bench;
use crate::fleet::{Fleet, manifest, trigger};
use crate::guest;
use crate::http;
use crate::process::{Memory, memory};
use crate::report::{Goal, Section, Table};
use crate::samples::number;

const FUNCTIONS: usize = 200;
/// A node takes no more functions than it could give all their memory: 200 with the usual 64 MiB are too many for some.
const LIMITS: &str = "[limits]\nmemory = \"16MiB\"";
/// Reports, tidying and what else a node does once after a change.
const SETTLE: Duration = Duration::from_secs(5);
const MB: f64 = 1e6;

/// All processes at one moment.
struct Moment {
    littorald: Memory,
    agent: Memory,
    worker: Memory,
}

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let fleet = Fleet::start(bench, "memory", 1)?;
    let idle = moment(&fleet)?;
    let greetings = deploy(&fleet)?;
    let loaded = moment(&fleet)?;
    for (number, greeting) in greetings.iter().enumerate() {
        let answered = http::is_ok(fleet.agents[0].http, &host(number), "/", greeting);
        ensure!(answered, "function {number} did not answer");
    }
    let called = moment(&fleet)?;
    Ok(section(&idle, &loaded, &called))
}

fn moment(fleet: &Fleet) -> Result<Moment> {
    std::thread::sleep(SETTLE);
    let agent = &fleet.agents[0];
    Ok(Moment {
        littorald: memory(fleet.littorald.pid())?,
        agent: memory(agent.program.pid())?,
        worker: memory(agent.worker()?)?,
    })
}

/// All at once, as an operator would; what each answers.
fn deploy(fleet: &Fleet) -> Result<Vec<String>> {
    let mut greetings = Vec::new();
    let mut folder = String::new();
    for number in 0..FUNCTIONS {
        let guest = guest::hello(number)?;
        let file = format!("many/hello-{number}.wasm");
        fleet.write(&file, guest.wasm)?;
        let module = format!("hello-{number}.wasm");
        let rest = format!("{}\n{LIMITS}", trigger(&host(number)));
        let text = manifest(&format!("hello-{number}"), &module, &rest);
        let path = fleet.write(&format!("many/hello-{number}.toml"), text)?;
        folder = path.parent().unwrap_or(&path).to_string_lossy().into_owned();
        greetings.push(guest.greeting);
    }
    fleet.cli(["apply", "-q", "-f", &folder, "--wait"])?;
    Ok(greetings)
}

fn host(number: usize) -> String {
    format!("f{number}.test")
}

fn section(idle: &Moment, loaded: &Moment, called: &Moment) -> Section {
    let mut table =
        Table::new(["", "littorald, MB", "agent, MB", "worker, MB", "of it anonymous, MB", "kB a function"]);
    let mut row = |what: &str, at: &Moment| {
        let grown = (at.worker.anonymous - idle.worker.anonymous) / FUNCTIONS as f64 / 1e3;
        table.row([
            what.to_owned(),
            number(at.littorald.resident / MB, 1),
            number(at.agent.resident / MB, 1),
            number(at.worker.resident / MB, 1),
            number(at.worker.anonymous / MB, 1),
            number(grown.max(0.0), 0),
        ]);
    };
    row("idle", idle);
    row("200 functions loaded", loaded);
    row("each called once", called);
    let notes = vec![
        format!(
            "{FUNCTIONS} functions of {} bytes, all of them different. Resident memory and its anonymous part, by the \
             kernel's own account; the last column is what the worker's anonymous part has grown by.",
            guest::SIZE
        ),
        "On this machine's architecture: under an emulator its memory would be counted too.".to_owned(),
        "After calls it holds the memories that the instance pool keeps warm too.".to_owned(),
    ];
    let goals = vec![Goal {
        what: "idle agent, resident",
        goal: "< 40 MB",
        measured: format!("{} MB", number(idle.agent.resident / MB, 1)),
        met: idle.agent.resident < 40.0 * MB,
    }];
    Section { title: "Memory", table, notes, goals }
}
