use std::collections::BTreeMap;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{self as pb, WorkloadState};
use serde::Serialize;

use super::{FunctionView, SpecView, tone};
use crate::output::listing::{Column, Listed, Tone, Value};
use crate::output::sections::Sections;
use crate::output::units;
use crate::views::short_actor;

/// A function, and how it is on each node.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionDetails {
    pub(crate) function: FunctionView,
    nodes: Vec<OnNode>,
}

#[derive(Debug, Serialize)]
struct OnNode {
    node_id: String,
    node_name: String,
    ingress_address: String,
    revision: u64,
    state: &'static str,
    message: String,
    failures: u32,
    since: Option<String>,
    load_us: u64,
    p50_us: u64,
    p99_us: u64,
    requests: u64,
    errors: u64,
    #[serde(skip)]
    since_ms: u64,
}

impl From<pb::FunctionOnNode> for OnNode {
    fn from(on: pb::FunctionOnNode) -> Self {
        let status = on.status.unwrap_or_default();
        Self {
            node_id: on.node_id,
            node_name: on.node_name,
            ingress_address: on.ingress_address,
            revision: status.revision,
            state: workload_state(status.state()),
            failures: status.failures,
            since: units::time(status.since_ms),
            since_ms: status.since_ms,
            load_us: status.load_us,
            message: status.message,
            p50_us: on.p50_us,
            p99_us: on.p99_us,
            requests: on.requests,
            errors: on.errors,
        }
    }
}

pub(crate) fn workload_state(state: WorkloadState) -> &'static str {
    match state {
        WorkloadState::Unspecified => "Unknown",
        WorkloadState::Pending => "Pending",
        WorkloadState::Fetching => "Fetching",
        WorkloadState::Loading => "Loading",
        WorkloadState::Running => "Running",
        WorkloadState::Failed => "Failed",
    }
}

pub(crate) fn workload_tone(state: &str) -> Tone {
    tone(state)
}

impl FunctionDetails {
    pub(crate) fn new(function: pb::Function, nodes: Vec<pb::FunctionOnNode>) -> Self {
        let mut nodes: Vec<OnNode> = nodes.into_iter().map(OnNode::from).collect();
        nodes.sort_by(|a, b| a.node_name.cmp(&b.node_name));
        Self { function: function.into(), nodes }
    }

    pub(crate) fn text(&self, now: Timestamp, color: bool) -> String {
        let function = &self.function;
        let mut sections = Sections::new(color);
        sections
            .field("Name", &function.name)
            .field("State", function.state)
            .field(
                "Revision",
                format!("{} (stable: {})", function.revision, or_none(function.stable_revision)),
            )
            .field("Module", format!("{} ({})", function.spec.module, function.spec.kind))
            .field("Digest", &function.spec.module_digest);
        let ready = format!(
            "{} running, {} assigned, {} wanted",
            function.running, function.assigned, function.wanted
        );
        sections.field("Ready", ready);
        let rollout = match function.rollout_message.as_str() {
            "" => function.rollout.to_owned(),
            message => format!("{}: {message}", function.rollout),
        };
        sections.field("Rollout", rollout);
        let age = units::age(now, function.applied_at_ms);
        sections.field("Applied", format!("{age} ago by {}", short_actor(&function.applied_by)));
        describe_spec(&mut sections, &function.spec);
        sections.lines("Waiting", &function.waiting);
        self.describe_nodes(&mut sections, now);
        sections.finish()
    }

    fn describe_nodes(&self, sections: &mut Sections, now: Timestamp) {
        let headers =
            ["NODE", "REVISION", "STATE", "SINCE", "LOAD", "P50", "P99", "REQUESTS", "ERRORS", "ADDRESS"];
        let rows: Vec<Vec<Value>> = self.nodes.iter().map(|node| node.row(now)).collect();
        sections.table("Nodes", &headers, &rows);
        let failures: Vec<String> = self.nodes.iter().filter_map(OnNode::complaint).collect();
        sections.lines("Messages", &failures);
    }
}

fn or_none(revision: u64) -> String {
    if revision == 0 { "none yet".into() } else { revision.to_string() }
}

