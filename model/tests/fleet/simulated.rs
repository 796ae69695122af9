//! A fleet that does what it is told, second by second, and counts requests without chance: what comes out is always the same.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use littoral_model::evidence::{Evidence, Tally};
use littoral_model::id::NodeId;
use littoral_model::rollout::policy::Policy;
use littoral_model::rollout::state::{Rollout, State, Verb};
use littoral_model::rollout::step::{Step, step};
use littoral_model::rollout::view::{Compiled, Member, Standing, View};
use littoral_model::target::Cpu;
use littoral_model::time::Timestamp;

/// Far from zero: clocks are set back in some scripts.
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub struct Simulation {
    pub rollout: Rollout,
    pub now: Timestamp,
    pub nodes: Vec<Node>,
    /// A second, on each node.
    pub requests: u64,
    pub candidate: Rates,
    pub stable: Rates,
    pub compiling: bool,
    pub uncompilable: Option<Cpu>,
    pub frozen: bool,
    pub evidence: Evidence,
    pub log: String,
}

pub struct Node {
    pub id: NodeId,
    zone: String,
    cpu: Cpu,
    pub connected: bool,
    silent_since: Option<Timestamp>,
    pub health: Health,
    /// Weight of the candidate, and since when.
    pub held: Option<(u8, Timestamp)>,
    only: Option<Rates>,
    carry: BTreeMap<&'static str, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Cannot load the candidate.
    Broken,
    FellBack,
}

/// Shares of requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    errors: f64,
    slow: f64,
    traps: f64,
}

impl Rates {
    pub fn rate(&mut self, metric: &str) -> Option<&mut f64> {
        match metric {
            "errors" => Some(&mut self.errors),
            "slow" => Some(&mut self.slow),
            "traps" => Some(&mut self.traps),
            _ => None,
        }
    }
}

impl Simulation {
    pub fn new(policy: Policy) -> Self {
        Self {
            rollout: Rollout::start(1, policy, BEGIN),
            now: BEGIN,
            nodes: Vec::new(),
            requests: 20,
            candidate: Rates::default(),
            stable: Rates::default(),
            compiling: false,
            uncompilable: None,
            frozen: false,
            evidence: Evidence::default(),
            log: String::new(),
        }
    }

    pub fn restart_with(&mut self, policy: Policy) {
        self.rollout = Rollout::start(self.rollout.number + 1, policy, self.now);
        self.evidence = Evidence::default();
    }

