//! A fleet of hosts of their own on links that are slow, lossy, choked and cut: network namespaces and real processes. As root.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic and look at the clock"
)]

mod cuts;
mod fleet;
mod links;
mod machine;
mod operations;
mod slow;
