//! The unix socket in the data directory: whoever may enter the directory gets the agent's status as JSON.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use littoral_platform::tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::data_dir::DataDir;

const MAX_CONNECTIONS: usize = 8;
/// A reader on the same machine takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Four thousand workloads of 1 KiB of message each.
const MAX_STATUS: u64 = 8 << 20;
/// A socket's path has at most 107 bytes.
const MAX_SOCKET_PATH: usize = 107;

/// What `littoral-agent status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub node_id: String,
    pub node_name: String,
    pub cluster: String,
    pub server: String,
    /// `connected`, `disconnected` or `revoked`.
    pub session: String,
    /// RFC 3339.
    pub session_since: String,
    /// Why it is not connected.
    pub session_message: String,
    pub cluster_epoch: u64,
    pub generation: u64,
    pub settled: bool,
    pub worker: String,
    pub certificate_expires: String,
    pub workloads: Vec<WorkloadLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkloadLine {
    pub function: String,
    pub revision: u64,
    pub state: String,
    pub failures: u32,
    pub since: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error("no agent runs in {}: start it with `littoral-agent run`", .0.display())]
    NotRunning(PathBuf),
    #[error("could not ask the agent in {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the agent in {} did not answer within {} s", .0.display(), DEADLINE.as_secs())]
    Silent(PathBuf),
    #[error("the agent in {} answered something else than its status: is it of another version?", path.display())]
    Answer {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// A path for the socket that is short enough, and what it needs to stay valid.
struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    fn of(data: &DataDir) -> io::Result<Self> {
        let path = data.socket();
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path, _directory: None });
        }
        // The same file by a shorter name, whatever the directory is called.
        let directory = File::open(data.root())?;
        let name = path.file_name().unwrap_or_default();
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// Binds the socket, in the place of one that an earlier agent left. The caller holds the directory's lock.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn bind(data: &DataDir) -> io::Result<UnixListener> {
    let socket = SocketPath::of(data)?;
    match fs::remove_file(&socket.path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(&socket.path),
    }
}

/// Answers each connection with the status and closes it.
pub(crate) async fn serve(
    listener: UnixListener,
    status: impl Fn() -> Status + Send + Sync + 'static,
    tasks: Tasks,
) {
    let (places, status) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(status));
    let accepting = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let status = Arc::clone(&status);
            tasks.spawn("status answer", async move {
                let _place = place;
                let text = serde_json::to_vec(&status()).unwrap_or_default();
                // Whoever went away needs no answer.
                let _ = timeout(DEADLINE, write(stream, &text)).await;
            });
        }
    };
    tasks.child().run_until_cancelled(accepting).await;
}

async fn write(mut stream: UnixStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await
}

/// Asks the agent that runs in this directory.
///
/// # Errors
/// `NotRunning` when nobody listens there.
pub(crate) async fn ask(data: &DataDir) -> Result<Status, StatusError> {
    let root = || data.root().to_owned();
    let reading = async {
        let socket = SocketPath::of(data)?;
        let stream = UnixStream::connect(&socket.path).await?;
        let mut text = Vec::new();
        stream.take(MAX_STATUS).read_to_end(&mut text).await?;
        Ok::<_, io::Error>(text)
    };
    let text = match timeout(DEADLINE, reading).await {
        Err(_) => return Err(StatusError::Silent(root())),
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Err(StatusError::NotRunning(root()));
        }
        Ok(Err(source)) => return Err(StatusError::Io { path: root(), source }),
        Ok(Ok(text)) => text,
    };
    serde_json::from_slice(&text).map_err(|source| StatusError::Answer { path: root(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            node_id: "n1".into(),
            node_name: "edge-1".into(),
            cluster: "c".into(),
            server: "https://localhost:7443".into(),
            session: "connected".into(),
            session_since: String::new(),
            session_message: String::new(),
            cluster_epoch: 1,
            generation: 7,
            settled: true,
            worker: "up".into(),
            certificate_expires: String::new(),
            workloads: vec![],
        }
    }

    async fn answers_in(root: PathBuf) {
        let data = DataDir::at(root);
        data.create().unwrap();
        assert!(matches!(ask(&data).await, Err(StatusError::NotRunning(_))));
        let tasks = Tasks::new();
        for _ in 0..2 {
            // The second one finds the socket that the first one left.
            let tasks = tasks.group();
            tasks.spawn("status", serve(bind(&data).unwrap(), status, tasks.clone()));
            assert_eq!(ask(&data).await.unwrap(), status());
            tasks.shutdown(DEADLINE).await.unwrap();
        }
        assert!(matches!(ask(&data).await, Err(StatusError::NotRunning(_))));
    }

    #[tokio::test]
    async fn the_status_is_answered_also_in_a_directory_with_a_long_name() {
        let dir = tempfile::tempdir().unwrap();
        answers_in(dir.path().join("short")).await;
        answers_in(dir.path().join("long".repeat(40))).await;
    }
}
