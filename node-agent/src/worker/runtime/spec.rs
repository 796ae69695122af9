//! A function's spec as the runtime needs it: decoded and within bounds.

use std::time::Duration;

use littoral_proto::v1::{self, ModuleKind};
use prost::Message as _;

use crate::worker::artifact::LoadError;

const MIN_MEMORY: u64 = 64 << 10;
const MAX_MEMORY: u64 = 4 << 30;
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
const MAX_CONCURRENCY: u32 = 4096;
const MAX_OUTPUT: u64 = 1 << 30;

/// One revision of a function.
#[derive(Clone, Debug)]
pub struct Spec {
    pub function: String,
    pub revision: u64,
    /// Of the encoded spec.
    pub digest: String,
    pub kind: ModuleKind,
    /// Digest of the WebAssembly.
    pub module_digest: String,
    /// Host and path.
    pub routes: Vec<(String, String)>,
    pub timeout: Duration,
    /// Bytes of linear memory.
    pub memory: u64,
    pub concurrency: u32,
    /// Bytes of one answer.
    pub output: u64,
    /// With the function's name first.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Spec {
    /// From an encoded `FunctionSpec`.
    ///
    /// # Errors
    /// `Spec` when it cannot be decoded or has a limit out of its range: nobody but a faulty control plane sends that.
    pub fn decode(encoded: &[u8], digest: &str, revision: u64) -> Result<Self, LoadError> {
        let spec =
            v1::FunctionSpec::decode(encoded).map_err(|e| bad(format!("it cannot be decoded: {e}")))?;
        let kind = spec.kind();
        if kind == ModuleKind::Unspecified {
            return Err(bad("it names no kind of guest"));
        }
        let limits = spec.limits.unwrap_or_default();
        let timeout = Duration::from_millis(limits.timeout_ms);
        let in_range = (Duration::from_millis(1)..=MAX_TIMEOUT).contains(&timeout)
            && (MIN_MEMORY..=MAX_MEMORY).contains(&limits.memory_bytes)
            && (1..=MAX_CONCURRENCY).contains(&limits.concurrency)
            && limits.output_bytes <= MAX_OUTPUT;
        if !in_range {
            return Err(bad(format!("a limit is out of its range: {limits:?}")));
        }
        let argv = std::iter::once(spec.name.clone()).chain(spec.args).collect();
        Ok(Self {
            function: spec.name,
            revision,
            digest: digest.into(),
            kind,
            module_digest: spec.module_digest,
            routes: spec.http_triggers.into_iter().map(|t| (t.host, t.path)).collect(),
            timeout,
            memory: limits.memory_bytes,
            concurrency: limits.concurrency,
            output: limits.output_bytes,
            argv,
            env: spec.capabilities.unwrap_or_default().env.into_iter().collect(),
        })
    }
}

fn bad(why: impl Into<String>) -> LoadError {
    LoadError::Spec(why.into())
}
