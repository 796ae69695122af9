//! What the store holds, by key and type.
//!
//! | key | record |
//! |---|---|
//! | `cluster` | [`ClusterRecord`] |
//! | `module/<name>/<version>` | [`ModuleVersion`] |
//! | `artifact/<source hex>/<engine>/<target>` | [`Artifact`] |
//! | `compile-failure/<source hex>/<engine>/<target>` | [`CompileFailure`] |
//! | `compile-request/<source hex>/<target>` | [`CompileRequestRecord`] |
//! | `module-use/<name>/<version>` | [`ModuleUseRecord`] |
//! | `function/<name>` | [`FunctionRecord`] |
//! | `node/<id>`, `node-name/<name>` | [`NodeRecord`], [`NodeNameRecord`] |
//! | `assignment/<node id>` | [`AssignmentRecord`] |
//! | `token/<id>`, `user/<name>` | [`TokenRecord`], [`UserRecord`] |
//! | `audit/<20-digit ms>-<8 hex>` | [`AuditRecord`] |

#[cfg(test)]
mod golden;
pub mod key;

use littoral_proto::store::{
    AssignmentRecord, AuditRecord, ClusterRecord, CompileRequestRecord, FunctionRecord, ModuleUseRecord,
    NodeNameRecord, NodeRecord, TokenRecord, UserRecord,
};
use littoral_proto::v1::{Artifact, CompileFailure, ModuleVersion};
use prost::Message;

use crate::store::{Entry, Revision, Store, StoreError, Txn};

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the record under `{key}` cannot be read as {kind}: it was written by a newer release or is damaged"
    )]
    Decode {
        key: String,
        kind: &'static str,
        #[source]
        source: prost::DecodeError,
    },
}

/// A message that is kept under one key of its own.
pub trait Record: Message + Default {
    /// What it is, for errors.
    const KIND: &'static str;

    /// Where it is kept.
    fn key(&self) -> String;
}

/// A record as it was read, with the revision that a write of it must compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    pub value: R,
    pub revision: Revision,
}

/// All records under a prefix, in key order, seen at one revision of the store.
#[derive(Clone, Debug)]
pub struct Scanned<R> {
    pub records: Vec<Stored<R>>,
    pub revision: Revision,
}

/// # Errors
/// When the store cannot be read, or holds something else under `key`.
pub async fn get<R: Record>(store: &dyn Store, key: &str) -> Result<Option<Stored<R>>, RecordError> {
    store.get(key).await?.map(|entry| decode(&entry)).transpose()
}

/// # Errors
/// When the store cannot be read, or one record under `prefix` is not of this kind.
pub async fn scan<R: Record>(store: &dyn Store, prefix: &str) -> Result<Scanned<R>, RecordError> {
    let scan = store.scan(prefix).await?;
    let records = scan.entries.iter().map(decode).collect::<Result<_, _>>()?;
    Ok(Scanned { records, revision: scan.revision })
}

/// # Errors
/// Names the key of what cannot be decoded.
pub fn decode<R: Record>(entry: &Entry) -> Result<Stored<R>, RecordError> {
    let value = R::decode(entry.value.clone()).map_err(|source| RecordError::Decode {
        key: entry.key.clone(),
        kind: R::KIND,
        source,
    })?;
    Ok(Stored { value, revision: entry.revision })
}

/// Writing records in a transaction.
pub trait TxnRecords: Sized {
    /// Writes `record` whatever is there.
    #[must_use]
    fn write(self, record: &impl Record) -> Self;

    /// Writes `record` only if there is none under its key.
    #[must_use]
    fn create(self, record: &impl Record) -> Self;

    /// Writes `record` only if it is still as it was read at `read_at`.
    #[must_use]
    fn replace(self, read_at: Revision, record: &impl Record) -> Self;

    /// Deletes a record only if it is still as it was read.
    #[must_use]
    fn remove<R: Record>(self, read: &Stored<R>) -> Self;
}

impl TxnRecords for Txn {
    fn write(self, record: &impl Record) -> Self {
        self.put(record.key(), record.encode_to_vec())
    }

    fn create(self, record: &impl Record) -> Self {
        self.absent(record.key()).write(record)
    }

