//! Ids of requests, made here: they decide which revision answers, so no client may choose them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use littoral_platform::random;

/// Evenly distributed and never repeated within a process; the start is random, so that they differ between processes.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestId(u64);

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(random::number()))
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId(mix(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

impl RequestId {
    pub(crate) fn draw(self) -> u64 {
        self.0
    }

    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("hexadecimal digits are a header value")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The finaliser of SplitMix64: a bijection that spreads neighbours over the whole range.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn are_distinct_and_even() {
        let ids = RequestIds::new();
        let drawn: HashSet<u64> = (0..10_000).map(|_| ids.next().draw()).collect();
        assert_eq!(drawn.len(), 10_000);
        let tenth = drawn.iter().filter(|id| *id % 10 == 0).count();
        assert!((850..1150).contains(&tenth), "{tenth}");
        assert_eq!(ids.next().header().len(), 16);
    }
}
