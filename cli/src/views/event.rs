use littoral_model::time::Timestamp;
use littoral_proto::v1 as pb;
use serde::Serialize;

use super::short_actor;
use crate::output::listing::{Column, Listed, Tone, Value, col, wide};
use crate::output::units;

/// Something that happened.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    at: Option<String>,
    reason: String,
    subject: String,
    message: String,
    actor: String,
    request_id: String,
    audit: bool,
    #[serde(skip)]
    at_ms: u64,
}

impl From<pb::Event> for EventView {
    fn from(event: pb::Event) -> Self {
        Self {
            at: units::time(event.at_ms),
            reason: event.reason,
            subject: event.subject,
            message: event.message,
            actor: event.actor,
            request_id: event.request_id,
            audit: event.audit,
            at_ms: event.at_ms,
        }
    }
}

impl EventView {
    /// Seconds are enough for people.
    fn clock(&self) -> String {
        let time = Timestamp::from_millis(self.at_ms).to_string();
        time.split_once('.').map_or(time.clone(), |(seconds, _)| format!("{seconds}Z"))
    }

    fn tone(&self) -> Tone {
        let bad = ["Failed", "Aborted", "Lost", "Quarantined", "Refused", "Revoked", "Died"];
        if bad.iter().any(|word| self.reason.contains(word)) { Tone::Bad } else { Tone::Plain }
    }
}

impl Listed for EventView {
    const COLUMNS: &'static [Column] =
        &[col("TIME"), col("REASON"), col("SUBJECT"), wide("ACTOR"), wide("REQUEST"), col("MESSAGE")];

    fn name(&self) -> String {
        self.subject.clone()
    }

    fn values(&self, _now: Timestamp) -> Vec<Value> {
        vec![
            self.clock().into(),
            Value::toned(self.reason.clone(), self.tone()),
            self.subject.clone().into(),
            short_actor(&self.actor).into(),
            self.request_id.clone().into(),
            self.message.clone().into(),
        ]
    }
}
