//! What every backend must do, run against each of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;

macro_rules! contract {
    ($($test:ident)*) => {
        mod on_memory {
            use super::*;

            $(#[tokio::test]
            async fn $test() {
                super::$test(Arc::new(MemoryStore::new())).await;
            })*
        }
        mod on_sled {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let dir = tempfile::tempdir().unwrap();
                let store = Arc::new(SledStore::open(&dir.path().join("store")).unwrap());
                super::$test(store.clone()).await;
                store.close().await;
            })*
        }
    };
}

contract! {
    reads_what_was_committed
    a_conflict_names_its_key_and_writes_nothing
    a_deleted_key_is_absent_and_can_come_back
    scans_a_prefix_in_key_order
    revisions_rise_by_one_and_only_with_writes
    the_watch_is_a_level
    caps_are_enforced_and_the_largest_fits
    odd_keys_are_refused
    a_counter_under_contention_loses_no_step
    transactions_are_seen_whole
}

async fn value(store: &Arc<dyn Store>, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap().map(|entry| entry.value)
}

async fn reads_what_was_committed(store: Arc<dyn Store>) {
    assert_eq!(store.get("a").await.unwrap(), None);
    let first = store.commit(Txn::new().put("a", "1").put("b", "2")).await.unwrap();
    let second = store.commit(Txn::new().put("b", "3")).await.unwrap();
    let entry = |key: &str, value: &'static str, revision| {
        Some(Entry { key: key.to_owned(), value: Bytes::from(value), revision })
    };
    assert_eq!(store.get("a").await.unwrap(), entry("a", "1", first));
    assert_eq!(store.get("b").await.unwrap(), entry("b", "3", second));
}

async fn a_conflict_names_its_key_and_writes_nothing(store: Arc<dyn Store>) {
    let r1 = store.commit(Txn::new().absent("a").put("a", "1")).await.unwrap();
    let r2 = store.commit(Txn::new().revision("a", r1).put("a", "2")).await.unwrap();
    let refused = [
        Txn::new().absent("a"),
        Txn::new().revision("a", r1),
        Txn::new().revision("a", r2).revision("a", r1),
        Txn::new().revision("a", r2.next()),
    ];
    for txn in refused {
        let error = store.commit(txn.put("b", "x").put("a", "x")).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict { key } if key == "a"), "{error}");
        assert_eq!(error.retry(), Retry::LookAgain);
    }
    let error = store.commit(Txn::new().revision("none", r2).put("b", "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { key } if key == "none"));
    assert_eq!(value(&store, "a").await.unwrap(), "2");
    assert_eq!(value(&store, "b").await, None);
    assert_eq!(*store.watch().borrow(), r2);
}

async fn a_deleted_key_is_absent_and_can_come_back(store: Arc<dyn Store>) {
    let first = store.commit(Txn::new().put("a", "1")).await.unwrap();
    store.commit(Txn::new().revision("a", first).delete("a").delete("never")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.scan("").await.unwrap().entries, []);
    assert!(store.commit(Txn::new().revision("a", first).put("a", "2")).await.is_err());
    let again = store.commit(Txn::new().absent("a").put("a", "3")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().revision, again);
}

async fn scans_a_prefix_in_key_order(store: Arc<dyn Store>) {
    let keys = ["nodes/b", "nodes/a", "nodes", "nodes0", "node/z", "nodes/a/b", "x", "nodes/~"];
    for key in keys {
        store.commit(Txn::new().put(key, key.to_owned())).await.unwrap();
    }
    let scan = store.scan("nodes/").await.unwrap();
    let found: Vec<_> = scan.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(found, ["nodes/a", "nodes/a/b", "nodes/b", "nodes/~"]);
    assert!(scan.entries.iter().all(|entry| entry.value == entry.key));
    assert_eq!(scan.revision, Revision(keys.len() as u64));
    assert_eq!(store.scan("").await.unwrap().entries.len(), keys.len());
    assert_eq!(store.scan("y").await.unwrap().entries, []);
}

async fn revisions_rise_by_one_and_only_with_writes(store: Arc<dyn Store>) {
    assert_eq!(store.scan("").await.unwrap().revision, Revision(0));
    for expected in 1..=5 {
        let revision = store.commit(Txn::new().put("a", "same")).await.unwrap();
        assert_eq!(revision, Revision(expected));
    }
    let checked = store.commit(Txn::new().revision("a", Revision(5))).await.unwrap();
    assert_eq!(checked, Revision(5));
    assert!(store.commit(Txn::new().absent("a")).await.is_err());
    assert_eq!(store.scan("a").await.unwrap().revision, Revision(5));
}

async fn the_watch_is_a_level(store: Arc<dyn Store>) {
    let mut watch = store.watch();
    assert_eq!(*watch.borrow_and_update(), Revision(0));
    for _ in 0..3 {
        store.commit(Txn::new().put("a", "1")).await.unwrap();
    }
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), Revision(3));
    store.commit(Txn::new().revision("a", Revision(3))).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    assert_eq!(*store.watch().borrow(), Revision(3));
}