fn describe_spec(sections: &mut Sections, spec: &SpecView) {
    let limits = format!(
        "timeout {}ms, memory {}, concurrency {}, output {}",
        spec.timeout_ms,
        units::size(spec.memory_bytes),
        spec.concurrency,
        units::size(spec.output_bytes)
    );
    let triggers: Vec<String> =
        spec.triggers.iter().map(|trigger| format!("http {}{}", trigger.host, trigger.path)).collect();
    sections.field("Replicas", spec.replicas()).list("Constraints", &spec.constraints);
    if !spec.spread.is_empty() {
        sections.field("Spread", &spec.spread);
    }
    sections.list("Triggers", &triggers).field("Limits", limits);
    if !spec.args.is_empty() {
        sections.field("Arguments", spec.args.join(" "));
    }
    sections.list("Environment", &environment(&spec.env));
}

fn environment(env: &BTreeMap<String, String>) -> Vec<String> {
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

impl OnNode {
    fn row(&self, now: Timestamp) -> Vec<Value> {
        vec![
            self.node_name.clone().into(),
            self.revision.to_string().into(),
            Value::toned(self.state, workload_tone(self.state)),
            units::age(now, self.since_ms).into(),
            units::micros(self.load_us).into(),
            units::micros(self.p50_us).into(),
            units::micros(self.p99_us).into(),
            self.requests.to_string().into(),
            self.errors.to_string().into(),
            self.ingress_address.clone().into(),
        ]
    }

    fn complaint(&self) -> Option<String> {
        if self.message.is_empty() {
            return None;
        }
        let again = match self.failures {
            0 => String::new(),
            n => format!(" ({n} times in a row)"),
        };
        Some(format!("{}: {}{again}", self.node_name, self.message))
    }
}

impl Listed for FunctionDetails {
    const COLUMNS: &'static [Column] = FunctionView::COLUMNS;

    fn name(&self) -> String {
        self.function.name()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        self.function.values(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, function};
    use super::*;

    #[test]
    fn a_description_shows_nodes_latency_and_why_it_waits() {
        let mut aborted = function(2);
        aborted.rollout = pb::RolloutState::Aborted.into();
        aborted.rollout_message = "2 nodes failed to load it".into();
        aborted.waiting = vec!["shop-3: its CPU is below x86_64-v3".into()];
        let on = |name: &str, state: WorkloadState, message: &str| pb::FunctionOnNode {
            node_name: name.into(),
            ingress_address: "127.0.0.1:8080".into(),
            status: Some(pb::WorkloadStatus {
                revision: 3,
                state: state.into(),
                message: message.into(),
                failures: u32::from(!message.is_empty()) * 2,
                since_ms: 1_700_000_000_000,
                load_us: 1_500,
                ..Default::default()
            }),
            p50_us: 180,
            p99_us: 2_400,
            requests: 120,
            errors: 1,
            ..Default::default()
        };
        let nodes = vec![
            on("shop-2", WorkloadState::Failed, "its digest is wrong"),
            on("shop-1", WorkloadState::Running, ""),
        ];
        let text = FunctionDetails::new(aborted, nodes).text(NOW, false);
        let expected = "\
Name:          hello
State:         Aborted
Revision:      3 (stable: 2)
Module:        hello@1 (http)
Digest:        -
Ready:         2 running, 3 assigned, 3 wanted
Rollout:       Aborted: 2 nodes failed to load it
Applied:       5m ago by user/ada
Replicas:      every
Constraints:   arch == x86_64
Triggers:      http */*
Limits:        timeout 1000ms, memory 64.0 MiB, concurrency 64, output 8.0 MiB
Waiting:
  shop-3: its CPU is below x86_64-v3
Nodes:
  NODE     REVISION   STATE     SINCE   LOAD     P50      P99      REQUESTS   ERRORS   ADDRESS
  shop-1   3          Running   5m      1.5 ms   180 µs   2.4 ms   120        1        127.0.0.1:8080
  shop-2   3          Failed    5m      1.5 ms   180 µs   2.4 ms   120        1        127.0.0.1:8080
Messages:
  shop-2: its digest is wrong (2 times in a row)
";
        assert_eq!(text, expected);
    }
}
