//! Invocations that come over the agent's socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use littoral_platform::error::{ApiCode, ApiError, Chain};
use littoral_platform::tasks::Tasks;
use littoral_proto::v1::invoke_response::Part;
use littoral_proto::v1::{Header, HttpHead, InvokeAccepted, InvokeFinished, InvokeResponse, InvokeStart};
use littoral_proto::worker::WorkerInvokeRequest;
use littoral_proto::worker::worker_invoke_request::Part as RequestPart;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Worker;
use super::runtime::pipe::PIECES;
use super::runtime::{Finished, Function, Invocation, Output};

const MAX_PAYLOAD: usize = 16 << 20;
/// Messages are at most 4 MiB; smaller ones start to arrive sooner.
const MAX_PIECE: usize = 256 << 10;
/// A caller that sends nothing holds no memory for longer.
const PAYLOAD_TIMEOUT: Duration = Duration::from_secs(60);

type Reply = Result<InvokeResponse, Status>;

/// Reads the invocation and starts it; the answer comes as a stream that ends with `finished`.
pub(crate) async fn start(
    worker: &Worker,
    request: Streaming<WorkerInvokeRequest>,
    tasks: &Tasks,
) -> Result<ReceiverStream<Reply>, Status> {
    let received = tokio::time::timeout(PAYLOAD_TIMEOUT, receive(request)).await;
    let late = |_| ApiError::new(ApiCode::DeadlineExceeded, "the payload did not arrive in time");
    let (start, payload) = received.map_err(late)??;
    let function = worker.loaded.routes().by_name(&start.function, worker.ids.next().draw()).cloned();
    let Some(function) = function else {
        return Err(ApiError::not_found(format!("`{}` does not run on this node", start.function)).into());
    };
    let invocation = invocation(start, payload)?;
    let (reply, answer) = mpsc::channel(PIECES);
    tasks.spawn("invocation", run(function, invocation, reply));
    Ok(ReceiverStream::new(answer))
}

async fn receive(mut request: Streaming<WorkerInvokeRequest>) -> Result<(InvokeStart, Bytes), Status> {
    let first = request.message().await?.and_then(|message| message.part);
    let Some(RequestPart::Start(start)) = first else {
        return Err(ApiError::invalid("the first message of an invocation must be `start`").into());
    };
    let mut payload = BytesMut::new();
    while let Some(message) = request.message().await? {
        let Some(RequestPart::Chunk(chunk)) = message.part else {
            return Err(ApiError::invalid("after `start`, an invocation has chunks only").into());
        };
        if payload.len() + chunk.len() > MAX_PAYLOAD {
            let text = format!("the payload is larger than {MAX_PAYLOAD} bytes");
            return Err(ApiError::new(ApiCode::ResourceExhausted, text).into());
        }
        payload.extend_from_slice(&chunk);
    }
    Ok((start, payload.freeze()))
}

fn invocation(start: InvokeStart, payload: Bytes) -> Result<Invocation, ApiError> {
    let mut headers = HeaderMap::new();
    for Header { name, value } in start.headers {
        let bad =
            |_| ApiError::invalid(format!("`{}` is not a header", name.chars().take(80).collect::<String>()));
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| ()).map_err(bad)?;
        headers.append(parsed, HeaderValue::try_from(value).map_err(|_| ()).map_err(bad)?);
    }
    let patience = (start.deadline_ms > 0).then(|| Duration::from_millis(start.deadline_ms));
    Ok(Invocation { call: start.call, method: start.method, path: start.path, headers, payload, patience })
}

async fn run(function: Arc<Function>, invocation: Invocation, reply: mpsc::Sender<Reply>) {
    let revision = function.spec().revision;
    let (sink, outputs) = mpsc::channel(PIECES);
    let accepted = InvokeAccepted { revision, ..InvokeAccepted::default() };
    let (ended, unsaid) =
        futures::join!(Box::pin(function.invoke(invocation, sink)), forward(accepted, outputs, &reply));
    let last = match ended {
        Ok(finished) => {
            let finished = Part::Finished(finished_part(finished));
            unsaid.into_iter().chain([finished]).map(|last| Ok(part(last))).collect()
        }
        Err(error) => vec![Err(ApiError::invalid(Chain(&error).to_string()).into())],
    };
    for last in last {
        // The caller may have gone.
        let _ = reply.send(last).await;
    }
}

/// Passes output on until there is no more, or nobody who wants it: the function sees that its sink is closed then.
/// `accepted` goes first, and not before something came: an invocation that does not fit is answered with an error
/// alone. It is given back when nothing came.
async fn forward(
    accepted: InvokeAccepted,
    mut outputs: mpsc::Receiver<Output>,
    reply: &mpsc::Sender<Reply>,
) -> Option<Part> {
    let mut unsaid = Some(Part::Accepted(accepted));
    loop {
        let output = tokio::select! {
            output = outputs.recv() => output,
            () = reply.closed() => return unsaid,
        };
        let Some(output) = output else { return unsaid };
        for piece in unsaid.take().into_iter().chain(pieces(output)) {
            if reply.send(Ok(part(piece))).await.is_err() {
                return None;
            }
        }
    }
}

fn pieces(output: Output) -> Vec<Part> {
    let split = |mut bytes: Bytes| {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            pieces.push(bytes.split_to(bytes.len().min(MAX_PIECE)).to_vec());
        }
        pieces
    };
    match output {
        Output::Head(head) => vec![Part::Head(head_part(&head))],
        Output::Stdout(bytes) => split(bytes).into_iter().map(Part::Stdout).collect(),
        Output::Stderr(bytes) => split(bytes).into_iter().map(Part::Stderr).collect(),
    }
}

fn head_part(head: &http::response::Parts) -> HttpHead {
    let header = |(name, value): (&HeaderName, &HeaderValue)| Header {
        name: name.as_str().into(),
        value: value.as_bytes().to_vec(),
    };
    HttpHead { status: head.status.as_u16().into(), headers: head.headers.iter().map(header).collect() }
}

fn finished_part(finished: Finished) -> InvokeFinished {
    InvokeFinished {
        outcome: finished.outcome.into(),
        exit_code: finished.exit_code,
        message: finished.message,
        duration_us: u64::try_from(finished.duration.as_micros()).unwrap_or(u64::MAX),
    }
}

fn part(part: Part) -> InvokeResponse {
    InvokeResponse { part: Some(part) }
}
