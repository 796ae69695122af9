//! Handshakes over loopback, without gRPC.

use std::net::SocketAddr;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::identity::peer_identity;
use crate::pin::PinMismatch;
use crate::testing::TestCa;

/// What the server saw of one connection: the client's chain and the bytes that it sent.
type Seen = std::io::Result<(Vec<CertificateDer<'static>>, Vec<u8>)>;

struct Server {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    tls: ServerTls,
}

impl Server {
    async fn start(ca: &TestCa) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = ServerTls::new(IdentityHandle::new(&ca.server()).unwrap(), &ca.trust()).unwrap();
        Self { address: listener.local_addr().unwrap(), listener: Arc::new(listener), tls }
    }

    #[expect(clippy::disallowed_methods, reason = "the test awaits the handle")]
    fn accept_one(&self) -> JoinHandle<Seen> {
        let (listener, config) = (Arc::clone(&self.listener), self.tls.config());
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await?;
            let mut stream = TlsAcceptor::from(config).accept(tcp).await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            stream.write_all(b"hello").await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Ok((chain, bytes))
        })
    }

    /// Connects, waits for the server's greeting, and sends a few bytes.
    async fn call(&self, client: &ClientTls, name: &str) -> (std::io::Result<()>, Seen) {
        let seen = self.accept_one();
        let result = self.speak(client, name).await;
        (result, seen.await.unwrap())
    }

    async fn speak(&self, client: &ClientTls, name: &str) -> std::io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tcp = TcpStream::connect(self.address).await?;
        let mut stream = TlsConnector::from(client.config()).connect(name, tcp).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        stream.write_all(b"secret").await?;
        stream.shutdown().await
    }
}

fn client(ca: &TestCa, identity: Option<&Identity>) -> ClientTls {
    let handle = identity.map(|identity| IdentityHandle::new(identity).unwrap());
    ClientTls::new(&ca.trust(), handle).unwrap()
}

fn rustls_error(error: std::io::Error) -> rustls::Error {
    *error.into_inner().expect("an error of rustls").downcast().expect("an error of rustls")
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody() {
    let ca = TestCa::new("edge");
    let (result, seen) = Server::start(&ca).await.call(&client(&ca, None), "localhost").await;
    result.unwrap();
    let (chain, bytes) = seen.unwrap();
    assert!(peer_identity(&chain).unwrap().is_none());
    assert_eq!(bytes, b"secret");
}

#[tokio::test]
async fn a_client_with_a_certificate_is_known_by_it() {
    let ca = TestCa::new("edge");
    let node = ca.node("n-1");
    let (result, seen) = Server::start(&ca).await.call(&client(&ca, Some(&node)), "127.0.0.1").await;
    result.unwrap();
    assert_eq!(peer_identity(&seen.unwrap().0).unwrap().unwrap(), *node.leaf());
}

#[tokio::test]
async fn foreign_and_lapsed_client_certificates_are_refused_with_the_reason() {
    let (ca, other) = (TestCa::new("edge"), TestCa::new("edge"));
    let server = Server::start(&ca).await;
    for (identity, alert) in [
        (other.node("n-1"), AlertDescription::UnknownCA),
        (ca.lapsed_node("n-1"), AlertDescription::CertificateExpired),
    ] {
        let (result, seen) = server.call(&client(&ca, Some(&identity)), "localhost").await;
        assert_eq!(rustls_error(result.unwrap_err()), rustls::Error::AlertReceived(alert));
        assert!(seen.is_err());
    }
}

#[tokio::test]
async fn a_node_cannot_pose_as_the_server() {
    let ca = TestCa::new("edge");
    let server = Server::start(&ca).await;
    server.tls.identity().set(&ca.node("n-1")).unwrap();
    let (result, _) = server.call(&client(&ca, None), "localhost").await;
    let rustls::Error::InvalidCertificate(_) = rustls_error(result.unwrap_err()) else { panic!() };
}

#[tokio::test]
async fn the_right_pin_is_enough_to_join() {
    let ca = TestCa::new("edge");
    let pinned = ClientTls::pinned(ca.authority.pin().unwrap()).unwrap();
    let server = Server::start(&ca).await;
    let (result, seen) = server.call(&pinned, "localhost").await;
    result.unwrap();
    assert_eq!(seen.unwrap().1, b"secret");
    let (result, _) = server.call(&pinned, "other.example").await;
    let error = rustls_error(result.unwrap_err());
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
}

#[tokio::test]
async fn a_wrong_pin_sends_nothing_and_says_what_was_seen() {
    let (ca, other) = (TestCa::new("edge"), TestCa::new("edge"));
    let (expected, presented) = (other.authority.pin().unwrap(), ca.authority.pin().unwrap());
    let pinned = ClientTls::pinned(expected).unwrap();
    let (result, seen) = Server::start(&ca).await.call(&pinned, "localhost").await;

    let rustls::Error::InvalidCertificate(CertificateError::Other(cause)) = rustls_error(result.unwrap_err())
    else {
        panic!("not refused for the certificate")
    };
    let mismatch: &PinMismatch = cause.0.downcast_ref().unwrap();
    assert_eq!(*mismatch, PinMismatch { expected, seen: vec![presented] });
    // The handshake itself failed on the server, so there was no application data to read.
    let error = rustls_error(seen.unwrap_err());
    assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::CertificateUnknown));
}

