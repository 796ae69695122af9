//! What happened lately, for people: audit entries, and what planner, compiler and nodes did.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use littoral_platform::clock;
use littoral_proto::v1::Event;
use tokio::sync::broadcast;

/// What `events` can look back on; some hundred KiB.
pub const KEPT: usize = 1000;
/// A follower that is this far behind is told how many it has missed.
const FOLLOW_QUEUE: usize = 1024;

/// The last thousand events, and those to come. Clones share everything.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    past: Mutex<VecDeque<Event>>,
    follow: broadcast::Sender<Event>,
}

impl Events {
    pub fn new() -> Self {
        let follow = broadcast::Sender::new(FOLLOW_QUEUE);
        Self { inner: Arc::new(Inner { past: Mutex::default(), follow }) }
    }

    /// Something that the control plane itself or a node did; `subject` as in `node/shop-3`, `reason` in CamelCase.
    pub fn record(&self, subject: impl Into<String>, reason: &'static str, message: impl Into<String>) {
        self.emit(Event {
            at_ms: clock::now().as_millis(),
            subject: subject.into(),
            reason: reason.to_owned(),
            message: message.into(),
            ..Event::default()
        });
    }

    pub fn emit(&self, event: Event) {
        let mut past = self.past();
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody may be following. Sent under the lock: `follow` neither misses an event nor sees one twice.
        let _ = self.inner.follow.send(event);
    }

    /// Puts events of an earlier run of the program in front of the list, oldest first.
    pub fn restore(&self, events: impl IntoIterator<Item = Event>) {
        let mut past = self.past();
        let newer = std::mem::take(&mut *past);
        past.extend(events);
        past.extend(newer);
        let surplus = past.len().saturating_sub(KEPT);
        past.drain(..surplus);
    }

    /// The last `count` events, oldest first, and a receiver of all that come after them.
    pub fn follow(&self, count: usize) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past();
        let skip = past.len().saturating_sub(count);
        (past.iter().skip(skip).cloned().collect(), self.inner.follow.subscribe())
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.inner.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_past_is_bounded_and_followers_see_what_comes() {
        let events = Events::new();
        for i in 0..KEPT + 5 {
            events.record(format!("node/{i}"), "NodeJoined", "");
        }
        let (past, mut follow) = events.follow(2);
        assert_eq!(past.iter().map(|e| e.subject.as_str()).collect::<Vec<_>>(), ["node/1003", "node/1004"]);
        assert_eq!(events.follow(usize::MAX).0.len(), KEPT);
        events.record("node/x", "NodeLost", "");
        assert_eq!(follow.recv().await.unwrap().subject, "node/x");
    }

    #[test]
    fn an_earlier_run_comes_first() {
        let events = Events::new();
        events.record("b", "X", "");
        events.restore([Event { subject: "a".into(), ..Event::default() }]);
        let subjects: Vec<String> = events.follow(10).0.into_iter().map(|e| e.subject).collect();
        assert_eq!(subjects, ["a", "b"]);
    }
}
