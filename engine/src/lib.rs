//! The one `wasmtime::Config` per memory class, used by the compiler and by the agent, and its fingerprint.
//!
//! An artifact is native code that was laid out for one configuration. Whatever has to be equal on both sides is
//! in [`settings`] and nowhere else; [`fingerprint`] names it, and an artifact with another one is refused.

#[cfg(feature = "compile")]
mod compile;
mod cpu;
mod fingerprint;
mod host;
mod pool;
mod runtime;
mod settings;

#[cfg(feature = "compile")]
pub use compile::{CompileError, compile, compiler_config};
pub use fingerprint::fingerprint;
pub use host::{has_pagemap_scan, host_cpu, host_target, probe_memory_class};
pub use pool::Pool;
pub use runtime::{pooled_config, runtime_config};
pub use settings::wasm_features;
