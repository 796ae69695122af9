//! The ordered map that both backends read from, and the check of a batch of transactions against it.
//!
//! All records are held in memory: they are small (bytes are blobs) and the planner looks at all of them
//! anyway. That makes a scan consistent by holding one lock, and keeps a reader from seeing what the disk has
//! not taken yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;

use super::error::StoreError;
use super::{Entry, Precondition, Revision, Scan, Txn, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) value: Bytes,
    pub(crate) revision: Revision,
}

/// A transaction whose preconditions held, under the revision that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    pub(crate) writes: Vec<Write>,
}

/// What one write did to one key.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) old: Option<Revision>,
    pub(crate) new: Option<Stored>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<String, Stored>,
    pub(crate) revision: Revision,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).map(|stored| entry(key, stored))
    }

    pub(crate) fn scan(&self, prefix: &str) -> Scan {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self
            .entries
            .range::<str, _>(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| entry(key, stored))
            .collect();
        Scan { entries, revision: self.revision }
    }

    pub(crate) fn apply(&mut self, committed: Committed) -> Vec<Change> {
        self.revision = committed.revision;
        let revision = committed.revision;
        committed
            .writes
            .into_iter()
            .map(|write| match write {
                Write::Put(key, value) => {
                    // A copy: what came in may be a slice that keeps a whole request or segment in memory.
                    let new = Stored { value: Bytes::copy_from_slice(&value), revision };
                    let old = self.entries.insert(key.clone(), new.clone());
                    Change { key, old: old.map(|o| o.revision), new: Some(new) }
                }
                Write::Delete(key) => {
                    let old = self.entries.remove(&key);
                    Change { key, old: old.map(|o| o.revision), new: None }
                }
            })
            .collect()
    }
}

fn entry(key: &str, stored: &Stored) -> Entry {
    Entry { key: key.to_owned(), value: stored.value.clone(), revision: stored.revision }
}

/// Transactions admitted in order and not yet applied: each sees those before it, readers see none of them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) committed: Vec<Committed>,
    /// Keys written in this batch; `None` for deleted.
    changed: HashMap<String, Option<Revision>>,
    revision: Revision,
}

impl Batch {
    pub(crate) fn after(revision: Revision) -> Self {
        Self { committed: Vec::new(), changed: HashMap::new(), revision }
    }

    /// Takes `txn` if its preconditions hold on `table` with this batch applied.
    pub(crate) fn admit(&mut self, table: &Table, txn: Txn) -> Result<Revision, StoreError> {
        for precondition in &txn.preconditions {
            let found = self.revision_of(table, precondition.key());
            let holds = match precondition {
                Precondition::Absent(_) => found.is_none(),
                Precondition::RevisionIs(_, expected) => found == Some(*expected),
            };
            if !holds {
                return Err(StoreError::Conflict { key: precondition.key().to_owned() });
            }
        }
        if txn.writes.is_empty() {
            return Ok(self.revision);
        }
        self.revision = self.revision.next();
        for write in &txn.writes {
            let revision = matches!(write, Write::Put(..)).then_some(self.revision);
            self.changed.insert(write.key().to_owned(), revision);
        }
        self.committed.push(Committed { revision: self.revision, writes: txn.writes });
        Ok(self.revision)
    }

    fn revision_of(&self, table: &Table, key: &str) -> Option<Revision> {
        match self.changed.get(key) {
            Some(changed) => *changed,
            None => table.entries.get(key).map(|stored| stored.revision),
        }
    }
}
