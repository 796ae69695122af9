//! Keeps one worker process running: starts it, tells it what it needs, and starts it again when it dies.

use std::sync::Arc;
use std::time::Duration;

use littoral_platform::backoff::Backoff;
use littoral_platform::error::Chain;
use littoral_platform::random;
use littoral_proto::worker::worker_client::WorkerClient;
use littoral_proto::worker::{StartRequest, StartResponse};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::events::Events;

mod control;
mod process;

#[cfg(test)]
pub(crate) use process::Launched;
pub use process::WorkerCommand;
pub(crate) use process::{Ingress, Launcher, launcher};

/// A worker probes the address space before it answers: seconds under an emulator.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Half of it on average for the first restart: "within a second".
const RESTART_BASE: Duration = Duration::from_millis(250);
/// A worker that dies again and again still gets a chance every ten seconds.
const RESTART_CAP: Duration = Duration::from_secs(10);
/// One that lived for this long died of something else.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// A running worker. Clones share its connection.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Rises with every start: what one worker had loaded, the next has not.
    pub instance: u64,
    pub client: WorkerClient<Channel>,
    /// What it told about itself.
    pub info: StartResponse,
    kill: CancellationToken,
}

impl Worker {
    /// Ends it; the supervisor starts another.
    pub(crate) fn restart(&self) {
        self.kill.cancel();
    }
}

/// `None` while there is no worker.
pub(crate) type WorkerState = Option<Worker>;

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("it could not be started")]
    Launch(#[source] std::io::Error),
    #[error("it could not be talked to")]
    Connect(#[source] tonic::transport::Error),
    #[error("it refused to start: {0}")]
    Refused(String),
    #[error("it did not answer within {} s of its start", START_DEADLINE.as_secs())]
    Silent,
    #[error("it ended: {0}")]
    Ended(String),
    #[error("it was ended because it no longer answered or its settings had changed")]
    Killed,
}

/// Owns the worker.
pub(crate) struct Supervisor {
    launcher: Launcher,
    /// Asked before every start, so that new keys reach the next worker.
    start: Arc<dyn Fn() -> StartRequest + Send + Sync>,
    state: watch::Sender<WorkerState>,
    restarts: Counter,
    events: Events,
}

impl Supervisor {
    pub(crate) fn new(
        launcher: Launcher,
        start: impl Fn() -> StartRequest + Send + Sync + 'static,
        restarts: Counter,
        events: Events,
    ) -> Self {
        let (state, _) = watch::channel(None);
        Self { launcher, start: Arc::new(start), state, restarts, events }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<WorkerState> {
        self.state.subscribe()
    }

    /// Runs workers, one after the other, until `stop`: then the running one is ended, and no other started. While
    /// `draining` is set, one that ends is not replaced.
    pub(crate) async fn run(self, draining: CancellationToken, stop: CancellationToken) {
        let mut backoff = Backoff::new(RESTART_BASE, RESTART_CAP);
        for instance in 1.. {
            let began = Instant::now();
            let ended = stop.run_until_cancelled(self.one(instance)).await;
            self.state.send_replace(None);
            let Some(error) = ended else { return };
            if draining.is_cancelled() {
                stop.cancelled().await;
                return;
            }
            self.events.add("WorkerEnded", "", format!("the worker is gone: {}", Chain(&error)));
            self.restarts.inc();
            if began.elapsed() >= STABLE_AFTER {
                backoff.reset();
            }
            let wait = sleep(backoff.next(random::number()));
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// One worker's life, from its start to why it ended. Dropping the future kills the process.
    async fn one(&self, instance: u64) -> WorkerError {
        let launched = match (self.launcher)() {
            Ok(launched) => launched,
            Err(error) => return WorkerError::Launch(error),
        };
        let mut ended = launched.ended;
        let ready = tokio::select! {
            biased;
            why = &mut ended => return WorkerError::Ended(why),
            ready = timeout(START_DEADLINE, self.start(launched.control)) => ready,
        };
        let (client, info) = match ready {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => return error,
            Err(_) => return WorkerError::Silent,
        };
        tracing::info!(instance, target = info.target, confinement = info.confinement, "the worker is up");
        let kill = CancellationToken::new();
        self.state.send_replace(Some(Worker { instance, client, info, kill: kill.clone() }));
        tokio::select! {
            why = ended => WorkerError::Ended(why),
            () = kill.cancelled() => WorkerError::Killed,
        }
    }

    async fn start(
        &self,
        control: tokio::net::UnixStream,
    ) -> Result<(WorkerClient<Channel>, StartResponse), WorkerError> {
        let channel = control::channel(control).await.map_err(WorkerError::Connect)?;
        let mut client = WorkerClient::new(channel)
            .max_decoding_message_size(littoral_proto::MAX_MESSAGE)
            .max_encoding_message_size(littoral_proto::MAX_MESSAGE);
        let request = (self.start)();
        let info = client.start(request).await.map_err(|s| WorkerError::Refused(s.message().to_owned()))?;
        Ok((client, info.into_inner()))
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
