//! Whether a candidate is worse than the stable revision beside it, judged as often as one likes.
//!
//! Bad events are counted in windows, per stratum (a node, where both revisions run on requests of one stream). Given how many
//! there were of both revisions together, each falls to the candidate with a chance that follows from the requests and from the
//! ratio of the two rates. [`LogRatios`] is the likelihood of ratios that matter, against the largest one that is tolerated: an
//! e-process, so that the chance of ever condemning a candidate within the tolerance stays below α, however often one looks
//! (Ville's inequality). Windows with other weights, and strata, add up; a baseline without bad events is no special case.
//!
//! Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.

use std::collections::BTreeMap;

use crate::id::NodeId;

/// How many times the stable revision's rate is taken for a regression: one likelihood for each, and their mean decides.
const ALTERNATIVES: [f64; 4] = [2.0, 3.0, 5.0, 10.0];
/// Beyond it nothing changes a verdict, and sums stay finite.
const MAX_LOG: f64 = 600.0;

/// Requests of one revision in one stratum and window, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub bad: u64,
}

/// Logarithms of the likelihood ratios seen up to now, one for each alternative. Nothing seen: zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogRatios([f64; ALTERNATIVES.len()]);

impl LogRatios {
    /// From a checkpoint; values that no evidence gives are taken for none.
    pub fn from_parts(parts: [f64; ALTERNATIVES.len()]) -> Self {
        if parts.iter().all(|part| part.is_finite()) { Self(parts) } else { Self::default() }
    }

    pub fn parts(&self) -> [f64; ALTERNATIVES.len()] {
        self.0
    }

    /// Takes one window of one stratum in. `tolerance` is the ratio of rates that is still fine. A window in which one of the
    /// two had no requests says nothing about their ratio.
    pub fn observe(&mut self, candidate: Counts, baseline: Counts, tolerance: f64) {
        if candidate.requests == 0 || baseline.requests == 0 {
            return;
        }
        let (ours, theirs) = (tolerance * candidate.requests as f64, baseline.requests as f64);
        for (sum, alternative) in self.0.iter_mut().zip(ALTERNATIVES) {
            // Of all bad events the candidate's share is θ0 = ours / (ours + theirs) when its rate is just tolerable, and θ =
            // alternative · ours / (alternative · ours + theirs) when it is worse. This is ln((1 - θ) / (1 - θ0)).
            let others = ((ours + theirs) / (alternative * ours + theirs)).ln();
            *sum += candidate.bad as f64 * (alternative.ln() + others) + baseline.bad as f64 * others;
            *sum = sum.clamp(-MAX_LOG, MAX_LOG);
        }
    }

    /// Adds what other strata have seen.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = (*sum + more).clamp(-MAX_LOG, MAX_LOG);
        }
    }

    /// The e-value: 1 when nothing was seen; `1/α` and more condemns.
    pub fn e_value(&self) -> f64 {
        self.0.iter().map(|log| log.exp()).sum::<f64>() / ALTERNATIVES.len() as f64
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Traps, timeouts, limits, host errors, and what the guest itself calls an error: HTTP 5xx, an exit code.
    Errors,
    /// Requests over the threshold.
    Slow,
}

impl Metric {
    pub const ALL: [Self; 2] = [Self::Errors, Self::Slow];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
        }
    }
}

/// Requests of one revision on one node, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub errors: u64,
    pub slow: u64,
    /// Of the errors, those in which the guest trapped.
    pub traps: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.slow = self.slow.saturating_add(other.slow);
        self.traps = self.traps.saturating_add(other.traps);
    }

    fn counts(&self, metric: Metric) -> Counts {
        let bad = match metric {
            Metric::Errors => self.errors,
            Metric::Slow => self.slow,
        };
        Counts { requests: self.requests, bad }
    }
}

/// What one node has seen of both revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeEvidence {
    pub errors: LogRatios,
    pub slow: LogRatios,
    pub candidate: Tally,
    pub stable: Tally,
}

