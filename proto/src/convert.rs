//! Between messages and the model. Nothing else does this.
//!
//! Towards the model everything is checked and an error names the field; towards messages nothing can fail.

mod assignment;
mod function;
mod module;
mod rollout;

pub use assignment::{assignment_from_pb, assignment_to_pb, workload_from_pb, workload_to_pb};
pub use function::{encode_spec, spec_from_pb, spec_to_pb};
pub use module::{kind_from_pb, kind_to_pb, outcome_name};
pub use rollout::{
    overrides_from_pb, overrides_to_pb, policy_to_pb, rollout_from_pb, state_to_pb, strategy_to_pb,
    write_rollout,
};

/// A message that does not make sense. `INVALID_ARGUMENT` at the edge, corruption in the store.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {why}")]
pub struct BadMessage {
    pub field: &'static str,
    pub why: String,
}

pub(crate) fn bad(field: &'static str, why: impl ToString) -> BadMessage {
    BadMessage { field, why: why.to_string() }
}

pub(crate) fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, BadMessage> {
    text.parse().map_err(|e: T::Err| bad(field, e))
}
