//! A whole control plane in this process: real TCP, mutual TLS, and the real compiler as its child.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod compiling;
mod fleet;
mod plane;
mod serving;