#[tokio::test]
async fn a_ca_that_borrows_the_pinned_certificate_is_refused() {
    let (real, fake) = (TestCa::new("edge"), TestCa::new("edge"));
    let server = Server::start(&fake).await;
    // The attacker presents the true CA certificate, which is public, behind a leaf that it did not issue.
    let forged = fake.server();
    let mut key = forged.certified_key().unwrap();
    key.cert[1] = real.certificate();
    *server.tls.identity.current.write().unwrap() = Arc::new(key);

    let pinned = ClientTls::pinned(real.authority.pin().unwrap()).unwrap();
    let (result, seen) = server.call(&pinned, "localhost").await;
    let error = rustls_error(result.unwrap_err());
    assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert!(seen.is_err());
}

#[tokio::test]
async fn renewed_identities_are_used_by_the_next_connection() {
    let ca = TestCa::new("edge");
    let (server, old, new) = (Server::start(&ca).await, ca.node("n-1"), ca.node("n-1"));
    let handle = IdentityHandle::new(&old).unwrap();
    let client = ClientTls::new(&ca.trust(), Some(handle.clone())).unwrap();
    for identity in [&old, &new] {
        handle.set(identity).unwrap();
        let (result, seen) = server.call(&client, "localhost").await;
        result.unwrap();
        assert_eq!(peer_identity(&seen.unwrap().0).unwrap().unwrap().serial, identity.leaf().serial);
    }
}

#[tokio::test]
async fn a_new_trust_bundle_is_used_by_the_next_connection() {
    let (ca, next) = (TestCa::new("edge"), TestCa::new("edge"));
    let (server, newcomer) = (Server::start(&ca).await, next.node("n-1"));
    let client = client(&ca, Some(&newcomer));
    assert!(server.call(&client, "localhost").await.0.is_err());
    server.tls.set_trust(&TrustBundle::new([ca.certificate(), next.certificate()]).unwrap()).unwrap();
    server.call(&client, "localhost").await.0.unwrap();
}

#[tokio::test]
async fn a_clock_that_lost_its_battery_is_held_at_its_floor() {
    let ca = TestCa::new("edge");
    let dir = tempfile::tempdir().unwrap();
    let clock = PersistedClock::open(&dir.path().join("clock")).unwrap();
    clock.raise(ca.now.plus(Duration::from_secs(3 * 86_400)));
    let client = client(&ca, None).with_clock(clock);
    let (result, _) = Server::start(&ca).await.call(&client, "localhost").await;
    let rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) =
        rustls_error(result.unwrap_err())
    else {
        panic!("the certificate was not judged by the given clock")
    };
}
