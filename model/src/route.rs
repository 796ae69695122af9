//! Which node answers an invocation.

use crate::id::NodeId;

/// A node that reports the function Running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: NodeId,
    /// Median of its last minutes, microseconds; `None` until it has answered something.
    pub median_us: Option<u64>,
    /// Invocations that we sent and that are not back.
    pub in_flight: u32,
}

/// The node with the best measured latency, the least busy of equals.
///
/// A node that has not been measured comes first: it gets measured by this. Latencies within a factor of about 1.4 are
/// equal, so that noise does not pile everything onto one node.
pub fn pick(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .min_by_key(|c| (bucket(c.median_us) + u64::from(c.in_flight), c.in_flight, c.node.clone()))
}

/// Twice the logarithm to base 2: a step for each factor of √2.
fn bucket(median_us: Option<u64>) -> u64 {
    let Some(us) = median_us else { return 0 };
    let us = us.max(1);
    let floor = u64::from(us.ilog2());
    let half = (u128::from(us) * u128::from(us)) >= (1u128 << (2 * floor + 1));
    1 + 2 * floor + u64::from(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: &str, median_us: Option<u64>, in_flight: u32) -> Candidate {
        Candidate { node: node.parse().unwrap(), median_us, in_flight }
    }

    #[test]
    fn the_fastest_wins_until_it_is_busy() {
        let all = [candidate("a", Some(8000), 0), candidate("b", Some(1000), 0)];
        assert_eq!(pick(&all).unwrap().node.as_str(), "b");
        let all = [candidate("a", Some(8000), 0), candidate("b", Some(1000), 7)];
        assert_eq!(pick(&all).unwrap().node.as_str(), "a");
    }

    #[test]
    fn noise_makes_no_difference() {
        let all = [candidate("a", Some(1100), 0), candidate("b", Some(1030), 1)];
        assert_eq!(pick(&all).unwrap().node.as_str(), "a");
    }

    #[test]
    fn an_unmeasured_node_gets_measured() {
        let all = [candidate("a", Some(100), 0), candidate("b", None, 0)];
        assert_eq!(pick(&all).unwrap().node.as_str(), "b");
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn buckets_rise_with_latency() {
        let us = [1, 2, 3, 4, 5, 100, 1000, 1_000_000, u64::MAX];
        assert!(us.windows(2).all(|w| bucket(Some(w[0])) <= bucket(Some(w[1]))));
    }
}
