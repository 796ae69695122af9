//! How fast Littoral is, beside what does less: the numbers of `docs/benchmarks.md`.
//!
//! Ratios are made within one run, of rounds that take turns, so that what disturbs one side disturbs the other.
//! `integration-tests/bench` builds and fetches what is needed and starts this.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock, and its servers live as long as it"
)]

mod commit;
mod fleet;
mod guest;
mod http;
mod ingress;
mod load;
mod machine;
mod memory;
mod plain_http;
mod plain_tls;
mod process;
mod push;
mod report;
mod samples;
mod sizes;
mod transfer;
mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use tempfile::TempDir;

use crate::report::Section;

/// Measures Littoral
#[derive(Debug, Parser)]
#[command(name = "speed")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    server: Option<Server>,
    /// What cargo says to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Args)]
struct Settings {
    /// Measure only these; nothing is written then
    #[arg(long, value_name = "NAME", value_parser = BENCHMARKS.map(|(name, _)| name))]
    only: Vec<String>,
    /// Rounds of each, instead of its own number
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Folder of the release programs
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    programs: PathBuf,
    /// Folder of the programs for aarch64, to tell their sizes
    #[arg(long, value_name = "DIR")]
    cross_programs: Option<PathBuf>,
    /// `wasmtime` of the same release, to compare with
    #[arg(long, value_name = "FILE", default_value = "wasmtime")]
    wasmtime: PathBuf,
    /// Document that the results are written into, between its two markers
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What is compared with, in a process of its own.
#[derive(Debug, Subcommand)]
enum Server {
    #[command(hide = true)]
    PlainHttp { address: SocketAddr },
    #[command(hide = true)]
    PlainTls { folder: PathBuf },
}

/// What all benchmarks are given.
struct Bench {
    settings: Settings,
    /// For data of programs; on the disk that the checkout is on, and gone afterwards.
    work: TempDir,
}

impl Bench {
    fn rounds(&self, usual: usize) -> usize {
        self.settings.rounds.unwrap_or(usual).max(1)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.settings.programs.join(name)
    }
}

type Measure = fn(&Bench) -> Result<Section>;

const BENCHMARKS: [(&str, Measure); 7] = [
    ("ingress", ingress::measure),
    ("push", push::measure),
    ("load", load::measure),
    ("transfer", transfer::measure),
    ("commit", commit::measure),
    ("memory", memory::measure),
    ("sizes", sizes::measure),
];

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.server {
        Some(Server::PlainHttp { address }) => plain_http::serve(address),
        Some(Server::PlainTls { folder }) => plain_tls::serve(&folder),
        // `cargo test --all-targets` starts benchmarks too, and without this.
        None if !cli.bench => {
            println!("start it with `cargo bench`, or all of it with integration-tests/bench");
            Ok(())
        }
        None => run(cli.settings),
    }
}

fn run(settings: Settings) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "this is a debug build: its numbers would mean nothing");
    for program in ["littorald", "littoral-agent", "littoral"] {
        let path = settings.programs.join(program);
        ensure!(path.is_file(), "{} is not there: use integration-tests/bench", path.display());
    }
    // Whatever ran before may still have this much to write.
    rustix::fs::sync();
    let work = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).context("no folder to work in")?;
    let bench = Bench { settings, work };
    let only = &bench.settings.only;
    let mut sections = Vec::new();
    for (name, measure) in BENCHMARKS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("measuring: {name}");
        let section = measure(&bench).with_context(|| format!("could not measure {name}"))?;
        println!("{}", section.text());
        sections.push(section);
    }
    let goals = report::goals(&sections);
    println!("{goals}");
    match &bench.settings.write {
        Some(file) if only.is_empty() => write(&bench, file, &goals, &sections),
        _ => Ok(()),
    }
}

fn write(bench: &Bench, file: &Path, goals: &str, sections: &[Section]) -> Result<()> {
    let mut results = machine::describe(&bench.settings.wasmtime, bench.work.path())?;
    results.push_str(goals);
    for section in sections {
        results.push_str(&section.text());
    }
    report::write(file, &results)?;
    eprintln!("written to {}", file.display());
    Ok(())
}
