//! What can go wrong with blobs.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use littoral_model::digest::Digest;
use littoral_platform::files::FileError;

use crate::store::error::is_full;

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no blob {digest}")]
    NotFound { digest: Digest },
    #[error("the blob has more than the {limit} bytes that are allowed here")]
    TooLarge { limit: u64 },
    /// Trying again helps once there is room. Nothing was stored.
    #[error("the disk of the blobs is full: nothing was stored; free space there, then try again")]
    Full,
    #[error(
        "the blob {digest} is damaged on the disk: its bytes have another digest; store it again to replace it"
    )]
    Damaged { digest: Digest },
    #[error("the blob {digest} has {size} bytes: there is nothing at {offset}")]
    BeyondEnd { digest: Digest, offset: u64, size: u64 },
    #[error("could not remove unfinished blobs from `{}`", path.display())]
    Clean { path: PathBuf, source: io::Error },
    #[error("could not {tried}")]
    Objects { tried: String, source: object_store::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

impl BlobError {
    /// For whatever is not about one blob that may be missing.
    pub(super) fn of(tried: impl Into<String>, source: object_store::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&source);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(is_full) {
                return Self::Full;
            }
            cause = error.source();
        }
        Self::Objects { tried: tried.into(), source }
    }

    pub(super) fn read(digest: Digest, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::NotFound { digest },
            other => Self::of(format!("read the blob {digest}"), other),
        }
    }
}
