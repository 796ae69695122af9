//! What the control plane answers, in the shape that `-o json` prints and lists show. Field names never change:
//! times are RFC 3339 in UTC, `*_ms`, `*_us` and `*_bytes` are numbers.

pub(crate) mod event;
pub(crate) mod function;
pub(crate) mod module;
pub(crate) mod node;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod user;

use littoral_proto::v1 as pb;

/// Where a word is not known: the server is newer than this command.
const UNKNOWN: &str = "unknown";

pub(crate) fn kind(kind: pb::ModuleKind) -> &'static str {
    match kind {
        pb::ModuleKind::Unspecified => UNKNOWN,
        pb::ModuleKind::Http => "http",
        pb::ModuleKind::Command => "command",
        pb::ModuleKind::CommandP1 => "command-p1",
        pb::ModuleKind::Typed => "typed",
        pb::ModuleKind::TypedCore => "typed-core",
    }
}

pub(crate) fn role(role: pb::Role) -> &'static str {
    match role {
        pb::Role::Unspecified => UNKNOWN,
        pb::Role::Viewer => "viewer",
        pb::Role::Deployer => "deployer",
        pb::Role::Admin => "admin",
    }
}

/// `user/ada` of `spiffe://cluster/user/ada`: people know the cluster.
pub(crate) fn short_actor(spiffe: &str) -> String {
    let path = spiffe.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    path.map_or(spiffe, |(_, path)| path).to_owned()
}

/// `sha256:0123456789ab`: enough to tell two apart.
pub(crate) fn short_digest(digest: &str) -> String {
    digest.char_indices().nth("sha256:".len() + 12).map_or(digest, |(end, _)| &digest[..end]).to_owned()
}
