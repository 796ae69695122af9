//! Entering a function of any kind on behalf of one caller.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use littoral_proto::v1::Outcome;
use tokio::sync::mpsc;

use super::command;
use super::exports::BadCall;
use super::function::{Admitted, Entry, Finished, Function, Invocation};
use super::guest::Stdio;
use super::http::respond;
use super::outcome::Failure;
use super::pipe::Output;
use crate::worker::stats::Trigger;

/// What a function sees as its host when it is not called over HTTP.
const HOST: &str = "littoral.internal";

/// The invocation cannot be what its caller meant; nothing was run or counted.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    #[error(transparent)]
    Call(#[from] BadCall),
    #[error("`{0}` has functions of its own: name one with its arguments, as in --call 'add(1, 2)'")]
    NeedsCall(String),
    #[error("`{function}` is a {kind} and has no functions to call by name: leave the call out")]
    HasNoCalls { function: String, kind: &'static str },
    #[error("not an HTTP request")]
    Http(#[source] http::Error),
}

impl Function {
    /// Runs the function once. What it gives back goes to `sink`, in order and as it comes; the function waits while
    /// the sink is full, and is stopped when its receiver is dropped.
    ///
    /// # Errors
    /// When the invocation does not fit the function. Everything that happens afterwards is in `Finished`.
    pub async fn invoke(
        self: Arc<Self>,
        invocation: Invocation,
        sink: mpsc::Sender<Output>,
    ) -> Result<Finished, InvokeError> {
        let Invocation { call, patience, .. } = &invocation;
        let patience = *patience;
        match self.entry() {
            Entry::Http(_) => {
                self.without_call(call, "function that answers HTTP")?;
                let request = http_request(invocation).map_err(InvokeError::Http)?;
                Ok(match self.admit(Trigger::Invoke, patience).await {
                    Ok(admitted) => self.answer(admitted, request, sink).await,
                    Err(failure) => refused(failure),
                })
            }
            Entry::Command(pre) => {
                self.without_call(call, "command")?;
                let stdio = command::stdio(&self, invocation.payload, &sink);
                Ok(match self.admit(Trigger::Invoke, patience).await {
                    Ok(admitted) => command::component(pre, self.store(stdio), admitted, sink).await,
                    Err(failure) => refused(failure),
                })
            }
            Entry::CommandP1(pre) => {
                self.without_call(call, "command")?;
                let stdio = command::stdio(&self, invocation.payload, &sink);
                Ok(match self.admit(Trigger::Invoke, patience).await {
                    Ok(admitted) => command::module(pre, self.core_store(stdio), admitted, sink).await,
                    Err(failure) => refused(failure),
                })
            }
            Entry::Typed(typed) => {
                let call = typed.prepare(self.needs_call(call)?)?;
                Ok(match self.admit(Trigger::Invoke, patience).await {
                    Ok(admitted) => typed.run(call, &self, self.store(Stdio::Logged), admitted, sink).await,
                    Err(failure) => refused(failure),
                })
            }
            Entry::TypedCore(core) => {
                let call = core.prepare(self.needs_call(call)?)?;
                Ok(match self.admit(Trigger::Invoke, patience).await {
                    Ok(admitted) => {
                        core.run(call, &self, self.core_store(Stdio::Logged), admitted, sink).await
                    }
                    Err(failure) => refused(failure),
                })
            }
        }
    }

    fn without_call(&self, call: &str, kind: &'static str) -> Result<(), InvokeError> {
        if call.is_empty() {
            return Ok(());
        }
        Err(InvokeError::HasNoCalls { function: self.spec().function.clone(), kind })
    }

    fn needs_call<'a>(&self, call: &'a str) -> Result<&'a str, InvokeError> {
        if call.is_empty() { Err(InvokeError::NeedsCall(self.spec().function.clone())) } else { Ok(call) }
    }

    async fn answer(
        self: &Arc<Self>,
        admitted: Admitted,
        request: Request<Full<Bytes>>,
        sink: mpsc::Sender<Output>,
    ) -> Finished {
        let record = Arc::clone(&admitted.request);
        let finished = |outcome, message| Finished {
            outcome,
            exit_code: 0,
            message,
            duration: record.started().elapsed(),
        };
        let gone = || finished(Outcome::Cancelled, "the caller went away".to_owned());
        let (head, mut body) = match respond(self, admitted, request).await {
            Ok(response) => response.into_parts(),
            Err(failure) => return finished(failure.outcome, failure.message),
        };
        let outcome = if head.status.is_server_error() { Outcome::GuestError } else { Outcome::Ok };
        let message = match outcome {
            Outcome::Ok => String::new(),
            _ => format!("it answered with the status {}", head.status),
        };
        if sink.send(Output::Head(head)).await.is_err() {
            return gone();
        }
        while let Some(frame) = body.frame().await {
            let bytes = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => {
                    return finished(record.failure().unwrap_or(Outcome::HostError), error.to_string());
                }
            };
            if !bytes.is_empty() && sink.send(Output::Stdout(bytes)).await.is_err() {
                return gone();
            }
        }
        finished(outcome, message)
    }
}

fn refused(failure: Failure) -> Finished {
    let Failure { outcome, message } = failure;
    Finished { outcome, exit_code: 0, message, duration: std::time::Duration::ZERO }
}

fn http_request(invocation: Invocation) -> Result<Request<Full<Bytes>>, http::Error> {
    let Invocation { method, path, headers, payload, .. } = invocation;
    let method = match method.as_str() {
        "" if payload.is_empty() => Method::GET,
        "" => Method::POST,
        given => Method::from_bytes(given.as_bytes())?,
    };
    let path = if path.is_empty() { "/" } else { &path };
    let mut request = Request::builder().method(method).uri(path).body(Full::new(payload))?;
    *request.headers_mut() = headers;
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static(HOST));
    Ok(request)
}
