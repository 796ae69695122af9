//! The cache of blobs by digest: specs, statements and native code.
//!
//! A file is under its digest's name only after its bytes were hashed on their way to the disk, synced, and made
//! read-only. The worker hashes native code once more before it maps it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use littoral_model::digest::Digest;
use littoral_model::quantity::Bytes;
use littoral_model::time::Timestamp;
use littoral_platform::files::{self, FileError};
use sha2::{Digest as _, Sha256};

mod collect;
mod partial;

pub(crate) use partial::Partial;

/// Relative to the cache's root; the worker is told files in this form.
const BLOBS: &str = "sha256";
const PARTIAL: &str = "partial";
const QUARANTINE: &str = "quarantine";
/// Quarantined files are kept for a look, not for ever.
const MAX_QUARANTINED: usize = 4;
/// Left free for the ledger, the identity and the system.
const RESERVED_DISK: u64 = 64 << 20;
const HASH_BUFFER: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("could not {action} {} in the artifact cache", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{digest} has {size} bytes; at most {cap} are accepted")]
    TooLarge { digest: Digest, size: u64, cap: u64 },
    #[error("the bytes received for {digest} hash to {found}: they were thrown away")]
    WrongDigest { digest: Digest, found: Digest },
    #[error("{digest} ended after {received} of {size} bytes; what is there is kept and resumed")]
    Short { digest: Digest, received: u64, size: u64 },
    #[error(
        "no room for {digest}: it needs {} more and the disk has {} free, of which {} are reserved; free some space",
        Bytes(*.needed), Bytes(*.free), Bytes(RESERVED_DISK)
    )]
    DiskFull { digest: Digest, needed: u64, free: u64 },
    #[error("{0} in the cache was damaged: it is in quarantine and will be fetched again")]
    Damaged(Digest),
}

/// Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: Arc<PathBuf>,
    /// What lies under `sha256/`, so that looking does not cost a system call each.
    present: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Cache {
    /// Opens the cache in `root`, creating it, and lists what it holds.
    ///
    /// # Errors
    /// When the folders cannot be created or read. Files with other names are left alone.
    pub(crate) fn open(root: &Path) -> Result<Self, CacheError> {
        for folder in [BLOBS, PARTIAL, QUARANTINE] {
            files::private_dir(&root.join(folder))?;
        }
        files::private_dir(root)?;
        let present = digests_in(&root.join(BLOBS))?;
        Ok(Self { root: Arc::new(root.to_owned()), present: Arc::new(Mutex::new(present)) })
    }

    #[cfg(test)]
    fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a blob relative to the cache's root.
    pub(crate) fn relative(digest: &Digest) -> String {
        format!("{BLOBS}/{}", digest.hex())
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(Self::relative(digest))
    }

    #[cfg(test)]
    fn contains(&self, digest: &Digest) -> bool {
        self.present().contains(digest)
    }

    /// Those of `digests` that are in the cache.
    pub(crate) fn present_among(&self, digests: impl Iterator<Item = Digest>) -> BTreeSet<Digest> {
        let present = self.present();
        digests.filter(|digest| present.contains(digest)).collect()
    }

    /// A small blob's bytes, hashed again.
    ///
    /// # Errors
    /// `Damaged` when the bytes are not the digest's: the file is then in quarantine.
    pub(crate) fn read(&self, digest: &Digest, cap: usize, now: Timestamp) -> Result<Vec<u8>, CacheError> {
        let bytes = match files::read_capped(&self.path(digest), cap) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.look_again(digest);
                return Err(error.into());
            }
        };
        if Digest::of(&bytes) != *digest {
            self.quarantine(digest, now)?;
            return Err(CacheError::Damaged(*digest));
        }
        Ok(bytes)
    }

    /// Hashes a blob's file. `false`: it was damaged, and is now in quarantine; or it was gone.
    ///
    /// # Errors
    /// When it cannot be read or moved.
    pub(crate) fn check(&self, digest: &Digest, now: Timestamp) -> Result<bool, CacheError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(_) if !self.look_again(digest) => return Ok(false),
            Err(source) => return Err(CacheError::Io { action: "open", path, source }),
        };
        let (hasher, _) =
            hash(&mut &file).map_err(|source| CacheError::Io { action: "read", path, source })?;
        if Digest::from_bytes(hasher.finalize().into()) == *digest {
            return Ok(true);
        }
        self.quarantine(digest, now)?;
        Ok(false)
    }

    /// Moves a blob out of reach, for a look, and forgets it.
    ///
    /// # Errors
    /// When it can be neither moved nor removed: it stays listed then.
    pub(crate) fn quarantine(&self, digest: &Digest, now: Timestamp) -> Result<(), CacheError> {
        let folder = self.root.join(QUARANTINE);
        let to = folder.join(format!("{}.{}", digest.hex(), now.as_millis()));
        let from = self.path(digest);
        if let Err(source) = fs::rename(&from, &to).or_else(|_| fs::remove_file(&from))
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(CacheError::Io { action: "quarantine", path: from, source });
        }
        self.present().remove(digest);
        self.limit_quarantine(&folder);
        Ok(())
    }

    /// Asks the disk whether a blob is there, and corrects the list.
    fn look_again(&self, digest: &Digest) -> bool {
        let there = self.path(digest).exists();
        if !there {
            self.present().remove(digest);
        }
        there
    }

    fn limit_quarantine(&self, folder: &Path) {
        let Ok(mut entries) = collect::entries(folder) else { return };
        entries.sort_by_key(|entry| entry.modified);
        for entry in entries.iter().rev().skip(MAX_QUARANTINED) {
            // Only room is at stake.
            let _ = fs::remove_file(&entry.path);
        }
    }

    /// Makes a finished temporary file the blob of its digest.
    fn install(&self, digest: &Digest, file: &File, from: &Path) -> Result<(), CacheError> {
        let io = |action, source| CacheError::Io { action, path: from.to_owned(), source };
        file.set_permissions(Permissions::from_mode(0o400)).map_err(|e| io("make read-only", e))?;
        file.sync_all().map_err(|e| io("sync", e))?;
        fs::rename(from, self.path(digest)).map_err(|e| io("install", e))?;
        files::sync_dir(&self.root.join(BLOBS))?;
        self.present().insert(*digest);
        Ok(())
    }

    fn present(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes from where the reader stands to its end; returns the number of bytes too.
fn hash(reader: &mut impl Read) -> io::Result<(Sha256, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BUFFER];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher, total));
        }
        hasher.update(&buffer[..count]);
        total += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

fn digests_in(folder: &Path) -> Result<BTreeSet<Digest>, CacheError> {
    let entries = collect::entries(folder)?;
    Ok(entries.iter().filter_map(|entry| entry.digest).collect())
}

#[cfg(test)]
mod tests;
