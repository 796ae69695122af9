//! Listening sockets, and the TLS listener behind every gRPC server.

use std::future::ready;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::channel::{CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_FRAME, STREAM_WINDOW};
use crate::error::Chain;
use crate::identity::{PeerIdentity, peer_identity};
use crate::tls::ServerTls;

/// A peer on a slow link needs two round trips; ten seconds leave room for a lost packet on each.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Half-open connections cost some 20 KiB each: 20 MiB at worst, while a whole fleet may reconnect at once.
const MAX_HANDSHAKES: usize = 1024;
/// After a refused handshake the rest of what the peer sends is read for this long: closing with unread bytes
/// resets the connection and takes the alert with it that says why.
const LINGER: Duration = Duration::from_secs(1);
/// More than a client sends in the rest of a handshake.
const LINGER_BYTES: u64 = 64 * 1024;
/// Pause when the system has no descriptors left, instead of spinning on the error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Calls and streams in flight per connection: a CLI has a handful, a node a few dozen downloads.
const MAX_STREAMS: u32 = 256;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", bind_advice(source))]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

fn bind_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: stop it or choose another port",
        ErrorKind::AddrNotAvailable => "this machine has no such address: choose one of its own, or 0.0.0.0",
        ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
        _ => "the system refused",
    }
}

/// A plain TCP listener. Port 0 takes a free one.
///
/// # Errors
/// Says what to do about the usual causes.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// A gRPC server builder with the settings that all our servers share: keepalive while idle, windows for
/// streaming artifacts, a bound on streams.
pub fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
}

/// A TCP listener whose connections have done their TLS handshake.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    tls: ServerTls,
    failures: Counter,
}

impl TlsListener {
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr, tls: ServerTls) -> Result<Self, BindError> {
        Ok(Self { tcp: bind(address).await?, tls, failures: Counter::default() })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Counts refused handshakes: register it as `tls_handshake_failures`.
    pub fn failures(&self) -> Counter {
        self.failures.clone()
    }

    /// Connections that are ready to use, for `serve_with_incoming_shutdown`. Never ends and never fails: a bad
    /// handshake is logged and counted.
    pub fn incoming(self) -> impl Stream<Item = io::Result<TlsConnection>> + Send {
        let Self { tcp, tls, failures } = self;
        stream::unfold(tcp, |tcp| async { Some((accept(&tcp).await, tcp)) })
            .map(move |(tcp, remote)| handshake(tcp, remote, tls.clone(), failures.clone()))
            .buffer_unordered(MAX_HANDSHAKES)
            .filter_map(|connection| ready(connection.map(Ok)))
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!("could not accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    tcp: TcpStream,
    remote: SocketAddr,
    tls: ServerTls,
    failures: Counter,
) -> Option<TlsConnection> {
    let refused = match timeout(HANDSHAKE_DEADLINE, shake_hands(tcp, remote, &tls)).await {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(refused)) => refused,
        Err(_) => Refused::left(format!("not done within {} s", HANDSHAKE_DEADLINE.as_secs())),
    };
    failures.inc();
    let reason = refused.reason;
    if refused.by_us {
        tracing::info!(%remote, "TLS handshake refused: {reason}");
    } else {
        tracing::debug!(%remote, "TLS handshake not finished: {reason}");
    }
    None
}

struct Refused {
    reason: String,
    /// A peer that we refuse is worth a line; one that leaves (probes of load balancers do) is not.
    by_us: bool,
}

impl Refused {
    fn left(reason: String) -> Self {
        Self { reason, by_us: false }
    }

    fn by_us(reason: String) -> Self {
        Self { reason, by_us: true }
    }
}

async fn shake_hands(tcp: TcpStream, remote: SocketAddr, tls: &ServerTls) -> Result<TlsConnection, Refused> {
    tcp.set_nodelay(true).map_err(|error| Refused::left(error.to_string()))?;
    let accepting = TlsAcceptor::from(tls.config()).accept(tcp).into_fallible();
    let stream = match accepting.await {
        Ok(stream) => stream,
        Err((error, tcp)) if error.kind() == ErrorKind::InvalidData => {
            linger(tcp).await;
            return Err(Refused::by_us(error.to_string()));
        }
        Err((error, _)) => return Err(Refused::left(error.to_string())),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = peer_identity(chain).map_err(|error| Refused::by_us(Chain(&error).to_string()))?;
    Ok(TlsConnection { stream, info: ConnectInfo { peer: peer.map(Arc::new), remote } })
}

async fn linger(mut tcp: TcpStream) {
    // The peer may be gone already: there is nobody left to tell.
    let _ = tcp.shutdown().await;
    let mut rest = tcp.take(LINGER_BYTES);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// Who is at the other end. Found in the extensions of every request.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// `None` for a client without a certificate.
    pub peer: Option<Arc<PeerIdentity>>,
    pub remote: SocketAddr,
}

/// A TLS connection with its peer's identity.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    info: ConnectInfo,
}

impl Connected for TlsConnection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_says_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {address}: another program listens there: stop it or choose another port"
            )
        );
    }
}
