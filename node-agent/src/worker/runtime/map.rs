//! The one place where native code enters this process.

use std::os::fd::AsRawFd;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

use crate::worker::artifact::VerifiedArtifact;

/// What was mapped.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

/// Maps the file that was verified, through its descriptor.
///
/// # Errors
/// When the engine refuses it: another version, other flags, or a module where a component was announced.
#[expect(unsafe_code, reason = "native code is mapped here and nowhere else")]
pub(crate) fn map(engine: &Engine, artifact: &VerifiedArtifact, is_component: bool) -> Result<Code> {
    let path = format!("/proc/self/fd/{}", artifact.file().as_raw_fd());
    // SAFETY: a `VerifiedArtifact` is made only after a pinned compiler's signature over the digest of this file's
    // content was checked, the content was hashed through this very descriptor, and target and engine fit this host.
    // The cache holds files that are written once, read-only and replaced by renaming; the path names the descriptor.
    unsafe {
        if is_component {
            Component::deserialize_file(engine, &path).map(Code::Component)
        } else {
            Module::deserialize_file(engine, &path).map(Code::Module)
        }
    }
}
