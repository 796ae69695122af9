//! How carefully a new revision goes out: a function's `[rollout]` table, and what holds without one.

mod overrides;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::function::BadSpec;
use crate::quantity::duration;

pub use self::overrides::Overrides;

/// More than this is a mistake: each takes minutes.
const MAX_STAGES: usize = 16;
/// A stage that bakes for longer than a week is a stage that somebody forgot.
const MAX_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_SAMPLES: u64 = 1_000_000_000;

/// Of one rollout; frozen when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub strategy: Strategy,
    /// At least one; weights rise; the last takes all nodes that are left.
    pub stages: Vec<Stage>,
    /// With the candidate alone on every node, before it is called good.
    pub final_bake: Duration,
    /// A node counts as changed when it has run the candidate for this long.
    pub healthy: Duration,
    /// Without any node's success for this long, the rollout is given up.
    pub progress_deadline: Duration,
    /// Requests to the candidate that a stage must have seen.
    pub samples: u64,
    pub low_traffic: LowTraffic,
    /// Chance of condemning a good candidate, in hundredths of a per cent.
    pub alpha_bp: u32,
    /// The ratio of bad events to the stable revision's that is still fine, per cent.
    pub tolerance_percent: u32,
    /// Traps among the candidate's requests that end any rollout, per cent.
    pub max_traps_percent: u32,
    /// Slower than this is slow; unset, the stable revision's p99 at the rollout's start is.
    pub slow: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Stages, both revisions side by side, and a judge.
    Staged,
    /// Node by node in growing batches: what cannot be loaded stops it, nothing else does.
    Batches,
}

/// What happens at the end of a stage's bake without enough requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowTraffic {
    /// It is held for a person to decide.
    Hold,
    /// It goes on after four times the bake, on the smoke check alone.
    Bake,
}

/// One step of a rollout: which nodes join it, how many of their requests the candidate gets, and for how long it is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub nodes: Selection,
    /// Per cent.
    pub weight: u8,
    pub bake: Duration,
}

/// Nodes that a stage adds to those of the stages before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One of each kind of CPU.
    Kinds,
    Count(u32),
    Percent(u8),
    /// All of the zone that the first stage began in.
    Zone,
    /// All that are left.
    Rest,
}

impl Default for Policy {
    fn default() -> Self {
        let stage =
            |nodes, weight, minutes: u64| Stage { nodes, weight, bake: Duration::from_secs(minutes * 60) };
        Self {
            strategy: Strategy::Staged,
            stages: vec![
                stage(Selection::Kinds, 10, 5),
                stage(Selection::Percent(5), 50, 5),
                stage(Selection::Zone, 95, 10),
                stage(Selection::Rest, 95, 10),
            ],
            final_bake: Duration::from_secs(30 * 60),
            healthy: Duration::from_secs(10),
            progress_deadline: Duration::from_secs(10 * 60),
            samples: 300,
            low_traffic: LowTraffic::Hold,
            alpha_bp: 100,
            tolerance_percent: 125,
            max_traps_percent: 5,
            slow: None,
        }
    }
}

impl Policy {
    /// Batches of nodes and nothing to wait for: a first deployment, and what an operator asks for in an emergency.
    pub fn batches() -> Self {
        let everywhere = Stage { nodes: Selection::Rest, weight: 100, bake: Duration::ZERO };
        Self {
            strategy: Strategy::Batches,
            stages: vec![everywhere],
            final_bake: Duration::ZERO,
            healthy: Duration::ZERO,
            samples: 0,
            ..Self::default()
        }
    }

    /// # Errors
    /// Names the key of the `[rollout]` table and what it may be.
    pub fn validate(&self) -> Result<(), BadSpec> {
        if self.stages.is_empty() || self.stages.len() > MAX_STAGES {
            return Err(bad("rollout.stages", format!("from 1 to {MAX_STAGES} are needed")));
        }
        let mut percent = 0;
        let mut weight = 1;
        for (index, stage) in self.stages.iter().enumerate() {
            let number = index + 1;
            if stage.weight < weight || stage.weight > 100 {
                let why = format!(
                    "stage {number} has weight {}: from {weight} to 100, never less than before",
                    stage.weight
                );
                return Err(bad("rollout.stages.weight", why));
            }
            weight = stage.weight;
            span("rollout.stages.bake", stage.bake)?;
            let last = number == self.stages.len();
            if (stage.nodes == Selection::Rest) != last {
                let why = format!(
                    "stage {number} takes `{}`: the last stage, and only that, takes `rest`",
                    stage.nodes
                );
                return Err(bad("rollout.stages.nodes", why));
            }
            percent += match stage.nodes {
                Selection::Percent(share) => u32::from(share),
                _ => 0,
            };
            if percent > 100 {
                return Err(bad(
                    "rollout.stages.nodes",
                    format!("up to stage {number} they are {percent}% of the nodes"),
                ));
            }
        }
        span("rollout.final_bake", self.final_bake)?;
        span("rollout.healthy", self.healthy)?;
        span("rollout.progress_deadline", self.progress_deadline)?;
        if self.progress_deadline <= self.healthy {
            return Err(bad("rollout.progress_deadline", "it must be longer than `healthy`".into()));
        }
        at_most("rollout.samples", self.samples, MAX_SAMPLES)?;
        within("rollout.alpha", self.alpha_bp, 1, 5000)?;
        within("rollout.tolerance", self.tolerance_percent, 100, 1000)?;
        within("rollout.max_traps", self.max_traps_percent, 1, 100)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kinds => f.write_str("kinds"),
            Self::Count(n) => write!(f, "{n}"),
            Self::Percent(n) => write!(f, "{n}%"),
            Self::Zone => f.write_str("zone"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a stage: {why}; write nodes=10%,weight=25,bake=10m")]
pub struct BadStage {
    text: String,
    why: String,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("nodes may be `kinds`, a number, a share such as `10%`, `zone` or `rest`, not `{text}`")
        };
        match text {
            "kinds" => return Ok(Self::Kinds),
            "zone" => return Ok(Self::Zone),
            "rest" => return Ok(Self::Rest),
            _ => {}
        }
        if let Some(share) = text.strip_suffix('%') {
            let share = share.parse().map_err(|_| wrong())?;
            return if (1..=100).contains(&share) { Ok(Self::Percent(share)) } else { Err(wrong()) };
        }
        match text.parse() {
            Ok(count) if count > 0 => Ok(Self::Count(count)),
            _ => Err(wrong()),
        }
    }
}

/// As on the command line: `nodes=10%,weight=25,bake=10m`, each key once.
impl FromStr for Stage {
    type Err = BadStage;

