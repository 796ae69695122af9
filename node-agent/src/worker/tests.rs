//! The worker as the agent sees it, in this process: its socket, its ingress, and guests in WAT.

mod classes;
mod compiler;
mod guests;
mod kinds;
mod levels;
mod outcomes;
mod routing;
mod verification;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use littoral_engine::Pool;
use littoral_model::digest::Digest;
use littoral_model::target::Target;
use littoral_platform::statement::SigningKey;
use littoral_proto::v1::invoke_response::Part;
use littoral_proto::v1::{self, InvokeFinished, InvokeStart, ModuleKind, Outcome};
use littoral_proto::worker::worker_client::WorkerClient;
use littoral_proto::worker::worker_invoke_request::Part as RequestPart;
use littoral_proto::worker::{
    DrainRequest, LoadFailure, LoadRequest, LoadResponse, Route, RouteRequest, StartRequest, UnloadRequest,
    WorkerInvokeRequest,
};
use prost::Message as _;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use self::classes::memory_class;
use super::artifact::ARTIFACT_TYPE;
use super::confine::Confinement;
use super::*;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// More than any test here has guests at once. An emulator takes 50 MB for each.
const POOL: Pool = Pool { instances: 10 };

/// A worker that was started, with an agent's end of its socket.
struct Fixture {
    client: WorkerClient<Channel>,
    ingress: SocketAddr,
    key: SigningKey,
    cache: TempDir,
    tasks: Tasks,
    ended: tokio::sync::oneshot::Receiver<anyhow::Result<()>>,
}

/// A function to load: a spec, code, and what the compiler says of it.
#[derive(Clone)]
struct Sample {
    spec: v1::FunctionSpec,
    code: Vec<u8>,
    statement: v1::ArtifactStatement,
    revision: u64,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `None`: it was cut off.
    body: Option<Bytes>,
}

#[derive(Debug, Default)]
struct Invoked {
    accepted: bool,
    status: u32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    finished: InvokeFinished,
}

fn host() -> Target {
    littoral_engine::host_target(memory_class())
}

fn target() -> Target {
    host().compiled_as()
}

impl Sample {
    fn new(kind: ModuleKind, wat: &str) -> Self {
        Self::of_wasm(kind, &wat::parse_str(wat).unwrap())
    }

    fn hello() -> Self {
        let wasm = include_bytes!("../../../examples/hello-http/hello-http.wasm");
        Self::of_wasm(ModuleKind::Http, wasm)
    }

    fn of_wasm(kind: ModuleKind, wasm: &[u8]) -> Self {
        Self::compiled_for(target(), kind, wasm)
    }

    fn compiled_for(target: Target, kind: ModuleKind, wasm: &[u8]) -> Self {
        let code = compiler::compile(wasm, target);
        let source_digest = Digest::of(wasm).to_string();
        let statement = v1::ArtifactStatement {
            source_digest: source_digest.clone(),
            artifact_digest: Digest::of(&code).to_string(),
            artifact_size_bytes: code.len() as u64,
            target: target.to_string(),
            engine: littoral_engine::fingerprint(target),
            kind: kind.into(),
        };
        let limits =
            v1::Limits { timeout_ms: 10_000, memory_bytes: 16 * MIB, concurrency: 8, output_bytes: MIB };
        let http = kind == ModuleKind::Http;
        let triggers = http.then(|| v1::HttpTrigger { host: "*".into(), path: "/*".into() });
        let spec = v1::FunctionSpec {
            name: "f".into(),
            module: "m@1".into(),
            module_digest: source_digest,
            kind: kind.into(),
            http_triggers: triggers.into_iter().collect(),
            limits: Some(limits),
            ..v1::FunctionSpec::default()
        };
        Self { spec, code, statement, revision: 1 }
    }

    fn limited(mut self, set: impl FnOnce(&mut v1::Limits)) -> Self {
        set(self.spec.limits.as_mut().unwrap());
        self
    }

