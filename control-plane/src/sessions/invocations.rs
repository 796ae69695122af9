//! Invocations that wait for their node to pick them up, each joined to its caller by an id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use littoral_model::id::NodeId;
use littoral_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Of all chunks of one invocation's payload. Larger input belongs behind the function's own HTTP address.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
/// Waiting for their node at once; each holds two small queues.
const MAX_WAITING: usize = 1024;

/// What the node's stream is joined to.
pub struct InvocationStreams {
    /// For the node: start, payload, end.
    pub down: mpsc::Receiver<Result<v1::InvocationDown, Status>>,
    /// For the caller.
    pub up: mpsc::Sender<Result<v1::InvokeResponse, Status>>,
}

struct Waiting {
    node: NodeId,
    streams: InvocationStreams,
    /// Tells the caller's side that the node came, or why it will not.
    answer: oneshot::Sender<Result<(), String>>,
}

/// Clones share everything.
#[derive(Clone, Default)]
pub struct Invocations {
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
}

/// An offer that is open; dropping it takes it back.
pub struct Offer {
    id: String,
    invocations: Invocations,
    answer: oneshot::Receiver<Result<(), String>>,
}

impl Invocations {
    /// Puts streams where the node will look for them. `None` when too many wait already.
    pub fn put(&self, id: &str, node: &NodeId, streams: InvocationStreams) -> Option<Offer> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        waiting.insert(id.to_owned(), Waiting { node: node.clone(), streams, answer: sender });
        Some(Offer { id: id.to_owned(), invocations: self.clone(), answer })
    }

    /// The streams of an invocation that was offered to this node; nobody else gets them.
    pub fn take(&self, id: &str, node: &NodeId) -> Option<InvocationStreams> {
        let mut waiting = self.lock();
        if waiting.get(id).is_none_or(|w| w.node != *node) {
            return None;
        }
        let found = waiting.remove(id)?;
        // A caller that is gone has dropped its end of the streams too.
        let _ = found.answer.send(Ok(()));
        Some(found.streams)
    }

    pub fn refuse(&self, node: &NodeId, id: &str, reason: String) {
        let mut waiting = self.lock();
        if waiting.get(id).is_some_and(|w| w.node == *node)
            && let Some(found) = waiting.remove(id)
        {
            let _ = found.answer.send(Err(reason));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offer {
    /// Waits until the node has come. The error says why it will not.
    pub async fn accepted(&mut self) -> Result<(), String> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => Err("the offer was withdrawn".to_owned()),
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.invocations.lock().remove(&self.id);
    }
}
