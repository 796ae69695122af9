//! Whole fleets: `littorald`, agents with their workers, and the CLI as real processes on loopback, with real mTLS, sled,
//! compiler and wasmtime.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and look at the clock"
)]

mod bad_input;
mod crashes;
mod dependencies;
mod dev;
mod first_join;
mod full_disk;
mod guests;
mod hostile;
mod identity;
mod main_job;
mod restore;
mod rollouts;
