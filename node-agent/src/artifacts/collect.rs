//! Making room: what no assignment needs any more is removed, oldest first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use littoral_model::digest::Digest;

use super::{BLOBS, Cache, CacheError, PARTIAL};

pub(super) struct Entry {
    pub path: PathBuf,
    /// None for a file that is not named after a digest.
    pub digest: Option<Digest>,
    pub size: u64,
    pub modified: SystemTime,
}

impl Cache {
    /// Removes blobs that are not in `keep`, oldest first, until the rest has at most `quota` bytes, and abandoned
    /// downloads of blobs that are not in `keep`. Returns how many bytes went.
    ///
    /// # Errors
    /// When the folders cannot be read. A file that cannot be removed is skipped.
    pub(crate) fn collect(&self, keep: &BTreeSet<Digest>, quota: u64) -> Result<u64, CacheError> {
        let unneeded = |entry: &Entry| entry.digest.is_some_and(|digest| !keep.contains(&digest));
        let mut removed = 0;
        for entry in entries(&self.root.join(PARTIAL))?.iter().filter(|e| unneeded(e)) {
            removed += remove(entry);
        }
        let mut blobs = entries(&self.root.join(BLOBS))?;
        blobs.sort_by_key(|entry| entry.modified);
        let mut total: u64 = blobs.iter().map(|entry| entry.size).sum();
        for entry in blobs.iter().filter(|e| unneeded(e)) {
            if total <= quota {
                break;
            }
            let Some(digest) = entry.digest else { continue };
            self.present().remove(&digest);
            let size = remove(entry);
            total -= size;
            removed += size;
        }
        Ok(removed)
    }
}

/// Returns how many bytes went.
fn remove(entry: &Entry) -> u64 {
    match fs::remove_file(&entry.path) {
        Ok(()) => entry.size,
        Err(error) => {
            tracing::warn!(path = %entry.path.display(), "could not remove a file of the artifact cache: {error}");
            0
        }
    }
}

pub(super) fn entries(folder: &Path) -> Result<Vec<Entry>, CacheError> {
    let io = |source| CacheError::Io { action: "list", path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let Ok(metadata) = entry.metadata() else { continue };
        let modified = metadata.modified().map_err(io)?;
        let digest = entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
        entries.push(Entry { path: entry.path(), digest, size: metadata.len(), modified });
    }
    Ok(entries)
}
