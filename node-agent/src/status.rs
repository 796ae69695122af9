//! The agent as operators and programs on its machine see it.

use std::sync::Arc;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{WorkloadState, WorkloadStatus};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::credentials::Credentials;
use crate::ledger::Ledger;
use crate::link::{Link, LinkState};
use crate::local::{Status, WorkloadLine};
use crate::metrics::AgentMetrics;
use crate::reconciler::Observed;
use crate::supervisor::WorkerState;

/// Looks at what the agent's parts publish.
#[derive(Clone)]
pub(crate) struct View {
    credentials: Arc<Credentials>,
    ledger: Arc<Ledger>,
    metrics: AgentMetrics,
    worker: watch::Receiver<WorkerState>,
    link: watch::Receiver<Link>,
    observed: watch::Receiver<Arc<Observed>>,
}

impl View {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self {
            credentials: Arc::clone(&agent.credentials),
            ledger: Arc::clone(&agent.ledger),
            metrics: agent.metrics.clone(),
            worker: agent.worker.clone(),
            link: agent.link.clone(),
            observed: agent.observed.clone(),
        }
    }

    pub(crate) fn metrics(&self) -> String {
        self.metrics.cert_expiry_seconds.set(self.credentials.expires_in_seconds());
        self.metrics.encode()
    }

    /// Ready when there is a worker and every workload of the ledger is Running or Failed. A session is not needed.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.worker.borrow().is_none() {
            return Err("the worker is starting".into());
        }
        let (held, observed) = (self.ledger.number(), self.observed.borrow());
        if self.ledger.current().is_none() || (observed.number == held && observed.settled) {
            return Ok(());
        }
        Err(format!("generation {} is being taken up", held.generation))
    }

    pub(crate) fn status(&self) -> Status {
        let node = self.credentials.node();
        let link = self.link.borrow().clone();
        let (session, session_message) = match link.state {
            LinkState::Up { epoch, .. } => (format!("connected (epoch {epoch})"), String::new()),
            LinkState::Down { reason } => ("disconnected".to_owned(), reason),
            LinkState::Revoked { reason } => ("revoked".to_owned(), reason),
        };
        let number = self.ledger.number();
        let observed = Arc::clone(&self.observed.borrow());
        let worker = self.worker.borrow().as_ref().map_or_else(
            || "starting".to_owned(),
            |worker| format!("up, for {}, confinement {}", worker.info.target, worker.info.confinement),
        );
        Status {
            node_id: node.id.clone(),
            node_name: node.name.clone(),
            cluster: node.cluster.clone(),
            server: self.credentials.server().to_string(),
            session,
            session_since: link.since.to_string(),
            session_message,
            cluster_epoch: number.epoch.0,
            generation: number.generation.0,
            settled: observed.number == number && observed.settled,
            worker,
            certificate_expires: self.credentials.identity().leaf().not_after.to_string(),
            workloads: observed.workloads.iter().map(line).collect(),
        }
    }
}

fn line(status: &WorkloadStatus) -> WorkloadLine {
    let state = WorkloadState::try_from(status.state).unwrap_or(WorkloadState::Unspecified);
    WorkloadLine {
        function: status.function.clone(),
        revision: status.revision,
        state: state.as_str_name().trim_start_matches("WORKLOAD_STATE_").to_ascii_lowercase(),
        failures: status.failures,
        since: Timestamp::from_millis(status.since_ms).to_string(),
        message: status.message.clone(),
    }
}
