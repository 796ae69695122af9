//! Transactions: what must hold, and what is then written.

use std::collections::HashSet;

use bytes::Bytes;

use super::error::StoreError;
use super::{MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, MAX_VALUE_BYTES, Revision};

/// Keys and lengths around each operation in a request; keeps [`MAX_TXN_BYTES`] true once encoded.
const OPERATION_OVERHEAD: usize = 32;

/// What must hold for a transaction to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no such key.
    Absent(String),
    /// The key exists and was last written at this revision.
    RevisionIs(String, Revision),
}

impl Precondition {
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::RevisionIs(key, _) => key,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put(String, Bytes),
    /// Deleting what is not there is no error.
    Delete(String),
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Self::Put(_, value) => value.len(),
            Self::Delete(_) => 0,
        }
    }
}

/// At most [`MAX_TXN_OPERATIONS`] preconditions and as many writes, [`MAX_TXN_BYTES`] in all, each key written
/// at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub preconditions: Vec<Precondition>,
    pub writes: Vec<Write>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `key` does not exist.
    #[must_use]
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.preconditions.push(Precondition::Absent(key.into()));
        self
    }

    /// Only if `key` was last written at `revision`.
    #[must_use]
    pub fn revision(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.preconditions.push(Precondition::RevisionIs(key.into(), revision));
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// What it counts against [`MAX_TXN_BYTES`].
    pub fn bytes(&self) -> usize {
        let compared: usize = self.preconditions.iter().map(|p| p.key().len() + OPERATION_OVERHEAD).sum();
        let written: usize =
            self.writes.iter().map(|w| w.key().len() + w.value_len() + OPERATION_OVERHEAD).sum();
        compared + written
    }

    /// Whether a store would take it, caps and keys; every backend asks this first.
    pub fn validate(&self) -> Result<(), StoreError> {
        within("preconditions in a transaction", self.preconditions.len(), MAX_TXN_OPERATIONS)?;
        within("writes in a transaction", self.writes.len(), MAX_TXN_OPERATIONS)?;
        for precondition in &self.preconditions {
            check_key(precondition.key())?;
        }
        let mut written = HashSet::with_capacity(self.writes.len());
        for write in &self.writes {
            check_key(write.key())?;
            within("bytes in a value", write.value_len(), MAX_VALUE_BYTES)?;
            if !written.insert(write.key()) {
                return Err(StoreError::InvalidKey {
                    key: write.key().to_owned(),
                    why: "is written twice in one transaction",
                });
            }
        }
        within("bytes in a transaction", self.bytes(), MAX_TXN_BYTES)
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Keys are printable ASCII without spaces, `/` between their parts.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    let why = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY_BYTES {
        "is longer than 512 bytes"
    } else if !key.bytes().all(|b| b.is_ascii_graphic()) {
        "has a character that is not printable ASCII"
    } else {
        return Ok(());
    };
    Err(StoreError::InvalidKey { key: key.chars().take(80).collect(), why })
}
