//! The small records of the control plane: an ordered map with compare-and-swap transactions.
//!
//! Four methods and nothing else. Each committed transaction that writes raises the store's revision by one;
//! an entry carries the revision of the transaction that last wrote it. Bytes live in [`crate::blobs`].

pub(crate) mod error;
pub(crate) mod files;
mod journal;
pub mod memory;
mod record;
pub mod sled;
mod snapshot;
mod table;
mod txn;

#[cfg(test)]
mod contract;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub use self::error::{Retry, StoreError};
pub use self::memory::MemoryStore;
pub use self::sled::{SledOptions, SledStore};
pub use self::snapshot::SnapshotInfo;
pub use self::txn::{Precondition, Txn, Write};

/// A key is part of an address in etcd and in error texts: longer ones are a mistake of the caller.
pub const MAX_KEY_BYTES: usize = 512;
/// sled keeps values of this size in one page run without trouble; larger bytes are blobs.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// etcd's default `max-txn-ops`, which counts preconditions and writes apart, as is done here.
pub const MAX_TXN_OPERATIONS: usize = 128;
/// etcd's default `max-request-bytes`: 1.5 MiB. A transaction must fit every backend.
pub const MAX_TXN_BYTES: usize = 1536 * 1024;

/// How many transactions a store has committed; 0 is the empty store. It only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The number after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// Of the transaction that last wrote this key: what [`Txn::revision`] compares with.
    pub revision: Revision,
}

/// What [`Store::scan`] saw, all of it at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// In key order (bytewise).
    pub entries: Vec<Entry>,
    /// The store's revision at which `entries` were read.
    pub revision: Revision,
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry under `key`, or `None`. Sees every commit that was acknowledged before the call.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All entries whose key starts with `prefix` (the empty prefix: all there are), as one consistent view.
    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError>;

    /// Applies all writes if all preconditions hold, durably, or none of them. Returns the revision that the
    /// writes carry; without writes, a revision at which the preconditions held.
    ///
    /// A future that is dropped, and [`StoreError::Unknown`], leave open whether it was applied: read again.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// The newest acknowledged revision, as a level: read it, then wait for it to change. It is never lower
    /// than what [`Store::commit`] has returned.
    fn watch(&self) -> watch::Receiver<Revision>;
}
