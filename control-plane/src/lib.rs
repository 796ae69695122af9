//! The control plane of Littoral: registry, compiler, planner, sessions, identities.
//!
//! [`run`] is the whole program; [`ControlPlane::start`] is for those who want to know where it listens.

pub mod api;
pub mod audit;
pub mod authorize;
pub mod blobs;
pub mod compiler;
pub mod config;
pub mod events;
pub mod functions;
pub mod inspect;
pub mod metrics;
pub mod pki;
pub mod planner;
pub mod principal;
pub mod program;
pub mod records;
pub mod registry;
mod restored;
pub mod services;
pub mod sessions;
pub mod shared;
pub mod signing;
pub mod startup;
pub mod store;
#[cfg(test)]
mod testing;
pub mod world;

pub use compiler::compile_child_main;
pub use config::Config;
pub use program::run_cli;
pub use shared::{ChildCommand, ChildCommands, Shared};
pub use startup::{ControlPlane, Ready, RunError, run};
