//! From a configuration to a control plane that answers, and back down in phases.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use littoral_model::target::Target;
use littoral_platform::admin_http::AdminHttp;
use littoral_platform::clock;
use littoral_platform::files::{self, FileError};
use littoral_platform::listener::{BindError, TlsListener, bind, grpc_server};
use littoral_platform::statement::KeyError;
use littoral_platform::tasks::Tasks;
use littoral_proto::store::NodeRecord;
use littoral_proto::v1::Availability;
use tokio::net::TcpListener;
use tonic_health::server::HealthReporter;

use crate::audit::Audit;
use crate::authorize::Authorizer;
use crate::blobs::{BlobError, Blobs};
use crate::compiler::{Compiler, Parts};
use crate::config::{Config, StoreKind};
use crate::events::Events;
use crate::metrics::ControlMetrics;
use crate::pki::{Pki, PkiError};
use crate::planner::Planner;
use crate::records::{RecordError, Stored};
use crate::restored;
use crate::services::{self, DescriptorsError, Services};
use crate::sessions::{self, Sessions};
use crate::shared::{ChildCommands, Shared};
use crate::signing::Signer;
use crate::store::{MemoryStore, SledStore, Store, StoreError};
use crate::world::{self, Observations, WorldHandle};

/// For requests under way, once the program was asked to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// For loops to finish what they are at.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A rebuild replays at most this much of the journal, beside what its size allows.
const SNAPSHOTS: Duration = Duration::from_secs(3600);
/// As often as metrics are scraped, about.
const FLEET_METRICS: Duration = Duration::from_secs(5);

