//! The child process that runs guests.
//!
//! It holds no private key, confines itself before it touches anything from outside, verifies what it maps, and ends
//! when the agent that started it is gone.

pub mod artifact;
mod confine;
mod control;
mod ids;
mod ingress;
mod invoke;
mod loaded;
mod process;
mod request;
pub mod runtime;
mod stats;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use littoral_model::target::MemoryClass;
use littoral_platform::tasks::Tasks;
use littoral_proto::MAX_MESSAGE;
use littoral_proto::worker::worker_server::WorkerServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::Connected;

use self::artifact::Verifier;
use self::control::Control;
use self::ids::RequestIds;
use self::loaded::Loaded;
use self::process::Resident;
use self::runtime::Runtime;

/// Requests under way when the agent goes away get this long to end.
const FAREWELL: Duration = Duration::from_millis(200);
/// Revisions that are verified and mapped at once.
const PARALLEL_LOADS: usize = 1;

/// How the agent starts its worker.
#[derive(Clone, Debug, clap::Args)]
pub struct WorkerArgs {
    /// Folder with verified artifacts; only read.
    #[arg(long)]
    pub cache: PathBuf,
    /// `wide` or `narrow`; found out when it is not given.
    #[arg(long, value_parser = memory_class)]
    pub memory_class: Option<MemoryClass>,
}

/// A started worker.
pub(crate) struct Worker {
    runtime: Runtime,
    verifier: Verifier,
    cache: PathBuf,
    loaded: Loaded,
    loads: Semaphore,
    ids: RequestIds,
}

impl Worker {
    fn new(runtime: Runtime, verifier: Verifier, cache: PathBuf) -> Self {
        let loads = Semaphore::new(PARALLEL_LOADS);
        Self { runtime, verifier, cache, loaded: Loaded::default(), loads, ids: RequestIds::new() }
    }
}

/// Runs the worker until the agent's end of the control socket is closed.
///
/// Two descriptors are inherited, by systemd's convention (`LISTEN_FDS=2`, no `LISTEN_PID`): 3 is a connected unix
/// stream socket to the agent, 4 the listening TCP socket for functions. Logging has been set up before.
///
/// # Errors
/// When a descriptor is missing or of another kind, or the process has no threads to run on.
pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    // Inherited from the agent, which saves memory. Requests are a few per cent cheaper on huge pages; without them it works too.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
    let (control, listener) = inherited()?;
    let resident = Resident::open();
    // All of these look at files that the confinement closes.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pages_are_scanned = littoral_engine::has_pagemap_scan();
    let memory = args.memory_class.unwrap_or_else(littoral_engine::probe_memory_class);
    let confinement = confine::confine(&args.cache);
    tracing::info!(%confinement, %memory, pages_are_scanned, "worker started");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("worker")
        .enable_all()
        .build()
        .context("could not start the worker's threads")?;
    let served = runtime.block_on(async {
        let tasks = Tasks::new();
        let control_state = Control {
            cache: args.cache.clone(),
            memory,
            pool: None,
            confinement,
            resident,
            listener: Mutex::new(Some(tokio_listener(listener)?)),
            tasks: tasks.clone(),
            worker: OnceLock::new(),
        };
        serve(control, control_state, &tasks).await
    });
    // Only what blocks is left, and nobody waits for it.
    runtime.shutdown_background();
    served
}

fn inherited() -> anyhow::Result<(UnixStream, TcpListener)> {
    let mut descriptors = listenfd::ListenFd::from_env();
    let control = descriptors
        .take_custom::<UnixStream>(0, libc::AF_UNIX, libc::SOCK_STREAM, "unix stream socket")
        .context("descriptor 3 is not a socket to the agent")?
        .context("no socket to the agent was handed in: the agent starts this program, people do not")?;
    let listener = descriptors
        .take_tcp_listener(1)
        .context("descriptor 4 is not a TCP socket")?
        .context("no listening socket for functions was handed in")?;
    Ok((control, listener))
}

fn tokio_listener(listener: TcpListener) -> anyhow::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true).context("the listening socket cannot be used")?;
    tokio::net::TcpListener::from_std(listener).context("the listening socket cannot be used")
}

async fn serve(control: UnixStream, state: Control, tasks: &Tasks) -> anyhow::Result<()> {
    control.set_nonblocking(true).context("the socket to the agent cannot be used")?;
    let stream =
        tokio::net::UnixStream::from_std(control).context("the socket to the agent cannot be used")?;
    let agent_gone = CancellationToken::new();
    let connection = AgentSocket { stream, _gone: agent_gone.clone().drop_guard() };
    let service = WorkerServer::new(state)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let only_one = tokio_stream::once(Ok::<_, io::Error>(connection)).chain(tokio_stream::pending());
    let stopped = async {
        tokio::select! {
            () = agent_gone.cancelled() => {}
            () = tasks.cancelled() => {}
        }
    };
    let serving = Server::builder().add_service(service).serve_with_incoming_shutdown(only_one, stopped);
    tokio::select! {
        served = serving => served.context("the socket to the agent failed")?,
        // A lost ingress must not wait for the agent to close the socket.
        () = tasks.cancelled() => {}
    }
    let cause = tasks.cause().map(str::to_owned);
    if let Err(unfinished) = tasks.shutdown(FAREWELL).await {
        tracing::debug!("requests are cut off: {unfinished}");
    }
    match cause {
        Some(cause) => anyhow::bail!("the worker stopped: {cause}"),
        None => Ok(()),
    }
}

/// The one connection; when it is dropped, the agent is gone.
struct AgentSocket {
    stream: tokio::net::UnixStream,
    _gone: DropGuard,
}

impl Connected for AgentSocket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for AgentSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for AgentSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn memory_class(text: &str) -> Result<MemoryClass, String> {
    match text {
        "wide" => Ok(MemoryClass::Wide),
        "narrow" => Ok(MemoryClass::Narrow),
        _ => Err("it is `wide` or `narrow`".into()),
    }
}

#[cfg(test)]
mod tests;
