//! Channels against a real gRPC server (the health service) on loopback.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::identity::Identity;
use crate::listener::{ConnectInfo, TlsListener, grpc_server};
use crate::tasks::Tasks;
use crate::testing::TestCa;
use crate::tls::{IdentityHandle, ServerTls};

struct Grpc {
    address: SocketAddr,
    tls: ServerTls,
    failures: prometheus_client::metrics::counter::Counter,
    tasks: Tasks,
    stop: CancellationToken,
}

/// A health server that lets nobody in but a client with a certificate, and says who it saw.
async fn serve(ca: &TestCa, address: &str) -> Grpc {
    let tls = ServerTls::new(IdentityHandle::new(&ca.server()).unwrap(), &ca.trust()).unwrap();
    let listener = TlsListener::bind(address.parse().unwrap(), tls.clone()).await.unwrap();
    let (address, failures) = (listener.local_addr().unwrap(), listener.failures());
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let guarded = tonic::service::interceptor::InterceptedService::new(health, who);
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let stopped = stop.clone().cancelled_owned();
    tasks.spawn("grpc", async move {
        let router = grpc_server().add_service(guarded);
        router.serve_with_incoming_shutdown(listener.incoming(), stopped).await
    });
    Grpc { address, tls, failures, tasks, stop }
}

/// Refuses with the name of whoever calls, which is a way of telling it to the test.
fn who(request: Request<()>) -> Result<Request<()>, Status> {
    let info = request.extensions().get::<ConnectInfo>().expect("the listener's connect info");
    assert!(info.remote.ip().is_loopback());
    match &info.peer {
        None => Err(Status::unauthenticated("nobody")),
        Some(peer) if peer.spiffe.to_string().ends_with("/n-1") => Ok(request),
        Some(peer) => Err(Status::permission_denied(peer.serial.clone())),
    }
}