impl NodeEvidence {
    pub fn ratios(&self, metric: Metric) -> &LogRatios {
        match metric {
            Metric::Errors => &self.errors,
            Metric::Slow => &self.slow,
        }
    }
}

/// All that one rollout has seen. It runs through all of its stages: begun anew in each, small regressions would never add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pub nodes: BTreeMap<NodeId, NodeEvidence>,
}

impl Evidence {
    /// Takes one window of one node in. Each window must come once.
    pub fn observe(&mut self, node: &NodeId, candidate: &Tally, stable: &Tally, tolerance: f64) {
        let seen = self.nodes.entry(node.clone()).or_default();
        seen.errors.observe(candidate.counts(Metric::Errors), stable.counts(Metric::Errors), tolerance);
        seen.slow.observe(candidate.counts(Metric::Slow), stable.counts(Metric::Slow), tolerance);
        seen.candidate.add(candidate);
        seen.stable.add(stable);
    }

    /// Of all nodes together, and of each revision: candidate, stable.
    pub fn totals(&self) -> (Tally, Tally) {
        let (mut candidate, mut stable) = (Tally::default(), Tally::default());
        for seen in self.nodes.values() {
            candidate.add(&seen.candidate);
            stable.add(&seen.stable);
        }
        (candidate, stable)
    }

    /// Of all nodes but one.
    pub fn e_value(&self, metric: Metric, without: Option<&NodeId>) -> f64 {
        let mut sum = LogRatios::default();
        for (id, seen) in &self.nodes {
            if Some(id) != without {
                sum.add(seen.ratios(metric));
            }
        }
        sum.e_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, bad: u64) -> Counts {
        Counts { requests, bad }
    }

    fn e_value(windows: &[(Counts, Counts)]) -> f64 {
        let mut ratios = LogRatios::default();
        for (candidate, baseline) in windows {
            ratios.observe(*candidate, *baseline, 1.25);
        }
        ratios.e_value()
    }

    #[test]
    fn nothing_seen_says_nothing() {
        assert_eq!(e_value(&[]), 1.0);
        assert_eq!(e_value(&[(counts(100, 0), counts(100, 0))]), 1.0);
        assert_eq!(e_value(&[(counts(100, 100), counts(0, 0)), (counts(0, 0), counts(100, 0))]), 1.0);
    }

    /// By hand: θ0 = 1.25/2.25, θ = 1.25k/(1.25k+1); one bad event of the candidate among equal requests.
    #[test]
    fn one_event_weighs_as_computed_by_hand() {
        let by_hand = [2.5 / 3.5, 3.75 / 4.75, 6.25 / 7.25, 12.5 / 13.5].map(|theta| theta / (1.25 / 2.25));
        let mean = by_hand.iter().sum::<f64>() / 4.0;
        assert!((e_value(&[(counts(10, 1), counts(10, 0))]) - mean).abs() < 1e-12);
    }

    #[test]
    fn a_perfect_baseline_condemns_too() {
        assert!(e_value(&[(counts(100, 12), counts(100, 0))]) > 100.0);
        assert!(e_value(&[(counts(100, 0), counts(100, 12))]) < 0.01);
    }

    #[test]
    fn windows_and_strata_add_up() {
        let windows = [(counts(90, 3), counts(10, 1)), (counts(5, 1), counts(95, 2))];
        let mut whole = LogRatios::default();
        for (candidate, baseline) in windows {
            let mut stratum = LogRatios::default();
            stratum.observe(candidate, baseline, 1.25);
            whole.add(&stratum);
        }
        assert!((whole.e_value() - e_value(&windows)).abs() < 1e-9);
    }

    #[test]
    fn floods_stay_finite() {
        let flood = counts(u64::MAX, u64::MAX);
        assert!(e_value(&[(flood, counts(1, 0)), (flood, flood)]).is_finite());
        assert_eq!(LogRatios::from_parts([f64::NAN, 0.0, 0.0, 0.0]), LogRatios::default());
    }
}
