//! A worker inside of the test's process, behind the same socket; and a control plane to join.

pub(crate) mod control_plane;
mod node_api;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use littoral_platform::tasks::Tasks;
use littoral_proto::v1::{InvokeAccepted, InvokeFinished, InvokeResponse, Outcome, invoke_response};
use littoral_proto::worker::worker_server::{self, WorkerServer};
use littoral_proto::worker::{
    DrainRequest, DrainResponse, LoadFailure, LoadRequest, LoadResponse, RouteRequest, RouteResponse,
    StartRequest, StartResponse, UnloadRequest, UnloadResponse, WorkerInvokeRequest, worker_invoke_request,
};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::supervisor::{Launched, Launcher};

/// A wait that only a broken test reaches.
pub(crate) const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// Loads whatever is offered whose artifact's bytes are not [`FakeWorker::BAD`]. Clones are the same worker.
#[derive(Clone)]
pub(crate) struct FakeWorker {
    tasks: Tasks,
    state: Arc<Mutex<State>>,
    /// Spec digests that are loaded and those that are routed, in this instance.
    pub(crate) tables: watch::Sender<Tables>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub loaded: BTreeSet<String>,
    pub routed: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    starts: u64,
    kill: Option<oneshot::Sender<String>>,
    pub cache: std::path::PathBuf,
    counters: Vec<littoral_proto::v1::FunctionWindow>,
}

impl FakeWorker {
    pub(crate) const TARGET: &str = "x86_64-v1-wide";
    pub(crate) const BAD: &[u8] = b"not what the statement says";

    pub(crate) fn new(tasks: &Tasks) -> Self {
        Self { tasks: tasks.clone(), state: Arc::default(), tables: watch::Sender::default() }
    }

    pub(crate) fn reading(self, cache: std::path::PathBuf) -> Self {
        self.state().cache = cache;
        self
    }

    pub(crate) fn launcher(&self) -> Launcher {
        let this = self.clone();
        Arc::new(move || {
            let (ours, theirs) = UnixStream::pair()?;
            let (kill, killed) = oneshot::channel();
            this.state().kill = Some(kill);
            this.tables.send_replace(Tables::default());
            let (end, ended) = oneshot::channel();
            let (service, stop) = (this.clone(), this.tasks.child());
            this.tasks.spawn("fake worker", async move {
                let only = tokio_stream::once(Ok::<_, std::io::Error>(theirs));
                let incoming = tokio_stream::StreamExt::chain(only, tokio_stream::pending());
                let serving =
                    Server::builder().add_service(WorkerServer::new(service)).serve_with_incoming(incoming);
                let why = tokio::select! {
                    served = serving => format!("{served:?}"),
                    why = killed => why.unwrap_or_default(),
                    () = stop.cancelled() => "the test is over".to_owned(),
                };
                let _ = end.send(why);
            });
            Ok(Launched { control: ours, ended: ended.map(Result::unwrap_or_default).boxed() })
        })
    }

    pub(crate) fn kill(&self, why: &str) {
        let kill = self.state().kill.take().expect("it runs");
        kill.send(why.to_owned()).unwrap();
    }

    pub(crate) fn starts(&self) -> u64 {
        self.state().starts
    }

    /// Handed over by the next call of Drain.
    pub(crate) fn count(&self, counters: littoral_proto::v1::FunctionWindow) {
        self.state().counters.push(counters);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl worker_server::Worker for FakeWorker {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        assert!(!request.into_inner().compiler_keys.is_empty());
        self.state().starts += 1;
        Ok(Response::new(StartResponse {
            target: Self::TARGET.into(),
            engine: "test".into(),
            confinement: "none".into(),
        }))
    }

    async fn load(&self, request: Request<LoadRequest>) -> Result<Response<LoadResponse>, Status> {
        let request = request.into_inner();
        let path = self.state().cache.join(&request.artifact_file);
        let bytes = std::fs::read(path).unwrap_or_default();
        let right = littoral_model::digest::Digest::of(&bytes).to_string() == request.artifact_digest;
        if !right || bytes == Self::BAD {
            let failure = LoadFailure::Verification.into();
            return Ok(Response::new(LoadResponse { failure, message: "wrong".into(), load_us: 1 }));
        }
        self.tables.send_modify(|tables| {
            tables.loaded.insert(request.spec_digest);
        });
        Ok(Response::new(LoadResponse { load_us: 42, ..LoadResponse::default() }))
    }

    async fn route(&self, request: Request<RouteRequest>) -> Result<Response<RouteResponse>, Status> {
        let routed: BTreeSet<String> =
            request.into_inner().routes.into_iter().map(|route| route.spec_digest).collect();
        assert!(routed.is_subset(&self.tables.borrow().loaded), "routes to what is not loaded");
        self.tables.send_modify(|tables| tables.routed = routed);
        Ok(Response::new(RouteResponse {}))
    }

    async fn unload(&self, request: Request<UnloadRequest>) -> Result<Response<UnloadResponse>, Status> {
        let spec = request.into_inner().spec_digest;
        assert!(!self.tables.borrow().routed.contains(&spec), "unloads what is routed");
        self.tables.send_modify(|tables| {
            tables.loaded.remove(&spec);
        });
        Ok(Response::new(UnloadResponse {}))
    }

    type InvokeStream = ReceiverStream<Result<InvokeResponse, Status>>;

    /// Answers with the payload, once it is whole.
    async fn invoke(
        &self,
        request: Request<Streaming<WorkerInvokeRequest>>,
    ) -> Result<Response<Self::InvokeStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(8);
        let mut payload = Vec::new();
        while let Some(message) = requests.message().await? {
            if let Some(worker_invoke_request::Part::Chunk(chunk)) = message.part {
                payload.extend(chunk);
            }
        }
        for part in [
            invoke_response::Part::Accepted(InvokeAccepted { revision: 3, ..InvokeAccepted::default() }),
            invoke_response::Part::Stdout(payload),
            invoke_response::Part::Finished(InvokeFinished {
                outcome: Outcome::Ok.into(),
                ..InvokeFinished::default()
            }),
        ] {
            answers.try_send(Ok(InvokeResponse { part: Some(part) })).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let functions = std::mem::take(&mut self.state().counters);
        Ok(Response::new(DrainResponse { functions, in_flight: 0, rss_bytes: 1 << 20 }))
    }
}
