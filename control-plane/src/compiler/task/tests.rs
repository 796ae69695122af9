//! The loop: what is missing gets compiled, once, and what fails is not tried again until somebody asks.

use std::path::Path;

use littoral_platform::statement::{Envelope, KeyId, PublicKey, Purpose, Signature, TrustedKeys};
use littoral_proto::v1;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::signing::ARTIFACT_TYPE;
use crate::testing::Fixture;

const SOON: Duration = Duration::from_secs(20);

struct Running {
    fixture: Fixture,
    handle: CompilerHandle,
    /// Ends with it.
    _task: JoinSet<Infallible>,
}

fn start(script: &str) -> Running {
    let fixture = Fixture::new();
    start_in(fixture, script)
}

fn start_in(fixture: Fixture, script: &str) -> Running {
    let (compiler, handle) = fixture.compiler(script);
    let mut task = JoinSet::new();
    task.spawn(compiler.run());
    Running { fixture, handle, _task: task }
}

/// A script that writes a line for each run, and then does `then`.
fn counted(dir: &Path, then: &str) -> String {
    format!("cat >/dev/null; echo run >> {}; {then}", dir.join("runs").display())
}

fn runs(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
}

impl Running {
    async fn push(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = self.fixture.blobs.put(bytes.into()).await.unwrap();
        let module = ModuleVersion {
            name: name.into(),
            version: "1".into(),
            digest: digest.to_string(),
            kind: v1::ModuleKind::Http.into(),
            ..ModuleVersion::default()
        };
        self.fixture.store.commit(Txn::new().create(&module)).await.unwrap();
        digest
    }

    /// Waits until there are `count` records under `prefix`.
    async fn records<R: records::Record>(&self, prefix: &str, count: usize) -> Vec<R> {
        let mut changed = self.fixture.store.watch();
        let wait = async {
            loop {
                changed.mark_unchanged();
                let found = records::scan::<R>(self.fixture.store.as_ref(), prefix).await.unwrap().records;
                if found.len() == count {
                    return found.into_iter().map(|record| record.value).collect();
                }
                changed.changed().await.unwrap();
            }
        };
        timeout(SOON, wait).await.unwrap()
    }

    async fn idle(&self) {
        let mut underway = self.handle.underway();
        timeout(SOON, underway.wait_for(|jobs| jobs.is_empty())).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_pushed_module_is_compiled_signed_and_recorded_for_each_target() {
    let running = start("cat; echo native");
    running.fixture.targets.send_replace(
        ["x86_64-v4-wide", "x86_64-v3-wide", "aarch64-v8.0-narrow"].map(|t| t.parse().unwrap()).into(),
    );
    let source = running.push("a", b"wasm").await;
    let artifacts: Vec<Artifact> = running.records(key::ARTIFACT, 2).await;
    let targets: Vec<&str> = artifacts.iter().map(|a| a.target.as_str()).collect();
    assert_eq!(targets, ["aarch64-v8.0-narrow", "x86_64-v3-wide"], "v4 runs what is compiled for v3");

    let artifact = &artifacts[1];
    let blobs = &running.fixture.blobs;
    assert_eq!(blobs.get(artifact.digest.parse().unwrap(), 100).await.unwrap(), "wasmnative\n");
    let envelope = blobs.get(artifact.statement_digest.parse().unwrap(), 10_000).await.unwrap();
    let envelope = v1::Envelope::decode(envelope).unwrap();
    let signature = |s: v1::Signature| Signature { key_id: KeyId::from_wire(&s.key_id), bytes: s.sig };
    let envelope = Envelope {
        payload_type: envelope.payload_type,
        payload: envelope.payload,
        signatures: envelope.signatures.into_iter().map(signature).collect(),
    };
    let mut trusted = TrustedKeys::new();
    let key = &running.fixture.signer.trusted_keys().compiler[0];
    trusted.trust(Purpose::Compiler, PublicKey::from_bytes(key).unwrap());
    let statement = trusted.verify(Purpose::Compiler, ARTIFACT_TYPE, &envelope).unwrap();
    let statement = ArtifactStatement::decode(statement).unwrap();
    assert_eq!(statement.source_digest, source.to_string());
    assert_eq!(statement.artifact_digest, artifact.digest);
    assert_eq!((statement.artifact_size_bytes, statement.engine), (11, artifact.engine.clone()));
    assert_eq!(statement.kind, i32::from(v1::ModuleKind::Http));
}

#[tokio::test]
async fn a_failure_is_recorded_once_and_tried_again_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&counted(dir.path(), "echo bad type >&2; exit 65"));
    let source = running.push("a", b"wasm").await;
    let failures: Vec<CompileFailure> = running.records(key::COMPILE_FAILURE, 1).await;
    assert_eq!(failures[0].message, "bad type");
    running.idle().await;
    // Another change of the store wakes the loop: it must not compile again.
    running.fixture.store.commit(Txn::new().put("unrelated", "x")).await.unwrap();
    running.push("b", b"other").await;
    let _: Vec<CompileFailure> = running.records(key::COMPILE_FAILURE, 2).await;
    running.idle().await;
    assert_eq!(runs(dir.path()), 2);

