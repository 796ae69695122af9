//! Writing a blob whose digest is known when its last byte has come.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use littoral_model::digest::Digest;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use sha2::{Digest as _, Sha256};

use super::error::BlobError;
use crate::store::files::Reserve;

pub(super) const STAGING: &str = "staging";
/// Buckets take parts of 5 MiB and more; this much memory is held for each blob that is being written.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Hashed between two chances for other tasks: well under a millisecond.
const SLICE_BYTES: usize = 256 * 1024;

/// Hashes and stores what is written to it. Dropping it without [`BlobWriter::finish`] leaves nothing behind.
pub struct BlobWriter {
    objects: Arc<dyn ObjectStore>,
    reserve: Reserve,
    staging: Path,
    upload: Box<dyn MultipartUpload>,
    part: BytesMut,
    hasher: Sha256,
    size: u64,
    limit_bytes: u64,
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter").field("staging", &self.staging).field("size", &self.size).finish()
    }
}

impl BlobWriter {
    pub(super) async fn start(
        objects: Arc<dyn ObjectStore>,
        reserve: Reserve,
        limit_bytes: u64,
    ) -> Result<Self, BlobError> {
        if reserve.shortage().is_some() {
            return Err(BlobError::Full);
        }
        let staging = Path::from(STAGING).join(uuid::Uuid::new_v4().to_string());
        let upload = objects.put_multipart(&staging).await.map_err(|e| BlobError::of("start a blob", e))?;
        Ok(Self {
            objects,
            reserve,
            staging,
            upload,
            part: BytesMut::new(),
            hasher: Sha256::new(),
            size: 0,
            limit_bytes,
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] when they would go over the limit, [`BlobError::Full`]. The writer is of no use
    /// after an error: drop it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.limit_bytes {
            return Err(BlobError::TooLarge { limit: self.limit_bytes });
        }
        for slice in bytes.chunks(SLICE_BYTES) {
            self.hasher.update(slice);
            self.part.extend_from_slice(slice);
            if self.part.len() >= PART_BYTES {
                self.put_part().await?;
            } else if bytes.len() > SLICE_BYTES {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Makes the blob durable under its digest; also returns its size in bytes.
    pub async fn finish(mut self) -> Result<(Digest, u64), BlobError> {
        // An upload has at least one part.
        if !self.part.is_empty() || self.size == 0 {
            self.put_part().await?;
        }
        self.upload.complete().await.map_err(|e| BlobError::of("store a blob", e))?;
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let renamed = self.objects.rename(&self.staging, &super::path(digest)).await;
        if let Err(error) = renamed {
            // What stays there is removed at the next opening; the first error is the one to report.
            let _ = self.objects.delete(&self.staging).await;
            return Err(BlobError::of(format!("store the blob {digest}"), error));
        }
        Ok((digest, self.size))
    }

    async fn put_part(&mut self) -> Result<(), BlobError> {
        if self.reserve.shortage().is_some() {
            return Err(BlobError::Full);
        }
        let part: Bytes = self.part.split().freeze();
        self.upload.put_part(part.into()).await.map_err(|e| BlobError::of("write a blob", e))
    }
}
