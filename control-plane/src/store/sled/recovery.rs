//! Opening: from what a crash, a bad disk or a careful operator left, to one table at one revision.

use crate::store::Revision;
use crate::store::error::StoreError;
use crate::store::journal::{Faults, Found, Journal};
use crate::store::snapshot::{self, SnapshotInfo};
use crate::store::table::Table;

use super::SledOptions;
use super::directory::Directory;
use super::index::IndexError;
use super::indexer::Indexer;

pub(super) struct Recovered {
    pub(super) table: Table,
    pub(super) journal: Journal,
    /// `None`: sled does not work here; the journal and the snapshots carry on without it.
    pub(super) index: Option<Indexer>,
    pub(super) unsnapshotted_bytes: u64,
}

pub(super) fn recover(
    directory: &Directory,
    options: &SledOptions,
    faults: Faults,
) -> Result<Recovered, StoreError> {
    snapshot::remove_unfinished(&directory.snapshots())?;
    let found = Found::look(&directory.journal())?;
    let snapshots = snapshot::list(&directory.snapshots())?;
    let evidence = Evidence { found, snapshots };

    let indexed = open_index(directory, &evidence)?;
    let was_indexed = indexed.is_some();
    let (mut index, mut table) = match indexed {
        Some((index, table)) => (Some(index), table),
        None => (None, evidence.rebuild(directory)?),
    };
    evidence.found.replay(table.revision, |committed| {
        let revision = committed.revision;
        let changes = table.apply(committed);
        let applied = index.as_ref().map(|index| index.apply(changes, revision));
        if let Some(Err(error)) = applied {
            give_up(&error);
            index = None;
        }
    })?;

    let unsnapshotted_bytes = evidence.found.bytes_after(evidence.newest());
    if table.revision > evidence.found.last() {
        start_journal_over(directory, &table, evidence.found)?;
    }
    let journal = Journal::create(&directory.journal(), table.revision, options.segment_bytes, faults)?;
    // After the journal: an index that a crash leaves half-built has something to be rebuilt from.
    if !was_indexed {
        index = Indexer::build(directory.index(), table.clone()).inspect_err(give_up).ok();
    }
    Ok(Recovered { table, journal, index, unsnapshotted_bytes })
}

/// The journal ends before the state that was recovered without it: a snapshot takes its place first, so that
/// what is appended from now on joins on to something that is on the disk.
fn start_journal_over(directory: &Directory, table: &Table, found: Found) -> Result<(), StoreError> {
    tracing::warn!(
        revision = %table.revision, journal = %found.last(),
        "the journal ends before the last known revision: going on from a new snapshot"
    );
    snapshot::write(&directory.snapshots(), table)?;
    found.remove()
}

fn give_up(error: &IndexError) {
    tracing::error!(%error, "the index cannot be written; the store goes on with its journal alone");
}

/// What is on the disk beside the index.
struct Evidence {
    found: Found,
    snapshots: Vec<SnapshotInfo>,
}

impl Evidence {
    fn newest(&self) -> Revision {
        self.snapshots.last().map(|snapshot| snapshot.revision).unwrap_or_default()
    }

    /// Whether a state at `revision` and the journal lead to all that is known to have been acknowledged.
    fn completes(&self, revision: Revision) -> bool {
        self.found.covers(revision) && revision.max(self.found.last()) >= self.newest()
    }

    /// The state to replay the journal on, when there is no index.
    fn rebuild(&self, directory: &Directory) -> Result<Table, StoreError> {
        for snapshot in self.snapshots.iter().rev().filter(|s| self.completes(s.revision)) {
            match snapshot::read(&snapshot.path) {
                Ok(table) => {
                    tracing::info!(revision = %table.revision, "reading the last snapshot and the journal");
                    return Ok(table);
                }
                Err(error) => tracing::error!(%error, "passing over a snapshot that cannot be read"),
            }
        }
        if self.completes(Revision::default()) {
            return Ok(Table::default());
        }
        Err(StoreError::Corrupt {
            path: directory.root.clone(),
            what: "neither the index nor a snapshot can be read, and the journal does not reach back to the \
                   beginning. Keep a copy of the directory, check the disk, then restore a backup"
                .to_owned(),
        })
    }
}

/// The index and what it holds, if it can be used. What cannot is moved aside.
fn open_index(directory: &Directory, evidence: &Evidence) -> Result<Option<(Indexer, Table)>, StoreError> {
    let path = directory.index();
    if !path.exists() {
        return Ok(None);
    }
    let reason = match Indexer::open(path) {
        Ok((index, table)) if evidence.completes(table.revision) => return Ok(Some((index, table))),
        Ok((index, table)) => {
            index.stop();
            format!(
                "it ends at revision {}, before what the journal and the snapshots go on from",
                table.revision
            )
        }
        Err(error) => error.to_string(),
    };
    let moved = directory.quarantine_index()?;
    tracing::error!(
        reason, quarantine = %moved.display(),
        "the index is unusable: it was moved aside and is rebuilt from the last snapshot and the journal; \
         nothing is lost, but check the disk"
    );
    if evidence.found.is_empty() && evidence.snapshots.is_empty() {
        return Err(StoreError::Corrupt {
            path: moved,
            what: "it was the only thing in the data directory. Restore a backup".to_owned(),
        });
    }
    Ok(None)
}
