//! One rollout: where it stands, what has led there, and what people may ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::evidence::Evidence;
use crate::id::NodeId;
use crate::rollout::policy::{Policy, Strategy};
use crate::time::Timestamp;

/// Time without a look is not time in which a candidate was watched: a control plane that was away, or a clock that jumped.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// The procedure that takes a function from its stable revision to its candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Rises with every rollout of the function.
    pub number: u64,
    pub policy: Policy,
    pub state: State,
    /// Why it is in this state.
    pub reason: Reason,
    /// Index into the policy's stages.
    pub stage: usize,
    /// Stages of nodes, as decided when the first traffic went out. A node that is not named, because it joined later, say, is
    /// in the last one.
    pub stages: BTreeMap<NodeId, usize>,
    /// Taken out because they alone were worse, against other nodes of their kind.
    pub excluded: BTreeSet<NodeId>,
    pub started: Timestamp,
    /// When it came into this state.
    pub entered: Timestamp,
    /// When it was last looked at; the spans below are up to then.
    pub as_of: Timestamp,
    /// For how long this stage has been watched.
    pub baked: Duration,
    /// For how long no node has succeeded.
    pub stalled: Duration,
    /// Nodes that have succeeded in this stage.
    pub succeeded: usize,
    /// Requests to the candidate before this stage.
    pub samples_before: u64,
    pub evidence: Evidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The candidate is being compiled.
    Pending,
    /// Every node fetches, verifies, loads and smoke-checks it, without traffic.
    Preflight,
    /// Nodes of the stage get the candidate, batch by batch.
    Progressing,
    /// The stage is complete and watched.
    Baking,
    /// Stopped by a person.
    Paused(Forward),
    /// Stopped for a person to decide.
    Held,
    /// The candidate alone everywhere, watched.
    FinalBake,
    /// On the way back to the stable revision.
    Aborting,
    Succeeded,
    Aborted,
    /// A newer candidate took its place.
    Superseded,
}

/// What a paused rollout goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    Pending,
    Preflight,
    Progressing,
    FinalBake,
}

/// Why a rollout is in its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: Code,
    /// For people, with names and numbers.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Started,
    Compiled,
    Preflighted,
    StageEntered,
    StageComplete,
    StagesComplete,
    Succeeded,
    CompileFailed,
    LoadFailed,
    FellBack,
    Traps,
    Errors,
    Slow,
    NodesLost,
    Deadline,
    TooFewSamples,
    TooManySilent,
    PausedByOperator,
    ResumedByOperator,
    PromotedByOperator,
    AbortedByOperator,
    Superseded,
}

impl Code {
    pub const ALL: [Self; 22] = [
        Self::Started,
        Self::Compiled,
        Self::Preflighted,
        Self::StageEntered,
        Self::StageComplete,
        Self::StagesComplete,
        Self::Succeeded,
        Self::CompileFailed,
        Self::LoadFailed,
        Self::FellBack,
        Self::Traps,
        Self::Errors,
        Self::Slow,
        Self::NodesLost,
        Self::Deadline,
        Self::TooFewSamples,
        Self::TooManySilent,
        Self::PausedByOperator,
        Self::ResumedByOperator,
        Self::PromotedByOperator,
        Self::AbortedByOperator,
        Self::Superseded,
    ];

    /// As it is told to programs: CamelCase, and never changed.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// What a person asks of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Resume,
    /// To the next stage now; `full`: to all nodes.
    Promote {
        full: bool,
    },
    /// Back to the stable revision, and why.
    Abort {
        why: String,
    },
}

/// The rollout is not in a state for this.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the rollout is {state}: it cannot be {asked}; {hint}")]
pub struct WrongState {
    pub state: State,
    asked: &'static str,
    hint: &'static str,
}

impl Rollout {
    /// A rollout that begins now. Without a stable revision beside it nothing can be compared: the policy has to be
    /// [`Policy::batches`] then.
    pub fn start(number: u64, policy: Policy, now: Timestamp) -> Self {
        let state = match policy.strategy {
            Strategy::Staged => State::Pending,
            Strategy::Batches => State::Progressing,
        };
        Self {
            number,
            policy,
            state,
            reason: Reason::new(Code::Started, "it has begun"),
            stage: 0,
            stages: BTreeMap::new(),
            excluded: BTreeSet::new(),
            started: now,
            entered: now,
            as_of: now,
            baked: Duration::ZERO,
            stalled: Duration::ZERO,
            succeeded: 0,
            samples_before: 0,
            evidence: Evidence::default(),
        }
    }

