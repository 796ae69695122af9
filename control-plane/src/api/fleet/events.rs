//! Events as a stream.

use futures::{Stream, StreamExt, stream};
use littoral_platform::clock;
use littoral_proto::v1::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::events::{Events, KEPT};

const DEFAULT_LAST: usize = 100;

/// The last events, oldest first, and with `follow` those to come until `stop`.
pub(super) fn stream(
    events: &Events,
    follow: bool,
    last: u32,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Event, Status>> + Send + use<> {
    let last = usize::try_from(last).unwrap_or(KEPT);
    let (past, receiver) = events.follow(if last == 0 { DEFAULT_LAST } else { last.min(KEPT) });
    let coming = stream::unfold(receiver, |mut receiver| async {
        let event = match receiver.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => missed_events(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((event, receiver))
    });
    let coming = stream::iter(follow.then_some(coming)).flatten().take_until(stop.cancelled_owned());
    stream::iter(past).chain(coming).map(Ok)
}

/// A follower that was too slow is told so, instead of believing that nothing happened.
fn missed_events(missed: u64) -> Event {
    Event {
        at_ms: clock::now().as_millis(),
        reason: "EventsMissed".to_owned(),
        message: format!("{missed} events came faster than they were read"),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_past_then_what_comes_until_the_end() {
        let (events, stop) = (Events::new(), CancellationToken::new());
        for i in 0..3 {
            events.record(format!("node/{i}"), "NodeJoined", "");
        }
        let past: Vec<_> = stream(&events, false, 2, stop.clone()).collect().await;
        assert_eq!(past.len(), 2);
        let mut followed = Box::pin(stream(&events, true, 1, stop.clone()));
        assert_eq!(followed.next().await.unwrap().unwrap().subject, "node/2");
        events.record("node/3", "NodeJoined", "");
        assert_eq!(followed.next().await.unwrap().unwrap().subject, "node/3");
        stop.cancel();
        assert!(followed.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_what_it_missed() {
        let (events, stop) = (Events::new(), CancellationToken::new());
        let mut followed = Box::pin(stream(&events, true, 1, stop));
        for i in 0..2000 {
            events.record(format!("node/{i}"), "NodeJoined", "");
        }
        let first = followed.next().await.unwrap().unwrap();
        assert_eq!(first.reason, "EventsMissed");
        assert!(first.message.starts_with("976 "), "{}", first.message);
    }
}
