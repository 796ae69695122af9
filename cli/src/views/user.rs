use littoral_model::time::Timestamp;
use littoral_proto::v1 as pb;
use serde::Serialize;

use crate::output::listing::{Column, Listed, Value, col, restless};
use crate::output::units;

/// Somebody who may operate the fleet.
#[derive(Debug, Serialize)]
pub(crate) struct UserView {
    name: String,
    role: &'static str,
    created_at: Option<String>,
    #[serde(skip)]
    created_at_ms: u64,
}

impl From<pb::User> for UserView {
    fn from(user: pb::User) -> Self {
        Self {
            role: super::role(user.role()),
            created_at: units::time(user.created_at_ms),
            created_at_ms: user.created_at_ms,
            name: user.name,
        }
    }
}

impl Listed for UserView {
    const COLUMNS: &'static [Column] = &[col("NAME"), col("ROLE"), restless("AGE")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        vec![self.name.clone().into(), self.role.into(), units::age(now, self.created_at_ms).into()]
    }
}
