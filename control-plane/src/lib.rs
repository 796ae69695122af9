//! The control plane of Littoral.

pub mod blobs;
pub mod records;
pub mod store;
