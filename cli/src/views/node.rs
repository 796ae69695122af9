use std::collections::BTreeMap;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{self as pb, Availability};
use serde::Serialize;

use super::function::details::{workload_state, workload_tone};
use crate::output::listing::{Column, Listed, Tone, Value, col, restless, restless_wide, wide};
use crate::output::sections::Sections;
use crate::output::units;

/// A machine of the fleet.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    id: String,
    pub(crate) name: String,
    availability: &'static str,
    labels: BTreeMap<String, String>,
    target: String,
    cores: u32,
    memory_bytes: u64,
    memory_budget_bytes: u64,
    engine: String,
    agent_version: String,
    ingress_address: String,
    confinement: String,
    joined_at: Option<String>,
    last_seen: Option<String>,
    desired_generation: u64,
    observed_generation: u64,
    certificate_expires_at: Option<String>,
    clock_skew_ms: i64,
    load: LoadView,
    #[serde(skip)]
    joined_at_ms: u64,
    #[serde(skip)]
    last_seen_ms: u64,
    #[serde(skip)]
    certificate_expires_at_ms: u64,
}

#[derive(Debug, Serialize)]
struct LoadView {
    cpu_permille: u32,
    memory_used_bytes: u64,
    agent_rss_bytes: u64,
    worker_rss_bytes: u64,
    requests_in_flight: u32,
}

impl From<pb::Node> for NodeView {
    fn from(node: pb::Node) -> Self {
        let availability = availability(node.availability());
        let capacity = node.capacity.unwrap_or_default();
        let load = node.load.unwrap_or_default();
        Self {
            id: node.id,
            name: node.name,
            availability,
            labels: node.labels.into_iter().collect(),
            target: capacity.target,
            cores: capacity.cores,
            memory_bytes: capacity.memory_bytes,
            memory_budget_bytes: capacity.memory_budget_bytes,
            engine: capacity.engine,
            agent_version: capacity.agent_version,
            ingress_address: capacity.ingress_address,
            confinement: capacity.confinement,
            joined_at: units::time(node.joined_at_ms),
            last_seen: units::time(node.last_seen_ms),
            desired_generation: node.desired_generation,
            observed_generation: node.observed_generation,
            certificate_expires_at: units::time(node.certificate_expires_at_ms),
            clock_skew_ms: node.clock_skew_ms,
            load: LoadView {
                cpu_permille: load.cpu_permille,
                memory_used_bytes: load.memory_used_bytes,
                agent_rss_bytes: load.agent_rss_bytes,
                worker_rss_bytes: load.worker_rss_bytes,
                requests_in_flight: load.requests_in_flight,
            },
            joined_at_ms: node.joined_at_ms,
            last_seen_ms: node.last_seen_ms,
            certificate_expires_at_ms: node.certificate_expires_at_ms,
        }
    }
}

fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Unspecified => "Unknown",
        Availability::Ready => "Ready",
        Availability::WarmingUp => "WarmingUp",
        Availability::Unreachable => "Unreachable",
        Availability::Lost => "Lost",
        Availability::NeverSeen => "NeverSeen",
        Availability::Revoked => "Revoked",
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "Ready" => Tone::Good,
        "Unreachable" | "Lost" | "Revoked" => Tone::Bad,
        _ => Tone::Warning,
    }
}

impl NodeView {
    pub(crate) fn has_label(&self, key: &str, value: &str) -> bool {
        self.labels.get(key).is_some_and(|held| held == value)
    }

    /// `12.5 %`.
    fn cpu(&self) -> String {
        format!("{}.{} %", self.load.cpu_permille / 10, self.load.cpu_permille % 10)
    }

    fn generations(&self) -> String {
        format!("{}/{}", self.observed_generation, self.desired_generation)
    }
}

