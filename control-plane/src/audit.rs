//! Who changed what: an entry in the same transaction as the change itself.

use std::sync::Arc;
use std::time::Duration;

use littoral_platform::clock;
use littoral_platform::error::Chain;
use littoral_platform::tasks::Tasks;
use littoral_proto::store::AuditRecord;
use littoral_proto::v1::Event;
use tokio::time::sleep;

use crate::events::{self, Events};
use crate::principal::Principal;
use crate::records::{self, RecordError, TxnRecords, key};
use crate::store::{Revision, Store, StoreError, Txn};

/// About five MiB of records, and weeks of changes by hand.
const KEPT: usize = 10_000;
/// Between two looks at how many entries there are. Between them a busy cluster adds some hundred.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// Deletions in one transaction, below what a store takes.
const PRUNE_BATCH: usize = 100;

/// Commits changes with their audit entries, and tells followers. Clones share everything.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn Store>,
    events: Events,
}

/// What was done, for people.
#[derive(Clone, Debug)]
pub struct Change {
    /// `module/resize@1.4.0`, `function/resize`, `node/shop-3`.
    pub subject: String,
    /// CamelCase and stable.
    pub reason: &'static str,
    /// With the revision before and after, where there is one.
    pub message: String,
}

impl Audit {
    pub fn new(store: Arc<dyn Store>, events: Events) -> Self {
        Self { store, events }
    }

    /// Applies `txn` together with an entry that says who did it; published after the store has accepted it.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(&self, txn: Txn, by: &Principal, change: Change) -> Result<Revision, StoreError> {
        let event = Event {
            at_ms: clock::now().as_millis(),
            subject: change.subject,
            reason: change.reason.to_owned(),
            message: change.message,
            actor: by.actor(),
            request_id: by.request_id.clone(),
            audit: true,
        };
        let record = AuditRecord { event: Some(event) };
        let revision = self.store.commit(txn.write(&record)).await?;
        if let Some(event) = record.event {
            tracing::info!(
                subject = %event.subject, actor = %event.actor, request = %event.request_id, "{}: {}",
                event.reason, event.message
            );
            self.events.emit(event);
        }
        Ok(revision)
    }

    /// Makes the newest entries of earlier runs visible as events.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn restore(&self) -> Result<(), RecordError> {
        let entries = records::scan::<AuditRecord>(self.store.as_ref(), key::AUDIT).await?.records;
        let skip = entries.len().saturating_sub(events::KEPT);
        self.events.restore(entries.into_iter().skip(skip).filter_map(|entry| entry.value.event));
        Ok(())
    }

    /// Keeps the newest entries and deletes the rest, now and then.
    pub async fn prune(self, tasks: Tasks) {
        let stop = tasks.child();
        loop {
            if let Err(error) = self.prune_to(KEPT).await {
                tracing::warn!("could not delete old audit entries: {}", Chain(&error));
            }
            if stop.run_until_cancelled(sleep(PRUNE_INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn prune_to(&self, kept: usize) -> Result<(), StoreError> {
        let entries = self.store.scan(key::AUDIT).await?.entries;
        let surplus = entries.len().saturating_sub(kept);
        let old: Vec<String> = entries.into_iter().take(surplus).map(|entry| entry.key).collect();
        for batch in old.chunks(PRUNE_BATCH) {
            let txn = batch.iter().fold(Txn::new(), |txn, key| txn.delete(key.clone()));
            self.store.commit(txn).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Caller;
    use crate::store::MemoryStore;

    fn change(subject: &str) -> Change {
        Change { subject: subject.into(), reason: "Applied", message: "revision 1 -> 2".into() }
    }

    #[tokio::test]
    async fn a_change_and_its_entry_are_there_together_or_not_at_all() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let events = Events::new();
        let audit = Audit::new(store.clone(), events.clone());
        let by = Principal::new(Caller::ControlPlane);
        audit.commit(Txn::new().absent("a").put("a", "1"), &by, change("function/a")).await.unwrap();
        let refused = audit.commit(Txn::new().absent("a").put("a", "2"), &by, change("function/a")).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })));
        let kept = records::scan::<AuditRecord>(store.as_ref(), key::AUDIT).await.unwrap().records;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].value.event.as_ref().unwrap().request_id, by.request_id);
        assert_eq!(events.follow(10).0.len(), 1);
    }

    #[tokio::test]
    async fn old_entries_go_and_the_newest_come_back_as_events_after_a_restart() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let audit = Audit::new(store.clone(), Events::new());
        for i in 0..PRUNE_BATCH + 7 {
            let by = Principal::new(Caller::ControlPlane);
            audit.commit(Txn::new(), &by, change(&format!("function/{i}"))).await.unwrap();
        }
        audit.prune_to(3).await.unwrap();
        let events = Events::new();
        Audit::new(store, events.clone()).restore().await.unwrap();
        assert_eq!(events.follow(10).0.len(), 3);
    }
}
