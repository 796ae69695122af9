//! One request, from its acceptance to its last byte: counted once, by whatever ended it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use littoral_proto::v1::Outcome;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::stats::{FunctionStats, Trigger};

const UNDECIDED: i32 = 0;

/// Held by the task that runs the guest and by the body that is on its way to the client. The last that lets go
/// counts it.
#[derive(Debug)]
pub(crate) struct Request {
    stats: Arc<FunctionStats>,
    trigger: Trigger,
    started: Instant,
    /// What went wrong first.
    failure: AtomicI32,
    /// What the guest made of it.
    verdict: AtomicI32,
    delivered: AtomicBool,
    /// An unload waits for it.
    _under_way: TaskTrackerToken,
}

impl Request {
    pub(crate) fn new(stats: Arc<FunctionStats>, trigger: Trigger, under_way: TaskTrackerToken) -> Arc<Self> {
        stats.begin();
        Arc::new(Self {
            stats,
            trigger,
            started: Instant::now(),
            failure: AtomicI32::new(UNDECIDED),
            verdict: AtomicI32::new(UNDECIDED),
            delivered: AtomicBool::new(false),
            _under_way: under_way,
        })
    }

    /// Something went wrong; only the first time counts.
    pub(crate) fn fail(&self, outcome: Outcome) {
        let _ = self.failure.compare_exchange(UNDECIDED, outcome as i32, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The guest came to an end by itself.
    pub(crate) fn settle(&self, outcome: Outcome) {
        self.verdict.store(outcome as i32, Ordering::Release);
    }

    /// The client has everything.
    pub(crate) fn delivered(&self) {
        self.delivered.store(true, Ordering::Release);
    }

    pub(crate) fn failure(&self) -> Option<Outcome> {
        match self.failure.load(Ordering::Acquire) {
            UNDECIDED => None,
            failure => Some(Outcome::try_from(failure).unwrap_or(Outcome::HostError)),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    fn outcome(&self) -> Outcome {
        if let Some(failure) = self.failure() {
            return failure;
        }
        if !self.delivered.load(Ordering::Acquire) {
            // Nobody fails a request whose task panics: it was dropped, as if the client had left.
            return if std::thread::panicking() { Outcome::HostError } else { Outcome::Cancelled };
        }
        match self.verdict.load(Ordering::Acquire) {
            UNDECIDED => Outcome::HostError,
            verdict => Outcome::try_from(verdict).unwrap_or(Outcome::HostError),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.stats.end(self.trigger, self.outcome(), self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::worker::stats::Stats;

    fn outcome_of(act: impl Fn(&Request)) -> Outcome {
        let stats = Stats::default();
        let request = Request::new(stats.of("f", 1), Trigger::Http, TaskTracker::new().token());
        act(&request);
        drop(request);
        let windows = stats.drain();
        assert_eq!(windows[0].outcomes.len(), 1);
        windows[0].outcomes[0].outcome()
    }

    #[test]
    fn ends_in_one_outcome_and_the_first_failure_is_it() {
        let delivered = |outcome| {
            move |r: &Request| {
                r.settle(outcome);
                r.delivered();
            }
        };
        assert_eq!(outcome_of(delivered(Outcome::Ok)), Outcome::Ok);
        assert_eq!(outcome_of(delivered(Outcome::GuestError)), Outcome::GuestError);
        assert_eq!(outcome_of(|r| r.settle(Outcome::Ok)), Outcome::Cancelled);
        assert_eq!(outcome_of(Request::delivered), Outcome::HostError);
        let failed_twice = |r: &Request| {
            r.settle(Outcome::Ok);
            r.fail(Outcome::OutputLimit);
            r.fail(Outcome::Cancelled);
        };
        assert_eq!(outcome_of(failed_twice), Outcome::OutputLimit);
    }
}
