//! The agent's metrics, under the names of OpenTelemetry's conventions for functions in Prometheus' spelling.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use littoral_platform::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

mod functions;

pub(crate) use functions::FunctionMetrics;

type Level = Gauge<u64, AtomicU64>;

/// Handles to count with. Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct AgentMetrics {
    registry: Metrics,
    pub(crate) functions: Arc<FunctionMetrics>,
    pub(crate) desired_generation: Level,
    pub(crate) observed_generation: Level,
    pub(crate) cert_expiry_seconds: Gauge,
    pub(crate) telemetry_backlog_bytes: Level,
    pub(crate) telemetry_dropped: Level,
    pub(crate) artifact_bytes: Counter,
    pub(crate) verify_failures: Counter,
    pub(crate) worker_restarts: Counter,
    pub(crate) session_up: Level,
    pub(crate) rejected_assignments: Counter,
}

impl AgentMetrics {
    pub(crate) fn new() -> Self {
        let all = Self {
            registry: Metrics::new("littoral-agent", env!("CARGO_PKG_VERSION")),
            functions: Arc::default(),
            desired_generation: Level::default(),
            observed_generation: Level::default(),
            cert_expiry_seconds: Gauge::default(),
            telemetry_backlog_bytes: Level::default(),
            telemetry_dropped: Level::default(),
            artifact_bytes: Counter::default(),
            verify_failures: Counter::default(),
            worker_restarts: Counter::default(),
            session_up: Level::default(),
            rejected_assignments: Counter::default(),
        };
        all.register();
        all
    }

    /// All of it as OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        self.registry.encode()
    }

    fn register(&self) {
        self.registry.register(|r| {
            r.register_collector(Box::new(Arc::clone(&self.functions)));
            let mut level = |name: &str, help: &str, gauge: &Level| r.register(name, help, gauge.clone());
            level("node_desired_generation", "Assignment in the ledger", &self.desired_generation);
            level("node_observed_generation", "Assignment that has settled", &self.observed_generation);
            level("node_telemetry_backlog_bytes", "Windows not acknowledged", &self.telemetry_backlog_bytes);
            level("node_telemetry_dropped_windows", "Windows given up", &self.telemetry_dropped);
            level("node_session_up", "1 while a session with the control plane lives", &self.session_up);
            let expiry = self.cert_expiry_seconds.clone();
            r.register("node_cert_expiry_seconds", "Until the node's certificate ends", expiry);
            let mut count =
                |name: &str, help: &str, counter: &Counter| r.register(name, help, counter.clone());
            count("artifact_bytes", "Bytes of artifacts received", &self.artifact_bytes);
            count(
                "artifact_verify_failures",
                "Artifacts that were not what they should be",
                &self.verify_failures,
            );
            count("worker_restarts", "Times that the worker had to be started again", &self.worker_restarts);
            count("node_rejected_assignments", "Assignments that were refused", &self.rejected_assignments);
        });
    }
}

impl Default for AgentMetrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_names_are_there() {
        let metrics = AgentMetrics::new();
        metrics.worker_restarts.inc();
        let text = metrics.encode();
        for name in [
            "littoral_worker_restarts_total 1",
            "littoral_artifact_bytes_total 0",
            "littoral_artifact_verify_failures_total 0",
            "littoral_node_cert_expiry_seconds 0",
            "littoral_node_telemetry_backlog_bytes 0",
            "littoral_node_observed_generation 0",
            "littoral_build_info{program=\"littoral-agent\"",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
