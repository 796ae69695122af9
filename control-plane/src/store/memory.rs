//! The store of tests and of the simulation: nothing survives the process, nothing leaves the thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::table::{Batch, Table};
use super::{Entry, Revision, Scan, Store, StoreError, Txn};

#[derive(Debug)]
pub struct MemoryStore {
    table: Mutex<Table>,
    revision: watch::Sender<Revision>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self { table: Mutex::default(), revision: watch::Sender::new(Revision::default()) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A table is changed in one step that cannot panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.table().get(key))
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        Ok(self.table().scan(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        txn.validate()?;
        let mut table = self.table();
        let mut batch = Batch::after(table.revision);
        let revision = batch.admit(&table, txn)?;
        for committed in batch.committed {
            table.apply(committed);
        }
        self.revision.send_if_modified(|shown| std::mem::replace(shown, table.revision) != table.revision);
        Ok(revision)
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }
}
