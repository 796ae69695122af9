//! Sizes of the programs as they are shipped, for each architecture.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::report::{Goal, Section, Table};
use crate::samples::number;

const MB: f64 = 1e6;
const AGENT: &str = "littoral-agent";

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let (own, other) = (&bench.settings.programs, &bench.settings.cross_programs);
    let mut table = Table::new(["program", std::env::consts::ARCH, "aarch64, cross-built"]);
    let mut largest_agent: f64 = 0.0;
    for program in ["littorald", AGENT, "littoral"] {
        let here = size(own, program)?;
        let there = other.as_ref().map(|folder| size(folder, program)).transpose()?;
        if program == AGENT {
            largest_agent = here.max(there.unwrap_or(0.0));
        }
        let shown = |size: f64| format!("{} MB", number(size / MB, 1));
        table.row([program.to_owned(), shown(here), there.map_or_else(|| "-".to_owned(), shown)]);
    }
    let notes = vec!["Profile `dist`: link-time optimisation, no symbols. `littoral` holds the other two, for `littoral dev`.".to_owned()];
    let goals = vec![Goal {
        what: "littoral-agent's program, the larger of both architectures",
        goal: "≤ 15 MB",
        measured: format!("{} MB", number(largest_agent / MB, 1)),
        met: largest_agent <= 15.0 * MB,
    }];
    Ok(Section { title: "Programs", table, notes, goals })
}

fn size(folder: &Path, program: &str) -> Result<f64> {
    let path = folder.join(program);
    let file = std::fs::metadata(&path).with_context(|| format!("could not look at {}", path.display()))?;
    Ok(file.len() as f64)
}
