//! The worker's side of the agent's socket: gRPC in, calls of the runtime out. It decides nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use littoral_engine::Pool;
use littoral_model::target::MemoryClass;
use littoral_platform::error::{ApiCode, ApiError, Chain};
use littoral_platform::tasks::Tasks;
use littoral_proto::v1;
use littoral_proto::worker::worker_server;
use littoral_proto::worker::{
    DrainRequest, DrainResponse, LoadFailure, LoadRequest, LoadResponse, RouteRequest, RouteResponse,
    StartRequest, StartResponse, UnloadRequest, UnloadResponse, WorkerInvokeRequest,
};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::artifact::{self, LoadError, Verifier};
use super::confine::Confinement;
use super::loaded::Share;
use super::process::Resident;
use super::runtime::{Runtime, Spec};
use super::{Worker, ingress, invoke};

/// What is known before the agent says what to do.
pub(crate) struct Control {
    pub(crate) cache: PathBuf,
    pub(crate) memory: MemoryClass,
    /// `None`: as large as the memory budget allows.
    pub(crate) pool: Option<Pool>,
    pub(crate) confinement: Confinement,
    pub(crate) resident: Resident,
    /// Until the first routes: clients wait in its queue.
    pub(crate) listener: Mutex<Option<TcpListener>>,
    pub(crate) tasks: Tasks,
    pub(crate) worker: OnceLock<Arc<Worker>>,
}

impl Control {
    fn worker(&self) -> Result<&Arc<Worker>, ApiError> {
        let not_started =
            || ApiError::new(ApiCode::FailedPrecondition, "the worker was not started: call Start first");
        self.worker.get().ok_or_else(not_started)
    }

    fn start_worker(&self, request: &StartRequest) -> Result<Arc<Worker>, ApiError> {
        if request.memory_budget_bytes == 0 {
            return Err(ApiError::invalid("guests need memory: the budget is 0 bytes"));
        }
        let pool = self.pool.unwrap_or_else(|| Pool::for_budget(request.memory_budget_bytes));
        let runtime = Runtime::new(self.memory, pool, request.memory_budget_bytes)
            .map_err(|error| ApiError::internal(Chain(&error).to_string()))?;
        let verifier = Verifier::new(&request.compiler_keys, runtime.target())
            .map_err(|error| ApiError::invalid(Chain(&error).to_string()))?;
        Ok(Arc::new(Worker::new(runtime, verifier, self.cache.clone())))
    }
}

impl Control {
    /// At the first routes: before that, a request would be told that its function is not here.
    fn open_ingress(&self, worker: &Arc<Worker>) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            self.tasks.critical("ingress", ingress::serve(listener, Arc::clone(worker), self.tasks.clone()));
        }
    }
}

#[tonic::async_trait]
impl worker_server::Worker for Control {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        let worker = self.start_worker(&request.into_inner())?;
        let target = worker.runtime.target();
        if self.worker.set(Arc::clone(&worker)).is_err() {
            return Err(ApiError::new(ApiCode::FailedPrecondition, "the worker was started before").into());
        }
        Ok(Response::new(StartResponse {
            target: target.to_string(),
            engine: littoral_engine::fingerprint(target),
            confinement: self.confinement.to_string(),
        }))
    }

    async fn load(&self, request: Request<LoadRequest>) -> Result<Response<LoadResponse>, Status> {
        let worker = Arc::clone(self.worker()?);
        Ok(Response::new(match worker.load(request.into_inner()).await {
            Ok(took) => LoadResponse {
                failure: LoadFailure::Unspecified.into(),
                message: String::new(),
                load_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            },
            Err(error) => LoadResponse {
                failure: error.failure().into(),
                message: Chain(&error).to_string(),
                load_us: 0,
            },
        }))
    }

    async fn route(&self, request: Request<RouteRequest>) -> Result<Response<RouteResponse>, Status> {
        let share = |r: littoral_proto::worker::Route| Share {
            function: r.function,
            revision: r.spec_digest,
            weight: r.weight,
        };
        let wanted = request.into_inner().routes.into_iter().map(share).collect();
        let worker = self.worker()?;
        let routed = worker.loaded.route(wanted);
        routed.map_err(|error| ApiError::new(ApiCode::FailedPrecondition, error.to_string()))?;
        self.open_ingress(worker);
        Ok(Response::new(RouteResponse {}))
    }

    async fn unload(&self, request: Request<UnloadRequest>) -> Result<Response<UnloadResponse>, Status> {
        self.worker()?.loaded.unload(&request.into_inner().spec_digest).await;
        Ok(Response::new(UnloadResponse {}))
    }

    type InvokeStream = ReceiverStream<Result<v1::InvokeResponse, Status>>;

    async fn invoke(
        &self,
        request: Request<Streaming<WorkerInvokeRequest>>,
    ) -> Result<Response<Self::InvokeStream>, Status> {
        let answer = invoke::start(self.worker()?, request.into_inner(), &self.tasks).await?;
        Ok(Response::new(answer))
    }

    async fn drain(&self, _request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let worker = self.worker()?;
        let stats = worker.runtime.stats();
        Ok(Response::new(DrainResponse {
            in_flight: stats.in_flight(),
            functions: stats.drain(),
            rss_bytes: self.resident.bytes(),
        }))
    }
}

impl Worker {
    /// Verifies, maps and links one revision; what is loaded already stays as it is. How long it took, without the wait for
    /// its turn.
    pub(crate) async fn load(self: Arc<Self>, request: LoadRequest) -> Result<Duration, LoadError> {
        if self.loaded.contains(&request.spec_digest, request.revision) {
            return Ok(Duration::ZERO);
        }
        let gone = |_| LoadError::Host("the worker is stopping".into());
        // Hashing takes a processor: one at a time leaves the others to requests.
        let _turn = self.loads.acquire().await.map_err(gone)?;
        let worker = Arc::clone(&self);
        let load = move || {
            let started = Instant::now();
            worker.load_blocking(&request).map(|()| started.elapsed())
        };
        let done = tokio::task::spawn_blocking(load).await;
        done.map_err(|error| LoadError::Host(format!("loading it failed: {error}")))?
    }

    fn load_blocking(&self, request: &LoadRequest) -> Result<(), LoadError> {
        let spec = Spec::decode(&request.spec, &request.spec_digest, request.revision)?;
        let file = artifact::open(&self.cache, &request.artifact_file)?;
        let verified = self.verifier.verify(file, &request.artifact_digest, &request.statement)?;
        self.loaded.insert(self.runtime.load(spec, &verified)?)
    }
}
