//! What the store and the blobs need of a file system: durable names, and room left on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use littoral_platform::files::{FileError, private_dir};

/// Creates `dir` and its parents, readable by their owner alone (records hold what operators configured), and
/// makes its name durable: a file in it is no more durable than that.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), FileError> {
    private_dir(dir)?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => littoral_platform::files::sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes created, renamed and removed names in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Moves a complete, fsynced file to its final name, durably.
pub(crate) fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Room that writers leave on a disk, so that it is refused early and never half-way.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    pub(crate) dir: PathBuf,
    pub(crate) bytes: u64,
}

impl Reserve {
    /// The bytes that are free when they are fewer than the reserve. A file system that cannot be asked is
    /// taken to have room: a write to it will tell.
    pub(crate) fn shortage(&self) -> Option<u64> {
        let free = self.free()?;
        (free < self.bytes).then_some(free)
    }

    /// Bytes that an ordinary process may still use.
    pub(crate) fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
