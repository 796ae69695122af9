use std::collections::BTreeMap;

use littoral_proto::v1 as pb;
use serde::Serialize;

use crate::output::listing::Value;
use crate::output::sections::Sections;
use crate::output::units;

/// The fleet at a glance.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub(crate) context: String,
    pub(crate) server: String,
    pub(crate) cluster: String,
    pub(crate) version: String,
    now: Option<String>,
    nodes: u32,
    nodes_ready: u32,
    functions: u32,
    compiling: u32,
    /// Fingerprint of the engine for each target.
    engines: BTreeMap<String, String>,
}

impl StatusView {
    pub(crate) fn new(context: &str, server: &str, status: pb::GetStatusResponse) -> Self {
        Self {
            context: context.into(),
            server: server.into(),
            cluster: status.cluster,
            version: status.version,
            now: units::time(status.now_ms),
            nodes: status.nodes,
            nodes_ready: status.nodes_ready,
            functions: status.functions,
            compiling: status.compiling,
            engines: status.engines.into_iter().collect(),
        }
    }

    pub(crate) fn text(&self, wide: bool, color: bool) -> String {
        let mut sections = Sections::new(color);
        sections
            .field("Cluster", &self.cluster)
            .field("Server", format!("{} (littorald {})", self.server, self.version))
            .field("Context", &self.context)
            .field("Nodes", format!("{} of {} ready", self.nodes_ready, self.nodes))
            .field("Functions", self.functions)
            .field("Compiling", self.compiling);
        if wide {
            let row =
                |(target, engine): (&String, &String)| vec![target.as_str().into(), engine.as_str().into()];
            let engines: Vec<Vec<Value>> = self.engines.iter().map(row).collect();
            sections.table("Engines", &["TARGET", "ENGINE"], &engines);
        }
        sections.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_the_fleet_is() {
        let status = pb::GetStatusResponse {
            version: "0.1.0".into(),
            cluster: "edge".into(),
            now_ms: 1_700_000_000_123,
            nodes: 3,
            nodes_ready: 2,
            functions: 1,
            engines: [("x86_64-v1-wide".to_owned(), "abc".to_owned())].into(),
            compiling: 0,
        };
        let view = StatusView::new("dev", "https://127.0.0.1:7443", status);
        assert_eq!(
            view.text(true, false),
            "Cluster:     edge\nServer:      https://127.0.0.1:7443 (littorald 0.1.0)\nContext:     dev\n\
             Nodes:       2 of 3 ready\nFunctions:   1\nCompiling:   0\nEngines:\n  TARGET           ENGINE\n  x86_64-v1-wide   abc\n"
        );
    }
}