    /// `name/zone/cpu`.
    pub fn add(&mut self, text: &str) {
        let parts: Vec<&str> = text.split('/').collect();
        let [name, zone, cpu] = parts[..] else { panic!("{text} is not name/zone/cpu") };
        self.nodes.push(Node {
            id: name.parse().unwrap(),
            zone: zone.to_owned(),
            cpu: cpu.parse().unwrap(),
            connected: true,
            silent_since: None,
            health: Health::Well,
            held: None,
            only: None,
            carry: BTreeMap::new(),
        });
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.id.as_str() == name)
            .unwrap_or_else(|| panic!("no node {name}"))
    }

    pub fn connect(&mut self, name: &str, connected: bool) {
        let now = self.now;
        let node = self.node(name);
        node.connected = connected;
        node.silent_since = (!connected).then_some(now);
    }

    /// Rates of the candidate on one node.
    pub fn only(&mut self, name: &str) -> &mut Rates {
        let rates = self.candidate;
        self.node(name).only.get_or_insert(rates)
    }

    pub fn command(&mut self, verb: &Verb) {
        match self.rollout.command(verb, self.now) {
            Ok(next) => {
                self.rollout = next;
                self.show("told");
            }
            Err(error) => {
                let _ = writeln!(self.log, "{} refused: {error}", self.time());
            }
        }
    }

    /// One look, its result in effect, and the requests of the time until the next.
    pub fn tick(&mut self, span: Duration) -> Step {
        let decided = step(&self.rollout, &self.view());
        let before = (self.rollout.state, self.rollout.stage, self.rollout.excluded.clone());
        self.rollout = decided.rollout.clone();
        let now = self.now;
        for node in self.nodes.iter_mut().filter(|node| node.connected) {
            let weight = decided.weights.get(&node.id).copied();
            if node.held.map(|(held, _)| held) != weight {
                // Running already: another weight takes effect at once.
                let since = node.held.map_or(now, |(_, since)| since);
                node.held = weight.map(|weight| (weight, since));
            }
        }
        if before != (self.rollout.state, self.rollout.stage, self.rollout.excluded.clone()) {
            self.show("");
        }
        for index in 0..self.nodes.len() {
            self.serve(index, span);
        }
        self.now = self.now.plus(span);
        decided
    }

    pub fn view(&self) -> View<'_> {
        let member = |node: &Node| Member {
            id: node.id.clone(),
            name: node.id.as_str().parse().unwrap(),
            zone: node.zone.clone(),
            cpu: node.cpu,
            connected: node.connected,
            silent_since: node.silent_since,
            compiled: match (self.uncompilable == Some(node.cpu), self.compiling) {
                (true, _) => Compiled::Failed("too large".into()),
                (_, true) => Compiled::Underway,
                _ => Compiled::Ready,
            },
            held: node.held.map(|(weight, _)| weight),
            standing: match (node.held, node.health) {
                (None, _) => Standing::Absent,
                (Some(_), Health::Broken) => Standing::Failed("bad digest".into()),
                (Some(_), Health::FellBack) => Standing::FellBack("its worker died twice".into()),
                (Some((_, since)), Health::Well) => Standing::Running(since),
            },
        };
        View {
            now: self.now,
            unwanted: false,
            members: self.nodes.iter().map(member).collect(),
            evidence: &self.evidence,
            frozen: self.frozen.then(|| "the fleet is frozen".into()),
        }
    }

    fn serve(&mut self, index: usize, span: Duration) {
        let all = self.requests * span.as_secs();
        let (candidate, stable) = (self.candidate, self.stable);
        let node = &mut self.nodes[index];
        let Some((weight, _)) = node.held.filter(|_| node.health == Health::Well) else { return };
        let mut take = |key, amount: f64| {
            let left = node.carry.entry(key).or_insert(0.0);
            *left += amount;
            let whole = left.floor();
            *left -= whole;
            whole as u64
        };
        let ours = take("requests", all as f64 * f64::from(weight) / 100.0).min(all);
        let rates = node.only.unwrap_or(candidate);
        let mut tally = |name: [&'static str; 3], requests: u64, rates: Rates| {
            let traps = take(name[2], requests as f64 * rates.traps);
            Tally {
                requests,
                errors: (take(name[0], requests as f64 * rates.errors) + traps).min(requests),
                slow: take(name[1], requests as f64 * rates.slow).min(requests),
                traps,
            }
        };
        let candidate = tally(["errors", "slow", "traps"], ours, rates);
        let stable = tally(["stable errors", "stable slow", "stable traps"], all - ours, stable);
        let tolerance = f64::from(self.rollout.policy.tolerance_percent) / 100.0;
        // A node that is away keeps its windows for later; that they come late changes nothing here.
        let id = node.id.clone();
        if node.connected && !self.rollout.excluded.contains(&id) {
            self.evidence.observe(&id, &candidate, &stable, tolerance);
        }
    }

    pub fn show(&mut self, how: &str) {
        let weights = self.nodes.iter().filter_map(|node| {
            let (weight, _) = node.held?;
            Some(format!("{}={weight}", node.id))
        });
        let weights = weights.collect::<Vec<_>>().join(" ");
        let stage = match self.rollout.state {
            State::Progressing | State::Baking | State::Held | State::Paused(_) => {
                format!(" {}", self.rollout.stage + 1)
            }
            _ => String::new(),
        };
        let how = if how.is_empty() { String::new() } else { format!("({how}) ") };
        let line = format!(
            "{} {how}{}{stage}: {} [{weights}]",
            self.time(),
            self.rollout.state,
            self.rollout.reason.text
        );
        let _ = writeln!(self.log, "{line}");
    }

    fn time(&self) -> String {
        let sign = if self.now < BEGIN { "-" } else { "" };
        let seconds = self.now.since(BEGIN).max(BEGIN.since(self.now)).as_secs();
        format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}
