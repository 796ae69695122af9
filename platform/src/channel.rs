//! Connections from a client to a control plane: gRPC over our own TLS.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, service_fn};

use crate::tls::ClientTls;

mod refusal;

pub use refusal::TlsRefusal;

/// Names, TCP and TLS together; a satellite link needs three seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may take for its first byte before the client goes on without having seen it.
const GREETING_WAIT: Duration = Duration::from_secs(3);
/// A dead link is noticed within 25 seconds, and a NAT's mapping is kept alive.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// 4 MiB in flight fill 300 Mbit/s at 100 ms; HTTP/2's default of 64 KiB fills 5.
pub(crate) const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Two artifact streams at full speed beside the heartbeats.
pub(crate) const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Four TLS records a frame: fewer headers per chunk, and still short enough to let heartbeats in between.
pub(crate) const MAX_FRAME: u32 = 64 * 1024;
const DEFAULT_PORT: u16 = 7443;

type Stream = TlsStream<TcpStream>;

/// Where a control plane answers: `https://HOST[:PORT]`. The certificate is checked against HOST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl ServerUrl {
    fn uri(&self) -> http::Uri {
        self.to_string().parse().expect("a checked host and port make a URI")
    }
}

impl FromStr for ServerUrl {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, ChannelError> {
        let bad = |reason| ChannelError::BadUrl { url: text.chars().take(200).collect(), reason };
        let uri: http::Uri = text.parse().map_err(|_| bad("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it must begin with https://"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it must end after host and port"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold a user name"));
        }
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => DEFAULT_PORT,
            rest => match rest[1..].parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(bad("its port is not a number from 1 to 65535")),
            },
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host.clone()).map_err(|_| bad("its host is not a name or address"))?;
        Ok(Self { host, port, name })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(f, "https://[{address}]:{}", self.port),
            _ => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no connection. Trying again helps for `Unreachable` alone.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("cannot reach {server}: {}", reach_advice(source))]
    Unreachable {
        server: String,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("no trusted connection to {server}: {refusal}")]
    Tls { server: String, refusal: TlsRefusal },
    #[error("`{url}` is not a server's address: {reason}; expected https://HOST:PORT")]
    BadUrl { url: String, reason: &'static str },
}

fn reach_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there: check the address, and that the server runs",
        ErrorKind::TimedOut => "no answer in time: check the address, the network and firewalls",
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "the server closed the connection",
        _ => "check the address and the network",
    }
}

impl ChannelError {
    /// The cause of a failed call, when the call failed because a connection could not be made or was refused.
    pub fn from_status(status: &Status) -> Option<Self> {
        Self::within(status)
    }

    /// The first of our own errors in a chain of causes.
    fn within(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(known) = error.downcast_ref::<Self>() {
                return Some(known.clone());
            }
            next = error.source();
        }
        None
    }

    fn from_io(url: &ServerUrl, error: io::Error) -> Self {
        let server = url.to_string();
        match refusal::of(&error) {
            Some(refusal) => Self::Tls { server, refusal },
            None => Self::Unreachable { server, source: Arc::new(error) },
        }
    }
}

/// Connects now, so that whatever is wrong is known at once, and again by itself whenever the connection is lost.
///
/// # Errors
/// Tells an unreachable server from one that is not trusted or does not trust us.
pub async fn connect(url: &ServerUrl, tls: &ClientTls) -> Result<Channel, ChannelError> {
    let first = dial(url, tls).await?;
    let connected = endpoint(url).connect_with_connector(connector(url, tls, Some(first))).await;
    connected.map_err(|error| {
        let lost = || ChannelError::from_io(url, io::Error::other(error.to_string()));
        ChannelError::within(&error).unwrap_or_else(lost)
    })
}

/// A channel that connects at its first use. Failures are found with [`ChannelError::from_status`].
pub fn connect_lazy(url: &ServerUrl, tls: &ClientTls) -> Channel {
    endpoint(url).connect_with_connector_lazy(connector(url, tls, None))
}

fn endpoint(url: &ServerUrl) -> Endpoint {
    Endpoint::from(url.uri())
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
}

/// Hands out `first` once, then dials. An own first dial keeps its error typed.
fn connector(
    url: &ServerUrl,
    tls: &ClientTls,
    first: Option<Stream>,
) -> impl Service<http::Uri, Response = TokioIo<Stream>, Error = ChannelError, Future: Send> + Send + use<> {
    let first = Arc::new(Mutex::new(first));
    let (url, tls) = (url.clone(), tls.clone());
    service_fn(move |_: http::Uri| {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (url, tls) = (url.clone(), tls.clone());
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => dial(&url, &tls).await?,
            };
            Ok(TokioIo::new(stream))
        }
    })
}

async fn dial(url: &ServerUrl, tls: &ClientTls) -> Result<Stream, ChannelError> {
    let established = match timeout(CONNECT_TIMEOUT, establish(url, tls)).await {
        Ok(established) => established,
        Err(_) => Err(ErrorKind::TimedOut.into()),
    };
    let stream = established.map_err(|error| ChannelError::from_io(url, error))?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ChannelError::Tls { server: url.to_string(), refusal: TlsRefusal::NotGrpc });
    }
    Ok(stream)
}

async fn establish(url: &ServerUrl, tls: &ClientTls) -> io::Result<Stream> {
    let tcp = TcpStream::connect((url.host.as_str(), url.port)).await?;
    tcp.set_nodelay(true)?;
    let mut stream = TlsConnector::from(tls.config()).connect(url.name.clone(), tcp).await?;
    // In TLS 1.3 a client is done before the server has looked at its certificate: a refusal arrives after. An
    // HTTP/2 server speaks first (its settings), so waiting for a byte shows which of the two it is.
    if let Ok(greeting) = timeout(GREETING_WAIT, stream.fill_buf()).await
        && greeting?.is_empty()
    {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests;
