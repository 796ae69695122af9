//! The data directory of the store: its lock and where things are in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use littoral_platform::clock;

use crate::store::error::{StoreError, io_error};
use crate::store::files::{create_private_dir, sync_dir};

/// Held while the store is open; the system frees the lock when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) root: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn lock(root: &Path) -> Result<Self, StoreError> {
        create_private_dir(root)?;
        let path = root.join("lock");
        let failed = || io_error("lock", &path);
        let mut lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = match std::fs::read_to_string(&path) {
                    Ok(pid) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    _ => "of unknown number".to_owned(),
                };
                return Err(StoreError::Locked { dir: root.to_path_buf(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed())?;
        let directory = Self { root: root.to_path_buf(), _lock: lock };
        create_private_dir(&directory.journal())?;
        create_private_dir(&directory.snapshots())?;
        Ok(directory)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("sled")
    }

    /// Moves the index aside, where somebody can look at it. It can be deleted at any time.
    pub(super) fn quarantine_index(&self) -> Result<PathBuf, StoreError> {
        let seconds = clock::now().as_millis() / 1000;
        // Two within a second: the later one counts up.
        let target = (seconds..)
            .map(|second| self.root.join(format!("quarantine-{second}")))
            .find(|path| !path.exists())
            .expect("one of 2^64 names is free");
        std::fs::rename(self.index(), &target).map_err(io_error("move aside", &self.index()))?;
        sync_dir(&self.root).map_err(io_error("sync the folder", &self.root))?;
        Ok(target)
    }
}