async fn caps_are_enforced_and_the_largest_fits(store: Arc<dyn Store>) {
    let largest = || Bytes::from(vec![7; MAX_VALUE_BYTES]);
    let key = "k".repeat(MAX_KEY_BYTES);
    store.commit(Txn::new().put(&key, largest())).await.unwrap();
    assert_eq!(value(&store, &key).await.unwrap(), largest());

    let many = |n: usize| {
        (0..n).fold(Txn::new(), |txn, i| txn.put(format!("many/{i}"), "v").absent(format!("no/{i}")))
    };
    store.commit(many(MAX_TXN_OPERATIONS)).await.unwrap();
    let whole = (0..5).fold(Txn::new(), |txn, i| txn.put(format!("big/{i}"), largest()));
    store.commit(whole.clone()).await.unwrap();

    let too_large = [
        Txn::new().put("a", vec![7; MAX_VALUE_BYTES + 1]),
        many(MAX_TXN_OPERATIONS + 1),
        whole.put("big/5", largest()),
    ];
    let before = *store.watch().borrow();
    for txn in too_large {
        let error = store.commit(txn).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    assert_eq!(*store.watch().borrow(), before);
}

async fn odd_keys_are_refused(store: Arc<dyn Store>) {
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    for key in ["", "a b", "tab\t", "nul\0", "ärger", &long] {
        for txn in [Txn::new().put(key, "v"), Txn::new().delete(key), Txn::new().absent(key)] {
            let error = store.commit(txn).await.unwrap_err();
            assert!(matches!(error, StoreError::InvalidKey { .. }), "{key:?}: {error}");
        }
    }
    let twice = store.commit(Txn::new().put("a", "1").delete("a")).await;
    assert!(matches!(twice, Err(StoreError::InvalidKey { .. })));
}

async fn a_counter_under_contention_loses_no_step(store: Arc<dyn Store>) {
    const TASKS: u64 = 8;
    const STEPS: u64 = 20;
    store.commit(Txn::new().put("counter", "0")).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            while done.len() < STEPS as usize {
                let entry = store.get("counter").await.unwrap().unwrap();
                let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let txn =
                    Txn::new().revision("counter", entry.revision).put("counter", (count + 1).to_string());
                match store.commit(txn).await {
                    Ok(revision) => {
                        assert_eq!(revision.0, count + 2, "each step has its own revision");
                        assert!(*store.watch().borrow() >= revision, "the watch is behind an answer");
                        done.push(revision);
                    }
                    Err(error) => {
                        assert_eq!(error.retry(), Retry::LookAgain, "{error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
            done
        });
    }
    let mut revisions: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    revisions.sort();
    let expected: Vec<_> = (2..2 + TASKS * STEPS).map(Revision).collect();
    assert_eq!(revisions, expected);
    assert_eq!(value(&store, "counter").await.unwrap(), (TASKS * STEPS).to_string());
}

async fn transactions_are_seen_whole(store: Arc<dyn Store>) {
    let writer = store.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for round in 0..100 {
            let value = round.to_string();
            let txn =
                Txn::new().put("pair/a", value.clone()).put("pair/m", value.clone()).put("pair/z", value);
            writer.commit(txn).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    while tasks.try_join_next().is_none() {
        let scan = store.scan("pair/").await.unwrap();
        assert!(matches!(scan.entries.len(), 0 | 3));
        for entry in &scan.entries {
            assert_eq!((entry.revision, &entry.value), (scan.revision, &scan.entries[0].value));
        }
        tokio::task::yield_now().await;
    }
}