    fn from_str(text: &str) -> Result<Self, BadStage> {
        let wrong = |why: String| BadStage { text: text.to_owned(), why };
        let (mut nodes, mut weight, mut bake) = (None, None, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(format!("`{part}` has no value")))?;
            let twice = match key.trim() {
                "nodes" => nodes.replace(value.trim().parse().map_err(wrong)?).is_some(),
                "weight" => {
                    let percent = value.trim().trim_end_matches('%').parse();
                    weight.replace(percent.map_err(|_| wrong(format!("`{value}` is no weight")))?).is_some()
                }
                "bake" => bake.replace(duration(value.trim()).map_err(|e| wrong(e.to_string()))?).is_some(),
                other => return Err(wrong(format!("`{other}` is not known"))),
            };
            if twice {
                return Err(wrong(format!("`{key}` is there twice")));
            }
        }
        let missing = |key: &str| wrong(format!("`{key}` is missing"));
        Ok(Self {
            nodes: nodes.ok_or_else(|| missing("nodes"))?,
            weight: weight.ok_or_else(|| missing("weight"))?,
            bake: bake.ok_or_else(|| missing("bake"))?,
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bake = humantime::format_duration(self.bake);
        write!(f, "nodes={},weight={},bake={bake}", self.nodes, self.weight)
    }
}

fn span(key: &'static str, span: Duration) -> Result<(), BadSpec> {
    if span <= MAX_SPAN { Ok(()) } else { Err(bad(key, "it must be at most 7 days".into())) }
}

fn at_most(key: &'static str, value: u64, most: u64) -> Result<(), BadSpec> {
    if value <= most { Ok(()) } else { Err(bad(key, format!("it must be at most {most}"))) }
}

fn within(key: &'static str, value: u32, least: u32, most: u32) -> Result<(), BadSpec> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(bad(key, format!("{value} must be from {least} to {most}")))
    }
}

fn bad(key: &'static str, why: String) -> BadSpec {
    BadSpec { key, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_without_a_table_is_valid() {
        Policy::default().validate().unwrap();
        Policy::batches().validate().unwrap();
    }

    #[test]
    fn stages_are_read_as_they_are_shown() {
        for text in
            ["nodes=kinds,weight=10,bake=5m", "nodes=10%,weight=25,bake=10m", "nodes=3,weight=50,bake=1h 30m"]
        {
            assert_eq!(text.parse::<Stage>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "nodes=3",
            "nodes=0,weight=1,bake=1s",
            "nodes=101%,weight=1,bake=1s",
            "nodes=some,weight=1,bake=1s",
            "nodes=3,nodes=4,weight=1,bake=1s",
            "nodes=3,weight=heavy,bake=1s",
            "nodes=3,weight=1,bake=soon",
            "nodes=3,weight=1,bake=1s,colour=red",
        ] {
            let error = text.parse::<Stage>().unwrap_err().to_string();
            assert!(error.contains("nodes=10%,weight=25,bake=10m"), "{error}");
        }
    }

    #[test]
    fn stages_that_do_not_add_up_are_named() {
        let with = |stages: &[&str]| {
            let stages = stages.iter().map(|s| s.parse().unwrap()).collect();
            Policy { stages, ..Policy::default() }.validate().map_err(|e| e.to_string())
        };
        with(&["nodes=1,weight=10,bake=1s", "nodes=rest,weight=10,bake=1s"]).unwrap();
        for (stages, says) in [
            (&[][..], "from 1 to 16"),
            (&["nodes=1,weight=10,bake=1s"], "the last stage"),
            (&["nodes=rest,weight=10,bake=1s", "nodes=rest,weight=20,bake=1s"], "only that"),
            (&["nodes=1,weight=20,bake=1s", "nodes=rest,weight=10,bake=1s"], "never less"),
            (
                &["nodes=60%,weight=1,bake=1s", "nodes=60%,weight=1,bake=1s", "nodes=rest,weight=1,bake=1s"],
                "120%",
            ),
            (&["nodes=rest,weight=10,bake=8days"], "7 days"),
            (&["nodes=rest,weight=101,bake=1s"], "to 100"),
        ] {
            let error = with(stages).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