impl Listed for NodeView {
    const COLUMNS: &'static [Column] = &[
        col("NAME"),
        col("STATE"),
        col("TARGET"),
        col("ADDRESS"),
        col("LABELS"),
        restless("SEEN"),
        restless("AGE"),
        wide("ID"),
        wide("VERSION"),
        wide("GENERATION"),
        wide("CORES"),
        restless_wide("CPU"),
        restless_wide("MEMORY"),
        wide("CONFINEMENT"),
        restless_wide("CERT-EXPIRES"),
        restless_wide("SKEW"),
    ];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        let memory =
            format!("{} of {}", units::size(self.load.memory_used_bytes), units::size(self.memory_bytes));
        vec![
            self.name.clone().into(),
            Value::toned(self.availability, tone(self.availability)),
            self.target.clone().into(),
            self.ingress_address.clone().into(),
            units::labels(&self.labels).into(),
            units::age(now, self.last_seen_ms).into(),
            units::age(now, self.joined_at_ms).into(),
            self.id.clone().into(),
            self.agent_version.clone().into(),
            self.generations().into(),
            self.cores.to_string().into(),
            self.cpu().into(),
            memory.into(),
            self.confinement.clone().into(),
            units::until(now, self.certificate_expires_at_ms).into(),
            format!("{} ms", self.clock_skew_ms).into(),
        ]
    }
}

/// A function that a node should run, and how far it is.
#[derive(Debug, Serialize)]
struct WorkloadView {
    function: String,
    /// 0: the node still runs what it should no longer.
    desired_revision: u64,
    /// 0: not reported yet.
    observed_revision: u64,
    state: &'static str,
    message: String,
    failures: u32,
    target: String,
    weight: u32,
    load_us: u64,
}

/// A node, what it should run and what it does.
#[derive(Debug, Serialize)]
pub(crate) struct NodeDetails {
    node: NodeView,
    workloads: Vec<WorkloadView>,
}

impl NodeDetails {
    pub(crate) fn new(node: pb::Node, desired: Vec<pb::Workload>, observed: Vec<pb::WorkloadStatus>) -> Self {
        Self { node: node.into(), workloads: join(desired, observed) }
    }

    pub(crate) fn text(&self, now: Timestamp, color: bool) -> String {
        let node = &self.node;
        let mut sections = Sections::new(color);
        let seen = units::age(now, node.last_seen_ms);
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let load = format!("cpu {}, {} requests under way", node.cpu(), node.load.requests_in_flight);
        let memory = format!(
            "{} of {} used, {} for guests; agent {}, worker {}",
            units::size(node.load.memory_used_bytes),
            units::size(node.memory_bytes),
            units::size(node.memory_budget_bytes),
            units::size(node.load.agent_rss_bytes),
            units::size(node.load.worker_rss_bytes)
        );
        sections
            .field("Name", &node.name)
            .field("Id", &node.id)
            .field("State", format!("{} (seen {seen} ago)", node.availability))
            .field("Address", &node.ingress_address)
            .list("Labels", &labels)
            .field("Target", format!("{} ({})", node.target, units::count(node.cores.into(), "core")))
            .field("Engine", &node.engine)
            .field("Agent", &node.agent_version)
            .field("Confinement", &node.confinement)
            .field("Load", load)
            .field("Memory", memory)
            .field(
                "Generation",
                format!("{} observed, {} desired", node.observed_generation, node.desired_generation),
            )
            .field("Joined", format!("{} ago", units::age(now, node.joined_at_ms)))
            .field("Certificate", format!("expires in {}", units::until(now, node.certificate_expires_at_ms)))
            .field("Clock skew", format!("{} ms", node.clock_skew_ms));
        let headers = ["FUNCTION", "DESIRED", "OBSERVED", "STATE", "TARGET", "LOAD"];
        let rows: Vec<Vec<Value>> = self.workloads.iter().map(WorkloadView::row).collect();
        sections.table("Workloads", &headers, &rows);
        let messages: Vec<String> = self
            .workloads
            .iter()
            .filter(|workload| !workload.message.is_empty())
            .map(|workload| format!("{}: {}", workload.function, workload.message))
            .collect();
        sections.lines("Messages", &messages).finish()
    }
}

impl Listed for NodeDetails {
    const COLUMNS: &'static [Column] = NodeView::COLUMNS;

    fn name(&self) -> String {
        self.node.name()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        self.node.values(now)
    }
}

impl WorkloadView {
    fn row(&self) -> Vec<Value> {
        let revision = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        vec![
            self.function.clone().into(),
            revision(self.desired_revision).into(),
            revision(self.observed_revision).into(),
            Value::toned(self.state, workload_tone(self.state)),
            self.target.clone().into(),
            units::micros(self.load_us).into(),
        ]
    }
}

