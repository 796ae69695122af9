//! Nothing is mapped that was not vouched for, for this host.

use super::guests::{TRAP, http};
use super::*;

pub(super) async fn refused(fixture: &Fixture, sample: &Sample, failure: LoadFailure, says: &str) {
    let loaded = fixture.load(sample).await;
    assert_eq!(loaded.failure(), failure, "{}", loaded.message);
    assert!(loaded.message.contains(says), "{}", loaded.message);
}

fn sample() -> Sample {
    Sample::new(ModuleKind::Http, &http("1", TRAP))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found() {
    let fixture = Fixture::start().await;
    let mut flipped = sample();
    let middle = flipped.code.len() / 2;
    flipped.code[middle] ^= 1;
    refused(&fixture, &flipped, LoadFailure::Verification, "the digest is").await;

    let mut shorter = sample();
    shorter.code.pop();
    refused(&fixture, &shorter, LoadFailure::Verification, "the size is").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pinned_keys_are_believed() {
    let fixture = Fixture::start().await;
    let stranger = SigningKey::generate();
    let loaded = fixture.load_as(&sample(), sample().signed(&stranger)).await;
    assert_eq!(loaded.failure(), LoadFailure::Verification);
    assert!(loaded.message.contains("none of these keys is trusted"), "{}", loaded.message);

    let mut forged = v1::Envelope::decode(sample().signed(&fixture.key).as_slice()).unwrap();
    forged.payload[0] ^= 1;
    let loaded = fixture.load_as(&sample(), forged.encode_to_vec()).await;
    assert_eq!(loaded.failure(), LoadFailure::Verification);

    for garbage in [b"".as_slice(), b"\xff\xff\xff"] {
        let loaded = fixture.load_as(&sample(), garbage.to_vec()).await;
        assert_eq!(loaded.failure(), LoadFailure::Verification, "{}", loaded.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_for_another_host_is_incompatible() {
    let fixture = Fixture::start().await;
    for target in ["aarch64-v8.0-wide", "x86_64-v1-narrow", "riscv64", ""] {
        let mut foreign = sample();
        if target.parse().is_ok_and(|t| host().runs(t)) {
            continue;
        }
        foreign.statement.target = target.into();
        refused(&fixture, &foreign, LoadFailure::Incompatible, "this node runs").await;
    }
    let mut older = sample();
    older.statement.engine = "wasmtime-48.0.7-wide-0000000000000000".into();
    refused(&fixture, &older, LoadFailure::Incompatible, "compile it again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_about_something_else_does_not_do() {
    let fixture = Fixture::start().await;
    let mut other_source = sample();
    other_source.spec.module_digest = Digest::of(b"other").to_string();
    refused(&fixture, &other_source, LoadFailure::Verification, "the module of the spec").await;

    let mut other_kind = sample();
    other_kind.spec.set_kind(ModuleKind::Typed);
    refused(&fixture, &other_kind, LoadFailure::Verification, "the kind of the spec").await;

    // Signed, and not what is in the file: a module, where a component was announced.
    let module = Sample::of_wasm(ModuleKind::Http, &wat::parse_str("(module)").unwrap());
    refused(&fixture, &module, LoadFailure::Incompatible, "the engine does not accept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_linked_or_held_says_why() {
    let fixture = Fixture::start().await;
    let foreign = r#"(module (import "env" "launch" (func)) (func (export "_start")))"#;
    let sample = Sample::new(ModuleKind::CommandP1, foreign);
    refused(&fixture, &sample, LoadFailure::Incompatible, "env::launch").await;

    let no_start = Sample::new(ModuleKind::CommandP1, "(module)");
    refused(&fixture, &no_start, LoadFailure::Incompatible, "_start").await;

    let hungry = Sample::new(ModuleKind::Http, &http("1000", TRAP));
    refused(&fixture, &hungry, LoadFailure::Limit, "raise limits.memory").await;

    let unlimited = self::sample().limited(|l| l.timeout_ms = 0);
    refused(&fixture, &unlimited, LoadFailure::Incompatible, "out of its range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_inside_the_cache_are_opened() {
    let fixture = Fixture::start().await;
    std::fs::write(fixture.cache.path().join("real"), sample().code).unwrap();
    std::os::unix::fs::symlink("real", fixture.cache.path().join("link")).unwrap();
    for name in ["../outside", "/etc/passwd", "", "none", "link"] {
        let request = LoadRequest {
            spec: sample().spec.encode_to_vec(),
            spec_digest: sample().digest(),
            revision: 1,
            artifact_digest: sample().statement.artifact_digest,
            artifact_file: name.into(),
            statement: sample().signed(&fixture.key),
        };
        let loaded = fixture.client.clone().load(request).await.unwrap().into_inner();
        assert_eq!(loaded.failure(), LoadFailure::Host, "{name}: {}", loaded.message);
    }
}
