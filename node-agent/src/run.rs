//! `run`: builds the agent, keeps it going, and stops it in order.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use littoral_platform::admin_http::AdminHttp;
use littoral_platform::clock::PersistedClock;
use littoral_platform::error::Chain;
use littoral_platform::files::FileError;
use littoral_platform::listener::{BindError, bind};
use littoral_platform::signal::shutdown_signal;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::agent::{Agent, Parts};
use crate::artifacts::CacheError;
use crate::config::RunSettings;
use crate::credentials::{Credentials, CredentialsError};
use crate::data_dir::DataDirError;
use crate::renew::persist;
use crate::supervisor::{Ingress, WorkerCommand, launcher};
use crate::{local, status};

/// For the last report and its answer.
const PARTING_DEADLINE: Duration = Duration::from_secs(5);
/// Loops end at once; this is for a disk that takes its time.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("could not {0}")]
    Io(&'static str, #[source] io::Error),
    #[error("the agent stopped because a part of it failed: {0}")]
    Failed(String),
}

/// Runs the agent of one data directory until it is asked to stop.
///
/// # Errors
/// What keeps it from starting, or the part that failed.
pub(crate) async fn run(settings: RunSettings, worker: WorkerCommand) -> Result<(), RunError> {
    let _lock = settings.data.lock()?;
    let clock = PersistedClock::open(&settings.data.clock())?;
    let credentials = Credentials::load(&settings.data, settings.server.as_deref(), clock.clone())?;
    let admin = bind(settings.admin).await?;
    let admin_address = admin.local_addr().map_err(|e| RunError::Io("read the admin address", e))?;
    let (ingress, http) = ingress(settings.http).await?;
    let parts = Parts {
        ingress_address: crate::capacity::ingress_address(settings.ingress_address.as_deref(), http),
        launcher: launcher(worker, &settings.data.cache(), ingress.clone()),
        memory_budget: settings.memory_budget,
        cache_quota: settings.cache_quota.0,
        credentials: Arc::new(credentials),
        data: settings.data.clone(),
        clock: clock.clone(),
    };
    let agent = Agent::start(parts)?;
    let node = agent.credentials.node();
    tracing::info!(node = node.name, id = node.id, %http, admin = %admin_address, "the agent runs");
    serve_status(&agent, &settings, admin)?;
    announce_when_up(&agent);

    let mut asked = pin!(shutdown_signal());
    tokio::select! {
        signal = &mut asked => {
            let signal = signal.map_err(|e| RunError::Io("listen for signals", e))?;
            tracing::info!("{signal}: stopping; a second one stops at once");
        }
        () = agent.tasks.cancelled() => {}
    }
    notify(NotifyState::Stopping);
    stop(&agent, &ingress, settings.drain_timeout).await;
    persist(&clock).await;
    match agent.tasks.cause() {
        Some(cause) => Err(RunError::Failed(cause.to_owned())),
        None => Ok(()),
    }
}

async fn ingress(address: SocketAddr) -> Result<(Ingress, SocketAddr), RunError> {
    let listener =
        bind(address).await?.into_std().map_err(|e| RunError::Io("share the ingress socket", e))?;
    let bound = listener.local_addr().map_err(|e| RunError::Io("read the ingress address", e))?;
    Ok((Ingress::new(listener), bound))
}

fn serve_status(agent: &Agent, settings: &RunSettings, admin: TcpListener) -> Result<(), RunError> {
    let view = status::View::of(agent);
    let (metrics, ready) = (view.clone(), view.clone());
    let http = AdminHttp::new(move || metrics.metrics(), move || ready.ready());
    agent.tasks.spawn("admin HTTP", http.serve(admin, agent.tasks.clone()));
    let socket = local::bind(&settings.data).map_err(|e| RunError::Io("make the status socket", e))?;
    agent.tasks.spawn("status socket", local::serve(socket, move || view.status(), agent.tasks.clone()));
    Ok(())
}

/// Tells the service manager as soon as there is a worker.
fn announce_when_up(agent: &Agent) {
    let mut worker = agent.worker.clone();
    agent.tasks.spawn("readiness", async move {
        if worker.wait_for(Option::is_some).await.is_ok() {
            notify(NotifyState::Ready);
        }
    });
}

/// In phases, each with a deadline: no new connections, the requests under way, the last report, everything else.
async fn stop(agent: &Agent, ingress: &Ingress, drain: Duration) {
    agent.draining.cancel();
    ingress.close();
    if timeout(drain, agent.collector.drained()).await.is_err() {
        tracing::warn!("requests were still under way after {} s: they are cut", drain.as_secs());
    }
    for (phase, tasks, deadline) in
        [("session", &agent.session_tasks, PARTING_DEADLINE), ("rest", &agent.tasks, STOP_DEADLINE)]
    {
        if let Err(unfinished) = tasks.shutdown(deadline).await {
            tracing::warn!(phase, "{}", Chain(&unfinished));
        }
    }
    tracing::info!("the agent has stopped");
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
