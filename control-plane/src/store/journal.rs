//! The journal: what has been acknowledged, and the only thing that a commit waits for.
//!
//! A folder of segments, each named by the first revision that it may hold. One frame holds one batch, and the
//! next frame is only written once the one before is on the disk (fdatasync). So a frame that does not check
//! out is a write cut short by a crash if nothing whole follows it, and damage if something does.

mod read;
mod segment;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Revision;
use super::error::{StoreError, io_error, is_full};
use super::files::sync_dir;
use super::record::{self, BatchRecord, Kind};
use super::table::Committed;

pub(crate) use self::read::Found;
#[cfg(test)]
pub(crate) use self::segment::Fault;
pub(crate) use self::segment::Faults;
use self::segment::Segment;

#[derive(Debug)]
pub(crate) enum AppendError {
    /// No room. The journal is as it was before: nothing of the batch will ever be read back.
    Full,
    /// The disk refused something that cannot be taken back: what it holds is known after the next opening.
    Failed { path: PathBuf, source: Arc<std::io::Error> },
}

#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    active: Segment,
    segment_bytes: u64,
    faults: Faults,
    /// Reused from batch to batch.
    frame: Vec<u8>,
}

impl Journal {
    /// Starts a segment for what comes after `last`. `segment_bytes`: the size at which the next one is begun.
    pub(crate) fn create(
        dir: &Path,
        last: Revision,
        segment_bytes: u64,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        let active = Segment::create(dir, last.next(), faults.clone())
            .map_err(io_error("create a journal segment in", dir))?;
        Ok(Self { dir: dir.to_path_buf(), active, segment_bytes, faults, frame: Vec::new() })
    }

    /// Makes `batch` durable as a whole: one write, one fdatasync. Returns how many bytes it took.
    pub(crate) fn append(&mut self, batch: &[Committed]) -> Result<u64, AppendError> {
        let Some(first) = batch.first().map(|committed| committed.revision) else { return Ok(0) };
        if self.active.end() >= self.segment_bytes {
            self.roll(first)?;
        }
        self.frame.clear();
        record::encode(&mut self.frame, Kind::Batch, first.0, self.active.salt(), &BatchRecord::of(batch));
        self.active.append(&self.frame)?;
        Ok(self.frame.len() as u64)
    }

    fn roll(&mut self, first: Revision) -> Result<(), AppendError> {
        match Segment::create(&self.dir, first, self.faults.clone()) {
            Ok(segment) => {
                std::mem::replace(&mut self.active, segment).seal();
                Ok(())
            }
            Err(error) => {
                let path = segment::path(&self.dir, first);
                // A name left behind would look like a hole once the old segment has grown past it.
                let removed = std::fs::remove_file(&path).and_then(|()| sync_dir(&self.dir));
                match removed {
                    Ok(()) if is_full(&error) => Err(AppendError::Full),
                    _ => Err(AppendError::Failed { path, source: Arc::new(error) }),
                }
            }
        }
    }
}

/// Removes the segments that hold nothing after `revision`; the newest one always stays.
pub(crate) fn prune(dir: &Path, revision: Revision) -> Result<(), StoreError> {
    let segments = read::list(dir)?;
    for pair in segments.windows(2) {
        if pair[1].first > revision.next() {
            break;
        }
        std::fs::remove_file(&pair[0].path).map_err(io_error("remove the journal segment", &pair[0].path))?;
    }
    sync_dir(dir).map_err(io_error("sync the folder", dir))
}

#[cfg(test)]
mod tests;
