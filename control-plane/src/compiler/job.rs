//! One compilation: a child process, from blob to blob.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use littoral_model::digest::Digest;
use littoral_platform::error::Chain;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, timeout};

use super::Job;
use super::child::EXIT_REJECTED;
use crate::blobs::{BlobError, Blobs};
use crate::config::CompileLimits;
use crate::shared::ChildCommand;

/// What is kept of a child's stderr: enough for a chain of causes, and bounded for a record.
const MAX_STDERR: usize = 4096;
/// Between the blob and the pipe.
const CHUNK: u64 = 256 * 1024;
/// A compiler with more threads than this waits for memory and not for a core.
const MAX_THREADS: usize = 8;

/// How a compilation ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Compiled {
        artifact: Digest,
        size_bytes: u64,
        took: Duration,
    },
    /// It will fail in the same way again.
    Failed(String),
    /// It was not the module's fault.
    Retry(String),
}

/// What a job needs of the control plane.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    pub(super) blobs: Blobs,
    pub(super) command: ChildCommand,
    pub(super) limits: CompileLimits,
}

/// Compiles `job`. Dropping the future kills the child.
pub(super) async fn run(workshop: &Workshop, job: Job) -> Outcome {
    let started = Instant::now();
    let wall_time = workshop.limits.wall_time;
    match timeout(wall_time, attempt(workshop, job)).await {
        Ok(Ok((artifact, size_bytes))) => Outcome::Compiled { artifact, size_bytes, took: started.elapsed() },
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Failed(format!("it took longer than {} s and was stopped", wall_time.as_secs())),
    }
}

async fn attempt(workshop: &Workshop, job: Job) -> Result<(Digest, u64), Outcome> {
    let mut child = spawn(workshop, job).map_err(|error| {
        Outcome::Retry(format!("could not start `{}`: {error}", workshop.command.program.display()))
    })?;
    let taken = "its pipes were asked for";
    let stdin = child.stdin.take().expect(taken);
    let stdout = child.stdout.take().expect(taken);
    let stderr = child.stderr.take().expect(taken);
    let limit = workshop.limits.artifact_size.0;
    // A child that ends early breaks the pipe: why, is told by its status.
    let (fed, code, said) = tokio::join!(
        feed(&workshop.blobs, job.source, stdin),
        collect(&workshop.blobs, stdout, limit),
        say(stderr)
    );
    if let Err(error @ BlobError::TooLarge { .. }) = &code {
        return Err(Outcome::Failed(format!("its native code is too large: {error}")));
    }
    let status = child.wait().await.map_err(|error| Outcome::Retry(error.to_string()))?;
    fed.map_err(|error| Outcome::Retry(Chain(&error).to_string()))?;
    if !status.success() {
        return Err(Outcome::Failed(explain(status, said.trim(), &workshop.limits)));
    }
    let writer = code.map_err(|error| Outcome::Retry(Chain(&error).to_string()))?;
    let (digest, size) = writer.finish().await.map_err(|error| Outcome::Retry(Chain(&error).to_string()))?;
    if size == 0 {
        return Err(Outcome::Failed("the compiler's process ended well and sent no native code".to_owned()));
    }
    Ok((digest, size))
}

fn spawn(workshop: &Workshop, job: Job) -> std::io::Result<Child> {
    let limits = &workshop.limits;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Command::new(&workshop.command.program)
        .args(&workshop.command.args)
        .args(["--target", &job.target.to_string()])
        .args(["--memory", &limits.memory.0.to_string()])
        .args(["--cpu-seconds", &limits.cpu_time.as_secs().max(1).to_string()])
        // Nothing of the control plane's environment is the compiler's business.
        .env_clear()
        .env("RAYON_NUM_THREADS", cores.min(MAX_THREADS).to_string())
        // Each arena of glibc takes 64 MiB of the address space that is limited.
        .env("MALLOC_ARENA_MAX", "4")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // An interrupt at the terminal is for the control plane, which then ends its children.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn feed(blobs: &Blobs, source: Digest, mut stdin: ChildStdin) -> Result<(), BlobError> {
    let chunks = blobs.stream(source, 0, CHUNK).await?;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        if stdin.write_all(&chunk?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Everything that the child sends, in a blob that is not finished yet.
async fn collect(
    blobs: &Blobs,
    mut from: impl AsyncRead + Unpin,
    limit: u64,
) -> Result<crate::blobs::BlobWriter, BlobError> {
    let mut writer = blobs.writer(limit).await?;
    let mut buffer = BytesMut::with_capacity(usize::try_from(CHUNK).unwrap_or(64 * 1024));
    // A pipe that breaks is one that ends: the child's status says whether it was complete.
    while from.read_buf(&mut buffer).await.unwrap_or(0) > 0 {
        writer.write(&buffer).await?;
        buffer.clear();
    }
    Ok(writer)
}

/// The beginning of what the child says; the rest is read and dropped, so that it never waits.
async fn say(mut from: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = MAX_STDERR - said.len();
        said.extend_from_slice(&buffer[..length.min(room)]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn explain(status: ExitStatus, said: &str, limits: &CompileLimits) -> String {
    let signal = status.signal().and_then(Signal::from_named_raw);
    let out_of_memory = said.contains("memory allocation of") || said.contains("Cannot allocate memory");
    match (status.code(), signal) {
        (Some(code), _) if code == i32::from(EXIT_REJECTED) && !out_of_memory => said.to_owned(),
        _ if out_of_memory => format!("it needs more than {} of memory to compile", limits.memory),
        (_, Some(Signal::XCPU)) => {
            format!("it took more than {} s of CPU time to compile", limits.cpu_time.as_secs())
        }
        (_, Some(Signal::KILL)) => format!(
            "the compiler's process was killed: it used up its {} s of CPU time, or the machine has no memory left",
            limits.cpu_time.as_secs()
        ),
        _ if said.is_empty() => format!("the compiler's process ended with {status}"),
        _ => format!("the compiler's process ended with {status}: {said}"),
    }
}

#[cfg(test)]
mod tests;
