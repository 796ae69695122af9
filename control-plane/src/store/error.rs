//! What can go wrong in a store, and whether trying again helps.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use littoral_platform::files::FileError;

/// What a caller should do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The world has moved (or may have): read again, decide again, then commit again.
    LookAgain,
    /// Nothing was applied; the same call may work later.
    Later,
    /// The same call will fail again.
    Never,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{key}` is no longer as it was read: nothing was written; read it again")]
    Conflict { key: String },
    #[error("the key `{key}` {why}")]
    InvalidKey { key: String, why: &'static str },
    #[error("{size} {what} are over the limit of {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// Reads go on. `free` and `reserve` are bytes.
    #[error(
        "the disk of `{}` has {free} bytes left and writes stop below {reserve}: nothing was written; free \
         space there, then try again", dir.display()
    )]
    Full { dir: PathBuf, free: u64, reserve: u64 },
    #[error("the store is busy ({with}): nothing was written; try again later")]
    Unavailable { with: &'static str },
    #[error("the store gave no answer: whether the write was applied is not known; read it again")]
    Unknown,
    /// The journal cannot be trusted any more. Reads go on; every commit fails until a restart.
    #[error(
        "writing the journal `{}` failed, so no more writes are taken and the last ones may or may not be \
         there: check the disk and the kernel log, then restart", path.display()
    )]
    Failed { path: PathBuf, source: Arc<io::Error> },
    /// Found while opening (or reading a snapshot). `what` says what was found and what to do.
    #[error("`{}` is damaged: {what}", path.display())]
    Corrupt { path: PathBuf, what: String },
    #[error(
        "`{}` is in use by another process ({holder}): stop that one, or give this one a data directory of \
         its own", dir.display()
    )]
    Locked { dir: PathBuf, holder: String },
    #[error("the store is closed")]
    Closed,
    #[error("could not {tried} `{}`", path.display())]
    Io { tried: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

impl StoreError {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Conflict { .. } | Self::Unknown => Retry::LookAgain,
            Self::Full { .. } | Self::Unavailable { .. } => Retry::Later,
            Self::InvalidKey { .. }
            | Self::TooLarge { .. }
            | Self::Failed { .. }
            | Self::Corrupt { .. }
            | Self::Locked { .. }
            | Self::Closed
            | Self::Io { .. }
            | Self::File(_) => Retry::Never,
        }
    }
}

/// For `map_err`: what was tried, on which file.
pub(crate) fn io_error(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { tried, path, source }
}

/// No space, no quota, or over the largest file: the kinds that go away when somebody makes room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
