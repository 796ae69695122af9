//! One way of a link, as a queue with the time as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What one way of a link does to packets. The default is a good cable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    pub delay: Duration,
    /// Up to so much more, evenly drawn. Order is kept: TCP takes reordering for loss, and links seldom do it.
    pub jitter: Duration,
    pub loss_permille: u32,
    pub bits_per_second: Option<u64>,
    /// Nothing comes through.
    pub cut: bool,
}

/// A modem's buffer: packets that would wait for the line for longer than this are dropped.
const LINE_BUFFER: Duration = Duration::from_millis(500);
/// Packets under way at once: 15 MB, more than any link here has in flight.
const MAX_UNDER_WAY: usize = 10_000;

/// Packets on their way, oldest first.
#[derive(Debug)]
pub struct Direction {
    pub conditions: Conditions,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// When the line has sent all that it was given.
    line_free: Instant,
    random: u64,
}

impl Direction {
    /// `seed` decides what is lost, and what jitter there is.
    pub fn new(conditions: Conditions, seed: u64, now: Instant) -> Self {
        Self { conditions, under_way: VecDeque::new(), line_free: now, random: seed }
    }

    /// Takes a packet in, or loses it.
    pub fn take(&mut self, packet: &[u8], now: Instant) {
        let Conditions { delay, jitter, loss_permille, bits_per_second, cut } = self.conditions;
        let lost = self.draw() % 1000 < u64::from(loss_permille);
        let extra = jitter.mul_f64((self.draw() % 1001) as f64 / 1000.0);
        self.line_free = self.line_free.max(now);
        if cut || lost || self.under_way.len() >= MAX_UNDER_WAY || self.line_free - now > LINE_BUFFER {
            return;
        }
        if let Some(rate) = bits_per_second {
            self.line_free += Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate as f64);
        }
        let due = self.line_free + delay + extra;
        let due = self.under_way.back().map_or(due, |(before, _)| due.max(*before));
        self.under_way.push_back((due, packet.to_vec()));
    }

    /// When the next packet arrives.
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// The next packet that has arrived; a cut swallows those under way too.
    pub fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.conditions.cut {
            self.under_way.clear();
        }
        if self.next_due()? > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, packet)| packet)
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
