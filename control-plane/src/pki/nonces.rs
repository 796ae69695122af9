//! Challenges that were handed out and not yet answered.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use littoral_model::time::Timestamp;

/// A node answers within a round trip; a minute covers the slowest link.
const LIFE: Duration = Duration::from_secs(60);
/// Anybody may ask for one: 64 K of them are 5 MiB. When full, the oldest makes room.
const MOST: usize = 64 * 1024;

pub(super) type Nonce = [u8; 32];

/// Nonces, each good for one answer within a minute.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    open: HashMap<Nonce, Timestamp>,
    /// In the order of issue, the used ones among them.
    order: VecDeque<Nonce>,
}

impl Nonces {
    pub(super) fn issue(&mut self, nonce: Nonce, now: Timestamp) {
        while let Some(oldest) = self.order.front() {
            let over = self.open.get(oldest).is_none_or(|issued| now.since(*issued) > LIFE);
            if !over && self.order.len() < MOST {
                break;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.open.remove(&oldest);
            }
        }
        self.open.insert(nonce, now);
        self.order.push_back(nonce);
    }

    /// Whether `nonce` was issued less than a minute ago and not used; it is used up.
    pub(super) fn redeem(&mut self, nonce: &[u8], now: Timestamp) -> bool {
        let issued = Nonce::try_from(nonce).ok().and_then(|nonce| self.open.remove(&nonce));
        issued.is_some_and(|issued| now.since(issued) <= LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn nonce(n: usize) -> Nonce {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        bytes
    }

    #[test]
    fn a_nonce_is_good_once_and_for_a_minute() {
        let mut nonces = Nonces::default();
        nonces.issue(nonce(1), at(0));
        nonces.issue(nonce(2), at(0));
        assert!(nonces.redeem(&nonce(1), at(60)));
        assert!(!nonces.redeem(&nonce(1), at(60)));
        assert!(!nonces.redeem(&nonce(2), at(61)));
        assert!(!nonces.redeem(&nonce(3), at(0)));
        assert!(!nonces.redeem(b"short", at(0)));
    }

    #[test]
    fn a_flood_of_questions_is_bounded_and_the_newest_still_work() {
        let mut nonces = Nonces::default();
        for n in 0..MOST + 10 {
            nonces.issue(nonce(n), at(0));
        }
        assert_eq!(nonces.open.len(), MOST);
        assert!(!nonces.redeem(&nonce(0), at(1)));
        assert!(nonces.redeem(&nonce(MOST + 9), at(1)));
        nonces.issue(nonce(MOST + 10), at(120));
        assert_eq!((nonces.open.len(), nonces.order.len()), (1, 1));
    }
}
