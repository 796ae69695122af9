//! One loaded revision of a function, and how many requests it takes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use littoral_proto::v1::{ModuleKind, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use wasmtime::{Engine, InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::call::{Core, Typed};
use super::guest::{self, CoreGuest, Guest, Limited, Stdio};
use super::limits::{HostMemory, Limits};
use super::outcome::Failure;
use super::spec::Spec;
use super::ticker::{Ticker, Ticking};
use crate::worker::request::Request;
use crate::worker::stats::{FunctionStats, Trigger};

/// A request that waits longer than this for its turn is better sent elsewhere.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Requests that wait for their turn, at least: a burst must not be refused by a function of low concurrency.
const MIN_QUEUE: u32 = 16;

/// How a guest is entered.
pub(crate) enum Entry {
    Http(ProxyPre<Guest>),
    Command(CommandPre<Guest>),
    CommandP1(InstancePre<CoreGuest>),
    Typed(Typed),
    TypedCore(Core),
}

/// What all functions of a process share.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) memory: Arc<HostMemory>,
    /// As many as the pool has instances.
    pub(crate) instances: Arc<Semaphore>,
}

/// A loaded revision. It is done with when the last request lets go.
pub struct Function {
    spec: Spec,
    entry: Entry,
    host: Arc<Host>,
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
    stats: Arc<FunctionStats>,
    requests: TaskTracker,
}

/// What is asked of a function, other than by HTTP from outside.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// In WAVE syntax, for typed functions.
    pub call: String,
    /// For HTTP functions; empty: GET without a payload and POST with one.
    pub method: String,
    /// With query, for HTTP functions; empty: `/`.
    pub path: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// The caller's patience, where it is shorter than the function's own limit.
    pub patience: Option<Duration>,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub outcome: Outcome,
    /// Of a command.
    pub exit_code: i32,
    /// Why, when the outcome is not `Ok`.
    pub message: String,
    pub duration: Duration,
}

/// A request with its permits, ready to enter the guest.
pub(crate) struct Admitted {
    pub(crate) request: Arc<Request>,
    pub(crate) deadline: Instant,
    pub(crate) timeout: Duration,
    _ticking: Ticking,
    _own: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Function {
    pub(crate) fn new(spec: Spec, entry: Entry, host: Arc<Host>, stats: Arc<FunctionStats>) -> Self {
        let permits = Arc::new(Semaphore::new(spec.concurrency as usize));
        let requests = TaskTracker::new();
        Self { spec, entry, host, permits, waiting: AtomicU32::new(0), stats, requests }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    pub fn kind(&self) -> ModuleKind {
        self.spec.kind
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Guests that go on after their answer's head run here.
    pub(crate) fn requests(&self) -> &TaskTracker {
        &self.requests
    }

    /// Completes when no request is under way any more.
    pub(crate) async fn drained(&self) {
        self.requests.close();
        self.requests.wait().await;
    }

    /// Waits for a turn: for a bounded time, among a bounded number.
    pub(crate) async fn admit(
        &self,
        trigger: Trigger,
        patience: Option<Duration>,
    ) -> Result<Admitted, Failure> {
        let request = Request::new(Arc::clone(&self.stats), trigger, self.requests.token());
        let timeout = patience.map_or(self.spec.timeout, |patience| patience.min(self.spec.timeout));
        let Some((own, host)) = self.permits(timeout.min(MAX_WAIT)).await else {
            request.fail(Outcome::QueueFull);
            let text = format!("{} requests are under way and too many wait", self.spec.concurrency);
            return Err(Failure::new(Outcome::QueueFull, text));
        };
        Ok(Admitted {
            request,
            deadline: Instant::now() + timeout,
            timeout,
            _ticking: self.host.ticker.run(),
            _own: own,
            _host: host,
        })
    }

    async fn permits(&self, wait: Duration) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let (own, host) = (&self.permits, &self.host.instances);
        if let Ok(own) = Arc::clone(own).try_acquire_owned()
            && let Ok(host) = Arc::clone(host).try_acquire_owned()
        {
            return Some((own, host));
        }
        let _place = Place::take(&self.waiting, self.spec.concurrency.max(MIN_QUEUE))?;
        let both = async {
            let own = Arc::clone(own).acquire_owned().await.ok()?;
            let host = Arc::clone(host).acquire_owned().await.ok()?;
            Some((own, host))
        };
        tokio::time::timeout(wait, both).await.ok().flatten()
    }

    pub(crate) fn store(&self, stdio: Stdio) -> wasmtime::Store<Guest> {
        guest::store(&self.host.engine, Guest::new(&self.spec, self.limits(), stdio))
    }

    pub(crate) fn core_store(&self, stdio: Stdio) -> wasmtime::Store<CoreGuest> {
        guest::store(&self.host.engine, CoreGuest::new(&self.spec, self.limits(), stdio))
    }

    fn limits(&self) -> Limits {
        Limits::new(Arc::clone(&self.host.memory), self.spec.memory)
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32, places: u32) -> Option<Self> {
        let place = Self(waiting);
        // Counted first and given back by `place` when there is none: two at once never both get the last.
        (waiting.fetch_add(1, Ordering::Relaxed) < places).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The refusal of memory that explains an error, if there was one.
pub(crate) fn failure<T: Limited>(store: &mut wasmtime::Store<T>, stage: Stage) -> Failure {
    let refusal = store.data_mut().limits().refusal();
    match stage {
        Stage::Instantiating(error) => Failure::instantiating(&error, refusal),
        Stage::Running(error) => Failure::running(&error, refusal),
    }
}

/// Where an error came up.
pub(crate) enum Stage {
    Instantiating(wasmtime::Error),
    Running(wasmtime::Error),
}
