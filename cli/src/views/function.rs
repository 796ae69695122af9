use std::collections::BTreeMap;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{self as pb, RolloutState, placement::Replicas};
use serde::Serialize;

use super::short_actor;
use crate::output::listing::{Column, Listed, Tone, Value, col, restless, wide};
use crate::output::units;

pub(crate) mod details;

/// A function: what is wanted, and how far it is.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionView {
    pub(crate) name: String,
    pub(crate) revision: u64,
    /// The last one that reached every node; 0 before the first.
    pub(crate) stable_revision: u64,
    pub(crate) state: &'static str,
    pub(crate) rollout: &'static str,
    pub(crate) rollout_message: String,
    pub(crate) wanted: u32,
    pub(crate) assigned: u32,
    pub(crate) running: u32,
    pub(crate) waiting: Vec<String>,
    applied_at: Option<String>,
    applied_by: String,
    spec_digest: String,
    pub(crate) spec: SpecView,
    #[serde(skip)]
    applied_at_ms: u64,
}

/// What an operator asked for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SpecView {
    pub(crate) module: String,
    module_digest: String,
    kind: &'static str,
    triggers: Vec<TriggerView>,
    /// A number, or `every`.
    replicas: ReplicasView,
    constraints: Vec<String>,
    spread: String,
    timeout_ms: u64,
    memory_bytes: u64,
    concurrency: u32,
    output_bytes: u64,
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct TriggerView {
    host: String,
    path: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(untagged)]
enum ReplicasView {
    #[default]
    #[serde(serialize_with = "every")]
    Every,
    Count(u32),
}

fn every<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("every")
}

impl From<pb::FunctionSpec> for SpecView {
    fn from(spec: pb::FunctionSpec) -> Self {
        let kind = super::kind(spec.kind());
        let placement = spec.placement.unwrap_or_default();
        let limits = spec.limits.unwrap_or_default();
        let trigger = |trigger: pb::HttpTrigger| TriggerView { host: trigger.host, path: trigger.path };
        Self {
            module: spec.module,
            module_digest: spec.module_digest,
            kind,
            triggers: spec.http_triggers.into_iter().map(trigger).collect(),
            replicas: match placement.replicas {
                Some(Replicas::Count(count)) => ReplicasView::Count(count),
                _ => ReplicasView::Every,
            },
            constraints: placement.constraints,
            spread: placement.spread,
            timeout_ms: limits.timeout_ms,
            memory_bytes: limits.memory_bytes,
            concurrency: limits.concurrency,
            output_bytes: limits.output_bytes,
            args: spec.args,
            env: spec.capabilities.unwrap_or_default().env.into_iter().collect(),
        }
    }
}

impl SpecView {
    /// `*/resize/*`, comma-separated.
    fn routes(&self) -> String {
        let routes: Vec<String> = self.triggers.iter().map(|t| format!("{}{}", t.host, t.path)).collect();
        routes.join(",")
    }

    fn replicas(&self) -> String {
        match self.replicas {
            ReplicasView::Every => "every".into(),
            ReplicasView::Count(count) => count.to_string(),
        }
    }
}

impl From<pb::Function> for FunctionView {
    fn from(function: pb::Function) -> Self {
        Self {
            state: state(&function),
            rollout: rollout(function.rollout()),
            name: function.name,
            revision: function.revision,
            stable_revision: function.stable_revision,
            rollout_message: function.rollout_message,
            wanted: function.wanted,
            assigned: function.assigned,
            running: function.running,
            waiting: function.waiting,
            applied_at: units::time(function.applied_at_ms),
            applied_by: function.applied_by,
            spec_digest: function.spec_digest,
            spec: function.spec.map(SpecView::from).unwrap_or_default(),
            applied_at_ms: function.applied_at_ms,
        }
    }
}

fn rollout(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Unspecified => super::UNKNOWN,
        RolloutState::Pending => "Pending",
        RolloutState::Preflight => "Preflight",
        RolloutState::Progressing => "Progressing",
        RolloutState::Baking => "Baking",
        RolloutState::Paused => "Paused",
        RolloutState::Held => "Held",
        RolloutState::FinalBake => "FinalBake",
        RolloutState::Aborting => "Aborting",
        RolloutState::Succeeded => "Succeeded",
        RolloutState::Aborted => "Aborted",
        RolloutState::Superseded => "Superseded",
    }
}

