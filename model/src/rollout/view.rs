//! What a rollout sees of the fleet at one time.

use crate::evidence::Evidence;
use crate::id::{NodeId, NodeName};
use crate::rollout::policy::Policy;
use crate::rollout::stages;
use crate::target::Cpu;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct View<'a> {
    pub now: Timestamp,
    /// That the function belongs on, in the order in which they get a new revision.
    pub members: Vec<Member>,
    /// Its spec asks for no replicas. That there is no node yet is another thing.
    pub unwanted: bool,
    /// Of this rollout, up to now.
    pub evidence: &'a Evidence,
    /// Why nothing moves forward at the moment: an operator's freeze, or a fleet that has fallen silent.
    pub frozen: Option<String>,
}

/// A node that the function belongs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub name: NodeName,
    pub zone: String,
    pub cpu: Cpu,
    /// Whether it can be given new work.
    pub connected: bool,
    /// The last that was heard of it, where it is not connected.
    pub silent_since: Option<Timestamp>,
    pub compiled: Compiled,
    /// Weight of the candidate in its assignment, per cent; `None`: it is not assigned.
    pub held: Option<u8>,
    pub standing: Standing,
}

/// Whether there is native code of the candidate for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiled {
    Ready,
    Underway,
    Failed(String),
}

/// How a node stands with the candidate, by its last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Absent,
    /// Being fetched, verified, loaded or checked; or running, with the last assignment not yet in effect.
    Underway,
    /// As its assignment says, since then.
    Running(Timestamp),
    /// It could not be verified, loaded or smoke-checked.
    Failed(String),
    /// The node went back to the revision before by itself.
    FellBack(String),
}

impl Member {
    /// Runs the candidate with this weight, for long enough.
    pub(super) fn is_well(&self, weight: u8, policy: &Policy, now: Timestamp) -> bool {
        let Standing::Running(since) = self.standing else { return false };
        self.held == Some(weight) && now.since(since) >= policy.healthy
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.standing, Standing::Failed(_) | Standing::FellBack(_))
    }
}

impl View<'_> {
    pub(super) fn candidates(&self) -> Vec<stages::Candidate> {
        let one = |member: &Member| stages::Candidate {
            id: member.id.clone(),
            zone: member.zone.clone(),
            cpu: member.cpu,
        };
        self.members.iter().map(one).collect()
    }
}
