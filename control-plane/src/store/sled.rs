//! The embedded store: a journal that is trusted, sled as an index behind it, snapshots for both.
//!
//! ```text
//! commit ─▶ bounded queue ─▶ writer thread: check preconditions ─▶ journal: one write, one fdatasync
//!                                           ─▶ table (readers, watch) ─▶ answers ─▶ index thread: sled
//! ```
//! Reads come from the table in memory, which only ever holds what the journal has. sled is there so that
//! opening need not read the whole history: it does not open after some crashes, and then it is moved aside and
//! rebuilt. Nothing is lost by losing it.

mod directory;
mod index;
mod indexer;
mod recovery;
mod snapshotter;
mod writer;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::directory::Directory;
use self::writer::{Request, Writer};
use super::journal::Faults;
use super::table::Table;
use super::{Entry, Revision, Scan, SnapshotInfo, Store, StoreError, Txn};

/// Commits that wait for the writer. Each may have 1.5 MiB, so this bounds memory; a batch takes all of them.
const QUEUE: usize = 128;
/// The queue empties once per fdatasync: when it does not move for this long, the disk has stopped.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);
/// A disk that is busy or being reset answers within this; after it, nobody knows.
const COMMIT_DEADLINE: Duration = Duration::from_secs(30);
/// Writing out and syncing some hundred MB on a slow disk.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct SledOptions {
    /// Writes are refused when fewer bytes than this are free.
    pub reserve_bytes: u64,
    /// A journal segment is followed by a new one at this size.
    pub segment_bytes: u64,
    /// A snapshot is taken when the journal has grown by this much.
    pub snapshot_after_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            // Room for a snapshot of a usual fleet and for what other programs log while somebody comes.
            reserve_bytes: 64 * 1024 * 1024,
            // Read whole at opening.
            segment_bytes: 16 * 1024 * 1024,
            // Replayed in about a second.
            snapshot_after_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What the writer publishes and readers read.
#[derive(Debug)]
struct Shared {
    table: RwLock<Table>,
    revision: watch::Sender<Revision>,
}

impl Shared {
    // A table is changed in steps that cannot panic half-way, so a poisoned lock holds a whole one.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process per data directory. Call [`SledStore::close`] before the directory is opened again; dropping
/// the store ends it as well, a moment later.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

impl SledStore {
    /// Opens or creates the store in `dir`. Blocks while it reads the disk: at start, or in `spawn_blocking`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; [`StoreError::Corrupt`] when acknowledged writes
    /// cannot be read back, with what to do.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, SledOptions::default())
    }

    /// As [`SledStore::open`], with other sizes.
    pub fn open_with(dir: &Path, options: SledOptions) -> Result<Self, StoreError> {
        Self::open_on(dir, &options, Faults::default())
    }

    fn open_on(dir: &Path, options: &SledOptions, faults: Faults) -> Result<Self, StoreError> {
        let directory = Directory::lock(dir)?;
        let recovered = recovery::recover(&directory, options, faults)?;
        let revision = recovered.table.revision;
        tracing::info!(dir = %dir.display(), %revision, records = recovered.table.entries.len(), "opened the store");
        let shared =
            Arc::new(Shared { table: RwLock::new(recovered.table), revision: watch::Sender::new(revision) });
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(directory, options, shared.clone(), recovered.journal, recovered.index)?
            .with_unsnapshotted(recovered.unsnapshotted_bytes);
        writer.start(queue)?;
        Ok(Self { shared, requests })
    }

    /// Writes all records to a new snapshot and drops the journal that is no longer needed. To be called about
    /// hourly; the store also does it by itself when the journal has grown.
    pub async fn snapshot(&self) -> Result<SnapshotInfo, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Snapshot { reply }).await?;
        within(SNAPSHOT_DEADLINE, answer).await
    }

    /// Finishes what is queued, writes the index out and frees the directory. Later commits are refused with
    /// [`StoreError::Closed`]; reads still answer.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.request(Request::Close { reply }).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = timeout(COMMIT_DEADLINE, answer).await;
        }
    }

    async fn request(&self, request: Request) -> Result<(), StoreError> {
        match timeout(QUEUE_DEADLINE, self.requests.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Unavailable { with: "the disk has taken no write for 5 s" }),
        }
    }
}

async fn within<T>(
    deadline: Duration,
    answer: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(deadline, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(StoreError::Unknown),
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.shared.read().get(key))
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        Ok(self.shared.read().scan(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        txn.validate()?;
        let (reply, answer) = oneshot::channel();
        self.request(Request::Commit { txn, reply }).await?;
        within(COMMIT_DEADLINE, answer).await
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.shared.revision.subscribe()
    }
}

#[cfg(test)]
mod tests;
