//! Counts and latencies of every function, by revision, trigger and outcome, until they are drained.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use histogram::{AtomicHistogram, SparseHistogram};
use littoral_proto::v1::{self, FunctionWindow, Outcome, OutcomeCount};

/// Relative error of a bucket: 3 %.
const GROUPING_POWER: u8 = 5;
/// Largest latency: 2^36 µs, 19 hours.
const MAX_VALUE_POWER: u8 = 36;
const OUTCOMES: usize = 11;

/// What a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Http,
    Invoke,
}

impl Trigger {
    const ALL: [Self; 2] = [Self::Http, Self::Invoke];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Invoke => "invoke",
        }
    }
}

/// All functions that have been loaded. Those that are gone stay until their last counts are drained.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    functions: Mutex<HashMap<(String, u64), Arc<FunctionStats>>>,
}

impl Stats {
    /// The counters of a revision: the same ones when it is loaded again.
    pub(crate) fn of(&self, function: &str, revision: u64) -> Arc<FunctionStats> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(functions.entry((function.to_owned(), revision)).or_default())
    }

    /// Requests between their acceptance and their last byte.
    pub(crate) fn in_flight(&self) -> u32 {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.values().map(|stats| stats.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Takes all counts since the last time.
    pub(crate) fn drain(&self) -> Vec<FunctionWindow> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut windows = Vec::new();
        functions.retain(|(function, revision), stats| {
            // Asked first: counts that come in between are in the drain below.
            let in_use = Arc::strong_count(stats) > 1;
            for trigger in Trigger::ALL {
                windows.extend(stats.drain(function, *revision, trigger));
            }
            in_use
        });
        windows
    }
}

/// Counters of one revision. Memory for a trigger is taken with its first request.
#[derive(Debug, Default)]
pub(crate) struct FunctionStats {
    http: OnceLock<Counters>,
    invoke: OnceLock<Counters>,
    in_flight: AtomicU32,
}

#[derive(Debug)]
struct Counters {
    outcomes: [AtomicU64; OUTCOMES],
    latency: AtomicHistogram,
}

impl FunctionStats {
    /// A request was accepted.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// It came to its end: a few additions, without a lock.
    pub(crate) fn end(&self, trigger: Trigger, outcome: Outcome, latency: Duration) {
        self.record(trigger, outcome, latency);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn record(&self, trigger: Trigger, outcome: Outcome, latency: Duration) {
        let counters = self.of(trigger).get_or_init(Counters::new);
        let index = usize::try_from(outcome as i32).unwrap_or_default();
        counters.outcomes[index].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // Only values above the largest bucket fail, and there are none after this.
        let _ = counters.latency.increment(micros.min((1 << MAX_VALUE_POWER) - 1));
    }

    fn of(&self, trigger: Trigger) -> &OnceLock<Counters> {
        match trigger {
            Trigger::Http => &self.http,
            Trigger::Invoke => &self.invoke,
        }
    }

    fn drain(&self, function: &str, revision: u64, trigger: Trigger) -> Option<FunctionWindow> {
        let counters = self.of(trigger).get()?;
        let outcomes = counters.drain_outcomes();
        if outcomes.is_empty() {
            return None;
        }
        let (config, index, count) = SparseHistogram::from(&counters.latency.drain()).into_parts();
        let latency = v1::Histogram {
            grouping_power: u32::from(config.grouping_power()),
            max_value_power: u32::from(config.max_value_power()),
            index,
            count,
        };
        Some(FunctionWindow {
            function: function.to_owned(),
            revision,
            trigger: trigger.as_str().into(),
            outcomes,
            latency: Some(latency),
        })
    }
}

impl Counters {
    fn new() -> Self {
        let latency = AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER);
        Self {
            outcomes: Default::default(),
            latency: latency.expect("5 and 36 are within the bounds of a histogram"),
        }
    }

    fn drain_outcomes(&self) -> Vec<OutcomeCount> {
        let taken = self.outcomes.iter().enumerate().map(|(outcome, count)| OutcomeCount {
            outcome: i32::try_from(outcome).unwrap_or_default(),
            count: count.swap(0, Ordering::Relaxed),
        });
        taken.filter(|taken| taken.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Outcome = Outcome::Cancelled;

    #[test]
    fn a_drain_takes_everything_once() {
        let stats = Stats::default();
        let hello = stats.of("hello", 3);
        for micros in [50, 60, 5_000] {
            hello.record(Trigger::Http, Outcome::Ok, Duration::from_micros(micros));
        }
        hello.record(Trigger::Http, Outcome::Trap, Duration::from_secs(100_000_000));
        hello.record(Trigger::Invoke, LAST, Duration::ZERO);

        let windows = stats.drain();
        let totals: Vec<(String, u64, u64)> = windows
            .iter()
            .map(|w| {
                let outcomes = w.outcomes.iter().map(|o| o.count).sum();
                (w.trigger.clone(), outcomes, w.latency.as_ref().unwrap().count.iter().sum())
            })
            .collect();
        assert_eq!(totals, [("http".to_owned(), 4, 4), ("invoke".to_owned(), 1, 1)]);
        assert_eq!(windows[0].revision, 3);
        assert!(stats.drain().is_empty());
    }

    #[test]
    fn the_last_counts_of_an_unloaded_revision_are_not_lost() {
        let stats = Stats::default();
        stats.of("hello", 1).record(Trigger::Http, Outcome::Ok, Duration::from_micros(1));
        assert_eq!(stats.drain().len(), 1);
        assert!(stats.functions.lock().unwrap().is_empty());
    }

    #[test]
    fn every_outcome_has_a_counter() {
        assert_eq!(LAST as usize + 1, OUTCOMES);
        assert!(Outcome::try_from(OUTCOMES as i32).is_err());
    }
}
