//! The one thread that writes: it drains the queue, and what it finds there shares one fdatasync.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::directory::Directory;
use super::indexer::Indexer;
use super::snapshotter::{Asker, Snapshotter};
use super::{QUEUE, Shared, SledOptions};
use crate::store::error::{StoreError, io_error};
use crate::store::files::Reserve;
use crate::store::journal::{AppendError, Journal};
use crate::store::record::MAX_BATCH_BYTES;
use crate::store::table::{Batch, Change, Committed};
use crate::store::{Revision, SnapshotInfo, Txn};

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum Request {
    Commit { txn: Txn, reply: Answer<Revision> },
    Snapshot { reply: Answer<SnapshotInfo> },
    Close { reply: oneshot::Sender<()> },
}

pub(super) struct Writer {
    /// Holds the lock.
    directory: Directory,
    shared: Arc<Shared>,
    journal: Journal,
    index: Option<Indexer>,
    snapshotter: Snapshotter,
    reserve: Reserve,
    snapshot_after_bytes: u64,
    unsnapshotted_bytes: u64,
    failed: Option<(PathBuf, Arc<std::io::Error>)>,
}

impl Writer {
    pub(super) fn new(
        directory: Directory,
        options: &SledOptions,
        shared: Arc<Shared>,
        journal: Journal,
        index: Option<Indexer>,
    ) -> Result<Self, StoreError> {
        let snapshotter = Snapshotter::start(&directory, shared.clone())?;
        Ok(Self {
            reserve: Reserve { dir: directory.root.clone(), bytes: options.reserve_bytes },
            directory,
            shared,
            journal,
            index,
            snapshotter,
            snapshot_after_bytes: options.snapshot_after_bytes,
            unsnapshotted_bytes: 0,
            failed: None,
        })
    }

    /// What the journal already has beyond the newest snapshot.
    pub(super) fn with_unsnapshotted(mut self, bytes: u64) -> Self {
        self.unsnapshotted_bytes = bytes;
        self
    }

    /// Runs until the store is closed or dropped, on a thread of its own: fdatasync blocks.
    pub(super) fn start(self, queue: mpsc::Receiver<Request>) -> Result<(), StoreError> {
        let root = self.directory.root.clone();
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || self.run(queue))
            .map_err(io_error("start the writer thread for", &root))?;
        Ok(())
    }

    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut closing = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut commits = Vec::new();
            let mut askers = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Commit { txn, reply } => {
                        bytes += txn.bytes();
                        commits.push((txn, reply));
                    }
                    Request::Snapshot { reply } => askers.push(reply),
                    Request::Close { reply } => {
                        // No new ones come in; those that are queued are still served.
                        queue.close();
                        closing.push(reply);
                    }
                }
                let more = commits.len() < QUEUE && bytes < MAX_BATCH_BYTES;
                next = if more { queue.try_recv().ok() } else { None };
            }
            self.commit(commits);
            for asker in askers {
                self.snapshot(Some(asker));
            }
        }
        self.shut_down();
        for reply in closing {
            // Whoever closed the store may have stopped waiting.
            let _ = reply.send(());
        }
    }

    fn commit(&mut self, commits: Vec<(Txn, Answer<Revision>)>) {
        if commits.is_empty() {
            return;
        }
        if let Some(refusal) = self.refusal() {
            for (_, reply) in commits {
                answer(reply, Err(refusal()));
            }
            return;
        }
        let (batch, answers) = self.admit(commits);
        let outcome = self.journal.append(&batch);
        match outcome {
            Ok(bytes) => {
                let changes = self.publish(batch);
                for (reply, result) in answers {
                    answer(reply, result);
                }
                self.update_index(changes);
                self.unsnapshotted_bytes += bytes;
                if self.unsnapshotted_bytes >= self.snapshot_after_bytes {
                    self.snapshot(None);
                }
            }
            Err(error) => self.reject(error, answers),
        }
    }

    /// Checks preconditions in the order of arrival, each transaction on those before it.
    fn admit(&self, commits: Vec<(Txn, Answer<Revision>)>) -> (Vec<Committed>, Vec<Answered>) {
        let table = self.shared.read();
        let mut batch = Batch::after(table.revision);
        let answers = commits.into_iter().map(|(txn, reply)| (reply, batch.admit(&table, txn))).collect();
        (batch.committed, answers)
    }

    /// Shows what is on the disk now; the watch first, so that it is never behind an answer.
    fn publish(&self, batch: Vec<Committed>) -> Vec<Change> {
        if batch.is_empty() {
            return Vec::new();
        }
        let mut table = self.shared.write();
        let changes = batch.into_iter().flat_map(|committed| table.apply(committed)).collect();
        let revision = table.revision;
        drop(table);
        self.shared.revision.send_replace(revision);
        changes
    }

    fn reject(&mut self, error: AppendError, answers: Vec<Answered>) {
        if let AppendError::Failed { path, source } = error {
            tracing::error!(path = %path.display(), error = %source, "the journal failed: no more writes are taken");
            self.failed = Some((path, source));
        }
        for (reply, result) in answers {
            let result = result.and_then(|_| Err(self.failure().unwrap_or_else(|| self.full())));
            answer(reply, result);
        }
    }

    /// Why no write is taken now, if so.
    fn refusal(&self) -> Option<impl Fn() -> StoreError> {
        let refused = self.failed.is_some() || self.reserve.shortage().is_some();
        refused.then_some(|| self.failure().unwrap_or_else(|| self.full()))
    }

    fn failure(&self) -> Option<StoreError> {
        let (path, source) = self.failed.as_ref()?;
        Some(StoreError::Failed { path: path.clone(), source: source.clone() })
    }

    fn full(&self) -> StoreError {
        let Reserve { dir, bytes } = self.reserve.clone();
        StoreError::Full { dir, free: self.reserve.free().unwrap_or(0), reserve: bytes }
    }

    fn update_index(&mut self, changes: Vec<Change>) {
        let revision = self.shared.read().revision;
        let Some(index) = self.index.as_ref().filter(|_| !changes.is_empty()) else { return };
        if let Err(error) = index.apply(changes, revision) {
            tracing::error!(
                %error,
                "the index is given up: the store goes on with its journal, and the index catches up at the next \
                 start"
            );
            self.index = None;
        }
    }

    fn snapshot(&mut self, asker: Asker) {
        // Also when it fails: the next try is due when the journal has grown as much again.
        self.unsnapshotted_bytes = 0;
        if let Some(index) = &self.index {
            index.flush();
        }
        self.snapshotter.request(asker);
    }

    fn shut_down(self) {
        self.snapshotter.stop();
        if let Some(index) = self.index {
            index.stop();
        }
        // The lock last: whoever gets the directory finds nobody in it.
        drop(self.directory);
    }
}

type Answered = (Answer<Revision>, Result<Revision, StoreError>);

fn answer(reply: Answer<Revision>, result: Result<Revision, StoreError>) {
    // The caller may have stopped waiting; it then reads again.
    let _ = reply.send(result);
}
