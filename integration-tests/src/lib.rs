//! What the suites share: fleets of real processes, and how they are talked to.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and look at the clock")]

pub mod compose;
pub mod disk;
pub mod fleet;
pub mod http;
pub mod lab;
pub mod picture;
pub mod process;
