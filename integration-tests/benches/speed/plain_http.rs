//! The bytes that the example answers, from hyper alone: what no host of guests can be faster than.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

const BODY: &[u8] = b"Hello from Littoral\n";

/// Serves until the process is ended, on as many threads as the worker.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream));
        }
    })
}

async fn connection(stream: TcpStream) {
    // Without it the answers are late, and nothing else.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(answer()) });
    // A client that leaves in the middle is no error of the server's.
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
}

/// In pieces, as from a guest: its length is not announced.
fn answer() -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    let body = Full::new(Bytes::from_static(BODY)).with_trailers(std::future::ready(None));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("x-littoral-example"), HeaderValue::from_static("hello"));
    let id = HeaderValue::from_static("0000000000000000");
    headers.insert(HeaderName::from_static("littoral-request-id"), id);
    response
}
