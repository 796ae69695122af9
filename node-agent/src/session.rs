//! The session with the control plane: dialled by the node, kept up, dialled again when it is lost.

use std::sync::Arc;
use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_platform::backoff::Backoff;
use littoral_platform::channel::{self, ChannelError};
use littoral_platform::clock::PersistedClock;
use littoral_platform::error::Chain;
use littoral_platform::random;
use littoral_platform::tls::TlsError;
use littoral_proto::v1::NodeCapacity;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::capacity::Hardware;
use crate::credentials::Credentials;
use crate::events::Events;
use crate::invocations::Invocations;
use crate::ledger::Ledger;
use crate::link::{Link, LinkState, client};
use crate::metrics::AgentMetrics;
use crate::report::Reporter;
use crate::stats::Stats;
use crate::supervisor::WorkerState;

mod downlink;
mod stream;

/// After a restart of the control plane its nodes come back spread over a minute.
const RECONNECT_BASE: Duration = Duration::from_secs(1);
const RECONNECT_CAP: Duration = Duration::from_secs(60);
/// A control plane that refuses this node's certificate was asked by somebody to do so: asking often changes nothing.
const DENIED_WAIT: Duration = Duration::from_secs(600);
/// Before that: a control plane that has just started may not know all of its nodes yet.
const DENIALS: u32 = 6;
/// A session that lived for this long was a good one: the next wait is short again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// What the worker finds out about the machine belongs into the first message; without a worker the node still
/// says that it lives.
const WORKER_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the control plane refused the session: {}", .0.message())]
    Refused(Status),
    #[error("the session was lost: {}", .0.message())]
    Lost(Status),
    #[error("the control plane did not {0} in time")]
    Silent(&'static str),
    #[error("the control plane began the session with something else than a welcome")]
    NoWelcome,
    #[error("the control plane ended the session: {0}")]
    Ended(String),
}

impl SessionError {
    /// The connection is fine, and this node is not wanted.
    fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::PermissionDenied)
    }
}

/// Why a session is over, when nothing failed.
#[derive(Debug)]
enum Over {
    /// This program stops.
    Stopped,
    /// The node must not dial again.
    Revoked(String),
    /// What was said at the start is no longer true: say it anew at once.
    Redial,
}

/// All that a session touches.
#[derive(Debug)]
pub(crate) struct Session {
    pub credentials: Arc<Credentials>,
    pub ledger: Arc<Ledger>,
    pub reporter: Reporter,
    pub stats: Stats,
    pub events: Events,
    pub metrics: AgentMetrics,
    pub clock: PersistedClock,
    pub hardware: Hardware,
    pub worker: watch::Receiver<WorkerState>,
    pub invocations: Invocations,
    pub link: watch::Sender<Link>,
}

impl Session {
    /// Keeps a session until `stop`, or until the control plane says that the node is revoked.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RECONNECT_BASE, RECONNECT_CAP);
        let mut renewed = self.credentials.subscribe();
        let known = self.worker.wait_for(Option::is_some);
        // Either way the session begins.
        let _ = stop.run_until_cancelled(timeout(WORKER_WAIT, known)).await;
        while !stop.is_cancelled() {
            let began = Instant::now();
            renewed.mark_unchanged();
            let over = self.once(&stop).await;
            self.metrics.session_up.set(0);
            let (reason, denied) = match over {
                Ok(Over::Stopped) => break,
                Ok(Over::Redial) => {
                    self.set_link(LinkState::Down { reason: "dialling again".into() });
                    continue;
                }
                Ok(Over::Revoked(reason)) => return self.revoked(reason, &stop).await,
                Err(error) => (Chain(&error).to_string(), error.is_denial()),
            };
            if began.elapsed() >= STABLE_AFTER {
                backoff.reset();
            }
            let patient = denied && backoff.attempts() >= DENIALS;
            let wait = if patient { DENIED_WAIT } else { Duration::ZERO } + backoff.next(random::number());
            tracing::warn!(again_in_ms = wait.as_millis(), "no session: {reason}");
            self.set_link(LinkState::Down { reason });
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
                // A renewed certificate may be what was missing.
                Ok(()) = renewed.changed() => {}
            }
        }
        self.set_link(LinkState::Down { reason: "the agent is stopping".into() });
    }

    async fn once(&mut self, stop: &CancellationToken) -> Result<Over, SessionError> {
        let tls = self.credentials.tls()?;
        let server = self.credentials.server().clone();
        let connecting = channel::connect(&server, &tls);
        let Some(connected) = stop.run_until_cancelled(connecting).await else { return Ok(Over::Stopped) };
        // The second connection is made when there is something to carry.
        let bulk = client(channel::connect_lazy(&server, &tls));
        self.stream(client(connected?), bulk, stop).await
    }

    /// The node goes on serving what it has; it only stops asking.
    async fn revoked(&self, reason: String, stop: &CancellationToken) {
        let message = format!("this node was revoked and will not dial again: {reason}");
        tracing::error!("{message}");
        self.events.add("Revoked", "", message);
        self.set_link(LinkState::Revoked { reason });
        stop.cancelled().await;
    }

    fn capacity(&self) -> NodeCapacity {
        self.hardware.capacity(self.worker.borrow().as_ref().map(|worker| &worker.info))
    }

    fn set_link(&self, state: LinkState) {
        self.link.send_replace(Link { state, since: self.now() });
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
