//! `NodeService` of the tests' control plane.

use std::pin::Pin;
use std::sync::Arc;

use littoral_platform::clock;
use littoral_platform::listener::ConnectInfo;
use littoral_platform::renewal;
use littoral_platform::spiffe::SpiffeId;
use littoral_platform::trust::TrustBundle;
use littoral_proto::v1::node_service_server::NodeService;
use littoral_proto::v1::session_down::Message as Down;
use littoral_proto::v1::session_up::Message as Up;
use littoral_proto::v1::{self, invocation_down, invocation_up};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::control_plane::{DAY, Shared};

const NONCE: [u8; 32] = [7; 32];
const CHUNK: usize = 1000;

pub(crate) struct NodeApi {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn peer<T>(request: &Request<T>) -> Result<String, Status> {
    let info = request.extensions().get::<ConnectInfo>().expect("a TLS listener");
    let peer = info.peer.as_ref().ok_or_else(|| Status::unauthenticated("no certificate"))?;
    Ok(peer.spiffe.to_string())
}

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.shared.state();
        state.joins += 1;
        if state.token_used {
            return Err(Status::permission_denied("the join token has been used: create another"));
        }
        state.token_used = true;
        state.node_id = uuid::Uuid::new_v4().to_string();
        let id: SpiffeId = format!("spiffe://edge/node/{}", state.node_id).parse().unwrap();
        Ok(Response::new(v1::JoinResponse {
            node_id: state.node_id.clone(),
            node_name: "edge-1".into(),
            cluster: "edge".into(),
            certificate_pem: self.shared.issue(&request.csr_pem, &id, clock::now()),
            ca_pem: self.shared.ca.certificate_pem(),
            keys: Some(self.shared.keys()),
        }))
    }

    async fn renew_challenge(
        &self,
        _: Request<v1::RenewChallengeRequest>,
    ) -> Result<Response<v1::RenewChallengeResponse>, Status> {
        Ok(Response::new(v1::RenewChallengeResponse { nonce: NONCE.to_vec() }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let request = request.into_inner();
        let old = CertificateDer::from_pem_slice(request.old_certificate_pem.as_bytes()).unwrap();
        let trust = TrustBundle::new([self.shared.ca.certificate().clone()]).unwrap();
        let signed = [&NONCE[..], Sha256::digest(request.csr_pem.as_bytes()).as_slice()].concat();
        let peer = renewal::verify(&trust, &old, &signed, &request.signature, clock::now(), DAY * 30)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        self.shared.state().renewals += 1;
        Ok(Response::new(v1::RenewResponse {
            certificate_pem: self.shared.issue(&request.csr_pem, &peer.spiffe, clock::now()),
            ca_pem: self.shared.ca.certificate_pem(),
            keys: Some(self.shared.keys()),
        }))
    }

    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        peer(&request)?;
        let mut up = request.into_inner();
        let Some(Up::Hello(hello)) = up.message().await?.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        assert!(hello.capacity.is_some_and(|c| c.memory_budget_bytes > 0 && !c.ingress_address.is_empty()));
        let epoch = {
            let mut state = self.shared.state();
            state.sessions += 1;
            let epoch = state.sessions;
            state.connected.insert(epoch);
            epoch
        };
        let (down, answers) = mpsc::channel(16);
        let welcome =
            v1::Welcome { session_epoch: epoch, report_interval_ms: 500, now_ms: clock::now().as_millis() };
        send(&down, Down::Welcome(welcome)).await;
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let session = async move {
            stop.run_until_cancelled(converse(&shared, epoch, up, down)).await;
            shared.state().connected.remove(&epoch);
        };
        spawn(session);
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    type FetchArtifactStream = Answers<v1::FetchArtifactResponse>;

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        peer(&request)?;
        let request = request.into_inner();
        let bytes = self.shared.blob(&request.digest).ok_or_else(|| Status::not_found("no such blob"))?;
        let cut = {
            let mut state = self.shared.state();
            state.fetches.push((request.digest.clone(), request.offset));
            let large = bytes.len() > CHUNK;
            if large { state.cut_after.take() } else { None }
        };
        let size_bytes = bytes.len() as u64;
        let rest = bytes.slice(usize::try_from(request.offset).unwrap()..);
        let sent = cut.map_or(rest.len(), |cut| cut.min(rest.len()));
        let mut messages = vec![Ok(v1::FetchArtifactResponse { size_bytes, chunk: rest.slice(..0) })];
        for chunk in rest[..sent].chunks(CHUNK) {
            messages.push(Ok(v1::FetchArtifactResponse { size_bytes: 0, chunk: rest.slice_ref(chunk) }));
        }
        if cut.is_some() {
            messages.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    type ServeInvocationStream = Answers<v1::InvocationDown>;

    /// Sends a start, a payload of two chunks and its end; keeps what comes back.
    async fn serve_invocation(
        &self,
        request: Request<Streaming<v1::InvocationUp>>,
    ) -> Result<Response<Self::ServeInvocationStream>, Status> {
        peer(&request)?;
        let mut up = request.into_inner();
        let first = up.message().await?.and_then(|first| first.message);
        let Some(invocation_up::Message::InvocationId(id)) = first else { panic!("{first:?}") };
        let start = v1::InvokeStart { function: "f".into(), ..v1::InvokeStart::default() };
        let messages = [
            invocation_down::Message::Start(start),
            invocation_down::Message::Chunk(b"pay".to_vec()),
            invocation_down::Message::Chunk(b"load".to_vec()),
            invocation_down::Message::End(true),
        ];
        let messages = messages.map(|message| Ok(v1::InvocationDown { message: Some(message) }));
        let shared = Arc::clone(&self.shared);
        spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                if let Some(invocation_up::Message::Response(response)) = message.message {
                    shared.answered.send_modify(|all| all.push(response));
                }
            }
        });
        let messages = tokio_stream::iter(messages);
        // Both happen: a control plane may close its direction after the payload, or after the answer.
        if id == "open" {
            return Ok(Response::new(Box::pin(messages.chain(tokio_stream::pending()))));
        }
        Ok(Response::new(Box::pin(messages)))
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

async fn send(down: &mpsc::Sender<Result<v1::SessionDown, Status>>, message: Down) {
    // A session that has ended takes nothing.
    let _ = down.send(Ok(v1::SessionDown { message: Some(message) })).await;
}

async fn converse(
    shared: &Shared,
    epoch: u64,
    mut up: Streaming<v1::SessionUp>,
    down: mpsc::Sender<Result<v1::SessionDown, Status>>,
) {
    let mut push = shared.push.subscribe();
    push.mark_changed();
    loop {
        tokio::select! {
            Ok(()) = push.changed() => {
                let message = push.borrow_and_update().clone();
                if let Some(message) = message {
                    send(&down, message).await;
                }
            }
            message = up.message() => match message {
                Ok(Some(v1::SessionUp { message: Some(Up::Report(report)) })) => {
                    assert_eq!(report.session_epoch, epoch);
                    take(shared, report, &down).await;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            },
        }
    }
}

async fn take(shared: &Shared, report: v1::NodeReport, down: &mpsc::Sender<Result<v1::SessionDown, Status>>) {
    let ack = {
        let mut state = shared.state();
        state.events.extend(report.events.clone());
        for window in report.windows.iter().filter(|_| !state.deaf).cloned().collect::<Vec<_>>() {
            state.windows.insert((window.boot_id.clone(), window.sequence), window);
        }
        report.windows.last().filter(|_| !state.deaf).cloned()
    };
    shared.reported.send_replace(Some(report));
    if let Some(window) = ack {
        send(down, Down::WindowAck(v1::WindowAck { boot_id: window.boot_id, sequence: window.sequence }))
            .await;
    }
}
