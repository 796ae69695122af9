//! A control plane of a few lines: real mTLS over loopback, and one assignment for whoever joins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use littoral_model::digest::Digest;
use littoral_model::time::Timestamp;
use littoral_platform::ca::{CertificateAuthority, Subject};
use littoral_platform::clock;
use littoral_platform::join_token::JoinToken;
use littoral_platform::listener::{TlsListener, grpc_server};
use littoral_platform::spiffe::SpiffeId;
use littoral_platform::statement::SigningKey;
use littoral_platform::tasks::Tasks;
use littoral_platform::tls::{IdentityHandle, ServerTls};
use littoral_platform::trust::TrustBundle;
use littoral_proto::v1;
use littoral_proto::v1::node_service_server::NodeServiceServer;
use littoral_proto::v1::session_down::Message as Down;
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::node_api::NodeApi;
use crate::envelope::ASSIGNMENT_TYPE;

/// A day's life, an hour of it left or over: what the tests of renewal need.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Everything that the tests look at or change. Clones are the same control plane.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
    tls: ServerTls,
}

pub(crate) struct Shared {
    pub(crate) ca: CertificateAuthority,
    pub(crate) signing: SigningKey,
    pub(crate) state: Mutex<State>,
    /// The newest message to push to sessions; each new session gets it too.
    pub(crate) push: watch::Sender<Option<Down>>,
    /// The last report of each session.
    pub(crate) reported: watch::Sender<Option<v1::NodeReport>>,
    pub(crate) answered: watch::Sender<Vec<v1::InvokeResponse>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub node_id: String,
    pub joins: u32,
    pub token_used: bool,
    pub renewals: u32,
    pub sessions: u64,
    pub windows: BTreeMap<(String, u64), v1::StatsWindow>,
    /// Windows are not acknowledged while this is set.
    pub deaf: bool,
    /// The next download is cut after so many bytes.
    pub cut_after: Option<usize>,
    /// Offset of each download, by digest.
    pub fetches: Vec<(String, u64)>,
    pub events: Vec<v1::AgentEvent>,
    pub connected: BTreeSet<u64>,
}

impl ControlPlane {
    pub(crate) fn new() -> Self {
        let now = clock::now();
        let ca = CertificateAuthority::create(&"edge".parse().unwrap(), now).unwrap();
        let id: SpiffeId = "spiffe://edge/control-plane/cp-1".parse().unwrap();
        let names = ["localhost", "127.0.0.1"].map(|name| ServerName::try_from(name).unwrap());
        let subject = Subject { id: &id, names: &names, not_before: now, not_after: now.plus(DAY) };
        let identity = IdentityHandle::new(&ca.issue_server(&subject).unwrap()).unwrap();
        let tls = ServerTls::new(identity, &TrustBundle::new([ca.certificate().clone()]).unwrap()).unwrap();
        let shared = Shared {
            ca,
            signing: SigningKey::generate(),
            state: Mutex::default(),
            push: watch::Sender::new(None),
            reported: watch::Sender::new(None),
            answered: watch::Sender::default(),
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { shared: Arc::new(shared), address: free, tls }
    }

    /// Serves until `tasks` are shut down; then the address is free for the next start.
    pub(crate) async fn start(&self, tasks: &Tasks) {
        let listener = TlsListener::bind(self.address, self.tls.clone()).await.unwrap();
        let service =
            NodeServiceServer::new(NodeApi { shared: Arc::clone(&self.shared), stop: tasks.child() })
                .max_decoding_message_size(littoral_proto::MAX_MESSAGE);
        let stop = tasks.child();
        tasks.spawn("control plane", async move {
            let stopped = stop.clone().cancelled_owned();
            let serving =
                grpc_server().add_service(service).serve_with_incoming_shutdown(listener.incoming(), stopped);
            // Running calls do not keep a stopped one alive.
            stop.run_until_cancelled(Box::pin(serving)).await;
        });
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn token(&self) -> JoinToken {
        JoinToken {
            id: "0123456789abcdef".into(),
            secret: Zeroizing::new("5e".repeat(32)),
            pin: self.shared.ca.pin().unwrap(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Pushes an assignment of these workloads.
    pub(crate) fn assign(&self, generation: u64, workloads: Vec<v1::Workload>) {
        let node_id = self.state().node_id.clone();
        let assignment = v1::NodeAssignment { node_id, cluster_epoch: 1, generation, workloads };
        let signed = self.shared.signing.sign(ASSIGNMENT_TYPE, assignment.encode_to_vec());
        let signatures = signed.signatures.iter();
        let signatures =
            signatures.map(|s| v1::Signature { key_id: s.key_id.to_string(), sig: s.bytes.clone() });
        let envelope = v1::Envelope {
            payload_type: signed.payload_type.clone(),
            payload: signed.payload.clone(),
            signatures: signatures.collect(),
        };
        self.push(Down::Assignment(envelope));
    }

    pub(crate) fn push(&self, message: Down) {
        self.shared.push.send_replace(Some(message));
    }

    /// Stores the three blobs of a revision. Its artifact has these bytes.
    pub(crate) fn workload(&self, function: &str, revision: u64, artifact: &[u8]) -> v1::Workload {
        let spec = format!("spec of {function} {revision}").into_bytes();
        let statement = format!("statement of {function} {revision}").into_bytes();
        v1::Workload {
            function: function.into(),
            revision,
            spec_digest: self.put(spec),
            artifact_digest: self.put(artifact.to_vec()),
            statement_digest: self.put(statement),
            target: super::FakeWorker::TARGET.into(),
            weight: 100,
        }
    }

    fn put(&self, bytes: Vec<u8>) -> String {
        let digest = Digest::of(&bytes).to_string();
        self.state().blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Waits for a report for which `wanted` holds.
    pub(crate) async fn reports(&self, wanted: impl Fn(&v1::NodeReport) -> bool) -> v1::NodeReport {
        let mut reported = self.shared.reported.subscribe();
        let found = reported.wait_for(|report| report.as_ref().is_some_and(&wanted));
        let found = tokio::time::timeout(super::SOON, found).await.expect("such a report").unwrap();
        found.clone().unwrap()
    }

    /// Waits until this generation has settled with these states, in the order of the workloads.
    pub(crate) async fn settles(&self, generation: u64, states: &[v1::WorkloadState]) -> v1::NodeReport {
        self.reports(|report| {
            let found: Vec<v1::WorkloadState> =
                report.workloads.iter().map(v1::WorkloadStatus::state).collect();
            report.settled && report.observed_generation == generation && found == states
        })
        .await
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys(&self) -> v1::TrustedKeys {
        let key = self.signing.public_key().to_bytes().to_vec();
        v1::TrustedKeys { compiler: vec![key.clone()], assignment: vec![key] }
    }

    pub(crate) fn issue(&self, csr_pem: &str, id: &SpiffeId, from: Timestamp) -> String {
        let subject = Subject { id, names: &[], not_before: from, not_after: from.plus(DAY) };
        self.ca.issue_from_csr(csr_pem.as_bytes(), &subject).unwrap().chain_pem
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.state().blobs.get(digest).cloned().map(Bytes::from)
    }
}
