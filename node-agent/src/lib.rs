//! The agent of a node: it keeps the node's identity, session, ledger and artifact cache, and supervises the worker
//! process that runs guests.

pub mod artifacts;
pub mod assignment;
pub mod data_dir;
mod envelope;
pub mod events;
pub mod ledger;
pub mod membership;
mod reconciler;