    fn replace(self, read_at: Revision, record: &impl Record) -> Self {
        self.revision(record.key(), read_at).write(record)
    }

    fn remove<R: Record>(self, read: &Stored<R>) -> Self {
        let key = read.value.key();
        self.revision(key.clone(), read.revision).delete(key)
    }
}

impl Record for ClusterRecord {
    const KIND: &'static str = "the cluster";

    fn key(&self) -> String {
        key::CLUSTER.to_owned()
    }
}

impl Record for ModuleVersion {
    const KIND: &'static str = "a module version";

    fn key(&self) -> String {
        key::module(&self.name, &self.version)
    }
}

impl Record for Artifact {
    const KIND: &'static str = "an artifact";

    fn key(&self) -> String {
        key::artifact(&self.source_digest, &self.engine, &self.target)
    }
}

impl Record for CompileFailure {
    const KIND: &'static str = "a failed compilation";

    fn key(&self) -> String {
        key::compile_failure(&self.source_digest, &self.engine, &self.target)
    }
}

impl Record for CompileRequestRecord {
    const KIND: &'static str = "a request to compile";

    fn key(&self) -> String {
        key::compile_request(&self.source_digest, &self.target)
    }
}

impl Record for ModuleUseRecord {
    const KIND: &'static str = "the use of a module";

    fn key(&self) -> String {
        key::module_use(&self.name, &self.version)
    }
}

impl Record for FunctionRecord {
    const KIND: &'static str = "a function";

    fn key(&self) -> String {
        key::function(self.spec.as_ref().map_or("", |spec| &spec.name))
    }
}

impl Record for NodeRecord {
    const KIND: &'static str = "a node";

    fn key(&self) -> String {
        key::node(&self.id)
    }
}

impl Record for NodeNameRecord {
    const KIND: &'static str = "a node's name";

    fn key(&self) -> String {
        key::node_name(&self.name)
    }
}

impl Record for AssignmentRecord {
    const KIND: &'static str = "an assignment";

    fn key(&self) -> String {
        key::assignment(self.assignment.as_ref().map_or("", |assignment| &assignment.node_id))
    }
}

impl Record for TokenRecord {
    const KIND: &'static str = "a join token";

    fn key(&self) -> String {
        key::token(&self.id)
    }
}

impl Record for UserRecord {
    const KIND: &'static str = "a user";

    fn key(&self) -> String {
        key::user(&self.name)
    }
}

impl Record for AuditRecord {
    const KIND: &'static str = "an audit entry";

    fn key(&self) -> String {
        self.event.as_ref().map_or_else(|| key::AUDIT.to_owned(), key::audit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn user(name: &str) -> UserRecord {
        UserRecord { name: name.into(), created_at_ms: 7, ..UserRecord::default() }
    }

    #[tokio::test]
    async fn what_is_written_is_read_back_with_the_revision_that_the_next_write_compares_with() {
        let store = MemoryStore::new();
        store.commit(Txn::new().create(&user("ada")).create(&user("bob"))).await.unwrap();
        let read = get::<UserRecord>(&store, &key::user("ada")).await.unwrap().unwrap();
        assert_eq!(read.value, user("ada"));
        let changed = UserRecord { created_at_ms: 8, ..read.value.clone() };
        store.commit(Txn::new().replace(read.revision, &changed)).await.unwrap();
        let stale = store.commit(Txn::new().remove(&read)).await.unwrap_err();
        assert!(matches!(stale, StoreError::Conflict { ref key } if key == "user/ada"), "{stale}");
        let all = scan::<UserRecord>(&store, key::USER).await.unwrap();
        assert_eq!(all.records.iter().map(|r| r.value.name.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
        assert!(store.commit(Txn::new().create(&user("bob"))).await.is_err());
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_names_its_key() {
        let store = MemoryStore::new();
        store.commit(Txn::new().put("user/ada", vec![0xff, 0xff])).await.unwrap();
        let error = get::<UserRecord>(&store, "user/ada").await.unwrap_err();
        assert!(error.to_string().contains("`user/ada`") && error.to_string().contains("a user"), "{error}");
        assert!(scan::<UserRecord>(&store, "user/").await.is_err());
    }
}
