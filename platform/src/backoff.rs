//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is drawn evenly from zero to `min(cap, base * 2^n)`.
///
/// Full jitter, because a thousand nodes that lost their control plane in the same second must not come back in
/// the same second.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// The next wait. `random` is evenly distributed over all of `u64` (`random::number()`).
    pub fn next(&mut self, random: u64) -> Duration {
        let factor = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(factor).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        // Multiply and shift: an even draw from 0..=ceiling without a division's bias.
        let steps = ceiling.as_millis() + 1;
        let millis = (u128::from(random) * steps) >> 64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// After a success: the next wait starts from `base` again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Waits drawn since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let mut backoff = backoff();
        let highest: Vec<u128> = (0..7).map(|_| backoff.next(u64::MAX).as_millis()).collect();
        assert_eq!(highest, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn the_draw_covers_the_whole_range() {
        assert_eq!(backoff().next(0), Duration::ZERO);
        let middle = backoff().next(u64::MAX / 2);
        assert!((Duration::from_millis(49)..=Duration::from_millis(51)).contains(&middle), "{middle:?}");
    }

    #[test]
    fn hundreds_of_failures_do_not_overflow_and_a_reset_starts_over() {
        let mut backoff = backoff();
        for _ in 0..500 {
            assert!(backoff.next(u64::MAX) <= Duration::from_secs(2));
        }
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert_eq!(backoff.next(u64::MAX), Duration::from_millis(100));
    }
}
