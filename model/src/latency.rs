//! Latencies that can be added up: over windows, nodes and revisions.

use histogram::{Config, SparseHistogram};

/// Relative error of at most 3 %: 2 to the power of -5.
pub const GROUPING_POWER: u8 = 5;
/// Up to 2^36 microseconds, which is 19 hours.
pub const MAX_VALUE_POWER: u8 = 36;

/// An H2 histogram (<https://h2histogram.org>) of microseconds, kept sparse: some hundred bytes.
#[derive(Clone, Debug)]
pub struct Latencies(SparseHistogram);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a histogram of this kind: {0}")]
pub struct BadHistogram(String);

impl Default for Latencies {
    fn default() -> Self {
        let config =
            Config::new(GROUPING_POWER, MAX_VALUE_POWER).expect("the constants make a valid configuration");
        Self(SparseHistogram::with_config(&config))
    }
}

impl Latencies {
    /// From the parts of a message: `index` rises strictly.
    ///
    /// # Errors
    /// When it was recorded with other parameters or the parts do not fit together.
    pub fn from_parts(
        grouping: u32,
        max_value: u32,
        index: Vec<u32>,
        count: Vec<u64>,
    ) -> Result<Self, BadHistogram> {
        if (grouping, max_value) != (u32::from(GROUPING_POWER), u32::from(MAX_VALUE_POWER)) {
            return Err(BadHistogram(format!("its powers are {grouping} and {max_value}")));
        }
        let config = Self::default().0.config();
        SparseHistogram::from_parts(config, index, count).map(Self).map_err(|e| BadHistogram(e.to_string()))
    }

    /// Adds another's counts; a sum that overflows is left as it was.
    pub fn add(&mut self, other: &Self) {
        if let Ok(sum) = self.0.checked_add(&other.0) {
            self.0 = sum;
        }
    }

    pub fn total(&self) -> u64 {
        self.0.count().iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// How many are in buckets that lie wholly above `threshold`, microseconds: at most 3 % of the value too few are counted.
    pub fn above(&self, threshold: u64) -> u64 {
        let slow = (&self.0).into_iter().filter(|bucket| bucket.start() > threshold);
        slow.fold(0, |sum, bucket| sum.saturating_add(bucket.count()))
    }

    /// The value below which this share of all lies, microseconds; `None` when there is nothing.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let result = self.0.quantile(share).ok()??;
        result.get(&histogram::Quantile::new(share).ok()?).map(|bucket| bucket.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Latencies {
        let config = Config::new(GROUPING_POWER, MAX_VALUE_POWER).unwrap();
        let mut dense = histogram::Histogram::with_config(&config);
        for value in values {
            dense.increment(*value).unwrap();
        }
        Latencies(SparseHistogram::from(&dense))
    }

    #[test]
    fn sums_have_the_quantiles_of_both() {
        let mut sum = of(&[100; 90]);
        sum.add(&of(&[9000; 10]));
        assert_eq!(sum.total(), 100);
        let (median, p99) = (sum.quantile(0.5).unwrap(), sum.quantile(0.99).unwrap());
        assert!((97..=104).contains(&median), "{median}");
        assert!((8700..=9300).contains(&p99), "{p99}");
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_above_a_threshold_is_counted() {
        let mixed = of(&[10, 10, 1000, 5000, 5000, 5000]);
        assert_eq!([0, 100, 2000, 60_000].map(|threshold| mixed.above(threshold)), [6, 4, 3, 0]);
        // Its own p99 leaves the slowest bucket alone.
        assert_eq!(mixed.above(mixed.quantile(0.99).unwrap()), 0);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert!(Latencies::from_parts(5, 36, vec![1, 2], vec![1, 1]).is_ok());
        for (grouping, index, count) in [
            (7, vec![1], vec![1]),
            (5, vec![2, 1], vec![1, 1]),
            (5, vec![1], vec![1, 2]),
            (5, vec![u32::MAX], vec![1]),
        ] {
            assert!(Latencies::from_parts(grouping, 36, index, count).is_err());
        }
    }
}