    fn named(mut self, name: &str, path: &str) -> Self {
        self.spec.name = name.into();
        self.spec.http_triggers = vec![v1::HttpTrigger { host: "*".into(), path: path.into() }];
        self
    }

    fn digest(&self) -> String {
        Digest::of(&self.spec.encode_to_vec()).to_string()
    }

    fn share(&self, weight: u32) -> Route {
        Route { function: self.spec.name.clone(), spec_digest: self.digest(), weight }
    }

    fn signed(&self, key: &SigningKey) -> Vec<u8> {
        let envelope = key.sign(ARTIFACT_TYPE, self.statement.encode_to_vec());
        let signature = |s: littoral_platform::statement::Signature| v1::Signature {
            key_id: s.key_id.to_string(),
            sig: s.bytes,
        };
        let signatures = envelope.signatures.into_iter().map(signature).collect();
        let message =
            v1::Envelope { payload_type: envelope.payload_type, payload: envelope.payload, signatures };
        message.encode_to_vec()
    }
}

impl Fixture {
    async fn start() -> Self {
        let (agent, worker) = UnixStream::pair().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ingress = listener.local_addr().unwrap();
        let (cache, key, tasks) = (tempfile::tempdir().unwrap(), SigningKey::generate(), Tasks::new());
        let state = Control {
            cache: cache.path().to_owned(),
            memory: memory_class(),
            pool: Some(POOL),
            confinement: Confinement::None,
            resident: Resident::open(),
            listener: Mutex::new(Some(listener)),
            tasks: tasks.clone(),
            worker: OnceLock::new(),
        };
        let (over, ended) = tokio::sync::oneshot::channel();
        let serving = tasks.clone();
        tasks.spawn("worker", async move {
            let _ = over.send(serve(worker, state, &serving).await);
        });
        let mut client = WorkerClient::new(connect(agent).await);
        let start = StartRequest {
            compiler_keys: vec![key.public_key().to_bytes().to_vec()],
            memory_budget_bytes: 512 * MIB,
        };
        let started = client.start(start).await.unwrap().into_inner();
        assert_eq!(started.target, host().to_string());
        assert_eq!(started.engine, littoral_engine::fingerprint(target()));
        Self { client, ingress, key, cache, tasks, ended }
    }

    /// A worker that runs one function, alone.
    async fn running(sample: &Sample) -> Self {
        let fixture = Self::start().await;
        fixture.run(std::slice::from_ref(sample)).await;
        fixture
    }

    async fn run(&self, samples: &[Sample]) {
        for sample in samples {
            let loaded = self.load(sample).await;
            assert_eq!(loaded.failure(), LoadFailure::Unspecified, "{}", loaded.message);
        }
        self.route(samples.iter().map(|s| s.share(100)).collect()).await.unwrap();
    }

    async fn load(&self, sample: &Sample) -> LoadResponse {
        self.load_as(sample, sample.signed(&self.key)).await
    }

    async fn load_as(&self, sample: &Sample, statement: Vec<u8>) -> LoadResponse {
        let artifact_file = Digest::of(&sample.code).hex();
        std::fs::write(self.cache.path().join(&artifact_file), &sample.code).unwrap();
        let request = LoadRequest {
            spec: sample.spec.encode_to_vec(),
            spec_digest: sample.digest(),
            revision: sample.revision,
            artifact_digest: sample.statement.artifact_digest.clone(),
            artifact_file,
            statement,
        };
        self.client.clone().load(request).await.unwrap().into_inner()
    }

    async fn route(&self, routes: Vec<Route>) -> Result<(), tonic::Status> {
        self.client.clone().route(RouteRequest { routes }).await.map(drop)
    }