/// One word for how it is: the rollout while there is one, afterwards whether it is where it should be.
fn state(function: &pb::Function) -> &'static str {
    match function.rollout() {
        RolloutState::Progressing if function.assigned == 0 => "Waiting",
        RolloutState::Succeeded | RolloutState::Unspecified => match function.running {
            _ if function.wanted == 0 => "Waiting",
            running if running >= function.wanted => "Running",
            _ => "Degraded",
        },
        other => rollout(other),
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "Running" => Tone::Good,
        "Aborted" | "Failed" => Tone::Bad,
        _ => Tone::Warning,
    }
}

impl Listed for FunctionView {
    const COLUMNS: &'static [Column] = &[
        col("NAME"),
        col("REVISION"),
        col("MODULE"),
        col("READY"),
        col("STATE"),
        restless("AGE"),
        wide("KIND"),
        wide("REPLICAS"),
        wide("ROUTES"),
        wide("STABLE"),
        wide("ROLLOUT"),
        wide("APPLIED-BY"),
        wide("WAITING"),
    ];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        vec![
            self.name.clone().into(),
            self.revision.to_string().into(),
            self.spec.module.clone().into(),
            format!("{}/{}", self.running, self.wanted).into(),
            Value::toned(self.state, tone(self.state)),
            units::age(now, self.applied_at_ms).into(),
            self.spec.kind.into(),
            self.spec.replicas().into(),
            self.spec.routes().into(),
            self.stable_revision.to_string().into(),
            self.rollout.into(),
            short_actor(&self.applied_by).into(),
            self.waiting.first().cloned().unwrap_or_default().into(),
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::{Format, listing};

    pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_300_000);

    pub(crate) fn function(running: u32) -> pb::Function {
        pb::Function {
            name: "hello".into(),
            spec: Some(pb::FunctionSpec {
                name: "hello".into(),
                module: "hello@1".into(),
                kind: pb::ModuleKind::Http.into(),
                http_triggers: vec![pb::HttpTrigger { host: "*".into(), path: "/*".into() }],
                placement: Some(pb::Placement {
                    replicas: Some(Replicas::Every(true)),
                    constraints: vec!["arch == x86_64".into()],
                    spread: String::new(),
                }),
                limits: Some(pb::Limits {
                    timeout_ms: 1000,
                    memory_bytes: 64 << 20,
                    concurrency: 64,
                    output_bytes: 8 << 20,
                }),
                ..Default::default()
            }),
            revision: 3,
            stable_revision: 2,
            rollout: RolloutState::Succeeded.into(),
            applied_at_ms: 1_700_000_000_000,
            applied_by: "spiffe://edge/user/ada".into(),
            assigned: 3,
            running,
            wanted: 3,
            ..Default::default()
        }
    }

    #[test]
    fn a_list_of_functions() {
        let rows = [FunctionView::from(function(3)), FunctionView::from(function(2))];
        assert_eq!(
            listing::render(&rows, Format::Table, NOW, false),
            "NAME    REVISION   MODULE    READY   STATE      AGE\n\
             hello   3          hello@1   3/3     Running    5m\n\
             hello   3          hello@1   2/3     Degraded   5m"
        );
        let wide = listing::render(&rows[..1], Format::Wide, NOW, false);
        assert!(wide.contains("http   every      */*      2        Succeeded   user/ada     -"), "{wide}");
    }

    #[test]
    fn one_word_says_how_it_is() {
        let mut waiting = function(0);
        waiting.wanted = 0;
        assert_eq!(state(&waiting), "Waiting");
        let mut rolling = function(3);
        rolling.rollout = RolloutState::Progressing.into();
        assert_eq!(state(&rolling), "Progressing");
        rolling.assigned = 0;
        assert_eq!(state(&rolling), "Waiting");
        rolling.rollout = RolloutState::Aborted.into();
        assert_eq!(state(&rolling), "Aborted");
    }

    #[test]
    fn json_field_names_are_a_promise() {
        let json = serde_json::to_value(FunctionView::from(function(3))).unwrap();
        let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "name",
            "revision",
            "stable_revision",
            "state",
            "rollout",
            "rollout_message",
            "wanted",
            "assigned",
            "running",
            "waiting",
            "applied_at",
            "applied_by",
            "spec_digest",
            "spec",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!(json["spec"]["replicas"], "every");
        assert_eq!(json["applied_at"], "2023-11-14T22:13:20.000Z");
        let mut counted = function(3);
        counted.spec.as_mut().unwrap().placement.as_mut().unwrap().replicas = Some(Replicas::Count(2));
        assert_eq!(serde_json::to_value(FunctionView::from(counted)).unwrap()["spec"]["replicas"], 2);
    }
}
