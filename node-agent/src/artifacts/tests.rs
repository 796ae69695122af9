use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const CAP: u64 = 1 << 20;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache")).unwrap();
    (dir, cache)
}

fn put(cache: &Cache, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let mut partial = cache.partial(&digest, CAP).unwrap();
    partial.declare(bytes.len() as u64).unwrap();
    partial.write(bytes).unwrap();
    partial.finish().unwrap();
    digest
}

/// A cache file is read-only; the disk does not care.
fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_download_is_read_only_and_found_again_after_a_restart() {
    let (_dir, cache) = cache();
    let digest = put(&cache, b"native code");
    assert_eq!(cache.read(&digest, 100, NOW).unwrap(), b"native code");
    assert_eq!(fs::metadata(cache.path(&digest)).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(Cache::open(cache.root()).unwrap().contains(&digest));
    assert_eq!(digests_in(&cache.root().join(PARTIAL)).unwrap().len(), 0);
}

#[test]
fn a_cut_download_is_resumed_at_its_offset_even_by_a_new_process() {
    let (_dir, cache) = cache();
    let bytes = b"first half, second half";
    let digest = Digest::of(bytes);
    let mut partial = cache.partial(&digest, CAP).unwrap();
    partial.declare(bytes.len() as u64).unwrap();
    partial.write(&bytes[..10]).unwrap();
    assert!(matches!(partial.finish(), Err(CacheError::Short { received: 10, .. })));
    assert!(!cache.contains(&digest));

    let cache = Cache::open(cache.root()).unwrap();
    let mut partial = cache.partial(&digest, CAP).unwrap();
    assert_eq!(partial.offset(), 10);
    partial.declare(bytes.len() as u64).unwrap();
    partial.write(&bytes[10..]).unwrap();
    partial.finish().unwrap();
    assert_eq!(cache.read(&digest, 100, NOW).unwrap(), bytes);
}

#[test]
fn wrong_bytes_are_never_installed_and_do_not_poison_the_next_try() {
    let (_dir, cache) = cache();
    let digest = Digest::of(b"right");
    let mut partial = cache.partial(&digest, CAP).unwrap();
    partial.declare(5).unwrap();
    partial.write(b"wrong").unwrap();
    assert!(matches!(partial.finish(), Err(CacheError::WrongDigest { .. })));
    assert!(!cache.contains(&digest));
    assert_eq!(cache.partial(&digest, CAP).unwrap().offset(), 0);
    assert_eq!(put(&cache, b"right"), digest);
}

#[test]
fn sizes_are_capped_before_and_while_bytes_come() {
    let (_dir, cache) = cache();
    let digest = Digest::of(b"x");
    let mut partial = cache.partial(&digest, 4).unwrap();
    assert!(matches!(partial.declare(5), Err(CacheError::TooLarge { size: 5, cap: 4, .. })));
    assert!(matches!(partial.write(b"12345"), Err(CacheError::TooLarge { .. })));
    let mut partial = cache.partial(&digest, 100).unwrap();
    partial.declare(2).unwrap();
    assert!(partial.write(b"123").is_err(), "more than declared");
}

#[test]
fn a_blob_that_no_disk_can_hold_is_refused_with_the_numbers() {
    let (_dir, cache) = cache();
    let mut partial = cache.partial(&Digest::of(b"x"), u64::MAX).unwrap();
    let error = partial.declare(u64::MAX / 2).unwrap_err();
    assert!(matches!(error, CacheError::DiskFull { .. }));
    assert!(error.to_string().contains("free some space"), "{error}");
}

#[test]
fn a_flipped_bit_is_found_and_quarantined_by_either_look() {
    let (_dir, cache) = cache();
    let read = put(&cache, b"statement");
    flip_a_bit(&cache.path(&read));
    assert!(matches!(cache.read(&read, 100, NOW), Err(CacheError::Damaged(_))));
    assert!(!cache.contains(&read));

    let checked = put(&cache, b"native code");
    assert!(cache.check(&checked, NOW).unwrap());
    flip_a_bit(&cache.path(&checked));
    assert!(!cache.check(&checked, NOW).unwrap());
    assert!(!cache.contains(&checked) && !cache.path(&checked).exists());
    assert_eq!(fs::read_dir(cache.root().join(QUARANTINE)).unwrap().count(), 2);
    assert_eq!(put(&cache, b"native code"), checked, "it can be fetched again");
}

#[test]
fn a_file_that_somebody_removed_is_noticed() {
    let (_dir, cache) = cache();
    let digest = put(&cache, b"gone");
    fs::remove_file(cache.path(&digest)).unwrap();
    assert!(!cache.check(&digest, NOW).unwrap());
    assert!(!cache.contains(&digest));
}

#[test]
fn the_quarantine_does_not_grow_without_end() {
    let (_dir, cache) = cache();
    for number in 0..MAX_QUARANTINED + 3 {
        let digest = put(&cache, format!("blob {number}").as_bytes());
        cache.quarantine(&digest, NOW).unwrap();
    }
    assert_eq!(fs::read_dir(cache.root().join(QUARANTINE)).unwrap().count(), MAX_QUARANTINED);
}

#[test]
fn collecting_removes_the_unneeded_down_to_the_quota_and_never_the_needed() {
    let (_dir, cache) = cache();
    let old = put(&cache, &[1; 100]);
    let newer = put(&cache, &[2; 100]);
    let needed = put(&cache, &[3; 100]);
    let past = SystemTimes::past();
    File::open(cache.path(&old)).unwrap().set_modified(past).unwrap();
    cache.partial(&Digest::of(b"abandoned"), CAP).unwrap().write(b"12345").unwrap();

    let keep = BTreeSet::from([needed]);
    assert_eq!(cache.collect(&keep, 250).unwrap(), 105);
    assert!(!cache.contains(&old) && cache.contains(&newer) && cache.contains(&needed));
    assert_eq!(cache.collect(&keep, 0).unwrap(), 100);
    assert!(cache.contains(&needed));
    assert_eq!(fs::read_dir(cache.root().join(BLOBS)).unwrap().count(), 1);
}

struct SystemTimes;

impl SystemTimes {
    fn past() -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)
    }
}
