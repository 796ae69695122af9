//! A fresh instance answers one HTTP request.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use littoral_proto::v1::Outcome;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error as HttpError, WasiBody, WasiHttpView};

use super::function::{Admitted, Entry, Function, Stage, failure};
use super::guest::{Guest, Stdio};
use super::outcome::Failure;
use crate::worker::request;

type Head = Result<Response<WasiBody>, ErrorCode>;

/// Enters the guest and returns with the head of its answer; the body follows while the guest goes on.
///
/// The guest runs inside of this future: most have ended when their head is there, and cost no task. One that has
/// not is given a task of its own then, so that a client that reads slowly cannot hold up its deadline.
///
/// # Errors
/// When there is no answer: a trap, a limit, or a guest that does not give one. Nothing has been sent then.
pub(crate) async fn respond<B>(
    function: &Arc<Function>,
    admitted: Admitted,
    request: Request<B>,
) -> Result<Response<AnswerBody>, Failure>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
{
    let Entry::Http(pre) = function.entry() else {
        return Err(fail(&admitted.request, Outcome::HostError, "it does not answer HTTP"));
    };
    let record = Arc::clone(&admitted.request);
    let has_body = request.method() != Method::HEAD;
    let (sender, mut head) = oneshot::channel();
    let visit = match Visit::new(function, admitted, request, sender) {
        Ok(visit) => visit,
        Err(error) => return Err(fail(&record, Outcome::HostError, format!("{error:#}"))),
    };
    let mut guest = Box::pin(visit.run(pre.clone()));
    let (answer, guest) = tokio::select! {
        biased;
        ended = &mut guest => {
            ended?;
            (head.try_recv().ok(), None)
        }
        answer = &mut head => (answer.ok(), Some(function.requests().spawn(guest).abort_handle())),
    };
    let mut body = AnswerGuard { request: record, guest };
    match answer {
        Some(Ok(answer)) => body.answer(answer, has_body, function.spec().output),
        Some(Err(code)) => {
            Err(body.refuse(Outcome::GuestError, format!("the guest answered with an error: {code}")))
        }
        None => Err(body.refuse(Outcome::GuestError, "the guest ended without an answer")),
    }
}

fn fail(request: &request::Request, outcome: Outcome, message: impl Into<String>) -> Failure {
    request.fail(outcome);
    Failure::new(outcome, message)
}

/// One instance with what it is asked.
struct Visit {
    store: Store<Guest>,
    incoming: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
    admitted: Admitted,
}

impl Visit {
    fn new<B>(
        function: &Function,
        admitted: Admitted,
        request: Request<B>,
        head: oneshot::Sender<Head>,
    ) -> wasmtime::Result<Self>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<HttpError>,
    {
        let mut store = function.store(Stdio::Logged);
        let incoming = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let record = Arc::clone(&admitted.request);
        let out = store.data_mut().http().new_response_outparam_from_callback(move |answer| {
            record.settle(verdict(&answer));
            // The client may have gone.
            let _ = head.send(answer);
        })?;
        Ok(Self { store, incoming, out, admitted })
    }

    async fn run(self, pre: ProxyPre<Guest>) -> Result<(), Failure> {
        let Self { mut store, incoming, out, admitted } = self;
        let entered = enter(&mut store, &pre, incoming, out);
        let failure = match tokio::time::timeout_at(admitted.deadline, entered).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(stage)) => failure(&mut store, stage),
            Err(_) => Failure::timeout(admitted.timeout),
        };
        // Before the store goes, and with it the body's sender: the body must see that its end is not a good one.
        admitted.request.fail(failure.outcome);
        Err(failure)
    }
}

async fn enter(
    store: &mut Store<Guest>,
    pre: &ProxyPre<Guest>,
    incoming: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
) -> Result<(), Stage> {
    let proxy = pre.instantiate_async(&mut *store).await.map_err(Stage::Instantiating)?;
    let called = proxy.wasi_http_incoming_handler().call_handle(&mut *store, incoming, out).await;
    called.map_err(Stage::Running)
}

fn verdict(answer: &Head) -> Outcome {
    match answer {
        Ok(answer) if !answer.status().is_server_error() => Outcome::Ok,
        _ => Outcome::GuestError,
    }
}

/// The request and its guest, while the answer takes shape.
struct AnswerGuard {
    request: Arc<request::Request>,
    guest: Option<AbortHandle>,
}

impl AnswerGuard {
    fn refuse(&mut self, outcome: Outcome, message: impl Into<String>) -> Failure {
        if let Some(guest) = self.guest.take() {
            guest.abort();
        }
        fail(&self.request, outcome, message)
    }

    fn answer(
        mut self,
        answer: Response<WasiBody>,
        has_body: bool,
        limit: u64,
    ) -> Result<Response<AnswerBody>, Failure> {
        let announced =
            answer.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if has_body && announced.is_some_and(|bytes| bytes > limit) {
            return Err(self.refuse(Outcome::OutputLimit, too_large(limit)));
        }
        // What HTTP sends no body for is not asked of it either.
        let has_body =
            has_body && !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !has_body {
            self.request.delivered();
        }
        let Self { request, guest } = self;
        Ok(answer.map(|inner| AnswerBody { inner, left: limit, limit, has_body, request, guest }))
    }
}

/// The body of a guest's answer: counted, cut off at its limit, and aborted when the guest failed.
pub(crate) struct AnswerBody {
    inner: WasiBody,
    left: u64,
    limit: u64,
    has_body: bool,
    request: Arc<request::Request>,
    /// While the guest still runs.
    guest: Option<AbortHandle>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(pin!(&mut self.inner).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(bytes) {
                    Some(left) => {
                        self.left = left;
                        Some(Ok(frame))
                    }
                    None => {
                        let why = too_large(self.limit);
                        Some(Err(self.abort(Outcome::OutputLimit, why)))
                    }
                }
            }
            Some(Err(error)) => Some(Err(self.abort(Outcome::GuestError, error.to_string()))),
            // A guest that traps or is stopped closes its stream like one that has finished.
            None if self.request.failure().is_some() => {
                Some(Err(HttpError::InternalError(Some("the guest failed".into()))))
            }
            None => {
                self.request.delivered();
                // It may go on without a client, until its deadline.
                self.guest = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl AnswerBody {
    fn abort(&mut self, outcome: Outcome, message: String) -> HttpError {
        tracing::debug!(outcome = littoral_proto::convert::outcome_name(outcome), "{message}");
        self.request.fail(outcome);
        if let Some(guest) = self.guest.take() {
            guest.abort();
        }
        HttpError::InternalError(Some(message))
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // The client left before the end: nobody needs the rest.
        if let Some(guest) = self.guest.take()
            && self.has_body
        {
            self.request.fail(Outcome::Cancelled);
            guest.abort();
        }
    }
}

fn too_large(limit: u64) -> String {
    format!("its answer is larger than its limit of {limit} bytes")
}