    /// What a person asked for.
    ///
    /// # Errors
    /// When the rollout is in no state for it.
    pub fn command(&self, verb: &Verb, now: Timestamp) -> Result<Self, WrongState> {
        let mut next = self.clone();
        next.pass_time(now);
        match verb {
            Verb::Pause => {
                let wrong = self.wrong("paused", "only one that moves forward can be");
                let from = self.state.forward().ok_or(wrong)?;
                next.enter(State::Paused(from), Reason::new(Code::PausedByOperator, "an operator paused it"));
            }
            Verb::Resume => {
                let reason = Reason::new(Code::ResumedByOperator, "an operator resumed it");
                match self.state {
                    State::Paused(from) => next.enter(from.state(), reason),
                    State::Held => {
                        next.baked = Duration::ZERO;
                        next.enter(State::Baking, reason);
                    }
                    _ => return Err(self.wrong("resumed", "only one that is paused or held can be")),
                }
            }
            Verb::Promote { full } => next
                .promote(*full)
                .ok_or_else(|| self.wrong("promoted", "it has to have reached a stage, and not its end"))?,
            Verb::Abort { why } => {
                if !self.state.is_active() || self.state == State::Aborting {
                    return Err(self.wrong("aborted", "start another with `littoral rollout undo`"));
                }
                let text = if why.is_empty() {
                    "an operator aborted it".into()
                } else {
                    format!("an operator aborted it: {why}")
                };
                next.enter(State::Aborting, Reason::new(Code::AbortedByOperator, text));
            }
        }
        Ok(next)
    }

    fn promote(&mut self, full: bool) -> Option<()> {
        let reason = Reason::new(Code::PromotedByOperator, "an operator promoted it");
        match self.state {
            State::Progressing | State::Baking | State::Held | State::Paused(Forward::Progressing)
                if self.policy.strategy == Strategy::Staged =>
            {
                if full || self.stage + 1 == self.policy.stages.len() {
                    self.enter_final(reason);
                } else {
                    self.enter_stage(self.stage + 1, reason);
                }
            }
            State::FinalBake => {
                self.baked = self.policy.final_bake;
                self.reason = reason;
            }
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn enter(&mut self, state: State, reason: Reason) {
        self.state = state;
        self.reason = reason;
        self.entered = self.as_of;
        self.stalled = Duration::ZERO;
    }

    pub(crate) fn enter_stage(&mut self, stage: usize, reason: Reason) {
        self.stage = stage;
        self.begin_watch();
        self.enter(State::Progressing, reason);
    }

    pub(crate) fn enter_final(&mut self, reason: Reason) {
        self.stage = self.policy.stages.len() - 1;
        self.begin_watch();
        self.enter(State::FinalBake, reason);
    }

    fn begin_watch(&mut self) {
        self.baked = Duration::ZERO;
        self.succeeded = 0;
        self.samples_before = self.evidence.totals().0.requests;
    }

    /// Accounts for the time since the last look, and tells it.
    pub(crate) fn pass_time(&mut self, now: Timestamp) -> Duration {
        let passed = now.since(self.as_of).min(LONGEST_GAP);
        // Also backwards: a clock that was set back must not stop all others.
        self.as_of = now;
        match self.state {
            State::Baking => self.baked += passed,
            State::Pending | State::Preflight | State::Progressing | State::FinalBake => {
                self.stalled += passed
            }
            _ => {}
        }
        passed
    }

    /// Requests that the candidate has had in this stage.
    pub fn samples(&self) -> u64 {
        self.evidence.totals().0.requests.saturating_sub(self.samples_before)
    }

    fn wrong(&self, asked: &'static str, hint: &'static str) -> WrongState {
        WrongState { state: self.state, asked, hint }
    }
}

impl State {
    /// Whether something is still to come.
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Succeeded | Self::Aborted | Self::Superseded)
    }

    fn forward(self) -> Option<Forward> {
        match self {
            Self::Pending => Some(Forward::Pending),
            Self::Preflight => Some(Forward::Preflight),
            Self::Progressing | Self::Baking => Some(Forward::Progressing),
            Self::FinalBake => Some(Forward::FinalBake),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Preflight => "Preflight",
            Self::Progressing => "Progressing",
            Self::Baking => "Baking",
            Self::Paused(_) => "Paused",
            Self::Held => "Held",
            Self::FinalBake => "FinalBake",
            Self::Aborting => "Aborting",
            Self::Succeeded => "Succeeded",
            Self::Aborted => "Aborted",
            Self::Superseded => "Superseded",
        }
    }
}

impl Forward {
    fn state(self) -> State {
        match self {
            Self::Pending => State::Pending,
            Self::Preflight => State::Preflight,
            Self::Progressing => State::Progressing,
            Self::FinalBake => State::FinalBake,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Reason {
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}
