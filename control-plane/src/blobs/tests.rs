use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt;
use tempfile::TempDir;

use super::*;

const MIB: usize = 1024 * 1024;

fn open() -> (TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open_with(dir.path(), 0).unwrap();
    (dir, blobs)
}

fn sample(len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

fn file(dir: &TempDir, digest: Digest) -> PathBuf {
    dir.path().join("sha256").join(&digest.hex()[..2]).join(digest.hex())
}

fn staged(dir: &TempDir) -> usize {
    std::fs::read_dir(dir.path().join("staging")).unwrap().count()
}

#[tokio::test]
async fn stores_under_the_digest_whatever_the_chunks_were() {
    let (dir, blobs) = open();
    let bytes = sample(20 * MIB + 3);
    let mut writer = blobs.writer(bytes.len() as u64).await.unwrap();
    for chunk in bytes.chunks(777_777) {
        writer.write(chunk).await.unwrap();
    }
    let (digest, size) = writer.finish().await.unwrap();
    assert_eq!((digest, size), (Digest::of(&bytes), bytes.len() as u64));
    assert_eq!(std::fs::read(file(&dir, digest)).unwrap(), bytes);
    assert_eq!(blobs.get(digest, size).await.unwrap(), bytes);
    assert_eq!(blobs.put(bytes).await.unwrap(), digest, "the same again is no error");
    assert_eq!(staged(&dir), 0);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (_dir, blobs) = open();
    let digest = blobs.put(Bytes::new()).await.unwrap();
    assert_eq!(blobs.size(digest).await.unwrap(), 0);
    assert_eq!(blobs.get(digest, 0).await.unwrap(), Bytes::new());
    assert_eq!(blobs.read_range(digest, 0, 10).await.unwrap(), Bytes::new());
    assert_eq!(blobs.stream(digest, 0, 4096).await.unwrap().count().await, 0);
}

#[tokio::test]
async fn the_limit_holds_and_a_dropped_writer_leaves_nothing() {
    let (dir, blobs) = open();
    let mut writer = blobs.writer(10).await.unwrap();
    writer.write(&sample(10)).await.unwrap();
    assert!(matches!(writer.write(b"x").await, Err(BlobError::TooLarge { limit: 10 })));
    let mut large = blobs.writer(100 * MIB as u64).await.unwrap();
    large.write(&sample(9 * MIB)).await.unwrap();
    assert_eq!(staged(&dir), 2);
    drop((writer, large));
    let emptied = async {
        while staged(&dir) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), emptied).await.unwrap();
    assert!(!dir.path().join("sha256").exists());
}

#[tokio::test]
async fn opening_removes_what_a_crash_left() {
    let (dir, blobs) = open();
    let digest = blobs.put(sample(100)).await.unwrap();
    std::fs::write(dir.path().join("staging").join("half#1"), "half").unwrap();
    let reopened = Blobs::open_with(dir.path(), 0).unwrap();
    assert_eq!(staged(&dir), 0);
    assert_eq!(reopened.get(digest, 100).await.unwrap(), sample(100));
}

#[tokio::test]
async fn reads_ranges_and_streams_from_an_offset() {
    let (_dir, blobs) = open();
    let bytes = sample(100_000);
    let digest = blobs.put(bytes.clone()).await.unwrap();
    for (offset, len, expected) in
        [(0, 10, 0..10), (99_990, 100, 99_990..100_000), (100_000, 1, 0..0), (5, u64::MAX, 5..100_000)]
    {
        assert_eq!(blobs.read_range(digest, offset, len).await.unwrap(), bytes[expected]);
    }
    for offset in [0_u64, 1, 50_000, 99_999, 100_000] {
        let stream = blobs.stream(digest, offset, 8192).await.unwrap();
        let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= 8192));
        assert_eq!(chunks.concat(), bytes[usize::try_from(offset).unwrap()..]);
    }
    let beyond = blobs.read_range(digest, 100_001, 1).await;
    assert!(matches!(beyond, Err(BlobError::BeyondEnd { size: 100_000, .. })));
    assert!(matches!(blobs.stream(digest, 100_001, 1).await.err(), Some(BlobError::BeyondEnd { .. })));
}

#[tokio::test]
async fn a_changed_byte_is_noticed_and_storing_again_repairs_it() {
    let (dir, blobs) = open();
    let digest = blobs.put(sample(1000)).await.unwrap();
    let mut bytes = sample(1000).to_vec();
    bytes[500] ^= 1;
    std::fs::write(file(&dir, digest), bytes).unwrap();
    assert!(matches!(blobs.get(digest, 1000).await, Err(BlobError::Damaged { .. })));
    blobs.put(sample(1000)).await.unwrap();
    assert_eq!(blobs.get(digest, 1000).await.unwrap(), sample(1000));
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_too_large() {
    let (_dir, blobs) = open();
    let digest = blobs.put(sample(11)).await.unwrap();
    assert!(matches!(blobs.get(digest, 10).await, Err(BlobError::TooLarge { limit: 10 })));
    assert!(blobs.exists(digest).await.unwrap());
    blobs.delete(digest).await.unwrap();
    blobs.delete(digest).await.unwrap();
    assert!(!blobs.exists(digest).await.unwrap());
    assert!(matches!(blobs.get(digest, 10).await, Err(BlobError::NotFound { .. })));
    assert!(matches!(blobs.size(digest).await, Err(BlobError::NotFound { .. })));
    assert!(matches!(blobs.read_range(digest, 0, 1).await, Err(BlobError::NotFound { .. })));
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    let (dir, blobs) = open();
    let digest = blobs.put(sample(10)).await.unwrap();
    let full = Blobs::open_with(dir.path(), u64::MAX).unwrap();
    assert!(matches!(full.put(sample(20)).await, Err(BlobError::Full)));
    assert_eq!(full.get(digest, 10).await.unwrap(), sample(10), "reads go on");

    // As it comes from the disk: an I/O error somewhere inside.
    let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let error = object_store::Error::Generic { store: "LocalFileSystem", source };
    assert!(matches!(BlobError::of("write a blob", error), BlobError::Full));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_at_the_same_time_are_one_blob() {
    let (dir, blobs) = open();
    let puts = (0..8).map(|_| blobs.put(sample(MIB)));
    let digests = futures::future::try_join_all(puts).await.unwrap();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(blobs.get(digests[0], MIB as u64).await.unwrap(), sample(MIB));
    assert_eq!(staged(&dir), 0);
}
