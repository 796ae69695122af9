//! gRPC over the one socket that agent and worker share.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

/// Payloads of invocations pass here: not to stop for each 64 KiB of them.
const WINDOW: u32 = 4 << 20;

/// A channel that has this one connection and never another: when it ends, the worker is gone.
pub(super) async fn channel(stream: UnixStream) -> Result<Channel, Error> {
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the worker is gone")) }
    });
    Endpoint::from_static("http://worker.invalid")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect_with_connector(connector)
        .await
}
