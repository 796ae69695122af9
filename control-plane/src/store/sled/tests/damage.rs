//! Lost and damaged files: either everything is there again, or opening says what is wrong.

use super::*;

/// What a crash between the journal's fdatasync and the index leaves: an index that is behind.
#[tokio::test]
async fn an_index_that_is_behind_catches_up_from_the_journal() {
    let scratch = Scratch::filled(5).await;
    let behind = scratch.path("behind");
    copy(&scratch.path("sled"), &behind);
    let store = scratch.expect(5).await;
    fill(&store, 6..=9).await;
    store.close().await;

    fs::remove_dir_all(scratch.path("sled")).unwrap();
    fs::rename(&behind, scratch.path("sled")).unwrap();
    scratch.expect(9).await.close().await;
    assert_eq!(scratch.quarantines(), 0);
}

/// Segments that such an index would need are gone; the snapshot that let them go is not.
#[tokio::test]
async fn an_index_from_before_the_journal_is_replaced_by_the_snapshot() {
    let scratch = Scratch::filled(5).await;
    let ancient = scratch.path("ancient");
    copy(&scratch.path("sled"), &ancient);
    let store = scratch.open_with(SledOptions { segment_bytes: 100, ..options() }).unwrap();
    for from in [6, 16, 26] {
        fill(&store, from..=from + 9).await;
        store.snapshot().await.unwrap();
    }
    store.close().await;
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    fs::rename(&ancient, scratch.path("sled")).unwrap();
    scratch.expect(35).await.close().await;
    assert_eq!(scratch.quarantines(), 1);
}

#[tokio::test]
async fn a_lost_index_is_rebuilt_from_the_journal() {
    let scratch = Scratch::filled(30).await;
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    scratch.expect(30).await.close().await;
    scratch.expect(30).await.close().await;
    assert_eq!(scratch.quarantines(), 0);
}

#[tokio::test]
async fn a_garbage_index_is_put_in_quarantine_and_rebuilt() {
    let scratch = Scratch::filled(30).await;
    for name in names(&scratch.path("sled")) {
        let path = scratch.path("sled").join(name);
        if path.is_file() {
            fs::write(path, b"not a database ".repeat(4096)).unwrap();
        }
    }
    scratch.expect(30).await.close().await;
    assert_eq!(scratch.quarantines(), 1);
    scratch.expect(30).await.close().await;
    assert_eq!(scratch.quarantines(), 1, "once is enough");
}

/// Each record checks out, and yet it is not what the mark promises: sled has lost or revived a write.
#[tokio::test]
async fn an_index_with_a_lost_or_outdated_record_is_rebuilt() {
    let scratch = Scratch::new();
    let store = scratch.open();
    fill(&store, 1..=5).await;
    store.close().await;
    let edit = |change: &dyn Fn(&::sled::Db)| {
        let db = ::sled::open(scratch.path("sled")).unwrap();
        change(&db);
        db.flush().unwrap();
    };
    let mut outdated = Vec::new();
    let stored = crate::store::table::Stored { value: "3".into(), revision: Revision(2) };
    crate::store::record::encode_entry(&mut outdated, "key/3", &stored);

    edit(&|db| assert!(db.remove("key/2").unwrap().is_some()));
    scratch.expect(5).await.close().await;
    edit(&|db| assert!(db.insert("key/3", outdated.clone()).unwrap().is_some()));
    scratch.expect(5).await.close().await;
    assert_eq!(scratch.quarantines(), 2);
}

#[tokio::test]
async fn no_flipped_bit_in_the_index_changes_what_is_read() {
    let scratch = Scratch::filled(60).await;
    let db = scratch.path("sled").join("db");
    let good = fs::read(&db).unwrap();
    let used = good.iter().rposition(|b| *b != 0).unwrap();
    for step in 0..24 {
        let target = Scratch::new();
        copy(&scratch.path(""), &target.path(""));
        let mut flipped = good.clone();
        flipped[used * step / 24] ^= 1 << (step % 8);
        fs::write(target.path("sled").join("db"), &flipped).unwrap();
        target.expect(60).await.close().await;
    }
}

#[tokio::test]
async fn a_damaged_journal_is_an_error_and_moving_it_aside_goes_on_from_the_index() {
    let scratch = Scratch::filled(6).await;
    let segment = scratch.path("journal").join(format!("{:020}.log", 1));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[60] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let error = scratch.open_with(options()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("move the `journal` folder aside"), "{error}");

    fs::rename(scratch.path("journal"), scratch.path("aside")).unwrap();
    let store = scratch.expect(6).await;
    fill(&store, 7..=8).await;
    store.close().await;
    scratch.expect(8).await.close().await;
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    scratch.expect(8).await.close().await;
}

/// A flipped bit in the very last batch looks like a torn write, but the index still has it.
#[tokio::test]
async fn what_the_journal_lost_at_its_end_is_taken_from_the_index() {
    let scratch = Scratch::filled(6).await;
    let segment = scratch.path("journal").join(format!("{:020}.log", 1));
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let store = scratch.expect(6).await;
    fill(&store, 7..=7).await;
    store.close().await;
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    scratch.expect(7).await.close().await;
}

#[tokio::test]
async fn an_unreadable_snapshot_is_passed_over_for_the_one_before_it() {
    let scratch = Scratch::new();
    let store = scratch.open_with(SledOptions { segment_bytes: 100, ..options() }).unwrap();
    let mut taken = Vec::new();
    for to in [10, 20, 30] {
        fill(&store, to - 9..=to).await;
        taken.push(store.snapshot().await.unwrap());
    }
    fill(&store, 31..=33).await;
    store.close().await;
    let spoil = |info: &SnapshotInfo| {
        let mut bytes = fs::read(&info.path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&info.path, bytes).unwrap();
    };
    spoil(&taken[2]);
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    scratch.expect(33).await.close().await;

    spoil(&taken[1]);
    fs::remove_dir_all(scratch.path("sled")).unwrap();
    let error = scratch.open_with(options()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_broken_index_with_nothing_beside_it_is_no_empty_store() {
    let scratch = Scratch::filled(6).await;
    fs::remove_dir_all(scratch.path("journal")).unwrap();
    fs::write(scratch.path("sled").join("db"), vec![0xA5; 4096]).unwrap();
    let error = scratch.open_with(options()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
