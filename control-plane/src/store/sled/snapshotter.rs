//! The thread that writes snapshots, so that commits need not wait for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Shared;
use super::directory::Directory;
use crate::store::error::{StoreError, io_error};
use crate::store::{SnapshotInfo, journal, snapshot};

/// Whoever asked for the snapshot; nobody, when the journal has grown.
pub(super) type Asker = Option<oneshot::Sender<Result<SnapshotInfo, StoreError>>>;

/// One being written, a few waiting: more of them would all be of the same records.
const QUEUE: usize = 4;

#[derive(Debug)]
pub(super) struct Snapshotter {
    requests: SyncSender<Asker>,
    thread: JoinHandle<()>,
}

impl Snapshotter {
    pub(super) fn start(directory: &Directory, shared: Arc<Shared>) -> Result<Self, StoreError> {
        let (requests, queue) = sync_channel(QUEUE);
        let (snapshots, journal) = (directory.snapshots(), directory.journal());
        let thread = std::thread::Builder::new()
            .name("store-snapshots".to_owned())
            .spawn(move || serve(&queue, &shared, &snapshots, &journal))
            .map_err(io_error("start the snapshot thread for", &directory.root))?;
        Ok(Self { requests, thread })
    }

    /// Returns at once.
    pub(super) fn request(&self, asker: Asker) {
        let refused = self.requests.try_send(asker);
        if let Err(TrySendError::Full(Some(asker)) | TrySendError::Disconnected(Some(asker))) = refused {
            // Nobody waits any more: nothing to tell.
            let _ = asker.send(Err(StoreError::Unavailable { with: "other snapshots" }));
        }
    }

    /// Waits for the one being written.
    pub(super) fn stop(self) {
        drop(self.requests);
        if self.thread.join().is_err() {
            tracing::error!("the snapshot thread panicked");
        }
    }
}

fn serve(queue: &Receiver<Asker>, shared: &Shared, snapshots: &Path, journal: &Path) {
    for asker in queue {
        let result = take(shared, snapshots, journal);
        match &result {
            Ok(info) => tracing::info!(path = %info.path.display(), "took a snapshot"),
            Err(error) => tracing::error!(%error, "no snapshot was taken; the journal keeps everything"),
        }
        if let Some(asker) = asker {
            // The asker may have given up; the snapshot is there all the same.
            let _ = asker.send(result);
        }
    }
}

fn take(shared: &Shared, snapshots: &Path, journal: &Path) -> Result<SnapshotInfo, StoreError> {
    let newest = snapshot::list(snapshots)?.pop();
    // Values are shared, so this copies the keys: the writer waits for it, not for the disk.
    let table = shared.read().clone();
    if let Some(newest) = newest.filter(|newest| newest.revision == table.revision) {
        return Ok(newest);
    }
    let taken = snapshot::write(snapshots, &table)?;
    let covered = snapshot::prune(snapshots)?;
    journal::prune(journal, covered)?;
    Ok(taken)
}
