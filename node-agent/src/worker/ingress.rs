//! Function HTTP: connections in, functions found by host and path, answers out.

mod answer;
mod protocol;
pub(crate) mod routes;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use littoral_platform::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::Error as HttpError;

use self::answer::AnswerText;
use self::protocol::Protocol;
use super::Worker;
use super::ids::RequestId;
use super::runtime::http::{AnswerBody, respond};
use super::stats::Trigger;

/// Of one node. Each holds a descriptor and some 20 KiB.
const MAX_CONNECTIONS: usize = 8192;
/// For the first bytes, for a request's head, and between requests of one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Until a client takes what is sent to it.
const WRITE_TIMEOUT_MS: u32 = 30_000;
/// For a request's head, and for what hyper reads ahead of a body.
const MAX_HEADERS: usize = 64 << 10;
/// Streams of one HTTP/2 connection: as many as browsers use.
const MAX_STREAMS: u32 = 128;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Of a request. Guests read it as a stream; this is against clients that never end.
const MAX_REQUEST_BODY: usize = 64 << 20;
/// After an accept failed: descriptors have run out, and some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const REQUEST_ID: HeaderName = HeaderName::from_static("littoral-request-id");

type IngressBody = http_body_util::Either<AnswerBody, AnswerText>;

/// Serves until the program stops.
pub(crate) async fn serve(listener: TcpListener, worker: Arc<Worker>, tasks: Tasks) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = tasks.child();
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match stream {
            Ok((stream, _)) => {
                let (worker, watcher) = (Arc::clone(&worker), graceful.watcher());
                tasks.spawn("connection", async move {
                    connection(stream, worker, watcher).await;
                    drop(place);
                });
            }
            // The agent has closed the port, which is the same socket, because it is stopping: what was asked is
            // answered, and kept connections are given up after that.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                graceful.shutdown().await;
                return stop.cancelled().await;
            }
            Err(error) => {
                tracing::warn!("could not accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, worker: Arc<Worker>, watcher: Watcher) {
    // Answers are written whole; waiting for more to send only delays them. Not being able to say so changes no more.
    let _ = stream.set_nodelay(true);
    // A client that takes nothing holds its answer in memory: it is given up like one that does not acknowledge.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, WRITE_TIMEOUT_MS);
    let Ok(Ok(protocol)) = tokio::time::timeout(HEADER_TIMEOUT, protocol::of(&stream)).await else { return };
    let service = service_fn(|request| {
        let worker = Arc::clone(&worker);
        async move { Ok::<_, std::convert::Infallible>(handle(&worker, request).await) }
    });
    let io = TokioIo::new(stream);
    let served = match protocol {
        Protocol::Http1 => watcher.watch(http1().serve_connection(io, service)).await,
        Protocol::Http2 => watcher.watch(http2().serve_connection(io, service)).await,
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended early: {error}");
    }
}

fn http1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .pipeline_flush(true);
    builder
}

fn http2() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS as u32);
    builder
}

async fn handle(worker: &Worker, mut request: Request<Incoming>) -> Response<IngressBody> {
    let id = worker.ids.next();
    let value = id.header();
    // The agent's own, whatever the client sent: it decides which revision answers.
    request.headers_mut().insert(REQUEST_ID, value.clone());
    let mut response = answer_to(worker, id, request).await;
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

async fn answer_to(worker: &Worker, id: RequestId, request: Request<Incoming>) -> Response<IngressBody> {
    let Some(host) = host(&request) else {
        return answer::refusal(StatusCode::BAD_REQUEST, "the request names no host");
    };
    let routes = worker.loaded.routes();
    let Some(function) = routes.by_path(host, request.uri().path(), id.draw()) else {
        return answer::refusal(StatusCode::NOT_FOUND, "no function answers this host and path");
    };
    if request.body().size_hint().lower() > MAX_REQUEST_BODY as u64 {
        return answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large");
    }
    let request = request.map(|body| Limited::new(body, MAX_REQUEST_BODY).map_err(body_error));
    let answered = match function.admit(Trigger::Http, None).await {
        Ok(admitted) => respond(function, admitted, request).await,
        Err(failure) => Err(failure),
    };
    match answered {
        Ok(response) => response.map(http_body_util::Either::Left),
        Err(failure) => {
            tracing::debug!(function = function.spec().function, %id, outcome = ?failure.outcome, "{}", failure.message);
            answer::failure(&failure)
        }
    }
}

fn host(request: &Request<Incoming>) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    request.headers().get(HOST).and_then(|host: &HeaderValue| host.to_str().ok())
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> HttpError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => HttpError::Hyper(*error),
        Err(_) => HttpError::HttpRequestBodySize(Some(MAX_REQUEST_BODY as u64)),
    }
}
