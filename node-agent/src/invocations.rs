//! Invocations that come through the control plane: each on a stream of its own, handed on to the worker.

use std::sync::Arc;
use std::time::Duration;

use littoral_platform::tasks::Tasks;
use littoral_proto::v1::invocation_down::Message as Down;
use littoral_proto::v1::invocation_up::Message as Up;
use littoral_proto::v1::invoke_response::Part as ResponsePart;
use littoral_proto::v1::{
    InvocationDown, InvocationUp, InvokeFinished, InvokeResponse, InvokeStart, Outcome,
};
use littoral_proto::worker::WorkerInvokeRequest;
use littoral_proto::worker::worker_invoke_request::Part as WorkerPart;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::link::NodeClient;
use crate::membership::NodeRecord;
use crate::supervisor::{Worker, WorkerState};

/// Invocations through the control plane are for operators and programs of theirs; users come over HTTP.
const MAX_INVOCATIONS: usize = 64;
/// The offer was just made: whoever made it waits.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// The protocol's default for the whole of one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// An hour is the longest limit that a function can have.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);
/// For the last of an answer on a slow link: 8 messages of 256 KiB at 1 Mbit/s.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);
/// Messages of at most 256 KiB between the two streams.
const QUEUE: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct Invocations {
    worker: watch::Receiver<WorkerState>,
    places: Arc<Semaphore>,
    node: Arc<NodeRecord>,
    tasks: Tasks,
}

impl Invocations {
    /// Its streams are tasks of `tasks`.
    pub(crate) fn new(worker: watch::Receiver<WorkerState>, node: NodeRecord, tasks: Tasks) -> Self {
        Self { worker, places: Arc::new(Semaphore::new(MAX_INVOCATIONS)), node: Arc::new(node), tasks }
    }

    /// Begins to serve an offered invocation.
    ///
    /// # Errors
    /// Why it is refused: there is no worker, or enough of them are under way.
    pub(crate) fn serve(&self, id: String, client: NodeClient) -> Result<(), &'static str> {
        let worker = self.worker.borrow().clone().ok_or("the worker is restarting")?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| "too many invocations are under way on this node")?;
        let (node, stop) = (Arc::clone(&self.node), self.tasks.child());
        self.tasks.spawn("invocation", async move {
            let _place = place;
            let serving = serve(&id, client, worker, &node);
            if let Some(Err(status)) = stop.run_until_cancelled(serving).await {
                tracing::info!(
                    invocation = id,
                    "an invocation was not served to its end: {}",
                    status.message()
                );
            }
        });
        Ok(())
    }
}

async fn serve(id: &str, mut client: NodeClient, worker: Worker, node: &NodeRecord) -> Result<(), Status> {
    let (up, queue) = mpsc::channel(QUEUE);
    // There is room: the queue is new.
    let _ = up.try_send(InvocationUp { message: Some(Up::InvocationId(id.to_owned())) });
    let opening = async {
        let mut down = client.serve_invocation(ReceiverStream::new(queue)).await?.into_inner();
        let start = match down.message().await?.and_then(|first| first.message) {
            Some(Down::Start(start)) => start,
            _ => return Err(Status::internal("an invocation began without its start")),
        };
        Ok((start, down))
    };
    let late = |_| Status::deadline_exceeded("the invocation did not begin in time");
    let (start, mut down) = timeout(START_DEADLINE, opening).await.map_err(late)??;
    let deadline = match start.deadline_ms {
        0 => DEFAULT_DEADLINE,
        millis => Duration::from_millis(millis).min(MAX_DEADLINE),
    };
    let running = run(start, &mut down, worker, &up, node);
    let ended = match timeout(deadline, running).await {
        Ok(ended) => ended,
        Err(_) => Err((Outcome::Timeout, "the caller's deadline passed".to_owned())),
    };
    if let Err((outcome, message)) = ended {
        let finished = InvokeFinished { outcome: outcome.into(), message, ..InvokeFinished::default() };
        let response = InvokeResponse { part: Some(ResponsePart::Finished(finished)) };
        // The caller may be gone: then there is nobody to tell.
        let _ = timeout(START_DEADLINE, up.send(answer(response))).await;
    }
    // The answer is whole. Dropping `down` resets both directions of the stream, so it waits until the other side has
    // taken everything and closed.
    drop(up);
    let closed = async { while let Ok(Some(_)) = down.message().await {} };
    let _ = timeout(CLOSE_DEADLINE, closed).await;
    Ok(())
}

/// Runs until the worker has given its last answer, or the caller went away.
async fn run(
    start: InvokeStart,
    down: &mut Streaming<InvocationDown>,
    mut worker: Worker,
    up: &mpsc::Sender<InvocationUp>,
    node: &NodeRecord,
) -> Result<(), (Outcome, String)> {
    let (payload, queue) = mpsc::channel(QUEUE);
    // There is room: the queue is new.
    let _ = payload.try_send(WorkerInvokeRequest { part: Some(WorkerPart::Start(start)) });
    let answering = async {
        let host = |status: Status| (Outcome::HostError, status.message().to_owned());
        let mut answers = worker.client.invoke(ReceiverStream::new(queue)).await.map_err(host)?.into_inner();
        while let Some(mut response) = answers.message().await.map_err(host)? {
            introduce(&mut response, node);
            if up.send(answer(response)).await.is_err() {
                return Err((Outcome::Cancelled, "the caller went away".to_owned()));
            }
        }
        Ok(())
    };
    let sending = async {
        if let Err(status) = forward(down, &payload).await {
            return (Outcome::Cancelled, format!("the payload was cut: {}", status.message()));
        }
        // The end of the queue tells the worker that the payload is whole: never after a cut.
        drop(payload);
        std::future::pending().await
    };
    tokio::select! {
        ended = answering => ended,
        () = up.closed() => Err((Outcome::Cancelled, "the caller went away".to_owned())),
        cut = sending => Err(cut),
    }
}

/// Hands the payload on until its end is announced.
async fn forward(
    down: &mut Streaming<InvocationDown>,
    payload: &mpsc::Sender<WorkerInvokeRequest>,
) -> Result<(), Status> {
    while let Some(message) = down.message().await? {
        match message.message {
            Some(Down::Chunk(chunk)) => {
                let request = WorkerInvokeRequest { part: Some(WorkerPart::Chunk(chunk)) };
                if payload.send(request).await.is_err() {
                    return Ok(());
                }
            }
            Some(Down::End(_)) => return Ok(()),
            Some(Down::Start(_)) | None => {}
        }
    }
    Err(Status::cancelled("its stream ended before its end was announced"))
}

/// The worker does not know what its node is called.
fn introduce(response: &mut InvokeResponse, node: &NodeRecord) {
    if let Some(ResponsePart::Accepted(accepted)) = &mut response.part {
        accepted.node_id.clone_from(&node.id);
        accepted.node_name.clone_from(&node.name);
    }
}

fn answer(response: InvokeResponse) -> InvocationUp {
    InvocationUp { message: Some(Up::Response(response)) }
}
