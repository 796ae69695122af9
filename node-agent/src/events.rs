//! What happened on this node and is worth an operator's look, kept until the control plane was told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use littoral_platform::clock::PersistedClock;
use littoral_proto::v1::AgentEvent;

/// A node that is offline for a week keeps the newest; more than this nobody reads.
const MAX_EVENTS: usize = 128;
/// Messages are for people: a line, not a page.
const MAX_MESSAGE: usize = 1024;

/// A bounded ring, oldest dropped first. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    clock: PersistedClock,
    ring: Arc<Mutex<VecDeque<AgentEvent>>>,
}

impl Events {
    pub(crate) fn new(clock: PersistedClock) -> Self {
        Self { clock, ring: Arc::default() }
    }

    /// Logs the event as a warning and keeps it. `reason` is one CamelCase word that programs may compare;
    /// `function` is empty when it is about the node itself.
    pub(crate) fn add(&self, reason: &str, function: &str, message: impl Into<String>) {
        let message = clip(message.into());
        tracing::warn!(reason, function, "{message}");
        let event = AgentEvent {
            at_ms: self.clock.now().as_millis(),
            reason: reason.to_owned(),
            message,
            function: function.to_owned(),
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == MAX_EVENTS {
            ring.pop_front();
        }
        ring.push_back(event);
    }

    /// Takes at most `max` of the oldest.
    pub(crate) fn take(&self, max: usize) -> Vec<AgentEvent> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let count = max.min(ring.len());
        ring.drain(..count).collect()
    }

    /// Puts back what could not be sent, in front, as far as there is room.
    pub(crate) fn put_back(&self, events: Vec<AgentEvent>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.into_iter().rev() {
            if ring.len() == MAX_EVENTS {
                return;
            }
            ring.push_front(event);
        }
    }
}

/// At most `MAX_MESSAGE` bytes, cut between characters.
pub(crate) fn clip(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> (tempfile::TempDir, Events) {
        let dir = tempfile::tempdir().unwrap();
        let clock = PersistedClock::open(&dir.path().join("clock")).unwrap();
        (dir, Events::new(clock))
    }

    #[test]
    fn the_oldest_are_dropped_and_messages_are_cut() {
        let (_dir, events) = events();
        for number in 0..MAX_EVENTS + 5 {
            events.add("Test", "", number.to_string());
        }
        events.add("Test", "f", "ü".repeat(2000));
        let all = events.take(usize::MAX);
        assert_eq!(all.len(), MAX_EVENTS);
        assert_eq!(all[0].message, "6");
        assert_eq!(all[MAX_EVENTS - 1].message.len(), MAX_MESSAGE);
        assert!(events.take(1).is_empty());
    }

    #[test]
    fn what_could_not_be_sent_comes_first_again() {
        let (_dir, events) = events();
        for message in ["a", "b", "c"] {
            events.add("Test", "", message);
        }
        let taken = events.take(2);
        events.put_back(taken);
        let order: Vec<String> = events.take(9).into_iter().map(|e| e.message).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }
}
