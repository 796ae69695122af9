//! Durable commits of small records, beside the least that durability costs: an append and an fdatasync.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use littorald::store::{SledStore, Store, Txn};

use crate::Bench;
use crate::report::{Goal, Section, Table};
use crate::samples::{Samples, number};

const ROUNDS: usize = 10;
/// In a round, on each side.
const COMMITS: usize = 256;
const COMMITTERS: usize = 16;
const RECORD: usize = 1000;

/// Microseconds a commit, in each round.
#[derive(Default)]
struct Costs {
    raw: Vec<f64>,
    raw_growing: Vec<f64>,
    alone: Vec<f64>,
    together: Vec<f64>,
}

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let dir = bench.work.path().join("commit");
    std::fs::create_dir(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Arc::new(SledStore::open(&dir.join("store"))?);
        let mut costs = Costs::default();
        // The first round is not counted: files are made and grow for the first time.
        for round in 0..=bench.rounds(ROUNDS) {
            let growing = raw(&dir.join("growing"), false)?;
            let alone = commits(&store, 1, round).await?;
            let raw = raw(&dir.join("written"), true)?;
            let together = commits(&store, COMMITTERS, round).await?;
            if round > 0 {
                costs.raw_growing.push(growing);
                costs.alone.push(alone);
                costs.raw.push(raw);
                costs.together.push(together);
            }
        }
        store.close().await;
        Ok(section(&costs))
    })
}

/// One file, one thread. `written`: into blocks that have been written before, so that a sync has no metadata to
/// write; otherwise the file grows with each.
fn raw(path: &Path, written: bool) -> Result<f64> {
    let (mut file, record) = (File::create(path)?, [b'x'; RECORD]);
    if written {
        file.write_all(&vec![0; RECORD * COMMITS])?;
        file.sync_all()?;
        file = File::options().write(true).open(path)?;
    }
    let began = Instant::now();
    for _ in 0..COMMITS {
        file.write_all(&record)?;
        file.sync_data().context("could not sync")?;
    }
    Ok(each(began.elapsed()))
}

async fn commits(store: &Arc<SledStore>, committers: usize, round: usize) -> Result<f64> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for committer in 0..committers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for number in 0..COMMITS / committers {
                let key = format!("bench/{round}/{committers}/{committer}/{number}");
                store.commit(Txn::new().absent(&key).put(&key, vec![b'x'; RECORD])).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(each(began.elapsed()))
}

fn each(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / COMMITS as f64
}

fn section(costs: &Costs) -> Section {
    let mut table = Table::new(["", "µs a record", "to the raw append"]);
    let mut row = |what: &str, values: &[f64]| {
        let ratio = Samples::ratios(values, &costs.raw_growing);
        table.row([what.to_owned(), Samples::new(values.to_vec()).show(1), ratio.show(2)]);
    };
    row("raw append and fdatasync, one after the other", &costs.raw_growing);
    row("the same into blocks written before", &costs.raw);
    row("`commit` of the store, one after the other", &costs.alone);
    row("`commit` of the store, 16 at once", &costs.together);
    let (alone, together) = (
        Samples::ratios(&costs.alone, &costs.raw_growing),
        Samples::ratios(&costs.together, &costs.raw_growing),
    );
    let notes = vec![format!(
        "{} rounds in turns of {COMMITS} records of {RECORD} bytes each, on one file system; median \
         (minimum–maximum). Each commit has a key, a precondition and a checksum, and is in the index when it is \
         acknowledged to be on the disk.",
        alone.count()
    )];
    let goals = vec![
        Goal {
            what: "durable commit of 1 kB, to a raw append and fdatasync",
            goal: "≤ 2",
            measured: number(alone.median(), 2),
            met: alone.median() <= 2.0,
        },
        Goal {
            what: "the same, 16 at once",
            goal: "≤ 2",
            measured: number(together.median(), 2),
            met: together.median() <= 2.0,
        },
    ];
    Section { title: "Durable commits", table, notes, goals }
}
