//! Keys of records, and the prefixes that list a kind.

use littoral_proto::v1::Event;
use sha2::{Digest, Sha256};

pub const CLUSTER: &str = "cluster";
pub const MODULE: &str = "module/";
pub const ARTIFACT: &str = "artifact/";
pub const COMPILE_FAILURE: &str = "compile-failure/";
pub const COMPILE_REQUEST: &str = "compile-request/";
pub const MODULE_USE: &str = "module-use/";
pub const FUNCTION: &str = "function/";
pub const NODE: &str = "node/";
pub const NODE_NAME: &str = "node-name/";
pub const ASSIGNMENT: &str = "assignment/";
pub const TOKEN: &str = "token/";
pub const USER: &str = "user/";
pub const AUDIT: &str = "audit/";

pub fn module(name: &str, version: &str) -> String {
    format!("{MODULE}{name}/{version}")
}

/// Prefix of all versions of one module.
pub fn module_versions(name: &str) -> String {
    format!("{MODULE}{name}/")
}

/// `source_digest` is written `sha256:<hex>`; the key holds the digits alone.
pub fn artifact(source_digest: &str, engine: &str, target: &str) -> String {
    format!("{ARTIFACT}{}/{engine}/{target}", digits(source_digest))
}

/// Prefix of all artifacts of one source.
pub fn artifacts_of(source_digest: &str) -> String {
    format!("{ARTIFACT}{}/", digits(source_digest))
}

pub fn compile_failure(source_digest: &str, engine: &str, target: &str) -> String {
    format!("{COMPILE_FAILURE}{}/{engine}/{target}", digits(source_digest))
}

/// Prefix of all failures of one source.
pub fn compile_failures_of(source_digest: &str) -> String {
    format!("{COMPILE_FAILURE}{}/", digits(source_digest))
}

pub fn compile_request(source_digest: &str, target: &str) -> String {
    format!("{COMPILE_REQUEST}{}/{target}", digits(source_digest))
}

/// Prefix of all requests for one source.
pub fn compile_requests_of(source_digest: &str) -> String {
    format!("{COMPILE_REQUEST}{}/", digits(source_digest))
}

pub fn module_use(name: &str, version: &str) -> String {
    format!("{MODULE_USE}{name}/{version}")
}

pub fn function(name: &str) -> String {
    format!("{FUNCTION}{name}")
}

pub fn node(id: &str) -> String {
    format!("{NODE}{id}")
}

pub fn node_name(name: &str) -> String {
    format!("{NODE_NAME}{name}")
}

pub fn assignment(node_id: &str) -> String {
    format!("{ASSIGNMENT}{node_id}")
}

pub fn token(id: &str) -> String {
    format!("{TOKEN}{id}")
}

pub fn user(name: &str) -> String {
    format!("{USER}{name}")
}

/// In the order of time; the last part tells entries of one millisecond apart.
pub fn audit(event: &Event) -> String {
    let digest = Sha256::new()
        .chain_update(&event.request_id)
        .chain_update([0])
        .chain_update(&event.subject)
        .chain_update([0])
        .chain_update(&event.reason)
        .finalize();
    format!("{AUDIT}{:020}-{}", event.at_ms, hex::encode(&digest[..4]))
}

fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_entries_sort_by_time_and_do_not_meet() {
        let event =
            |at_ms, request_id: &str| Event { at_ms, request_id: request_id.into(), ..Event::default() };
        assert!(audit(&event(9, "b")) < audit(&event(10, "a")));
        assert_ne!(audit(&event(9, "a")), audit(&event(9, "b")));
        assert_eq!(audit(&event(9, "a")).len(), "audit/".len() + 20 + 1 + 8);
    }

    #[test]
    fn a_digest_goes_into_a_key_without_its_algorithm() {
        assert_eq!(artifact("sha256:ab", "e1", "x86_64-v1-wide"), "artifact/ab/e1/x86_64-v1-wide");
        assert!(artifact("sha256:ab", "e", "t").starts_with(&artifacts_of("sha256:ab")));
    }
}
