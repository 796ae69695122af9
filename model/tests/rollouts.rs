//! Rollouts from beginning to end: scripts of what happens, and what becomes of it, line by line.
//!
//! A file in `rollouts/` holds a script, a line of dashes, and what has to come out. `LITTORAL_GOLDEN=write` writes the latter
//! anew: read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "fleet/simulated.rs"]
mod simulated;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use littoral_model::rollout::policy::{LowTraffic, Policy};
use littoral_model::rollout::state::Verb;

use simulated::{Health, Simulation};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn scripts_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rollouts");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "only {} scripts", files.len());
    let mut wrong = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (script, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let actual = play(script);
        if actual == expected {
            continue;
        }
        if std::env::var_os("LITTORAL_GOLDEN").is_some() {
            std::fs::write(&file, format!("{script}---\n{actual}")).unwrap();
        } else {
            let _ = write!(wrong, "{}:\n{actual}\n", file.display());
        }
    }
    assert!(wrong.is_empty(), "these came out differently:\n{wrong}");
}

fn play(script: &str) -> String {
    let mut fleet = Simulation::new(Policy::default());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        order(&mut fleet, &words).unwrap_or_else(|| panic!("not understood: {line}"));
    }
    fleet.log
}

fn order(fleet: &mut Simulation, words: &[&str]) -> Option<()> {
    match words {
        ["nodes", all @ ..] => all.iter().for_each(|node| fleet.add(node)),
        ["policy", settings @ ..] => {
            for setting in settings {
                let (key, value) = setting.split_once('=')?;
                set(&mut fleet.rollout.policy, key, value)?;
            }
            fleet.rollout.policy.validate().unwrap();
        }
        ["stages", stages @ ..] => {
            fleet.rollout.policy.stages = stages.iter().map(|stage| stage.parse().unwrap()).collect();
            fleet.rollout.policy.validate().unwrap();
        }
        ["batches"] => fleet.restart_with(Policy::batches()),
        ["requests", per_second] => fleet.requests = per_second.parse().ok()?,
        ["candidate", metric, percent] => *fleet.candidate.rate(metric)? = share(percent)?,
        ["stable", metric, percent] => *fleet.stable.rate(metric)? = share(percent)?,
        ["only", node, metric, percent] => *fleet.only(node).rate(metric)? = share(percent)?,
        ["compiling"] => fleet.compiling = true,
        ["compiled"] => fleet.compiling = false,
        ["uncompilable", cpu] => fleet.uncompilable = Some(cpu.parse().ok()?),
        ["offline", nodes @ ..] => nodes.iter().for_each(|node| fleet.connect(node, false)),
        ["online", nodes @ ..] => nodes.iter().for_each(|node| fleet.connect(node, true)),
        ["broken", nodes @ ..] => nodes.iter().for_each(|node| fleet.node(node).health = Health::Broken),
        ["unstable", nodes @ ..] => nodes.iter().for_each(|node| fleet.node(node).health = Health::FellBack),
        ["well", nodes @ ..] => nodes.iter().for_each(|node| fleet.node(node).health = Health::Well),
        ["freeze"] => fleet.frozen = true,
        ["unfreeze"] => fleet.frozen = false,
        ["pause"] => fleet.command(&Verb::Pause),
        ["resume"] => fleet.command(&Verb::Resume),
        ["promote"] => fleet.command(&Verb::Promote { full: false }),
        ["promote", "full"] => fleet.command(&Verb::Promote { full: true }),
        ["abort", why @ ..] => fleet.command(&Verb::Abort { why: why.join(" ") }),
        ["away", span] => fleet.now = fleet.now.plus(humantime::parse_duration(span).ok()?),
        ["clock-back", span] => fleet.now = fleet.now.minus(humantime::parse_duration(span).ok()?),
        ["show"] => fleet.show("still"),
        ["run", span] => {
            let seconds = humantime::parse_duration(span).ok()?.as_secs();
            (0..seconds).for_each(|_| drop(fleet.tick(SECOND)));
        }
        _ => return None,
    }
    Some(())
}

fn share(percent: &str) -> Option<f64> {
    percent.strip_suffix('%')?.parse::<f64>().ok().map(|p| p / 100.0)
}

fn set(policy: &mut Policy, key: &str, value: &str) -> Option<()> {
    match key {
        "samples" => policy.samples = value.parse().ok()?,
        "low_traffic" => {
            policy.low_traffic = match value {
                "hold" => LowTraffic::Hold,
                "bake" => LowTraffic::Bake,
                _ => return None,
            }
        }
        "final_bake" => policy.final_bake = humantime::parse_duration(value).ok()?,
        "healthy" => policy.healthy = humantime::parse_duration(value).ok()?,
        "deadline" => policy.progress_deadline = humantime::parse_duration(value).ok()?,
        _ => return None,
    }
    Some(())
}
