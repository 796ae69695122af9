//! Nodes, as the planner sees them.

use std::time::Duration;

use crate::id::{NodeId, NodeName};
use crate::label::Labels;
use crate::quantity::Bytes;
use crate::target::Target;
use crate::time::Timestamp;

/// A node is Unreachable after this many report intervals without a report.
pub const MISSED_REPORTS: u32 = 3;
/// A node is Lost after this long: links of shops and ships come back within minutes.
pub const LOST_AFTER: Duration = Duration::from_secs(15 * 60);

/// A node and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    pub name: NodeName,
    pub labels: Labels,
    pub target: Target,
    /// Fingerprint of its engine.
    pub engine: String,
    pub cores: u32,
    pub memory: Bytes,
    /// Memory that placement may promise to functions.
    pub memory_budget: Bytes,
    pub availability: Availability,
}

/// Derived from the last report and the time; never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    Ready,
    /// Connected, not yet done with its assignment.
    WarmingUp,
    /// Missed three reports: no new work.
    Unreachable,
    /// Silent for longer than functions wait.
    Lost,
}

impl Availability {
    /// Whether it can be given new work.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Ready | Self::WarmingUp)
    }
}

/// What is known of a node's reports.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Its last report, or when the control plane started listening: a restart must not lose anybody.
    pub last: Timestamp,
    /// Whether a report came since then.
    pub reported: bool,
    /// Whether the last report said that its assignment is done.
    pub settled: bool,
}

/// How available a node is at `now`, given the interval that it was told to report at.
pub fn availability(heard: Heard, interval: Duration, now: Timestamp) -> Availability {
    let silent = now.since(heard.last);
    if silent >= LOST_AFTER {
        Availability::Lost
    } else if silent > interval * MISSED_REPORTS || !heard.reported {
        Availability::Unreachable
    } else if heard.settled {
        Availability::Ready
    } else {
        Availability::WarmingUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn at(seconds: u64, settled: bool) -> Availability {
        let heard = Heard { last: Timestamp::from_millis(0), reported: true, settled };
        availability(heard, INTERVAL, Timestamp::from_millis(seconds * 1000))
    }

    #[test]
    fn silence_makes_it_unreachable_and_then_lost() {
        assert_eq!(at(0, true), Availability::Ready);
        assert_eq!(at(15, true), Availability::Ready);
        assert_eq!(at(16, true), Availability::Unreachable);
        assert_eq!(at(15 * 60 - 1, true), Availability::Unreachable);
        assert_eq!(at(15 * 60, true), Availability::Lost);
    }

    #[test]
    fn an_unsettled_node_warms_up() {
        assert_eq!(at(1, false), Availability::WarmingUp);
    }

    #[test]
    fn after_a_restart_of_the_control_plane_nobody_is_lost_at_once() {
        let heard = Heard { last: Timestamp::from_millis(1000), reported: false, settled: false };
        assert_eq!(availability(heard, INTERVAL, Timestamp::from_millis(2000)), Availability::Unreachable);
    }
}
