use std::collections::BTreeMap;

use littoral_model::time::Timestamp;
use littoral_proto::v1 as pb;
use serde::Serialize;

use super::short_actor;
use crate::output::listing::{Column, Listed, Value, col, restless, wide};
use crate::output::units;

/// A join token without its secret, which nobody has but its holder.
#[derive(Debug, Serialize)]
pub(crate) struct TokenView {
    id: String,
    uses_left: u32,
    labels: BTreeMap<String, String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    created_by: String,
    #[serde(skip)]
    created_at_ms: u64,
    #[serde(skip)]
    expires_at_ms: u64,
}

impl From<pb::Token> for TokenView {
    fn from(token: pb::Token) -> Self {
        Self {
            id: token.id,
            uses_left: token.uses_left,
            labels: token.labels.into_iter().collect(),
            created_at: units::time(token.created_at_ms),
            expires_at: units::time(token.expires_at_ms),
            created_by: token.created_by,
            created_at_ms: token.created_at_ms,
            expires_at_ms: token.expires_at_ms,
        }
    }
}

impl Listed for TokenView {
    const COLUMNS: &'static [Column] = &[
        col("ID"),
        col("USES-LEFT"),
        restless("EXPIRES"),
        col("LABELS"),
        wide("CREATED-BY"),
        restless("AGE"),
    ];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        vec![
            self.id.clone().into(),
            self.uses_left.to_string().into(),
            units::until(now, self.expires_at_ms).into(),
            units::labels(&self.labels).into(),
            short_actor(&self.created_by).into(),
            units::age(now, self.created_at_ms).into(),
        ]
    }
}

/// A token just made. The only time that its secret is shown.
#[derive(Debug, Serialize)]
pub(crate) struct NewToken {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) expires_at: Option<String>,
}
