//! One segment, as it is written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppendError;
use crate::store::Revision;
use crate::store::error::is_full;
use crate::store::files::sync_dir;
use crate::store::record::{self, Kind, SegmentHead};

/// Zeros are written this far ahead. A frame then lands in blocks that the file system has already mapped and
/// counted, and its fdatasync does not wait for metadata. (`fallocate` would leave the blocks unwritten, which
/// costs ext4 and XFS a metadata commit for each frame.) About every thousandth small commit pays for it.
const ZEROS_AHEAD: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    salt: u64,
    /// Where the next frame goes: everything before it is on the disk.
    end: u64,
    /// Up to where the file has zeros.
    zeroed: u64,
    faults: Faults,
}

/// The name tells the first revision that the segment may hold; padded, so that names sort as numbers do.
pub(super) fn path(dir: &Path, first: Revision) -> PathBuf {
    dir.join(format!("{:020}.log", first.0))
}

impl Segment {
    pub(super) fn create(dir: &Path, first: Revision, faults: Faults) -> io::Result<Self> {
        let path = path(dir, first);
        let salt = littoral_platform::random::number();
        let mut head = Vec::new();
        record::encode(&mut head, Kind::SegmentHead, first.0, 0, &SegmentHead { salt });
        // A file of that name holds no transaction, or this would not be the next revision.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        faults.check(Fault::Create)?;
        file.write_all_at(&head, 0)?;
        file.sync_all()?;
        sync_dir(dir)?;
        let end = head.len() as u64;
        Ok(Self { file, path, salt, end, zeroed: end, faults })
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// Returns once `frame` is on the disk.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), AppendError> {
        if let Err(error) = self.write(frame) {
            if is_full(&error) && self.take_back().is_ok() {
                return Err(AppendError::Full);
            }
            return Err(self.failed(error));
        }
        // After a failed fdatasync the kernel may call the same pages clean: asking again proves nothing.
        self.faults.check(Fault::Sync).and_then(|()| self.file.sync_data()).map_err(|e| self.failed(e))?;
        self.end += frame.len() as u64;
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        if end > self.zeroed {
            let zeroed = end.next_multiple_of(ZEROS_AHEAD);
            let zeros = vec![0; usize::try_from(zeroed - self.zeroed).map_err(io::Error::other)?];
            self.file.write_all_at(&zeros, self.zeroed)?;
            self.zeroed = zeroed;
        }
        self.file.write_all_at(frame, self.end)?;
        self.faults.check(Fault::Write)
    }

    /// Undoes a write that was cut short, durably.
    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.zeroed = self.end;
        self.file.sync_all()
    }

    fn failed(&self, error: io::Error) -> AppendError {
        AppendError::Failed { path: self.path.clone(), source: Arc::new(error) }
    }

    /// Gives back the zeros; without them the segment reads the same, so a failure does not matter.
    pub(super) fn seal(self) {
        if let Err(error) = self.file.set_len(self.end) {
            tracing::warn!(path = %self.path.display(), %error, "a full journal segment keeps its spare zeros");
        }
    }
}

/// Where a disk can fail in the middle of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Create,
    Write,
    Sync,
}

/// Lets a test fail the next operation of one sort; does nothing outside of tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    next: Arc<std::sync::Mutex<Option<(Fault, io::ErrorKind)>>>,
}

impl Faults {
    #[cfg(test)]
    pub(crate) fn fail_next(&self, fault: Fault, kind: io::ErrorKind) {
        *self.next.lock().unwrap() = Some((fault, kind));
    }

    #[cfg(test)]
    fn check(&self, fault: Fault) -> io::Result<()> {
        let mut next = self.next.lock().unwrap();
        match next.take_if(|(planned, _)| *planned == fault) {
            Some((_, kind)) => Err(kind.into()),
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    fn check(&self, _fault: Fault) -> io::Result<()> {
        Ok(())
    }
}
