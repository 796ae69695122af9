//! Functions: what an operator wants running.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::constraint::Constraint;
use crate::digest::Digest;
use crate::id::{FunctionName, ModuleRef};
use crate::quantity::Bytes;

/// How a guest is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuestKind {
    /// A component that exports `wasi:http/incoming-handler` 0.2.
    Http,
    /// A component that exports `wasi:cli/run` 0.2.
    Command,
    /// A core module of WASI preview 1 with `_start`.
    CommandP1,
    /// A component that exports functions of its own.
    Typed,
    /// A core module that exports functions of its own.
    TypedCore,
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::Command => "command",
            Self::CommandP1 => "command-p1",
            Self::Typed => "typed",
            Self::TypedCore => "typed-core",
        })
    }
}

/// One revision of a function. Its digest is that of its protobuf encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    pub name: FunctionName,
    pub module: ModuleRef,
    /// Filled in by the control plane from the registry.
    pub resolved: Option<ResolvedModule>,
    pub triggers: Vec<HttpTrigger>,
    pub placement: Placement,
    pub limits: Limits,
    /// Arguments of a command, without the program's name.
    pub args: Vec<String>,
    pub capabilities: Capabilities,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedModule {
    pub digest: Digest,
    pub kind: GuestKind,
}

/// Requests whose host and path match are the function's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpTrigger {
    /// `*`, or a host name in lower case without a port.
    pub host: String,
    /// Begins with `/`; a last segment of `*` matches every rest.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub replicas: Replicas,
    pub constraints: Vec<Constraint>,
    /// Key of a label to spread over.
    pub spread: Option<String>,
}

/// On how many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    Count(u32),
    Every,
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Every => f.write_str("every"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall clock of one request.
    pub timeout: Duration,
    /// Linear memory of one instance.
    pub memory: Bytes,
    /// Requests under way at once on a node.
    pub concurrency: u32,
    /// Of one answer.
    pub output: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            memory: Bytes::mib(64),
            concurrency: 64,
            output: Bytes::mib(8),
        }
    }
}

/// What the guest is granted; nothing else is there for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub env: BTreeMap<String, String>,
}

/// A request that runs for longer wants to be a job.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The smallest memory there is: one page of WebAssembly.
const MIN_MEMORY: Bytes = Bytes::kib(64);
/// What 32 bits address.
const MAX_MEMORY: Bytes = Bytes::gib(4);
/// The pool of instances of a worker is about this large.
const MAX_CONCURRENCY: u32 = 4096;
const MAX_OUTPUT: Bytes = Bytes::gib(1);
/// Specs travel and are stored whole: these keep one far below 256 KiB.
const MAX_TRIGGERS: usize = 64;
const MAX_CONSTRAINTS: usize = 32;
const MAX_ARGS: usize = 64;
const MAX_ARG: usize = 4096;
const MAX_ENV: usize = 64;
const MAX_ENV_VALUE: usize = 4096;
const MAX_REPLICAS: u32 = 100_000;

/// What is wrong with a spec, named by its key in the manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {why}")]
pub struct BadSpec {
    pub key: &'static str,
    pub why: String,
}

impl FunctionSpec {
    /// Checks what types do not: ranges and counts.
    pub fn validate(&self) -> Result<(), BadSpec> {
        self.limits.validate()?;
        self.placement.validate()?;
        at_most("trigger.http", self.triggers.len(), MAX_TRIGGERS)?;
        self.triggers.iter().try_for_each(HttpTrigger::validate)?;
        at_most("function.args", self.args.len(), MAX_ARGS)?;
        if self.args.iter().any(|arg| arg.len() > MAX_ARG || arg.contains('\0')) {
            return Err(bad("function.args", format!("each is at most {MAX_ARG} bytes and holds no NUL")));
        }
        at_most("capabilities.env", self.capabilities.env.len(), MAX_ENV)?;
        for (key, value) in &self.capabilities.env {
            if key.is_empty()
                || key.contains(['=', '\0'])
                || value.len() > MAX_ENV_VALUE
                || value.contains('\0')
            {
                let why =
                    format!("`{key}` must be a name without `=`, its value at most {MAX_ENV_VALUE} bytes");
                return Err(bad("capabilities.env", why));
            }
        }
        let Some(resolved) = self.resolved else { return Ok(()) };
        if resolved.kind != GuestKind::Http && !self.triggers.is_empty() {
            let why = format!(
                "{} is a {} module and answers no HTTP: remove the trigger and call it with `littoral function invoke`",
                self.module, resolved.kind
            );
            return Err(bad("trigger.http", why));
        }
        Ok(())
    }
}

impl Limits {
    fn validate(&self) -> Result<(), BadSpec> {
        if self.timeout < Duration::from_millis(1) || self.timeout > MAX_TIMEOUT {
            return Err(bad("limits.timeout", "it must be from 1ms to 1h".into()));
        }
        if self.memory < MIN_MEMORY || self.memory > MAX_MEMORY {
            return Err(bad("limits.memory", format!("it must be from {MIN_MEMORY} to {MAX_MEMORY}")));
        }
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            return Err(bad("limits.concurrency", format!("it must be from 1 to {MAX_CONCURRENCY}")));
        }
        if self.output > MAX_OUTPUT {
            return Err(bad("limits.output", format!("it must be at most {MAX_OUTPUT}")));
        }
        Ok(())
    }
}

impl Placement {
    fn validate(&self) -> Result<(), BadSpec> {
        at_most("placement.constraints", self.constraints.len(), MAX_CONSTRAINTS)?;
        if let Replicas::Count(n) = self.replicas
            && n > MAX_REPLICAS
        {
            return Err(bad(
                "placement.replicas",
                format!("it must be at most {MAX_REPLICAS}, or \"every\""),
            ));
        }
        Ok(())
    }
}

impl HttpTrigger {
    fn validate(&self) -> Result<(), BadSpec> {
        let host =
            self.host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
        if self.host != "*" && (self.host.is_empty() || self.host.len() > 253 || !host) {
            let why = format!("`{}` must be `*` or a host name in lower case without a port", self.host);
            return Err(bad("trigger.http.host", why));
        }
        let stem = self.path.strip_suffix("/*").unwrap_or(&self.path);
        let plain = stem.bytes().all(|b| b.is_ascii_graphic() && !b"?#*".contains(&b));
        if !self.path.starts_with('/') || self.path.len() > 1024 || !plain {
            let why = format!("`{}` must begin with `/`; only its last segment may be `*`", self.path);
            return Err(bad("trigger.http.path", why));
        }
        Ok(())
    }
}

fn bad(key: &'static str, why: String) -> BadSpec {
    BadSpec { key, why }
}

fn at_most(key: &'static str, count: usize, most: usize) -> Result<(), BadSpec> {
    if count <= most { Ok(()) } else { Err(bad(key, format!("{count} are too many: at most {most}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_paths() {
        let check = |path: &str| HttpTrigger { host: "*".into(), path: path.into() }.validate().is_ok();
        for good in ["/", "/*", "/a/b", "/a/*", "/a.b-c_d~e"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "a", "/a*", "/*/a", "/a?b", "/a b", "/*/*"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
