//! Requests to functions.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// A function that has not answered by then has hung.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Answer {
    pub status: StatusCode,
    pub outcome: Option<String>,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The answer, or why there is none: nobody listens, or it broke off in the middle.
pub fn try_send(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Result<Answer, String> {
    let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = tokio::time::timeout(DEADLINE, read(client.request(request))).await;
        answer.map_err(|_| "no answer".to_owned())?
    })
}

async fn read<E: std::error::Error>(
    response: impl Future<Output = Result<Response<hyper::body::Incoming>, E>>,
) -> Result<Answer, String> {
    let response = response.await.map_err(|e| format!("{e:?}"))?;
    let outcome = response.headers().get("littoral-error").map(|v| v.to_str().unwrap().to_owned());
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
    Ok(Answer { status, outcome, body })
}

#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    try_send(address, "GET", path, b"").unwrap_or_else(|e| panic!("GET {path} at {address}: {e}"))
}

#[track_caller]
pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    try_send(address, "POST", path, body).unwrap_or_else(|e| panic!("POST {path} at {address}: {e}"))
}
