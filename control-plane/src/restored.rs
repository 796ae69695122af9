//! After a restore from a backup: a new epoch, so that nodes which hold later generations take what the backup says.

use std::fs;
use std::path::Path;

use littoral_platform::files::FileError;
use littoral_proto::store::ClusterRecord;

use crate::audit::{Audit, Change};
use crate::principal::{Caller, Principal};
use crate::records::{self, TxnRecords as _, key};
use crate::startup::RunError;
use crate::store::{Store, Txn};

/// The operator makes this file in the data directory when what is there comes from a backup.
const MARK: &str = "restored";

/// Raises the cluster's epoch when the mark is there, and takes the mark away.
///
/// # Errors
/// When the new epoch cannot be written, or the mark not removed: the next start raises the epoch once more, which does no
/// harm.
pub(crate) async fn note(data_dir: &Path, store: &dyn Store, audit: &Audit) -> Result<(), RunError> {
    let mark = data_dir.join(MARK);
    let failed = |action, source| FileError::Io { action, path: mark.clone(), source };
    if !mark.try_exists().map_err(|e| failed("look for", e))? {
        return Ok(());
    }
    // A data directory without a cluster is new: there is nothing that nodes could hold.
    if let Some(read) = records::get::<ClusterRecord>(store, key::CLUSTER).await? {
        let epoch = read.value.epoch + 1;
        let change = Change {
            subject: format!("cluster/{}", read.value.name),
            reason: "ClusterRestored",
            message: format!("from a backup: epoch {epoch}, every node gets its assignment again"),
        };
        let record = ClusterRecord { epoch, ..read.value };
        let by = Principal::new(Caller::ControlPlane);
        audit.commit(Txn::new().replace(read.revision, &record), &by, change).await?;
    }
    Ok(fs::remove_file(&mark).map_err(|e| failed("remove", e))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    async fn epoch(fixture: &Fixture) -> u64 {
        let read = records::get::<ClusterRecord>(fixture.store.as_ref(), key::CLUSTER).await.unwrap();
        read.unwrap().value.epoch
    }

    #[tokio::test]
    async fn the_mark_raises_the_epoch_once() {
        let fixture = Fixture::new();
        let cluster = ClusterRecord { name: "littoral".to_owned(), epoch: 1, created_at_ms: 0 };
        fixture.store.commit(Txn::new().create(&cluster)).await.unwrap();
        let dir = &fixture.config.data_dir;
        let note = || note(dir, fixture.store.as_ref(), &fixture.audit);
        note().await.unwrap();
        assert_eq!(epoch(&fixture).await, 1);
        fs::write(dir.join(MARK), "").unwrap();
        note().await.unwrap();
        note().await.unwrap();
        assert_eq!(epoch(&fixture).await, 2);
        assert!(!dir.join(MARK).exists());
    }
}