/// All that are shown, so that one that nobody is in any more goes to 0.
const AVAILABILITIES: [(Availability, &str); 6] = [
    (Availability::Ready, "ready"),
    (Availability::WarmingUp, "warming-up"),
    (Availability::Unreachable, "unreachable"),
    (Availability::Lost, "lost"),
    (Availability::NeverSeen, "never-seen"),
    (Availability::Revoked, "revoked"),
];

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Descriptors(#[from] DescriptorsError),
    #[error("the system does not say where it listens")]
    Address(#[source] io::Error),
    #[error("could not open the store: its thread ended early")]
    Interrupted,
    /// A task that the program cannot be without has ended.
    #[error("stopped: {0}")]
    Task(String),
}

/// Where a control plane answers.
#[derive(Clone, Debug)]
pub struct Ready {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The operator's credential, when this was the first start.
    pub operator: Option<PathBuf>,
}

impl Ready {
    fn of(grpc: &TlsListener, http: &TcpListener) -> Result<Self, RunError> {
        let (grpc, http) = (grpc.local_addr(), http.local_addr());
        Ok(Self {
            grpc: grpc.map_err(RunError::Address)?,
            http: http.map_err(RunError::Address)?,
            operator: None,
        })
    }
}

/// A control plane that answers.
#[derive(Debug)]
pub struct ControlPlane {
    shared: Arc<Shared>,
    ready: Ready,
    health: HealthReporter,
    store: OpenStore,
}

/// Runs a control plane until `tasks` are asked to stop.
///
/// # Errors
/// When it cannot start, or when a task that it cannot be without has ended.
pub async fn run(config: Config, commands: ChildCommands, tasks: Tasks) -> Result<(), RunError> {
    ControlPlane::start(config, commands, tasks).await?.serve_until(std::future::pending()).await
}

impl ControlPlane {
    /// Opens the data directory, starts all tasks, and listens.
    ///
    /// # Errors
    /// Says what could not be opened and what to do.
    pub async fn start(config: Config, commands: ChildCommands, tasks: Tasks) -> Result<Self, RunError> {
        files::private_dir(&config.data_dir)?;
        files::private_dir(&config.data_dir.join("pki"))?;
        // The lock on the store's directory is what keeps a second program out of all of it: so it comes first.
        let store = OpenStore::open(&config).await?;
        let blobs = Blobs::open(&config.data_dir.join("blobs"))?;
        let signer = Arc::new(Signer::open(&config.data_dir.join("pki"))?);
        let events = Events::new();
        let audit = Audit::new(store.shared(), events.clone());
        audit.restore().await?;
        restored::note(&config.data_dir, store.shared().as_ref(), &audit).await?;
        let pki = Arc::new(Pki::open(&config, signer.trusted_keys(), store.shared(), audit.clone()).await?);
        let listener = TlsListener::bind(config.listen, pki.listener()).await?;
        let http = bind(config.http).await?;
        let ready = Ready::of(&listener, &http)?;
        let operator = pki.first_start(&config, server_url(&config, ready.grpc)).await?;
        let metrics = ControlMetrics::new(listener.failures());
        let observations = Observations::default();
        let WorldHandle { world, targets } =
            world::start(store.shared(), observations.clone(), engines(), &tasks).await?;
        let (compiler, handle) = Compiler::new(Parts {
            store: store.shared(),
            blobs: blobs.clone(),
            signer: signer.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            limits: config.compile.clone(),
            command: commands.compiler,
            targets,
        });
        let serving = tasks.group();
        let planner = Planner {
            store: store.shared(),
            world: world.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
        };
        let sessions = Sessions::new(sessions::Parts {
            store: store.shared(),
            world: world.clone(),
            observations,
            signer: signer.clone(),
            events: events.clone(),
            tasks: serving.clone(),
        });
        let shared = Arc::new(Shared {
            config,
            store: store.shared(),
            blobs,
            pki,
            signer,
            audit,
            events,
            compiler: handle,
            world,
            outlooks: planner.start(&tasks),
            sessions,
            metrics,
            tasks,
            serving,
        });
        start_tasks(&shared, compiler, store.clone());
        let services = services::assemble(&shared)?;
        let health = services.health.clone();
        serve_grpc(&shared, listener, services);
        serve_http(&shared, http);
        Services::set_serving(&health, true).await;
        let ready = Ready { operator, ..ready };
        tracing::info!(grpc = %ready.grpc, http = %ready.http, cluster = %shared.pki.cluster(), "ready");
        Ok(Self { shared, ready, health, store })
    }

    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for `stop`, or until the tasks are asked to stop, and stops in phases: no new requests → running ones → loops
    /// → store.
    ///
    /// # Errors
    /// When a task that the program cannot be without has ended.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        // Without a supervisor that listens there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            () = stop => {}
            () = self.shared.tasks.cancelled() => {}
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        Services::set_serving(&self.health, false).await;
        if let Err(unfinished) = self.shared.serving.shutdown(DRAIN_DEADLINE).await {
            tracing::warn!("requests were cut short: {unfinished}");
        }
        if let Err(unfinished) = self.shared.tasks.shutdown(STOP_DEADLINE).await {
            tracing::warn!("tasks were cut short: {unfinished}");
        }
        self.store.close().await;
        match self.shared.tasks.cause() {
            Some(cause) => Err(RunError::Task(cause.to_owned())),
            None => Ok(()),
        }
    }
}

/// The loops. Each is critical: a control plane without one of them looks well and is not.
fn start_tasks(shared: &Arc<Shared>, compiler: Compiler, store: OpenStore) {
    let tasks = &shared.tasks;
    let stop = tasks.child();
    tasks.critical("compiler", async move {
        stop.run_until_cancelled(compiler.run()).await;
    });
    tasks.critical("pki", shared.pki.clone().upkeep(tasks.clone()));
    tasks.critical("revocations", shared.sessions.clone().end_revoked(shared.pki.revoked(), tasks.clone()));
    tasks.critical("fleet metrics", fleet_metrics(shared.clone()));
    tasks.critical("snapshots", store.snapshots(tasks.clone()));
    tasks.critical("audit", shared.audit.clone().prune(tasks.clone()));
}

