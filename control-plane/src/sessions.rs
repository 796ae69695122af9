//! One live stream for each node: assignments and offers down, reports up.

mod incoming;
mod invocations;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use littoral_model::id::NodeId;
use littoral_platform::clock;
use littoral_platform::tasks::Tasks;
use littoral_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::invocations::{InvocationStreams, Invocations, MAX_PAYLOAD};
use crate::events::Events;
use crate::signing::Signer;
use crate::store::Store;
use crate::world::{Observations, World};

/// Assignments and offers that wait for a slow link; a full queue ends the session, and the next one starts afresh.
const DOWN_QUEUE: usize = 64;
/// Heartbeats are never closer than this.
const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// With many nodes the interval grows, so that this many report each second.
const REPORTS_PER_SECOND: u32 = 200;

pub(crate) type Down = Result<v1::SessionDown, tonic::Status>;

/// All live sessions. Clones share everything.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    world: watch::Receiver<Arc<World>>,
    observations: Observations,
    signer: Arc<Signer>,
    events: Events,
    tasks: Tasks,
    live: Mutex<BTreeMap<NodeId, Live>>,
    next_epoch: AtomicU64,
    invocations: Invocations,
    /// How many are live: a level for metrics and readiness.
    count: watch::Sender<usize>,
}

/// What others need of a live session.
#[derive(Clone)]
struct Live {
    epoch: u64,
    down: mpsc::Sender<Down>,
    cancel: CancellationToken,
    in_flight: Arc<AtomicU32>,
}

/// What a session is opened with.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub world: watch::Receiver<Arc<World>>,
    pub observations: Observations,
    pub signer: Arc<Signer>,
    pub events: Events,
    pub tasks: Tasks,
}

impl Sessions {
    pub fn new(parts: Parts) -> Self {
        // Rises over restarts as long as the clock does not step back by more than the time between two sessions; an
        // epoch is compared within one run of the control plane only.
        let next_epoch = AtomicU64::new(clock::now().as_millis());
        Self {
            inner: Arc::new(Inner {
                store: parts.store,
                world: parts.world,
                observations: parts.observations,
                signer: parts.signer,
                events: parts.events,
                tasks: parts.tasks,
                live: Mutex::default(),
                next_epoch,
                invocations: Invocations::default(),
                count: watch::channel(0).0,
            }),
        }
    }

    pub fn count(&self) -> watch::Receiver<usize> {
        self.inner.count.subscribe()
    }

    pub fn invocations(&self) -> &Invocations {
        &self.inner.invocations
    }

    /// Invocations that were sent to a node and are not back; `None` when it has no session.
    pub fn in_flight(&self, node: &str) -> Option<u32> {
        self.live().get(node).map(|live| live.in_flight.load(Ordering::Relaxed))
    }

    /// Ends the sessions of nodes as they are revoked.
    pub async fn end_revoked(self, mut revoked: watch::Receiver<Arc<HashSet<String>>>, tasks: Tasks) {
        loop {
            let ids = revoked.borrow_and_update().clone();
            let live: Vec<NodeId> =
                self.live().keys().filter(|id| ids.contains(id.as_str())).cloned().collect();
            for node in &live {
                self.revoke(node, "this node was revoked by an operator");
            }
            tokio::select! {
                () = tasks.cancelled() => return,
                changed = revoked.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends the session of a node that was revoked, and tells it so.
    fn revoke(&self, node: &NodeId, reason: &str) {
        let Some(live) = self.live().get(node).cloned() else { return };
        let goodbye = v1::Goodbye { reason: reason.to_owned(), revoked: true };
        // A full queue does not matter: the stream ends, and the certificate is refused from now on.
        let _ = live.down.try_send(Ok(down(v1::session_down::Message::Goodbye(goodbye))));
        live.cancel.cancel();
    }

    /// Offers an invocation to a node. `false` when it has no session or its queue is full.
    pub fn offer(&self, node: &NodeId, invocation_id: &str) -> Option<InFlight> {
        let live = self.live().get(node).cloned()?;
        let offer = v1::InvokeOffer { invocation_id: invocation_id.to_owned() };
        live.down.try_send(Ok(down(v1::session_down::Message::InvokeOffer(offer)))).ok()?;
        live.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight(live.in_flight))
    }

    /// Makes a new session the node's only one; the older one ends.
    fn replace(&self, node: &NodeId, down: mpsc::Sender<Down>) -> (u64, CancellationToken) {
        let epoch = self.inner.next_epoch.fetch_add(1, Ordering::Relaxed);
        let cancel = self.inner.tasks.child();
        let live = Live { epoch, down, cancel: cancel.clone(), in_flight: Arc::default() };
        let older = self.live().insert(node.clone(), live);
        if let Some(older) = older {
            older.cancel.cancel();
        }
        self.publish_count();
        (epoch, cancel)
    }

    /// Takes a session out, unless a newer one has its place.
    fn remove(&self, node: &NodeId, epoch: u64) -> bool {
        let mut live = self.live();
        let ours = live.get(node).is_some_and(|l| l.epoch == epoch);
        if ours {
            live.remove(node);
        }
        drop(live);
        self.publish_count();
        ours
    }

    fn publish_count(&self) {
        let count = self.live().len();
        self.inner.count.send_replace(count);
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<NodeId, Live>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often nodes report: often enough to notice silence, seldom enough for all of them.
    fn report_interval(&self) -> Duration {
        let nodes = u32::try_from(self.inner.world.borrow().nodes.len()).unwrap_or(u32::MAX);
        MIN_REPORT_INTERVAL.max(Duration::from_secs(u64::from(nodes / REPORTS_PER_SECOND)))
    }
}

/// Counts an invocation as under way until it is dropped.
pub struct InFlight(Arc<AtomicU32>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn down(message: v1::session_down::Message) -> v1::SessionDown {
    v1::SessionDown { message: Some(message) }
}
