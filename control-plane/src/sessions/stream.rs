//! The life of one session.

use std::sync::Arc;
use std::time::Duration;

use littoral_model::id::NodeId;
use littoral_platform::clock;
use littoral_proto::v1::{self, session_up};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{DOWN_QUEUE, Down, Sessions, down};
use crate::world::World;

/// The first message comes with the connection; a peer that takes longer is not an agent.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A session without a report for this many intervals is dead even if TCP does not say so.
const SILENT_INTERVALS: u32 = 6;

impl Sessions {
    /// Opens a session for an authenticated node and starts the task that runs it.
    ///
    /// # Errors
    /// When the first message is not a hello, or its capacity cannot be written.
    pub async fn open(
        &self,
        node: NodeId,
        mut up: Streaming<v1::SessionUp>,
    ) -> Result<ReceiverStream<Down>, Status> {
        let first = tokio::time::timeout(HELLO_DEADLINE, up.message()).await;
        let first = first
            .map_err(|_| Status::deadline_exceeded("no hello came within 10 s of opening the session"))??;
        let Some(session_up::Message::Hello(hello)) = first.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("the first message of a session must be a hello"));
        };
        self.write_capacity(&node, hello.capacity.clone().unwrap_or_default()).await?;
        let (sender, receiver) = mpsc::channel(DOWN_QUEUE);
        let (epoch, cancel) = self.replace(&node, sender.clone());
        let interval = self.report_interval();
        self.greet(&node, epoch, interval, &hello);
        let welcome = v1::Welcome {
            session_epoch: epoch,
            report_interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            now_ms: clock::now().as_millis(),
        };
        // The queue is empty: it has room for one.
        let _ = sender.try_send(Ok(down(v1::session_down::Message::Welcome(welcome))));
        let session = Session {
            sessions: self.clone(),
            node: node.clone(),
            epoch,
            down: sender,
            cancel,
            known: (hello.cluster_epoch, hello.observed_generation),
            silence: interval * SILENT_INTERVALS,
        };
        let world = self.inner.world.clone();
        self.inner.tasks.spawn(format!("session {node}"), session.run(up, world));
        Ok(ReceiverStream::new(receiver))
    }
}

struct Session {
    sessions: Sessions,
    node: NodeId,
    epoch: u64,
    down: mpsc::Sender<Down>,
    cancel: CancellationToken,
    /// Cluster epoch and generation of the assignment that the node has, or was sent.
    known: (u64, u64),
    silence: Duration,
}

impl Session {
    async fn run(mut self, mut up: Streaming<v1::SessionUp>, mut world: watch::Receiver<Arc<World>>) {
        world.mark_changed();
        let why = loop {
            tokio::select! {
                () = self.cancel.cancelled() => break "it was ended here".to_owned(),
                () = self.down.closed() => break "the node closed it".to_owned(),
                changed = world.changed() => {
                    if changed.is_err() {
                        break "the control plane is stopping".to_owned();
                    }
                    let now = world.borrow_and_update().clone();
                    if !self.push(&now) {
                        break "the node takes nothing any more".to_owned();
                    }
                }
                message = tokio::time::timeout(self.silence, up.next()) => match message {
                    Ok(Some(Ok(message))) => self.take(message),
                    Ok(Some(Err(status))) => break status.message().to_owned(),
                    Ok(None) => break "the node closed it".to_owned(),
                    Err(_) => break format!("no report came for {} s", self.silence.as_secs()),
                }
            }
        };
        if self.sessions.remove(&self.node, self.epoch) {
            self.sessions.disconnected(&self.node);
            tracing::info!(node = %self.node, "session ended: {why}");
        }
    }

    /// Sends the newest assignment if the node has an older one. `false` when its queue is full or gone.
    fn push(&mut self, world: &World) -> bool {
        let Some(assignment) = world.assignment(self.node.as_str()) else { return true };
        let newest = (assignment.cluster_epoch, assignment.generation);
        if newest <= self.known {
            return true;
        }
        let envelope = self.sessions.inner.signer.sign_assignment(assignment);
        if self.down.try_send(Ok(down(v1::session_down::Message::Assignment(envelope)))).is_err() {
            return false;
        }
        self.known = newest;
        true
    }

    fn take(&self, message: v1::SessionUp) {
        match message.message {
            Some(session_up::Message::Report(report)) => {
                if let Some(ack) = self.sessions.report(&self.node, self.epoch, report) {
                    // Not sent now: the same windows come again, and are acknowledged then.
                    let _ = self.down.try_send(Ok(down(v1::session_down::Message::WindowAck(ack))));
                }
            }
            Some(session_up::Message::InvokeRefused(refused)) => {
                self.sessions.invocations().refuse(&self.node, &refused.invocation_id, refused.reason);
            }
            Some(session_up::Message::Hello(_)) | None => {
                tracing::debug!(node = %self.node, "a message without a meaning here was ignored");
            }
        }
    }
}
