//! What the control plane counts. Names get the prefix `littoral_`.

use std::time::Duration;

use littoral_model::target::Target;
use littoral_platform::clock;
use littoral_platform::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AvailabilityLabel {
    availability: &'static str,
}

/// Handles to count with. Clones share everything.
#[derive(Clone, Debug)]
pub struct ControlMetrics {
    registry: Metrics,
    compile_duration: Family<TargetLabel, Histogram, fn() -> Histogram>,
    compile_failures: Family<TargetLabel, Counter>,
    compile_queue_depth: Gauge,
    plans: Family<OutcomeLabel, Counter>,
    plan_duration: Histogram,
    sessions: Gauge,
    nodes: Family<AvailabilityLabel, Gauge>,
    task_last_success: Family<TaskLabel, Gauge>,
    handshake_failures: Counter,
}

/// From a small function in a tenth of a second to the wall-clock limit.
fn compile_seconds() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 600.0])
}

/// A plan over a small fleet takes microseconds, one over ten thousand nodes should take less than a second.
fn plan_seconds() -> Histogram {
    Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0])
}

impl ControlMetrics {
    /// `handshake_failures` is the listener's own counter.
    pub fn new(handshake_failures: Counter) -> Self {
        let metrics = Self {
            registry: Metrics::new("littorald", env!("CARGO_PKG_VERSION")),
            compile_duration: Family::new_with_constructor(compile_seconds),
            compile_failures: Family::default(),
            compile_queue_depth: Gauge::default(),
            plans: Family::default(),
            plan_duration: plan_seconds(),
            sessions: Gauge::default(),
            nodes: Family::default(),
            task_last_success: Family::default(),
            handshake_failures,
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        self.registry.register(|r| {
            let m = self.clone();
            r.register(
                "compile_duration_seconds",
                "Wall clock of compilations that succeeded",
                m.compile_duration,
            );
            r.register("compile_failures", "Compilations that failed", m.compile_failures);
            r.register(
                "compile_queue_depth",
                "Compilations that are waiting or under way",
                m.compile_queue_depth,
            );
            r.register("plans", "Passes of the planner", m.plans);
            r.register(
                "plan_duration_seconds",
                "Time to make one plan, without committing it",
                m.plan_duration,
            );
            r.register("sessions", "Nodes that are connected", m.sessions);
            r.register("nodes", "Nodes by availability", m.nodes);
            r.register(
                "task_last_success_seconds",
                "When a task last did its whole job, seconds since 1970",
                m.task_last_success,
            );
            r.register("tls_handshake_failures", "TLS handshakes that were refused", m.handshake_failures);
        });
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        self.registry.encode()
    }

    pub fn compiled(&self, target: Target, took: Duration) {
        self.compile_duration
            .get_or_create(&TargetLabel { target: target.to_string() })
            .observe(took.as_secs_f64());
    }

    pub fn compile_failed(&self, target: Target) {
        self.compile_failures.get_or_create(&TargetLabel { target: target.to_string() }).inc();
    }

    pub fn compile_queue(&self, depth: usize) {
        self.compile_queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// One pass of the planner; `outcome` is `unchanged`, `committed`, `conflict`, `frozen` or `failed`.
    pub fn planned(&self, outcome: &'static str, took: Duration) {
        self.plans.get_or_create(&OutcomeLabel { outcome }).inc();
        self.plan_duration.observe(took.as_secs_f64());
    }

    pub fn sessions(&self, connected: usize) {
        self.sessions.set(i64::try_from(connected).unwrap_or(i64::MAX));
    }

    /// How many nodes are `availability`, as `ready` or `lost`.
    pub fn nodes(&self, availability: &'static str, count: usize) {
        let gauge = self.nodes.get_or_create(&AvailabilityLabel { availability });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A task has looked at everything and done what was to be done.
    pub fn task_succeeded(&self, task: &'static str) {
        let seconds = i64::try_from(clock::now().as_millis() / 1000).unwrap_or(i64::MAX);
        self.task_last_success.get_or_create(&TaskLabel { task }).set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_names_are_there() {
        let metrics = ControlMetrics::new(Counter::default());
        metrics.compiled("x86_64-v1-wide".parse().unwrap(), Duration::from_millis(300));
        metrics.compile_failed("x86_64-v1-wide".parse().unwrap());
        metrics.compile_queue(3);
        metrics.planned("committed", Duration::from_millis(2));
        metrics.sessions(2);
        metrics.nodes("ready", 2);
        metrics.task_succeeded("planner");
        let text = metrics.encode();
        for line in [
            "littoral_compile_duration_seconds_bucket{le=\"0.5\",target=\"x86_64-v1-wide\"} 1\n",
            "littoral_compile_failures_total{target=\"x86_64-v1-wide\"} 1\n",
            "littoral_compile_queue_depth 3\n",
            "littoral_plans_total{outcome=\"committed\"} 1\n",
            "littoral_plan_duration_seconds_count 1\n",
            "littoral_sessions 2\n",
            "littoral_nodes{availability=\"ready\"} 2\n",
            "littoral_task_last_success_seconds{task=\"planner\"} ",
            "littoral_tls_handshake_failures_total 0\n",
            "littoral_build_info{program=\"littorald\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