impl Grpc {
    fn url(&self) -> ServerUrl {
        format!("https://localhost:{}", self.address.port()).parse().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

fn client(ca: &TestCa, identity: Option<&Identity>) -> ClientTls {
    ClientTls::new(&ca.trust(), identity.map(|identity| IdentityHandle::new(identity).unwrap())).unwrap()
}

async fn check(channel: &Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(request).await.map(drop)
}

fn refusal(error: &ChannelError) -> TlsRefusal {
    match error {
        ChannelError::Tls { refusal, .. } => refusal.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn handlers_see_who_calls() {
    let ca = TestCa::new("edge");
    let server = serve(&ca, "127.0.0.1:0").await;
    let node = connect(&server.url(), &client(&ca, Some(&ca.node("n-1")))).await.unwrap();
    check(&node).await.unwrap();
    let other = connect(&server.url(), &client(&ca, Some(&ca.node("n-2")))).await.unwrap();
    assert_eq!(check(&other).await.unwrap_err().code(), Code::PermissionDenied);
    let nobody = connect(&server.url(), &client(&ca, None)).await.unwrap();
    assert_eq!(check(&nobody).await.unwrap_err().message(), "nobody");
    drop((node, other, nobody));
    server.stop().await;
}

#[tokio::test]
async fn refusals_of_either_side_are_told_apart_at_once() {
    let (ca, foreign) = (TestCa::new("edge"), TestCa::new("edge"));
    let server = serve(&ca, "127.0.0.1:0").await;
    let url = server.url();

    let lapsed = connect(&url, &client(&ca, Some(&ca.lapsed_node("n-1")))).await.unwrap_err();
    assert_eq!(refusal(&lapsed), TlsRefusal::OwnExpired);
    let stranger = connect(&url, &client(&ca, Some(&foreign.node("n-1")))).await.unwrap_err();
    assert_eq!(refusal(&stranger), TlsRefusal::OwnUnknownCa);
    let other_cluster = connect(&url, &client(&foreign, None)).await.unwrap_err();
    assert_eq!(refusal(&other_cluster), TlsRefusal::UnknownCa);
    let pinned = ClientTls::pinned(foreign.authority.pin().unwrap()).unwrap();
    let mismatch = connect(&url, &pinned).await.unwrap_err();
    assert!(matches!(refusal(&mismatch), TlsRefusal::PinMismatch(_)), "{mismatch}");
    // The server counts a moment after the client knows.
    let counted = async {
        while server.failures.get() < 4 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), counted).await.expect("four refused handshakes are counted");

    server.tls.identity().set(&ca.lapsed_node("n-1")).unwrap();
    let expired = connect(&url, &client(&ca, None)).await.unwrap_err();
    assert_eq!(refusal(&expired), TlsRefusal::Expired);
    server.stop().await;
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let ca = TestCa::new("edge");
    let server = serve(&ca, "127.0.0.2:0").await;
    let url = format!("https://{}", server.address).parse().unwrap();
    let error = connect(&url, &client(&ca, None)).await.unwrap_err();
    assert!(matches!(refusal(&error), TlsRefusal::WrongName { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn an_unreachable_server_is_not_a_tls_problem() {
    let ca = TestCa::new("edge");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("https://{free}").parse().unwrap();
    let error = connect(&url, &client(&ca, None)).await.unwrap_err();
    assert!(matches!(error, ChannelError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("nothing listens there"), "{error}");

    let status = check(&connect_lazy(&url, &client(&ca, None))).await.unwrap_err();
    let found = ChannelError::from_status(&status).expect("the cause is kept");
    assert!(matches!(found, ChannelError::Unreachable { .. }), "{found}");
    assert!(ChannelError::from_status(&Status::internal("x")).is_none());
}

#[tokio::test]
async fn something_that_is_not_tls_is_named_as_such() {
    let ca = TestCa::new("edge");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let tasks = Tasks::new();
    tasks.spawn("http", async move {
        let (mut tcp, _) = listener.accept().await?;
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    });
    let error = connect(&url, &client(&ca, None)).await.unwrap_err();
    assert!(matches!(refusal(&error), TlsRefusal::NotTls(_)), "{error}");
}

#[tokio::test]
async fn a_lost_connection_comes_back_with_the_renewed_identity() {
    let ca = TestCa::new("edge");
    let (old, new) = (ca.node("n-2"), ca.node("n-2"));
    let handle = IdentityHandle::new(&old).unwrap();
    let tls = ClientTls::new(&ca.trust(), Some(handle.clone())).unwrap();
    let server = serve(&ca, "127.0.0.1:0").await;
    let address = server.address;
    let channel = connect(&server.url(), &tls).await.unwrap();
    assert_eq!(check(&channel).await.unwrap_err().message(), old.leaf().serial);

    handle.set(&new).unwrap();
    // The running connection goes on with the old certificate.
    assert_eq!(check(&channel).await.unwrap_err().message(), old.leaf().serial);
    server.stop().await;
    let server = serve(&ca, &address.to_string()).await;
    assert_eq!(check(&channel).await.unwrap_err().message(), new.leaf().serial);
    drop(channel);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_silent_connections_does_not_keep_others_out() {
    let ca = TestCa::new("edge");
    let server = serve(&ca, "127.0.0.1:0").await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let channel = connect(&server.url(), &client(&ca, Some(&ca.node("n-1")))).await.unwrap();
    check(&channel).await.unwrap();
}

#[test]
fn addresses_of_servers() {
    for (text, canonical) in [
        ("https://cp.example", "https://cp.example:7443"),
        ("https://cp.example:443/", "https://cp.example:443"),
        ("https://10.0.0.1", "https://10.0.0.1:7443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[fd00::7]", "https://[fd00::7]:7443"),
    ] {
        assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), canonical);
    }
    for text in [
        "",
        "cp.example:7443",
        "http://cp.example:7443",
        "https://",
        "https://cp.example:0",
        "https://cp.example:99999",
        "https://cp.example:",
        "https://ada@cp.example",
        "https://cp.example/path",
        "https://cp.example/?q",
        "https://exa mple",
        "https://under_score!",
    ] {
        assert!(matches!(text.parse::<ServerUrl>(), Err(ChannelError::BadUrl { .. })), "{text}");
    }
}