/// One row for each function and revision that is desired, observed, or both.
fn join(desired: Vec<pb::Workload>, observed: Vec<pb::WorkloadStatus>) -> Vec<WorkloadView> {
    let mut rows: BTreeMap<(String, u64), WorkloadView> = BTreeMap::new();
    for workload in desired {
        let key = (workload.function.clone(), workload.revision);
        let row = rows.entry(key).or_insert_with(|| WorkloadView::pending(&workload.function));
        row.desired_revision = workload.revision;
        row.target = workload.target;
        row.weight = workload.weight;
    }
    for status in observed {
        let key = (status.function.clone(), status.revision);
        let row = rows.entry(key).or_insert_with(|| WorkloadView::pending(&status.function));
        row.observed_revision = status.revision;
        row.state = workload_state(status.state());
        row.failures = status.failures;
        row.load_us = status.load_us;
        row.message = status.message;
    }
    rows.into_values().collect()
}

impl WorkloadView {
    fn pending(function: &str) -> Self {
        Self {
            function: function.to_owned(),
            desired_revision: 0,
            observed_revision: 0,
            state: workload_state(pb::WorkloadState::Pending),
            message: String::new(),
            failures: 0,
            target: String::new(),
            weight: 0,
            load_us: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, listing};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_300_000);

    fn node() -> pb::Node {
        pb::Node {
            id: "0b5d".into(),
            name: "shop-1".into(),
            labels: [("zone".to_owned(), "a".to_owned()), ("site".to_owned(), "eu-1".to_owned())].into(),
            availability: Availability::Ready.into(),
            capacity: Some(pb::NodeCapacity {
                target: "x86_64-v3-wide".into(),
                cores: 4,
                memory_bytes: 8 << 30,
                ingress_address: "127.0.0.1:8080".into(),
                agent_version: "0.1.0".into(),
                confinement: "landlock".into(),
                ..Default::default()
            }),
            joined_at_ms: 1_700_000_000_000,
            last_seen_ms: 1_700_000_298_000,
            desired_generation: 5,
            observed_generation: 4,
            load: Some(pb::NodeLoad { cpu_permille: 125, ..Default::default() }),
            certificate_expires_at_ms: 1_700_086_400_000,
            clock_skew_ms: -12,
        }
    }

    #[test]
    fn a_list_of_nodes() {
        let rows = [NodeView::from(node())];
        assert_eq!(
            listing::render(&rows, Format::Table, NOW, false),
            "NAME     STATE   TARGET           ADDRESS          LABELS             SEEN   AGE\n\
             shop-1   Ready   x86_64-v3-wide   127.0.0.1:8080   site=eu-1,zone=a   2s     5m"
        );
        let wide = listing::render(&rows, Format::Wide, NOW, false);
        assert!(wide.contains("4/5          4       12.5 %"), "{wide}");
        assert!(wide.ends_with("landlock      23h            -12 ms"), "{wide}");
    }

    #[test]
    fn a_description_joins_what_is_desired_with_what_is() {
        let desired = |function: &str, revision| pb::Workload {
            function: function.into(),
            revision,
            target: "x86_64-v3-wide".into(),
            ..Default::default()
        };
        let observed =
            |function: &str, revision, state: pb::WorkloadState, message: &str| pb::WorkloadStatus {
                function: function.into(),
                revision,
                state: state.into(),
                message: message.into(),
                ..Default::default()
            };
        let details = NodeDetails::new(
            node(),
            vec![desired("a", 2), desired("b", 1)],
            vec![
                observed("a", 1, pb::WorkloadState::Running, ""),
                observed("b", 1, pb::WorkloadState::Failed, "no such file"),
            ],
        );
        let text = details.text(NOW, false);
        let table = "Workloads:\n  FUNCTION   DESIRED   OBSERVED   STATE     TARGET           LOAD\n  \
             a          -         1          Running   -                -\n  \
             a          2         -          Pending   x86_64-v3-wide   -\n  \
             b          1         1          Failed    x86_64-v3-wide   -\nMessages:\n  b: no such file\n";
        assert!(text.ends_with(table), "{text}");
        assert!(text.contains("State:         Ready (seen 2s ago)\n"), "{text}");
    }
}
