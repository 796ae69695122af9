//! The I/O seams that all Littoral programs share.
//!
//! Time, randomness, tasks, files, identity, TLS, telemetry and errors at the edge: whatever touches the world
//! outside of a program and is needed by more than one program is here, once.

pub mod admin_http;
pub mod backoff;
pub mod ca;
pub mod channel;
pub mod clock;
pub mod error;
pub mod files;
pub mod identity;
pub mod join_token;
pub mod listener;
pub mod metrics;
mod pem;
pub mod pin;
pub mod probe;
pub mod random;
pub mod renewal;
pub mod signal;
pub mod spiffe;
pub mod statement;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trust;

#[cfg(test)]
mod testing;
