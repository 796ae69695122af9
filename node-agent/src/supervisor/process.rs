//! Starting the worker's process with the two sockets that it inherits.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use command_fds::{CommandFdExt, FdMapping};
use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::net::Shutdown;
use tokio::net::UnixStream;
use tokio::process::Command;

/// Descriptors in the child, after stdin, stdout and stderr: the order of systemd's socket activation.
const CONTROL_FD: i32 = 3;
const LISTENER_FD: i32 = 4;

/// The program that runs guests, as `main` names it. The agent adds the cache's folder.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// A worker that was begun and has said nothing yet.
pub(crate) struct Launched {
    pub control: UnixStream,
    /// Completes with the reason when it ends. Dropped: it is killed.
    pub ended: BoxFuture<'static, String>,
}

/// Begins a worker. A closure, so that tests can begin one of their own kind.
pub(crate) type Launcher = Arc<dyn Fn() -> io::Result<Launched> + Send + Sync>;

/// The socket that functions answer on. Open in the agent for as long as workers may be replaced: meanwhile connections
/// wait in its queue.
#[derive(Clone, Debug)]
pub(crate) struct Ingress {
    listener: Arc<Mutex<Option<TcpListener>>>,
}

impl Ingress {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener: Arc::new(Mutex::new(Some(listener))) }
    }

    /// No more connections: the socket stops listening for all who share it, the worker too. What it has accepted goes
    /// on.
    pub(crate) fn close(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener
            && let Err(error) = rustix::net::shutdown(&listener, Shutdown::Read)
        {
            tracing::warn!("could not stop listening: {error}");
        }
    }

    fn share(&self) -> io::Result<TcpListener> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().ok_or_else(|| io::Error::other("the agent is stopping"))?.try_clone()
    }
}

/// Begins `command` as a child in a process group of its own (the terminal's Ctrl-C is for the agent, which drains
/// the worker), with the ingress socket and one end of a socket pair.
pub(crate) fn launcher(command: WorkerCommand, cache: &Path, ingress: Ingress) -> Launcher {
    let cache = cache.to_owned();
    Arc::new(move || {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(&command.program);
        child.args(&command.args).arg("--cache").arg(&cache);
        child.env("LISTEN_FDS", "2").env_remove("LISTEN_PID").env_remove("NOTIFY_SOCKET");
        child.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        child
            .fd_mappings(vec![
                FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: CONTROL_FD },
                FdMapping { parent_fd: OwnedFd::from(ingress.share()?), child_fd: LISTENER_FD },
            ])
            .map_err(io::Error::other)?;
        let mut process = child.spawn()?;
        let ended = async move {
            match process.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("its end could not be awaited: {error}"),
            }
        };
        Ok(Launched { control: UnixStream::from_std(ours)?, ended: ended.boxed() })
    })
}
