//! From a push to answers on all nodes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use littoral_model::time::Timestamp;
use littoral_platform::clock;

use crate::Bench;
use crate::fleet::{Fleet, manifest, trigger};
use crate::guest::{self, Guest};
use crate::http;
use crate::process::wait_until;
use crate::report::{Goal, Section, Table};
use crate::samples::{Samples, number};

const ROUNDS: usize = 10;
const NODES: usize = 3;
/// Between two requests to a node that does not answer yet.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds after the push had returned.
#[derive(Debug)]
struct Round {
    compiled: f64,
    applied: f64,
    /// The first 200 of each node, in the order in which they came.
    answers: Vec<f64>,
    /// Before the push returned: what it took itself.
    push: f64,
    compile: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let fleet = Fleet::start(bench, "push", NODES)?;
    // The first one also warms up.
    round(&fleet, 0)?;
    let rounds: Vec<Round> =
        (1..=bench.rounds(ROUNDS)).map(|number| round(&fleet, number)).collect::<Result<_>>()?;
    Ok(section(&rounds))
}

fn round(fleet: &Fleet, number: usize) -> Result<Round> {
    let Guest { wasm, greeting } = guest::hello(number)?;
    let name = format!("hello-{number}");
    let file = fleet.write(&format!("{name}.wasm"), wasm)?;
    let host = format!("{name}.test");
    let spec =
        fleet.write(&format!("{name}.toml"), manifest(&name, &format!("{name}@1"), &trigger(&host)))?;

    let began = Instant::now();
    fleet.cli(["module", "push", &file.to_string_lossy(), "--name", &name, "--version", "1"])?;
    let (pushed, pushed_at) = (Instant::now(), clock::now());
    let (applied, answers) = std::thread::scope(|scope| {
        let first_answer = |agent: &crate::fleet::Agent| {
            let address = agent.http;
            while !http::is_ok(address, &host, "/", &greeting) {
                if pushed.elapsed() > PATIENCE {
                    return None;
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            Some(millis(pushed.elapsed()))
        };
        let waiting: Vec<_> =
            fleet.agents.iter().map(|agent| scope.spawn(move || first_answer(agent))).collect();
        let applied = fleet.cli(["apply", "-f", &spec.to_string_lossy()]).map(|_| millis(pushed.elapsed()));
        (applied, waiting.into_iter().map(|one| one.join().ok().flatten()).collect::<Option<Vec<_>>>())
    });
    let mut answers = answers.context("a node gave no answer within a minute")?;
    answers.sort_by(f64::total_cmp);
    let (compiled, compile) = compiled(fleet, &name, pushed_at)?;
    settle(fleet, &name)?;
    Ok(Round { compiled, applied: applied?, answers, push: millis(pushed - began), compile })
}

/// When the native code was there, and how long it was worked on.
fn compiled(fleet: &Fleet, name: &str, since: Timestamp) -> Result<(f64, f64)> {
    let module = fleet.json(["module", "inspect", &format!("{name}@1")])?;
    let artifact = &module["artifacts"][0];
    let at = artifact["compiled_at"].as_str().context("the artifact has no date")?;
    let at = humantime::parse_rfc3339(at)?.duration_since(std::time::UNIX_EPOCH)?;
    let took = artifact["compile_ms"].as_f64().context("the artifact has no duration")?;
    // Below zero when it was done before the push had returned.
    Ok((at.as_secs_f64() * 1e3 - since.as_millis() as f64, took))
}

/// What the last round has left to say must not be in the way of the next.
fn settle(fleet: &Fleet, name: &str) -> Result<()> {
    wait_until("the end of the rollout", || {
        let function = fleet.json(["function", "describe", name])?;
        Ok(function["function"]["rollout"] == "Succeeded")
    })?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn section(rounds: &[Round]) -> Section {
    let samples = |of: fn(&Round) -> f64| Samples::new(rounds.iter().map(of));
    let all = samples(|round| round.answers[NODES - 1]);
    let mut table = Table::new(["after the push had returned", "ms"]);
    let mut row = |what: &str, samples: Samples| table.row([what.to_owned(), samples.show(0)]);
    row("the native code is there", samples(|round| round.compiled));
    row("`littoral apply` has returned", samples(|round| round.applied));
    row("the first node answers", samples(|round| round.answers[0]));
    row("the second node answers", samples(|round| round.answers[1]));
    row("the third node answers", all.clone());
    let notes = vec![
        format!(
            "{} modules of {} bytes, each new to everybody; median (minimum–maximum).",
            all.count(),
            guest::SIZE
        ),
        format!(
            "The push itself took {} ms, compiling {} ms of wall clock.",
            samples(|round| round.push).show(0),
            samples(|round| round.compile).show(0)
        ),
    ];
    let goals = vec![Goal {
        what: "push to the first 200 on all of three nodes, the slowest round",
        goal: "< 1 s",
        measured: format!("{} ms", number(all.max(), 0)),
        met: all.max() < 1000.0,
    }];
    Section { title: "From a push to answers on three nodes", table, notes, goals }
}
