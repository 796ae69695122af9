//! A download under way. Its file survives a cut connection and a restart, and is resumed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use littoral_model::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::{Cache, CacheError, PARTIAL, RESERVED_DISK, hash};

/// Bytes received so far, hashed on the way. All methods block for as long as the disk takes.
#[derive(Debug)]
pub(crate) struct Partial {
    cache: Cache,
    digest: Digest,
    cap: u64,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    received: u64,
    /// What the sender declared; none until it has.
    size: Option<u64>,
}

impl Cache {
    /// Opens what is there of `digest` already, at most `cap` bytes in all. One caller at a time for each digest.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub(crate) fn partial(&self, digest: &Digest, cap: u64) -> Result<Partial, CacheError> {
        let path = self.root.join(PARTIAL).join(digest.hex());
        let io = |action, source| CacheError::Io { action, path: path.clone(), source };
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open().map_err(|e| io("open", e))?;
        let (mut hasher, mut received) = hash(&mut file).map_err(|e| io("read", e))?;
        if received > cap {
            file.set_len(0).and_then(|()| file.rewind()).map_err(|e| io("empty", e))?;
            hasher = Sha256::new();
            received = 0;
        }
        file.seek(SeekFrom::Start(received)).map_err(|e| io("seek in", e))?;
        let cache = self.clone();
        Ok(Partial { cache, digest: *digest, cap, path: path.clone(), file, hasher, received, size: None })
    }
}

impl Partial {
    /// Bytes that need not be sent again.
    pub(crate) fn offset(&self) -> u64 {
        self.received
    }

    /// The whole size, as the sender declares it before the first byte.
    ///
    /// # Errors
    /// `TooLarge`, or `DiskFull` when the rest would not fit; nothing was written then.
    pub(crate) fn declare(&mut self, size: u64) -> Result<(), CacheError> {
        if size > self.cap {
            return Err(CacheError::TooLarge { digest: self.digest, size, cap: self.cap });
        }
        let needed = size.saturating_sub(self.received);
        let free = free_disk(&self.file).map_err(|source| CacheError::Io {
            action: "look at the disk of",
            path: self.path.clone(),
            source,
        })?;
        if needed.saturating_add(RESERVED_DISK) > free {
            return Err(CacheError::DiskFull { digest: self.digest, needed, free });
        }
        self.size = Some(size);
        Ok(())
    }

    /// # Errors
    /// `TooLarge` when more comes than was declared: the file is then thrown away. `Io` when it cannot be written.
    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), CacheError> {
        let received = self.received.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        let cap = self.size.unwrap_or(self.cap);
        if received > cap {
            self.discard();
            return Err(CacheError::TooLarge { digest: self.digest, size: received, cap });
        }
        self.file.write_all(chunk).map_err(|source| CacheError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.hasher.update(chunk);
        self.received = received;
        Ok(())
    }

    /// Installs the blob when its bytes are whole and right.
    ///
    /// # Errors
    /// `Short`: what came is kept and resumed. `WrongDigest`: it is thrown away.
    pub(crate) fn finish(mut self) -> Result<(), CacheError> {
        let size = self.size.unwrap_or(self.received);
        if self.received < size {
            return Err(CacheError::Short { digest: self.digest, received: self.received, size });
        }
        let found = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if found != self.digest {
            self.discard();
            return Err(CacheError::WrongDigest { digest: self.digest, found });
        }
        self.cache.install(&self.digest, &self.file, &self.path)
    }

    fn discard(&self) {
        // A leftover would be hashed, found wrong and thrown away at the next try.
        let _ = fs::remove_file(&self.path);
    }
}

fn free_disk(file: &File) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
