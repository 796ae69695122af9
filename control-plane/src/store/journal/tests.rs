use std::fs;
use std::io::ErrorKind;

use bytes::Bytes;

use super::*;
use crate::store::Write;

const SEGMENT: u64 = 1 << 20;

fn batch(revisions: std::ops::RangeInclusive<u64>) -> Vec<Committed> {
    revisions
        .map(|revision| Committed {
            revision: Revision(revision),
            writes: vec![
                Write::Put(format!("key/{revision}"), Bytes::from(vec![7; 20])),
                Write::Delete("gone".to_owned()),
            ],
        })
        .collect()
}

/// Three batches with the revisions 1, 2..=4 and 5; the bytes of the file and where each batch ends.
fn three_batches(dir: &Path) -> (Vec<u8>, [usize; 3]) {
    let mut journal = Journal::create(dir, Revision(0), SEGMENT, Faults::default()).unwrap();
    let ends = [1..=1, 2..=4, 5..=5].map(|revisions| {
        journal.append(&batch(revisions)).unwrap();
        usize::try_from(journal.active.end()).unwrap()
    });
    (fs::read(segment::path(dir, Revision(1))).unwrap(), ends)
}

fn replayed(dir: &Path, after: u64) -> Result<Vec<Committed>, StoreError> {
    let mut all = Vec::new();
    Found::look(dir)?.replay(Revision(after), |committed| all.push(committed))?;
    Ok(all)
}

fn with_file<T>(bytes: &[u8], check: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    fs::write(segment::path(dir.path(), Revision(1)), bytes).unwrap();
    check(dir.path())
}

#[test]
fn reads_back_in_order_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, ends) = three_batches(dir.path());
    assert!(bytes.len() > ends[2], "zeros are written ahead");
    for after in 0..=5 {
        assert_eq!(replayed(dir.path(), after).unwrap(), batch(after + 1..=5));
    }
    let left = fs::metadata(segment::path(dir.path(), Revision(1))).unwrap().len();
    assert_eq!(left, ends[2] as u64, "the zeros are given back");
}

#[test]
fn a_last_write_that_was_cut_short_anywhere_is_cut_off_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, ends) = three_batches(dir.path());
    for cut in ends[1]..ends[2] {
        let short = bytes[..cut].to_vec();
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        // Pages reach the disk in any order: the end may be there and the beginning not.
        let mut hole = bytes[..ends[2]].to_vec();
        hole[ends[1]..=cut].fill(0);
        for torn in [short, zeroed, hole] {
            with_file(&torn, |dir| {
                assert_eq!(replayed(dir, 0).unwrap(), batch(1..=4), "cut at {cut}");
                let left = fs::read(segment::path(dir, Revision(1))).unwrap();
                assert_eq!(left, bytes[..ends[1]], "cut at {cut}");
            });
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, ends) = three_batches(dir.path());
    for at in 0..ends[1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        with_file(&flipped, |dir| {
            let error = replayed(dir, 0).unwrap_err().to_string();
            assert!(
                error.contains(".log` is damaged") && error.contains("restore a backup"),
                "{at}: {error}"
            );
            assert_eq!(
                fs::read(segment::path(dir, Revision(1))).unwrap(),
                flipped,
                "nothing is cut: byte {at}"
            );
        });
    }
}

#[test]
fn a_record_that_looks_like_a_frame_does_not_pass_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut forged = Vec::new();
    record::encode(&mut forged, Kind::Batch, 3, 0, &BatchRecord::of(&batch(3..=3)));
    let mut journal = Journal::create(dir.path(), Revision(0), SEGMENT, Faults::default()).unwrap();
    journal.append(&batch(1..=1)).unwrap();
    let good = usize::try_from(journal.active.end()).unwrap();
    let put = Write::Put("forged".to_owned(), Bytes::from(forged));
    journal.append(&[Committed { revision: Revision(2), writes: vec![put] }]).unwrap();

    let mut torn = fs::read(segment::path(dir.path(), Revision(1))).unwrap();
    torn[good] = 0;
    with_file(&torn, |dir| assert_eq!(replayed(dir, 0).unwrap(), batch(1..=1)));
}

#[test]
fn segments_join_on_to_each_other_and_a_missing_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), Revision(0), 100, Faults::default()).unwrap();
    for revision in 1..=9 {
        journal.append(&batch(revision..=revision)).unwrap();
    }
    let segments = read::list(dir.path()).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    assert_eq!(replayed(dir.path(), 0).unwrap(), batch(1..=9));

    let middle = &segments[segments.len() / 2];
    fs::remove_file(&middle.path).unwrap();
    assert!(matches!(replayed(dir.path(), 0), Err(StoreError::Corrupt { .. })));
    assert_eq!(replayed(dir.path(), 8).unwrap(), batch(9..=9), "not needed, not missed");
}

#[test]
fn pruning_keeps_what_is_not_covered() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), Revision(0), 100, Faults::default()).unwrap();
    for revision in 1..=9 {
        journal.append(&batch(revision..=revision)).unwrap();
    }
    for covered in 0..=9 {
        prune(dir.path(), Revision(covered)).unwrap();
        let found = Found::look(dir.path()).unwrap();
        assert!(found.covers(Revision(covered)));
        assert_eq!(found.last(), Revision(9));
        assert_eq!(replayed(dir.path(), covered).unwrap(), batch(covered + 1..=9));
    }
    assert!(!Found::look(dir.path()).unwrap().covers(Revision(0)));
}

#[test]
fn a_segment_that_was_never_finished_is_removed() {
    for torn_head in [0, 1, 20] {
        let dir = tempfile::tempdir().unwrap();
        three_batches(dir.path());
        let unfinished = segment::path(dir.path(), Revision(6));
        fs::write(&unfinished, vec![0x4c; torn_head]).unwrap();
        assert_eq!(replayed(dir.path(), 0).unwrap(), batch(1..=5));
        assert!(!unfinished.exists());
    }
}

#[test]
fn a_write_without_room_is_taken_back_and_the_next_one_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let mut journal = Journal::create(dir.path(), Revision(0), 200, faults.clone()).unwrap();
    journal.append(&batch(1..=1)).unwrap();
    faults.fail_next(Fault::Write, ErrorKind::StorageFull);
    assert!(matches!(journal.append(&batch(2..=3)), Err(AppendError::Full)));
    assert_eq!(replayed(dir.path(), 0).unwrap(), batch(1..=1), "nothing of it stays");

    journal.append(&batch(2..=4)).unwrap();
    faults.fail_next(Fault::Create, ErrorKind::StorageFull);
    assert!(matches!(journal.append(&batch(5..=5)), Err(AppendError::Full)), "no room for a new segment");
    journal.append(&batch(5..=5)).unwrap();
    assert_eq!(replayed(dir.path(), 0).unwrap(), batch(1..=5));
}

#[test]
fn a_failed_fdatasync_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let mut journal = Journal::create(dir.path(), Revision(0), SEGMENT, faults.clone()).unwrap();
    journal.append(&batch(1..=1)).unwrap();
    faults.fail_next(Fault::Sync, ErrorKind::StorageFull);
    assert!(matches!(journal.append(&batch(2..=2)), Err(AppendError::Failed { .. })));
    faults.fail_next(Fault::Write, ErrorKind::Other);
    assert!(matches!(journal.append(&batch(2..=2)), Err(AppendError::Failed { .. })));
}
