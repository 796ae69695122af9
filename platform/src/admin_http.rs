//! The small HTTP server for `/metrics`, `/healthz` and `/readyz`, and for whatever a program puts beside them.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::tasks::Tasks;

/// A browser's few, a scraper's one, and probes: 64 leave room without being a way to exhaust memory.
const MAX_CONNECTIONS: usize = 64;
/// For the headers of a request, and for an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests here have no bodies and few headers.
const MAX_BUFFER: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers the three paths. Clones share the closures.
#[derive(Clone)]
pub struct AdminHttp {
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl AdminHttp {
    /// `metrics` may refresh gauges before it encodes; `ready` says in one sentence what is missing.
    pub fn new(
        metrics: impl Fn() -> String + Send + Sync + 'static,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { metrics: Arc::new(metrics), ready: Arc::new(ready) }
    }

    /// The answer to a request: GET (or HEAD) on the three paths, else 405 or 404.
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return text(StatusCode::NOT_FOUND, "there is /metrics, /healthz and /readyz\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => answer(StatusCode::OK, metrics::CONTENT_TYPE, (self.metrics)()),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            _ => match (self.ready)() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")),
            },
        }
    }

    /// Serves the three paths until `tasks` are asked to stop.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        serve(listener, tasks, move |request| {
            let response = self.respond(&request);
            async move { response }
        })
        .await;
    }
}

impl fmt::Debug for AdminHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminHttp").finish_non_exhaustive()
    }
}

/// Serves HTTP/1.1 with `handler` until `tasks` are asked to stop; then running answers are finished. A program
/// with more paths hands the rest to [`AdminHttp::respond`].
pub async fn serve<H, F, B>(listener: TcpListener, tasks: Tasks, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = tasks.child();
    let accepting = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::warn!("could not accept an HTTP connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (handler, stop) = (handler.clone(), tasks.child());
            tasks.spawn("admin HTTP connection", async move {
                let _place = place;
                serve_connection(tcp, handler, stop).await;
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
}

async fn serve_connection<H, F, B>(tcp: TcpStream, handler: H, stop: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Error: std::error::Error + Send + Sync> + 'static,
{
    let service = service_fn(|request| {
        let response = handler(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut settings = http1::Builder::new();
    settings.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER);
    let mut connection = pin!(settings.serve_connection(TokioIo::new(tcp), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, TEXT, body)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::listener::bind;

    async fn start(ready: Result<(), String>) -> (std::net::SocketAddr, Tasks) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        let admin = AdminHttp::new(|| "littoral_x 1\n# EOF\n".into(), move || ready.clone());
        tasks.spawn("admin", admin.serve(listener, tasks.clone()));
        (address, tasks)
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_three_paths_answer_and_nothing_else_does() {
        let (address, tasks) = start(Err("no session yet".into())).await;
        for (request, status, part) in [
            ("GET /metrics", "200 OK", "littoral_x 1\n"),
            ("GET /metrics?a=b", "200 OK", "openmetrics-text"),
            ("GET /healthz", "200 OK", "ok\n"),
            ("GET /readyz", "503 Service Unavailable", "not ready: no session yet\n"),
            ("POST /healthz", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
            ("GET /", "404 Not Found", "/readyz"),
            ("GET /metrics/..", "404 Not Found", ""),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
            assert!(answer.contains(part), "{request}: {answer}");
        }
        tasks.shutdown(Duration::from_secs(5)).await.unwrap();
        let (address, _tasks) = start(Ok(())).await;
        assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_idle_connections() {
        let (address, tasks) = start(Ok(())).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        idle.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        tasks.shutdown(Duration::from_secs(5)).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn more_connections_than_places_wait_their_turn() {
        let (address, _tasks) = start(Ok(())).await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let waiting = ask(address, "GET /healthz");
        let mut waiting = pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(100), waiting.as_mut()).await.is_err());
        held.pop();
        assert!(waiting.await.starts_with("HTTP/1.1 200 OK"));
    }
}
