//! The registry of a program's metrics, and its text form.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Every name begins with this.
const PREFIX: &str = "littoral";

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A shared registry. Names are registered without the `littoral_` that all of them get.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry that already says which program, version and CPU architecture it belongs to
    /// (`littoral_build_info`).
    pub fn new(program: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = [("program", program), ("version", version), ("arch", std::env::consts::ARCH)];
        registry.register("build", "The program that answers", Info::new(build));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Adds metrics; keep clones of their handles to count with.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry).expect("writing to a string does not fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn names_get_the_prefix_and_the_build_is_told() {
        let metrics = Metrics::new("littorald", "1.2.3");
        let plans = Counter::<u64>::default();
        metrics.register(|registry| registry.register("plans", "Plans made", plans.clone()));
        plans.inc();
        let text = metrics.encode();
        assert!(text.contains("littoral_plans_total 1\n"), "{text}");
        assert!(text.contains("littoral_build_info{program=\"littorald\",version=\"1.2.3\""), "{text}");
    }
}
