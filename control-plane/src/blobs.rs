//! Bytes by their SHA-256: modules, artifacts, spec bodies. Written once, never changed.
//!
//! Kept through [`object_store`], so that several control planes can share a bucket later; today it is a local
//! directory. Its local store fsyncs files and folders only when asked, and is asked here: what `finish` and
//! `put` return is on the disk. Blobs are written under `staging/` (their name is not known before their last
//! byte) and renamed to `sha256/ab/abcdef…`, which on a bucket is a copy and a delete.

mod error;
mod writer;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use littoral_model::digest::Digest;
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

pub use self::error::BlobError;
pub use self::writer::BlobWriter;
use crate::store::files::{Reserve, create_private_dir};

/// Twice the store's reserve: blobs stop first and leave it room for records.
const RESERVE_BYTES: u64 = 128 * 1024 * 1024;
/// A file is opened for each chunk of a stream, so chunks are not tiny; memory per stream is two of them.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=1024 * 1024;
/// One chunk on its way to the network, one on its way from the disk.
const CHUNKS_AHEAD: usize = 2;

/// Cheap to clone. At most one per directory: opening it removes what others are writing.
#[derive(Clone, Debug)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    reserve: Reserve,
}

impl Blobs {
    /// Opens or creates `dir` and removes what was never finished in it.
    ///
    /// # Errors
    /// When the directory cannot be created or cleaned.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        Self::open_with(dir, RESERVE_BYTES)
    }

    fn open_with(dir: &Path, reserve_bytes: u64) -> Result<Self, BlobError> {
        create_private_dir(dir)?;
        let staging = dir.join(writer::STAGING);
        match std::fs::remove_dir_all(&staging) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(BlobError::Clean { path: staging, source });
            }
            _ => {}
        }
        create_private_dir(&staging)?;
        let local = LocalFileSystem::new_with_prefix(dir).map_err(|e| BlobError::of("open the blobs", e))?;
        let reserve = Reserve { dir: dir.to_path_buf(), bytes: reserve_bytes };
        Ok(Self { objects: Arc::new(local.with_fsync(true)), reserve })
    }

    /// For bytes that come in pieces, at most `limit_bytes` of them.
    pub async fn writer(&self, limit_bytes: u64) -> Result<BlobWriter, BlobError> {
        BlobWriter::start(self.objects.clone(), self.reserve.clone(), limit_bytes).await
    }

    /// Stores `bytes`; when this returns they are on the disk. A damaged copy is replaced.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, BlobError> {
        let mut writer = self.writer(bytes.len() as u64).await?;
        writer.write(&bytes).await?;
        Ok(writer.finish().await?.0)
    }

    /// The whole blob, at most `limit_bytes`, verified against its digest.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] before anything is read; [`BlobError::Damaged`] when the bytes have changed.
    pub async fn get(&self, digest: Digest, limit_bytes: u64) -> Result<Bytes, BlobError> {
        let failed = |e| BlobError::read(digest, e);
        let found = self.objects.get_opts(&path(digest), GetOptions::default()).await.map_err(failed)?;
        if found.meta.size > limit_bytes {
            return Err(BlobError::TooLarge { limit: limit_bytes });
        }
        let bytes = found.bytes().await.map_err(failed)?;
        // Hashing some MB takes longer than an executor thread should be held.
        let hashed = bytes.clone();
        let actual = tokio::task::spawn_blocking(move || Digest::of(&hashed)).await;
        match actual {
            Ok(actual) if actual == digest => Ok(bytes),
            _ => Err(BlobError::Damaged { digest }),
        }
    }

    /// `len` bytes from `offset`; fewer where the blob ends. Not verified: whoever puts the parts together does.
    pub async fn read_range(&self, digest: Digest, offset: u64, len: u64) -> Result<Bytes, BlobError> {
        let size = self.size(digest).await?;
        if offset > size {
            return Err(BlobError::BeyondEnd { digest, offset, size });
        }
        let end = offset.saturating_add(len).min(size);
        if offset == end {
            return Ok(Bytes::new());
        }
        self.objects.get_range(&path(digest), offset..end).await.map_err(|e| BlobError::read(digest, e))
    }

    /// From `offset` to the end in pieces of `chunk` bytes (kept within 4 KiB and 1 MiB), the next one being
    /// read while the last is sent. Not verified.
    pub async fn stream(
        &self,
        digest: Digest,
        offset: u64,
        chunk: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let size = self.size(digest).await?;
        if offset > size {
            return Err(BlobError::BeyondEnd { digest, offset, size });
        }
        let chunk = chunk.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
        let objects = self.objects.clone();
        let starts = std::iter::successors(Some(offset), move |at| at.checked_add(chunk));
        let chunks = starts.take_while(move |at| *at < size).map(move |at| {
            let objects = objects.clone();
            async move {
                let range = at..at.saturating_add(chunk).min(size);
                objects.get_range(&path(digest), range).await.map_err(|e| BlobError::read(digest, e))
            }
        });
        Ok(futures::stream::iter(chunks).buffered(CHUNKS_AHEAD))
    }

    /// In bytes.
    pub async fn size(&self, digest: Digest) -> Result<u64, BlobError> {
        let meta = self.objects.head(&path(digest)).await.map_err(|e| BlobError::read(digest, e))?;
        Ok(meta.size)
    }

    pub async fn exists(&self, digest: Digest) -> Result<bool, BlobError> {
        match self.size(digest).await {
            Ok(_) => Ok(true),
            Err(BlobError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deleting what is not there is no error.
    pub async fn delete(&self, digest: Digest) -> Result<(), BlobError> {
        match self.objects.delete(&path(digest)).await.map_err(|e| BlobError::read(digest, e)) {
            Err(BlobError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn path(digest: Digest) -> object_store::path::Path {
    let hex = digest.hex();
    // 256 folders: no single one grows beyond what a person can list.
    object_store::path::Path::from(format!("sha256/{}/{hex}", &hex[..2]))
}

#[cfg(test)]
mod tests;
