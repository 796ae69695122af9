//! The agent of a node: it keeps the node's identity, session, ledger and artifact cache, and supervises the worker
//! process that runs guests.

mod agent;
mod artifacts;
mod assignment;
mod capacity;
mod cli;
mod collector;
mod config;
mod credentials;
mod data_dir;
mod envelope;
mod events;
mod fetch;
mod host;
mod invocations;
mod join;
mod ledger;
mod link;
mod load;
mod local;
mod membership;
mod metrics;
mod reconciler;
mod renew;
mod report;
mod run;
mod session;
mod stats;
mod status;
mod steady;
mod supervisor;
#[cfg(test)]
mod testing;
pub mod worker;

pub use cli::run_cli;
pub use supervisor::WorkerCommand;