    let request = CompileRequestRecord {
        source_digest: source.to_string(),
        target: "x86_64-v1-wide".into(),
        ..CompileRequestRecord::default()
    };
    let txn = Txn::new().write(&request).delete(records::Record::key(&failures[0]));
    running.fixture.store.commit(txn).await.unwrap();
    let _: Vec<CompileFailure> = running.records(key::COMPILE_FAILURE, 2).await;
    let _: Vec<CompileRequestRecord> = running.records(key::COMPILE_REQUEST, 0).await;
    assert_eq!(runs(dir.path()), 3);
    let events = running.fixture.events.follow(10).0;
    assert_eq!(events.iter().filter(|event| event.reason == "CompileFailed").count(), 3);
}

#[tokio::test]
async fn a_new_target_in_the_fleet_is_compiled_for() {
    let running = start("cat");
    running.push("a", b"wasm").await;
    let _: Vec<Artifact> = running.records(key::ARTIFACT, 1).await;
    running.fixture.targets.send_modify(|targets| {
        targets.insert("aarch64-v8.1-wide".parse().unwrap());
    });
    let artifacts: Vec<Artifact> = running.records(key::ARTIFACT, 2).await;
    assert_eq!(artifacts[0].target, "aarch64-v8.1-wide");
}

#[tokio::test]
async fn no_more_run_at_once_than_may_and_all_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let script = format!("cat; until [ -e {} ]; do sleep 0.02; done", gate.display());
    let mut fixture = Fixture::new();
    fixture.config.compile.parallel = 1;
    let running = start_in(fixture, &script);
    let first = running.push("a", b"one").await;
    running.push("b", b"two").await;
    let mut underway = running.handle.underway();
    timeout(SOON, underway.wait_for(|jobs| jobs.len() == 2)).await.unwrap().unwrap();
    assert_eq!(running.handle.compiling(first), ["x86_64-v1-wide".parse().unwrap()]);
    std::fs::write(gate, "").unwrap();
    let _: Vec<Artifact> = running.records(key::ARTIFACT, 2).await;
    running.idle().await;
}

#[tokio::test]
async fn a_module_that_goes_while_it_is_compiled_leaves_no_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let running = start(&format!("cat; until [ -e {} ]; do sleep 0.02; done", gate.display()));
    running.push("a", b"wasm").await;
    let mut underway = running.handle.underway();
    timeout(SOON, underway.wait_for(|jobs| !jobs.is_empty())).await.unwrap().unwrap();
    running.fixture.store.commit(Txn::new().delete(key::module("a", "1"))).await.unwrap();
    std::fs::write(gate, "").unwrap();
    running.idle().await;
    let _: Vec<Artifact> = running.records(key::ARTIFACT, 0).await;
}
