mod damage;
mod properties;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::store::Retry;
use crate::store::journal::Fault;

fn options() -> SledOptions {
    // The machine that runs the tests may have little room; that is another test's subject.
    SledOptions { reserve_bytes: 0, ..SledOptions::default() }
}

struct Scratch {
    dir: TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("store").join(name)
    }

    fn open(&self) -> SledStore {
        self.open_with(options()).unwrap()
    }

    fn open_with(&self, options: SledOptions) -> Result<SledStore, StoreError> {
        SledStore::open_with(&self.path(""), options)
    }

    /// A store with `n` records `key/1`…`key/n`, each written by one commit, closed again.
    async fn filled(n: u64) -> Self {
        let scratch = Self::new();
        let store = scratch.open();
        fill(&store, 1..=n).await;
        store.close().await;
        scratch
    }

    /// Opens it and finds exactly the records of [`Scratch::filled`].
    async fn expect(&self, n: u64) -> SledStore {
        let store = self.open();
        expect(&store, n).await;
        store
    }

    fn quarantines(&self) -> usize {
        names(&self.path("")).iter().filter(|name| name.starts_with("quarantine-")).count()
    }
}

async fn fill(store: &SledStore, range: std::ops::RangeInclusive<u64>) {
    for i in range {
        let revision =
            store.commit(Txn::new().put(format!("key/{i}"), i.to_string()).delete("gone")).await.unwrap();
        assert_eq!(revision, Revision(i));
    }
}

async fn expect(store: &SledStore, n: u64) {
    let scan = store.scan("").await.unwrap();
    assert_eq!((scan.revision, scan.entries.len() as u64), (Revision(n), n));
    for entry in scan.entries {
        assert_eq!(entry.key, format!("key/{}", entry.revision));
        assert_eq!(entry.value, entry.revision.to_string());
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            // Files come and go while the store runs.
            let _ = fs::copy(&from, &to);
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_each_reopening() {
    let scratch = Scratch::new();
    for round in 1..=4 {
        let store = scratch.open();
        expect(&store, (round - 1) * 5).await;
        fill(&store, (round - 1) * 5 + 1..=round * 5).await;
        store.close().await;
        assert!(matches!(store.commit(Txn::new().put("a", "1")).await, Err(StoreError::Closed)));
        expect(&store, round * 5).await;
    }
    assert_eq!(scratch.quarantines(), 0);
}

#[tokio::test]
async fn a_second_opener_is_told_who_holds_which_directory() {
    let scratch = Scratch::filled(1).await;
    let store = scratch.open();
    let error = scratch.open_with(options()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&*scratch.path("").to_string_lossy()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    store.close().await;
    scratch.expect(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_while_it_writes_has_every_acknowledged_write_and_no_half_one() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open_with(SledOptions { segment_bytes: 4096, ..options() }).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                let value = round.to_string();
                let txn =
                    Txn::new().put(format!("{writer}/a"), value.clone()).put(format!("{writer}/b"), value);
                store.commit(txn).await.unwrap();
            }
        });
    }
    let mut watch = store.watch();
    for copied in 0..4 {
        watch.wait_for(|revision| revision.0 >= copied * 40).await.unwrap();
        let acknowledged = *watch.borrow();
        let target = Scratch::new();
        copy(&scratch.path(""), &target.path(""));
        let crashed = target.open();
        let scan = crashed.scan("").await.unwrap();
        assert!(scan.revision >= acknowledged, "{} of {acknowledged}", scan.revision);
        for pair in scan.entries.chunks(2) {
            assert_eq!((&pair[0].value, pair[0].revision), (&pair[1].value, pair[1].revision));
        }
        crashed.close().await;
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_early_and_goes_on_reading() {
    let scratch = Scratch::filled(3).await;
    let store = scratch.open_with(SledOptions { reserve_bytes: u64::MAX, ..options() }).unwrap();
    let error = store.commit(Txn::new().put("a", "1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { reserve: u64::MAX, .. }), "{error}");
    assert_eq!(error.retry(), Retry::Later);
    expect(&store, 3).await;
    store.close().await;
    scratch.expect(3).await;
}

#[tokio::test]
async fn no_room_in_the_middle_of_a_commit_loses_that_commit_alone() {
    let scratch = Scratch::new();
    let faults = Faults::default();
    let store = SledStore::open_on(&scratch.path(""), &options(), faults.clone()).unwrap();
    fill(&store, 1..=2).await;
    faults.fail_next(Fault::Write, ErrorKind::StorageFull);
    let error = store.commit(Txn::new().put("lost", "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    expect(&store, 2).await;
    fill(&store, 3..=4).await;
    store.close().await;
    scratch.expect(4).await;
}

#[tokio::test]
async fn after_a_failed_fdatasync_nothing_is_acknowledged_and_reads_go_on() {
    let scratch = Scratch::new();
    let faults = Faults::default();
    let store = SledStore::open_on(&scratch.path(""), &options(), faults.clone()).unwrap();
    fill(&store, 1..=2).await;
    faults.fail_next(Fault::Sync, ErrorKind::Other);
    for key in ["key/3", "later"] {
        let error = store.commit(Txn::new().put(key, "3")).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    expect(&store, 2).await;
    assert_eq!(*store.watch().borrow(), Revision(2));
    store.close().await;

    let reopened = scratch.open();
    let found = reopened.scan("").await.unwrap();
    assert!(matches!(found.revision.0, 2 | 3), "whole or absent");
    assert_eq!(found.entries.len() as u64, found.revision.0);
    assert_eq!(reopened.get("later").await.unwrap(), None);
}

#[tokio::test]
async fn snapshots_are_taken_as_the_journal_grows_and_let_it_shrink() {
    let scratch = Scratch::new();
    let options = SledOptions { segment_bytes: 500, snapshot_after_bytes: 2000, ..options() };
    let store = scratch.open_with(options).unwrap();
    fill(&store, 1..=40).await;
    let earlier = store.snapshot().await.unwrap();
    fill(&store, 41..=100).await;
    let newest = store.snapshot().await.unwrap();
    assert_eq!((earlier.revision, newest.revision), (Revision(40), Revision(100)));
    assert_eq!(store.snapshot().await.unwrap(), newest, "nothing new, nothing written");
    assert!(newest.path.exists());

    assert_eq!(names(&scratch.path("snapshots")).len(), 2);
    let oldest = names(&scratch.path("journal")).remove(0);
    assert!(oldest > format!("{:020}", 40), "the journal still begins with {oldest}");
    store.close().await;

    fs::remove_dir_all(scratch.path("sled")).unwrap();
    fs::write(scratch.path("snapshots").join("unfinished"), "x").unwrap();
    scratch.expect(100).await.close().await;
    assert!(!scratch.path("snapshots").join("unfinished").exists());
}
