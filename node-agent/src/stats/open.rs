//! The window that is being filled.

use std::collections::BTreeMap;
use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{FunctionWindow, Histogram, OutcomeCount};

/// Histograms of different resolution are not merged: the resolution is a part of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    function: String,
    revision: u64,
    trigger: String,
    grouping_power: u32,
    max_value_power: u32,
}

#[derive(Debug, Default)]
struct Counts {
    outcomes: BTreeMap<i32, u64>,
    latency: BTreeMap<u32, u64>,
}

#[derive(Debug, Default)]
pub(super) struct OpenWindow {
    start: Option<Timestamp>,
    functions: BTreeMap<Key, Counts>,
}

impl OpenWindow {
    /// Nothing but empty counters changes nothing.
    pub(super) fn add(&mut self, functions: Vec<FunctionWindow>, now: Timestamp) {
        for function in functions {
            if function.outcomes.iter().all(|outcome| outcome.count == 0) {
                continue;
            }
            self.start.get_or_insert(now);
            let latency = function.latency.unwrap_or_default();
            let key = Key {
                function: function.function,
                revision: function.revision,
                trigger: function.trigger,
                grouping_power: latency.grouping_power,
                max_value_power: latency.max_value_power,
            };
            let counts = self.functions.entry(key).or_default();
            for outcome in function.outcomes {
                *counts.outcomes.entry(outcome.outcome).or_default() += outcome.count;
            }
            for (index, count) in latency.index.iter().zip(latency.count) {
                *counts.latency.entry(*index).or_default() += count;
            }
        }
    }

    /// When its first counters came; none while it is empty.
    pub(super) fn start(&self) -> Option<Timestamp> {
        self.start
    }

    pub(super) fn span(&self, now: Timestamp) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.since(start))
    }

    pub(super) fn into_functions(self) -> Vec<FunctionWindow> {
        self.functions.into_iter().map(|(key, counts)| to_proto(key, counts)).collect()
    }
}

fn to_proto(key: Key, counts: Counts) -> FunctionWindow {
    let outcomes = counts.outcomes.into_iter().map(|(outcome, count)| OutcomeCount { outcome, count });
    let (index, count) = counts.latency.into_iter().unzip();
    FunctionWindow {
        function: key.function,
        revision: key.revision,
        trigger: key.trigger,
        outcomes: outcomes.collect(),
        latency: Some(Histogram {
            grouping_power: key.grouping_power,
            max_value_power: key.max_value_power,
            index,
            count,
        }),
    }
}
