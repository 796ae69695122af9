//! The parts of a running agent, wired.

use std::sync::Arc;

use littoral_platform::clock::PersistedClock;
use littoral_platform::tasks::Tasks;
use littoral_proto::worker::StartRequest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::artifacts::Cache;
use crate::capacity::{Hardware, MemoryBudget};
use crate::collector::{Collector, WorkerLoad};
use crate::credentials::Credentials;
use crate::data_dir::DataDir;
use crate::events::Events;
use crate::invocations::Invocations;
use crate::ledger::Ledger;
use crate::link::{Link, LinkState};
use crate::metrics::AgentMetrics;
use crate::reconciler::{Inputs, Observed, Reconciler};
use crate::renew;
use crate::report::Reporter;
use crate::run::RunError;
use crate::session::Session;
use crate::stats::Stats;
use crate::steady::SteadyClock;
use crate::supervisor::{Launcher, Supervisor, WorkerState};

/// What an agent is made of.
pub(crate) struct Parts {
    pub data: DataDir,
    pub credentials: Arc<Credentials>,
    pub clock: PersistedClock,
    pub launcher: Launcher,
    pub memory_budget: MemoryBudget,
    /// Bytes.
    pub cache_quota: u64,
    pub ingress_address: String,
}

/// A running agent: its tasks, and what they publish.
pub(crate) struct Agent {
    pub credentials: Arc<Credentials>,
    pub ledger: Arc<Ledger>,
    pub metrics: AgentMetrics,
    pub worker: watch::Receiver<WorkerState>,
    pub link: watch::Receiver<Link>,
    pub observed: watch::Receiver<Arc<Observed>>,
    pub collector: Collector,
    pub tasks: Tasks,
    /// Ends before the rest, with the last report.
    pub session_tasks: Tasks,
    /// A worker that ends is not replaced any more.
    pub draining: CancellationToken,
}

impl Agent {
    /// Starts everything. Nothing of it waits for the network: with a ledger and a cache the node serves.
    pub(crate) fn start(parts: Parts) -> Result<Self, RunError> {
        let Parts { data, credentials, clock, .. } = &parts;
        let (metrics, events) = (AgentMetrics::new(), Events::new(clock.clone()));
        let stats = Stats::new(&uuid::Uuid::new_v4().to_string());
        let keys = credentials.trust();
        let node_id = &credentials.node().id;
        let (ledger, problems) = Ledger::open(&data.ledger(), node_id, &keys.keys, clock.now())?;
        for problem in problems {
            events.add("LedgerDamaged", "", problem);
        }
        let ledger = Arc::new(ledger);
        let cache = Cache::open(&data.cache())?;
        let hardware = Hardware::detect(parts.memory_budget, parts.ingress_address.clone());
        let (tasks, draining) = (Tasks::new(), CancellationToken::new());
        let session_tasks = tasks.group();

        let supervisor = supervisor(&parts, &hardware, &metrics, &events);
        let worker = supervisor.subscribe();
        tasks.critical("worker supervisor", supervisor.run(draining.clone(), tasks.child()));

        let load = watch::Sender::new(WorkerLoad::default());
        let worker_load = load.subscribe();
        let collector = Collector {
            worker: worker.clone(),
            stats: stats.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            load,
        };
        tasks.critical("collector", collector.clone().run(tasks.child()));

        let down = Link { state: LinkState::Down { reason: String::new() }, since: clock.now() };
        let link = watch::Sender::new(down);
        let reconciler = Reconciler::new(Inputs {
            ledger: Arc::clone(&ledger),
            cache,
            cache_quota: parts.cache_quota,
            worker: worker.clone(),
            link: link.subscribe(),
            clock: SteadyClock::starting_at(clock.now()),
            events: events.clone(),
            metrics: metrics.clone(),
        });
        let observed = reconciler.subscribe();
        tasks.critical("reconciler", reconciler.run(tasks.child()));

        let agent = Self {
            credentials: Arc::clone(credentials),
            ledger,
            metrics,
            worker,
            link: link.subscribe(),
            observed,
            collector,
            tasks,
            session_tasks,
            draining,
        };
        agent.start_session(clock, stats, events, hardware, worker_load, link);
        Ok(agent)
    }

    fn start_session(
        &self,
        clock: &PersistedClock,
        stats: Stats,
        events: Events,
        hardware: Hardware,
        worker_load: watch::Receiver<WorkerLoad>,
        link: watch::Sender<Link>,
    ) {
        let reporter = Reporter {
            observed: self.observed.clone(),
            worker: worker_load,
            stats: stats.clone(),
            events: events.clone(),
            clock: clock.clone(),
            cpu: Arc::default(),
        };
        let node = self.credentials.node().clone();
        let session = Session {
            credentials: Arc::clone(&self.credentials),
            ledger: Arc::clone(&self.ledger),
            reporter,
            stats,
            events: events.clone(),
            metrics: self.metrics.clone(),
            clock: clock.clone(),
            hardware,
            worker: self.worker.clone(),
            invocations: Invocations::new(self.worker.clone(), node, self.session_tasks.clone()),
            link,
        };
        self.session_tasks.critical("session", session.run(self.session_tasks.child()));
        let renewing = renew::run(
            Arc::clone(&self.credentials),
            clock.clone(),
            events,
            self.metrics.clone(),
            self.tasks.child(),
        );
        self.tasks.critical("renewal", renewing);
    }
}

fn supervisor(parts: &Parts, hardware: &Hardware, metrics: &AgentMetrics, events: &Events) -> Supervisor {
    let credentials = Arc::clone(&parts.credentials);
    let memory_budget_bytes = hardware.memory_budget_bytes;
    let start =
        move || StartRequest { compiler_keys: credentials.trust().compiler_keys(), memory_budget_bytes };
    Supervisor::new(parts.launcher.clone(), start, metrics.worker_restarts.clone(), events.clone())
}

#[cfg(test)]
mod tests;
