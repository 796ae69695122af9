//! The handlers: thin. They check what came in, call the part that does it, and turn its answer into messages.

pub mod errors;
pub mod fleet;
pub mod invoke;
pub mod node;
pub mod registry;
