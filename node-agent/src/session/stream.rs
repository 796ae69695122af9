//! One session, from the first message to the last.

use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_platform::random;
use littoral_proto::v1::session_down::Message as Down;
use littoral_proto::v1::session_up::Message as Up;
use littoral_proto::v1::{Hello, NodeCapacity, SessionDown, SessionUp, Welcome};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::downlink::Next;
use super::{Over, Session, SessionError};
use crate::link::{LinkState, NodeClient};

/// Messages on their way out: a report, refusals, and room for a slow moment.
const UP_QUEUE: usize = 16;
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);
/// The queue does not move for this long: the link is dead, whatever its keepalive says.
const SEND_DEADLINE: Duration = Duration::from_secs(20);
/// Changes come in bursts; one report tells of all. Two may go within it: the first tells that an assignment is known, the
/// second, some milliseconds later, that it runs, and the next batch of nodes waits for that one.
const TWO_WITHIN: Duration = Duration::from_millis(200);
/// The server's interval is kept within these, whatever it says.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(600);
/// For the last report to arrive while the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A machine's clock this far behind a trusted server's was never set.
const CLOCK_BEHIND: Duration = Duration::from_secs(3600);

/// A live session.
pub(super) struct Live {
    pub up: mpsc::Sender<SessionUp>,
    pub bulk: NodeClient,
    pub epoch: u64,
    interval: Duration,
    next_report: Instant,
    last_report: Instant,
    report_before: Instant,
}

impl Session {
    pub(super) async fn stream(
        &mut self,
        mut control: NodeClient,
        bulk: NodeClient,
        stop: &CancellationToken,
    ) -> Result<Over, SessionError> {
        let told = self.capacity();
        let (up, queue) = mpsc::channel(UP_QUEUE);
        let hello = SessionUp { message: Some(Up::Hello(self.hello(told.clone()))) };
        // There is room: the queue is new.
        let _ = up.try_send(hello);
        let opening = timeout(WELCOME_DEADLINE, open(&mut control, queue));
        let Some(opened) = stop.run_until_cancelled(opening).await else { return Ok(Over::Stopped) };
        let (mut down, welcome) = opened.map_err(|_| SessionError::Silent("answer"))??;
        let mut live = self.welcomed(up, bulk, &welcome);
        loop {
            let wake = live.next_report;
            let next = tokio::select! {
                () = stop.cancelled() => {
                    self.last_words(live, down).await;
                    return Ok(Over::Stopped);
                }
                message = down.message() => self.received(message, &mut live).await?,
                () = sleep_until(wake) => {
                    self.send_report(&mut live).await?;
                    Next::Continue
                }
                Ok(()) = self.reporter.observed.changed() => Next::ReportSoon,
                Ok(()) = self.worker.changed() => {
                    let same = self.worker.borrow().is_none() || self.capacity() == told;
                    if same { Next::Continue } else { Next::Over(Over::Redial) }
                }
            };
            match next {
                Next::Continue => {}
                Next::ReportSoon => {
                    live.next_report = live.next_report.min(live.report_before + TWO_WITHIN);
                }
                Next::Over(over) => return Ok(over),
            }
        }
    }

    fn hello(&self, capacity: NodeCapacity) -> Hello {
        let number = self.ledger.number();
        Hello {
            capacity: Some(capacity),
            boot_id: self.stats.boot_id().to_owned(),
            cluster_epoch: number.epoch.0,
            observed_generation: number.generation.0,
            now_ms: self.now().as_millis(),
        }
    }

    fn welcomed(&self, up: mpsc::Sender<SessionUp>, bulk: NodeClient, welcome: &Welcome) -> Live {
        let server_time = Timestamp::from_millis(welcome.now_ms);
        if server_time.since(self.now()) > CLOCK_BEHIND {
            tracing::warn!(%server_time, "this machine's clock is behind the control plane's: going by the latter");
            self.clock.raise(server_time);
        }
        let interval = Duration::from_millis(welcome.report_interval_ms);
        let interval = interval.clamp(*INTERVALS.start(), *INTERVALS.end());
        tracing::info!(
            epoch = welcome.session_epoch,
            interval_ms = interval.as_millis(),
            "session established"
        );
        self.metrics.session_up.set(1);
        self.set_link(LinkState::Up { epoch: welcome.session_epoch, bulk: bulk.clone() });
        let now = Instant::now();
        Live {
            up,
            bulk,
            epoch: welcome.session_epoch,
            interval,
            next_report: now,
            last_report: now,
            report_before: now,
        }
    }

    async fn send_report(&self, live: &mut Live) -> Result<(), SessionError> {
        let report = self.reporter.report(live.epoch);
        let events = report.events.clone();
        let message = SessionUp { message: Some(Up::Report(report)) };
        live.report_before = std::mem::replace(&mut live.last_report, Instant::now());
        live.next_report = live.last_report + jittered(live.interval, random::number());
        if let Ok(Ok(())) = timeout(SEND_DEADLINE, live.up.send(message)).await {
            return Ok(());
        }
        self.reporter.not_sent(events);
        Err(SessionError::Silent("take a report"))
    }

    /// The last report, and a moment for the answer.
    async fn last_words(&self, mut live: Live, mut down: Streaming<SessionDown>) {
        let parting = async {
            self.send_report(&mut live).await?;
            drop(live);
            while let Ok(Some(message)) = down.message().await {
                if let Some(Down::WindowAck(ack)) = message.message {
                    self.stats.acknowledge(&ack.boot_id, ack.sequence);
                }
            }
            Ok::<(), SessionError>(())
        };
        if !matches!(timeout(LAST_WORDS, parting).await, Ok(Ok(()))) {
            tracing::info!("the control plane did not confirm the last report");
        }
    }
}

async fn open(
    control: &mut NodeClient,
    queue: mpsc::Receiver<SessionUp>,
) -> Result<(Streaming<SessionDown>, Welcome), SessionError> {
    let response = control.session(ReceiverStream::new(queue)).await.map_err(SessionError::Refused)?;
    let mut down = response.into_inner();
    match down.message().await.map_err(SessionError::Refused)?.and_then(|first| first.message) {
        Some(Down::Welcome(welcome)) => Ok((down, welcome)),
        Some(Down::Goodbye(goodbye)) => Err(SessionError::Ended(goodbye.reason)),
        _ => Err(SessionError::NoWelcome),
    }
}

/// Evenly drawn from 80 to 120 per cent, so that a fleet's reports do not fall into step.
fn jittered(interval: Duration, random: u64) -> Duration {
    let share = u32::try_from(random % 401).unwrap_or(0);
    interval * (800 + share) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_spread_by_a_fifth_to_either_side() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0), Duration::from_secs(8));
        assert_eq!(jittered(interval, 400), Duration::from_secs(12));
        assert_eq!(jittered(interval, 200), interval);
    }
}
