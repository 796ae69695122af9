//! Children that end in every manner. The real compiler is in `tests/`.

use super::*;
use crate::testing::{Fixture, shell};

async fn run_script(fixture: &Fixture, script: &str, change: impl FnOnce(&mut CompileLimits)) -> Outcome {
    let mut limits = fixture.config.compile.clone();
    change(&mut limits);
    let workshop = Workshop { blobs: fixture.blobs.clone(), command: shell(script), limits };
    let source = fixture.blobs.put(vec![7; 300_000].into()).await.unwrap();
    run(&workshop, Job { source, target: "x86_64-v1-wide".parse().unwrap() }).await
}

async fn failure(script: &str, change: impl FnOnce(&mut CompileLimits)) -> String {
    match run_script(&Fixture::new(), script, change).await {
        Outcome::Failed(reason) => reason,
        other => panic!("{script}: {other:?}"),
    }
}

#[tokio::test]
async fn what_the_child_sends_becomes_a_blob() {
    let fixture = Fixture::new();
    let outcome = run_script(&fixture, "cat", |_| {}).await;
    let Outcome::Compiled { artifact, size_bytes, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((artifact, size_bytes), (Digest::of(&vec![7; 300_000]), 300_000));
    assert_eq!(fixture.blobs.size(artifact).await.unwrap(), 300_000);
}

#[tokio::test]
async fn a_child_that_fails_says_why() {
    assert_eq!(failure("cat >/dev/null; echo no such type >&2; exit 65", |_| {}).await, "no such type");
    assert!(failure("exit 0", |_| {}).await.contains("no native code"));
    assert!(failure("echo half; exit 3", |_| {}).await.contains("exit status: 3"));
    assert!(failure("kill -XCPU $$", |_| {}).await.contains("CPU time"));
    assert!(failure("kill -KILL $$", |_| {}).await.contains("no memory left"));
    let memory = "echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$";
    assert!(failure(memory, |_| {}).await.contains("more than 4GiB of memory"));
}

#[tokio::test]
async fn a_flood_on_stderr_is_cut_and_does_not_stop_the_child() {
    let reason = failure("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 65", |_| {}).await;
    assert_eq!(reason.len(), MAX_STDERR);
}

#[tokio::test]
async fn code_that_is_too_large_is_a_failure_and_leaves_nothing() {
    let reason = failure("head -c 100000 /dev/zero", |limits| limits.artifact_size.0 = 1000).await;
    assert!(reason.contains("too large"), "{reason}");
}

#[tokio::test]
async fn a_child_that_does_not_end_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
    let script = format!("exec 3> {}; echo here >&3; exec sleep 1000", fifo.display());
    let reason = failure(&script, |limits| limits.wall_time = Duration::from_millis(500)).await;
    assert!(reason.contains("longer than"), "{reason}");
    let mut said = String::new();
    // It ends when nobody holds the other end any more.
    timeout(Duration::from_secs(10), alive.read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "here\n");
}

#[tokio::test]
async fn what_is_not_the_modules_fault_is_tried_again() {
    let fixture = Fixture::new();
    let limits = fixture.config.compile.clone();
    let command = ChildCommand { program: "/nonexistent/compiler".into(), args: Vec::new() };
    let workshop = Workshop { blobs: fixture.blobs.clone(), command, limits };
    let job = Job { source: Digest::of(b""), target: "x86_64-v1-wide".parse().unwrap() };
    assert!(
        matches!(run(&workshop, job).await, Outcome::Retry(reason) if reason.contains("/nonexistent/compiler"))
    );
    let workshop = Workshop { command: shell("cat"), ..workshop };
    assert!(matches!(run(&workshop, job).await, Outcome::Retry(reason) if reason.contains("no blob")));
}
