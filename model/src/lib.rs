//! The nouns of Littoral and every decision it takes, as pure functions.
//!
//! Time and randomness come in as arguments. Nothing here can reach a clock, a socket or a file: the
//! dependencies of this crate do not allow it.

pub mod digest;
pub mod generation;
pub mod id;
pub mod quantity;
pub mod target;
pub mod time;
