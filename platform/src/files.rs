//! Small files that survive a power cut, and directories that only their owner reads.
//!
//! These calls block for as long as the disk takes: from async code, call them in `spawn_blocking` when they
//! are on a hot path.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::random;

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("could not {action} {}{}", path.display(), advice(source))]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is larger than {max} bytes: it is not the file that was expected there", path.display())]
    TooLarge { path: PathBuf, max: usize },
}

impl FileError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// No space left, or a quota reached: trying again helps once somebody has freed space.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if disk_full(source))
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

fn disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if disk_full(error) => ": the disk is full, free some space",
        ErrorKind::PermissionDenied => ": check who owns it and which user the program runs as",
        ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
        _ => "",
    }
}

/// Replaces `path` with `bytes` so that after a crash either the old or the new content is there, whole.
///
/// A temporary file (mode 0600) in the same directory is written, synced and renamed, and the directory is
/// synced.
///
/// # Errors
/// Names the step and the path; on an error the old file is untouched and the temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(|e| FileError::io("replace", path, e)));
    if let Err(error) = written {
        // It may not exist; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(parent(path))
}

/// The content of `path` when it has at most `max` bytes.
///
/// # Errors
/// `TooLarge` without reading more than `max + 1` bytes; `Io` when it cannot be read.
pub fn read_capped(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(|e| FileError::io("open", path, e))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|e| FileError::io("read", path, e))?;
    if bytes.len() > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// Makes `path` a directory that only its owner can enter (0700), creating it and its parents as needed. A
/// directory that was open to others is closed to them.
///
/// # Errors
/// When it cannot be created, is not a directory, or belongs to somebody else.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(path)
        .map_err(|e| FileError::io("create the directory", path, e))?;
    let mode = fs::metadata(path).map_err(|e| FileError::io("look at", path, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR))
            .map_err(|e| FileError::io("make private", path, e))?;
    }
    Ok(())
}

/// Makes renames and new names in `dir` durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| FileError::io("sync the directory", dir, e))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)
        .map_err(|e| FileError::io("create", path, e))?;
    file.write_all(bytes).map_err(|e| FileError::io("write", path, e))?;
    file.sync_all().map_err(|e| FileError::io("sync", path, e))
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The random part keeps two writers, or a leftover of a crash, from meeting.
    path.with_file_name(format!(".{name}.{:016x}.tmp", random::number()))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replaces_whole_files_with_mode_0600_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, b"old, and readable by all").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

        write_atomic(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replace_keeps_the_old_state_and_removes_the_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("occupied");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), b"").unwrap();

        let error = write_atomic(&target, b"new").unwrap_err();

        assert!(error.to_string().contains("replace"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn reads_up_to_the_cap_and_not_a_byte_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_capped(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_capped(&path, 4), Err(FileError::TooLarge { max: 4, .. })));
        assert!(read_capped(&dir.path().join("none"), 5).unwrap_err().is_not_found());
    }

    #[test]
    fn an_open_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/keys");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        private_dir(&path).unwrap();
    }

    #[test]
    fn a_full_disk_is_recognised_and_says_so() {
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let source = full.write_all(b"x").unwrap_err();
        let error = FileError::io("write", Path::new("/data/ledger"), source);
        assert!(error.is_disk_full());
        assert_eq!(error.to_string(), "could not write /data/ledger: the disk is full, free some space");
    }
}
