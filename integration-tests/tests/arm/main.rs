//! Fleets with nodes of other kinds of CPU, emulated by qemu: agents for ARM run as they are shipped, those for x86-64 are the
//! ones of all suites. `integration-tests/arm` builds and starts it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and look at the clock"
)]

mod answers;
mod crashes;
mod levels;
mod machines;