    async fn unload(&self, sample: &Sample) {
        let request = UnloadRequest { spec_digest: sample.digest() };
        tokio::time::timeout(SOON, self.client.clone().unload(request)).await.unwrap().unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        self.http(Request::get(path).body(Full::default()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        self.http(Request::post(path).body(Full::from(body)).unwrap()).await
    }

    async fn http(&self, mut request: Request<Full<Bytes>>) -> Answer {
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("localhost"));
        let mut sender = self.connection().await;
        let response = tokio::time::timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
        answer(response).await
    }

    async fn connection(&self) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
        let stream = tokio::net::TcpStream::connect(self.ingress).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn("client", async move {
            // Cut off answers end it.
            let _ = connection.await;
        });
        sender
    }

    async fn invoke(&self, start: InvokeStart, payload: &[u8]) -> Result<Invoked, tonic::Status> {
        let start = InvokeStart { function: "f".into(), ..start };
        let mut parts = vec![RequestPart::Start(start)];
        parts.extend(payload.chunks(1000).map(|chunk| RequestPart::Chunk(chunk.to_vec())));
        let parts = parts.into_iter().map(|part| WorkerInvokeRequest { part: Some(part) });
        let mut stream = self.client.clone().invoke(tokio_stream::iter(parts)).await?.into_inner();
        let mut invoked = Invoked::default();
        while let Some(response) = tokio::time::timeout(SOON, stream.message()).await.unwrap()? {
            match response.part.unwrap() {
                Part::Accepted(accepted) => invoked.accepted = accepted.revision > 0,
                Part::Head(head) => invoked.status = head.status,
                Part::Stdout(bytes) => invoked.stdout.extend(bytes),
                Part::Stderr(bytes) => invoked.stderr.extend(bytes),
                Part::Finished(finished) => invoked.finished = finished,
            }
        }
        Ok(invoked)
    }

    async fn call(&self, call: &str) -> Result<Invoked, tonic::Status> {
        self.invoke(InvokeStart { call: call.into(), ..InvokeStart::default() }, b"").await
    }

    /// Counts by revision, trigger and outcome, once nothing is under way any more.
    async fn drained(&self) -> Vec<(u64, String, Outcome, u64)> {
        let mut counts = Vec::new();
        loop {
            let drained = self.client.clone().drain(DrainRequest {}).await.unwrap().into_inner();
            assert!(drained.rss_bytes > MIB);
            for window in &drained.functions {
                let latencies: u64 = window.latency.as_ref().unwrap().count.iter().sum();
                assert!(latencies > 0);
                for count in &window.outcomes {
                    counts.push((window.revision, window.trigger.clone(), count.outcome(), count.count));
                }
            }
            if drained.in_flight == 0 && drained.functions.is_empty() {
                return counts;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The one outcome of the one request that was made.
    async fn outcome(&self) -> Outcome {
        let counts = self.drained().await;
        assert_eq!(counts.len(), 1, "{counts:?}");
        assert_eq!(counts[0].3, 1, "{counts:?}");
        counts[0].2
    }
}

async fn connect(agent: UnixStream) -> Channel {
    agent.set_nonblocking(true).unwrap();
    let mut stream = Some(tokio::net::UnixStream::from_std(agent).unwrap());
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take().map(TokioIo::new);
        async move { stream.ok_or_else(|| io::Error::other("the socket was used up")) }
    });
    Endpoint::from_static("http://worker").connect_with_connector(connector).await.unwrap()
}

async fn answer(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(SOON, body.collect()).await.unwrap();
    Answer { status: head.status, headers: head.headers, body: body.ok().map(|body| body.to_bytes()) }
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().expect("the answer is whole")).unwrap()
    }

    fn error(&self) -> &str {
        self.headers.get("littoral-error").map_or("", |value| value.to_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_when_the_agent_is_gone() {
    let Fixture { client, ended, tasks: _tasks, .. } = Fixture::start().await;
    drop(client);
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_once_and_does_nothing_before() {
    let fixture = Fixture::start().await;
    let again = StartRequest { compiler_keys: Vec::new(), memory_budget_bytes: 64 * MIB };
    let status = fixture.client.clone().start(again).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
}
