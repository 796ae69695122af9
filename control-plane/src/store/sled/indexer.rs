//! The thread that sled lives on. It can be slow, fail, panic or hang: nobody waits for it without a deadline, and
//! commits only ever hand it what the journal already has.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::index::{Index, IndexError};
use crate::store::Revision;
use crate::store::table::{Change, Table};

/// Batches on their way to sled. Their values are shared with the table, so a full queue costs little memory.
const QUEUE: usize = 64;
/// sled reads its whole log when it opens: some hundred MB from a slow disk.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);
/// A sled that is writing a lot catches up within this; one that is stuck never does.
const STALL_DEADLINE: Duration = Duration::from_secs(2);
const STALL_PAUSE: Duration = Duration::from_millis(2);
/// To write out what it holds in memory. Cut short, it catches up from the journal.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

enum Work {
    Apply(Vec<Change>, Revision),
    Flush,
}

#[derive(Debug)]
pub(super) struct Indexer {
    work: SyncSender<Work>,
    /// Closed by the thread when it is done with the files.
    done: Receiver<()>,
}

impl Indexer {
    /// Opens what is in `dir` and reads all of it.
    pub(super) fn open(dir: PathBuf) -> Result<(Self, Table), IndexError> {
        Self::start(move || Index::open(&dir))
    }

    /// A new index in `dir` with the records of `table`.
    pub(super) fn build(dir: PathBuf, table: Table) -> Result<Self, IndexError> {
        Ok(Self::start(move || Ok((Index::build(&dir, &table)?, ())))?.0)
    }

    fn start<T: Send + 'static>(
        open: impl FnOnce() -> Result<(Index, T), IndexError> + Send + 'static,
    ) -> Result<(Self, T), IndexError> {
        let (work, queue) = sync_channel(QUEUE);
        let (finished, done) = sync_channel(0);
        let (opened, result) = sync_channel(1);
        let serve = move || {
            // Moved in, so that it is dropped when the thread ends, however it ends.
            let _finished: SyncSender<()> = finished;
            match open() {
                Ok((index, found)) => {
                    if opened.send(Ok(found)).is_ok() {
                        serve(index, &queue);
                    }
                }
                // Whoever asked may have run out of patience.
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        std::thread::Builder::new()
            .name("store-index".to_owned())
            .spawn(serve)
            .map_err(IndexError::Thread)?;
        match result.recv_timeout(OPEN_DEADLINE) {
            Ok(found) => Ok((Self { work, done }, found?)),
            Err(RecvTimeoutError::Timeout) => Err(IndexError::Stuck { waited_s: OPEN_DEADLINE.as_secs() }),
            Err(RecvTimeoutError::Disconnected) => Err(IndexError::Gone),
        }
    }

    /// Hands over what is durable. An error means that the index has to be given up until the next start.
    pub(super) fn apply(&self, changes: Vec<Change>, revision: Revision) -> Result<(), IndexError> {
        let mut work = Work::Apply(changes, revision);
        let mut waited = Duration::ZERO;
        while waited < STALL_DEADLINE {
            work = match self.work.try_send(work) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(IndexError::Gone),
                Err(TrySendError::Full(work)) => work,
            };
            std::thread::sleep(STALL_PAUSE);
            waited += STALL_PAUSE;
        }
        Err(IndexError::Stuck { waited_s: STALL_DEADLINE.as_secs() })
    }

    /// Asks for what is in memory to be written out; does not wait.
    pub(super) fn flush(&self) {
        // A queue that is full now is flushed by the next snapshot; nothing depends on it.
        let _ = self.work.try_send(Work::Flush);
    }

    /// Returns when the files are closed, or when sled takes too long for that.
    pub(super) fn stop(self) {
        drop(self.work);
        if matches!(self.done.recv_timeout(STOP_DEADLINE), Err(RecvTimeoutError::Timeout)) {
            tracing::warn!("the index does not close; it catches up from the journal at the next start");
        }
    }
}

fn serve(mut index: Index, queue: &Receiver<Work>) {
    for work in queue {
        let result = match work {
            Work::Apply(changes, revision) => index.apply(&changes, revision),
            Work::Flush => index.flush(),
        };
        if let Err(error) = result {
            tracing::error!(
                %error,
                "the index cannot be written any more: the store goes on with its journal, and the index catches \
                 up at the next start"
            );
            return;
        }
    }
    if let Err(error) = index.close() {
        tracing::warn!(%error, "the index was not closed cleanly; the journal has everything");
    }
}
