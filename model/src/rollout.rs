//! How a new revision reaches the nodes: in stages, beside the stable one, watched, and back again when it is worse.

pub mod gate;
pub mod policy;
pub mod stages;
pub mod state;
pub mod step;
pub mod view;
