//! The nouns of Littoral and every decision it takes, as pure functions.
//!
//! Time and randomness come in as arguments. Nothing here can reach a clock, a socket or a file: the
//! dependencies of this crate do not allow it.

pub mod assignment;
pub mod check;
pub mod constraint;
pub mod digest;
pub mod evidence;
pub mod function;
pub mod generation;
pub mod id;
pub mod label;
pub mod latency;
pub mod manifest;
pub mod node;
pub mod placement;
pub mod plan;
pub mod quantity;
pub mod rollout;
pub mod route;
pub mod snapshot;
pub mod target;
pub mod time;
