//! Invocations and their durations by function, revision and trigger, added up from the worker's counters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use histogram::{Config, SparseHistogram};
use littoral_proto::convert::outcome_name;
use littoral_proto::v1::{FunctionWindow, Histogram, Outcome};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Seconds. Instances start in tens of microseconds; limits reach an hour.
const BOUNDS: [f64; 20] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 300.0, 3600.0,
];
/// A node that saw a thousand revisions: beyond, those that were silent the longest go.
const MAX_SERIES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    function: String,
    revision: u64,
    trigger: String,
}

#[derive(Clone, Debug, Default)]
struct Series {
    outcomes: BTreeMap<i32, u64>,
    /// One more than there are bounds.
    buckets: [u64; BOUNDS.len() + 1],
    count: u64,
    sum_seconds: f64,
    /// Number of the addition that touched it last.
    touched: u64,
}

#[derive(Debug, Default)]
pub(crate) struct FunctionMetrics {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<Key, Series>,
    additions: u64,
}

impl FunctionMetrics {
    pub(crate) fn add(&self, functions: &[FunctionWindow]) {
        let mut state = self.state();
        state.additions += 1;
        let touched = state.additions;
        for function in functions {
            let key = Key {
                function: function.function.clone(),
                revision: function.revision,
                trigger: function.trigger.clone(),
            };
            let series = match state.series.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Series::default()),
            };
            series.touched = touched;
            for outcome in &function.outcomes {
                *series.outcomes.entry(outcome.outcome).or_default() += outcome.count;
            }
            if let Some(latency) = &function.latency {
                series.observe(latency);
            }
        }
        while state.series.len() > MAX_SERIES {
            let oldest = state.series.iter().min_by_key(|(_, s)| s.touched).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            state.series.remove(&oldest);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    /// Adds a histogram of microseconds. One that does not fit its own description is left out.
    fn observe(&mut self, latency: &Histogram) {
        let power = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
        let Ok(config) = Config::new(power(latency.grouping_power), power(latency.max_value_power)) else {
            return;
        };
        let parts = SparseHistogram::from_parts(config, latency.index.clone(), latency.count.clone());
        let Ok(histogram) = parts else { return };
        for bucket in histogram.iter() {
            let middle = (bucket.start() / 2 + bucket.end() / 2) as f64 / 1e6;
            let place = BOUNDS.partition_point(|bound| *bound < bucket.end() as f64 / 1e6);
            self.buckets[place] += bucket.count();
            self.count += bucket.count();
            self.sum_seconds += middle * bucket.count() as f64;
        }
    }

    fn cells(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

impl Collector for FunctionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.state();
        let help = "Requests by how they ended";
        let mut family = encoder.encode_descriptor("faas_invocations", help, None, MetricType::Counter)?;
        for (key, series) in &state.series {
            for (outcome, count) in &series.outcomes {
                let labels = [
                    ("function", key.function.clone()),
                    ("revision", key.revision.to_string()),
                    ("trigger", key.trigger.clone()),
                    ("outcome", outcome_name(Outcome::try_from(*outcome).unwrap_or_default()).to_owned()),
                ];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "From a request's arrival to its last byte";
        let mut family =
            encoder.encode_descriptor("faas_invoke_duration_seconds", help, None, MetricType::Histogram)?;
        for (key, series) in &state.series {
            let labels = [
                ("function", key.function.clone()),
                ("revision", key.revision.to_string()),
                ("trigger", key.trigger.clone()),
            ];
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(series.sum_seconds, series.count, &series.cells(), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use histogram::Histogram as Dense;
    use littoral_platform::metrics::Metrics;
    use littoral_proto::v1::OutcomeCount;
    use std::sync::Arc;

    use super::*;

    /// One request of each of these durations in microseconds.
    fn window(revision: u64, microseconds: &[u64]) -> FunctionWindow {
        let mut dense = Dense::new(5, 40).unwrap();
        for value in microseconds {
            dense.increment(*value).unwrap();
        }
        let (config, index, count) = SparseHistogram::from(&dense).into_parts();
        FunctionWindow {
            function: "f".into(),
            revision,
            trigger: "http".into(),
            outcomes: vec![
                OutcomeCount { outcome: Outcome::Ok.into(), count: microseconds.len() as u64 },
                OutcomeCount { outcome: Outcome::OutOfMemory.into(), count: 1 },
            ],
            latency: Some(Histogram {
                grouping_power: config.grouping_power().into(),
                max_value_power: config.max_value_power().into(),
                index,
                count,
            }),
        }
    }

    #[test]
    fn counters_and_buckets_add_up_over_calls() {
        let registry = Metrics::new("test", "0");
        let functions = Arc::new(FunctionMetrics::default());
        registry.register(|r| r.register_collector(Box::new(Arc::clone(&functions))));
        functions.add(&[window(1, &[60, 70, 2_000])]);
        functions.add(&[window(1, &[60])]);
        let text = registry.encode();
        for line in [
            "littoral_faas_invocations_total{function=\"f\",revision=\"1\",trigger=\"http\",outcome=\"ok\"} 4",
            "littoral_faas_invocations_total{function=\"f\",revision=\"1\",trigger=\"http\",outcome=\"oom\"} 2",
            "littoral_faas_invoke_duration_seconds_count{function=\"f\",revision=\"1\",trigger=\"http\"} 4",
            "littoral_faas_invoke_duration_seconds_bucket{le=\"0.0001\",function=\"f\",revision=\"1\",trigger=\"http\"} 3",
            "littoral_faas_invoke_duration_seconds_bucket{le=\"0.0025\",function=\"f\",revision=\"1\",trigger=\"http\"} 4",
            "littoral_faas_invoke_duration_seconds_bucket{le=\"+Inf\",function=\"f\",revision=\"1\",trigger=\"http\"} 4",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn old_revisions_go_when_there_are_too_many_and_nonsense_is_left_out() {
        let functions = FunctionMetrics::default();
        for revision in 0..u64::try_from(MAX_SERIES).unwrap() + 2 {
            functions.add(&[window(revision, &[])]);
        }
        let state = functions.state();
        assert_eq!(state.series.len(), MAX_SERIES);
        assert_eq!(state.series.keys().next().unwrap().revision, 2);
        drop(state);
        let mut broken = window(7, &[5]);
        broken.latency.as_mut().unwrap().count.clear();
        functions.add(&[broken]);
    }
}