/// Fingerprint of the engine that code is compiled with, by target.
fn engines() -> BTreeMap<Target, String> {
    Target::compiled().map(|target| (target, littoral_engine::fingerprint(target))).collect()
}

/// Nodes by availability and live sessions, looked at again every few seconds: availability changes with time alone.
async fn fleet_metrics(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(FLEET_METRICS);
    while shared.tasks.child().run_until_cancelled(tick.tick()).await.is_some() {
        let world = shared.world.borrow().clone();
        let now = clock::now();
        for (availability, label) in AVAILABILITIES {
            let is_so = |row: &&Arc<Stored<NodeRecord>>| world.availability(&row.value, now) == availability;
            shared.metrics.nodes(label, world.nodes.values().filter(is_so).count());
        }
        shared.metrics.sessions(*shared.sessions.count().borrow());
    }
}

fn serve_grpc(shared: &Arc<Shared>, listener: TlsListener, services: Services) {
    let authorizer = Authorizer::new(shared.store.clone(), shared.pki.cluster().clone());
    let stop = shared.serving.child();
    let server = grpc_server().layer(authorizer).add_routes(services.routes);
    shared.serving.critical("grpc", async move {
        server.serve_with_incoming_shutdown(listener.incoming(), stop.cancelled_owned()).await
    });
}

fn serve_http(shared: &Arc<Shared>, listener: TcpListener) {
    let (metrics, serving) = (shared.metrics.clone(), shared.serving.child());
    let ready = move || if serving.is_cancelled() { Err("it is stopping".to_owned()) } else { Ok(()) };
    let admin = AdminHttp::new(move || metrics.encode(), ready);
    shared.tasks.critical("http", admin.serve(listener, shared.tasks.clone()));
}

/// What operators connect to: the first advertised name, else this machine.
fn server_url(config: &Config, grpc: SocketAddr) -> String {
    let host = match config.advertise.first() {
        Some(name) if name.contains(':') => format!("[{name}]"),
        Some(name) => name.clone(),
        None if grpc.ip().is_unspecified() || grpc.ip().is_loopback() => "localhost".to_owned(),
        None => return format!("https://{grpc}"),
    };
    format!("https://{host}:{}", grpc.port())
}

/// The store, by kind: only the durable one has to be closed.
#[derive(Clone, Debug)]
enum OpenStore {
    Sled(Arc<SledStore>),
    Memory(Arc<MemoryStore>),
}

impl OpenStore {
    /// Takes a snapshot each hour: what everything can be rebuilt from when sled's files are damaged.
    async fn snapshots(self, tasks: Tasks) {
        let Self::Sled(store) = self else { return tasks.cancelled().await };
        // The first tick is at once, and there is nothing new since the start.
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + SNAPSHOTS, SNAPSHOTS);
        while tasks.child().run_until_cancelled(tick.tick()).await.is_some() {
            match store.snapshot().await {
                Ok(info) => {
                    tracing::info!(path = %info.path.display(), revision = %info.revision, "took a snapshot")
                }
                Err(error) => tracing::error!("no snapshot was taken; the next try is in an hour: {error}"),
            }
        }
    }

    async fn open(config: &Config) -> Result<Self, RunError> {
        match config.store {
            StoreKind::Memory => Ok(Self::Memory(Arc::default())),
            StoreKind::Sled => {
                let dir = config.data_dir.join("store");
                let opened = tokio::task::spawn_blocking(move || SledStore::open(&dir)).await;
                Ok(Self::Sled(Arc::new(opened.map_err(|_| RunError::Interrupted)??)))
            }
        }
    }

    fn shared(&self) -> Arc<dyn Store> {
        match self {
            Self::Sled(store) => store.clone(),
            Self::Memory(store) => store.clone(),
        }
    }

    async fn close(&self) {
        if let Self::Sled(store) = self {
            store.close().await;
        }
    }
}
