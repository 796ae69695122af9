//! sled, kept at arm's length: every value checked, every panic caught, and a mark that says what it holds.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use prost::Message;

use crate::store::Revision;
use crate::store::record::{self, BadFrame, IndexMark, Kind};
use crate::store::table::{Change, Stored, Table};

/// Keys of records are printable, so this is none of them.
const MARK_KEY: &[u8] = b"\0mark";
/// Its default of 1 GiB would be taken for a store of a few MB.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Records that are written at once when the index is built anew.
const FILL_BATCH: usize = 512;
/// sled's threads free its own file lock a moment after it was dropped. Ours already keeps others out.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("sled: {0}")]
    Sled(#[from] ::sled::Error),
    #[error("sled panicked: {0}")]
    Panic(String),
    #[error("its record `{key}`: {bad}")]
    Record { key: String, bad: BadFrame },
    #[error("it was never completed, or has been emptied")]
    Unfinished,
    #[error("its mark: {0}")]
    Mark(BadFrame),
    #[error("sled did not answer within {waited_s} s")]
    Stuck { waited_s: u64 },
    #[error("it was given up before")]
    Gone,
    #[error("could not start its thread: {0}")]
    Thread(std::io::Error),
    #[error("it does not hold the {entries} records of revision {revision} that its mark promises")]
    Content { revision: u64, entries: u64 },
}

/// Dropped only by [`Index::close`]: the destructor of a sled that has failed waits for ever, and does so under
/// a lock that all sleds in the process share. A broken one is leaked instead.
pub(super) struct Index {
    db: ManuallyDrop<::sled::Db>,
    mark: IndexMark,
}

impl Index {
    /// Opens the one in `dir` and reads all of it.
    pub(super) fn open(dir: &Path) -> Result<(Self, Table), IndexError> {
        guarded(|| {
            let db = open_db(dir)?;
            let (mark, table) = load(&db)?;
            Ok((Self { db, mark }, table))
        })
    }

    /// A new index with the records of `table`.
    pub(super) fn build(dir: &Path, table: &Table) -> Result<Self, IndexError> {
        guarded(|| {
            let mut index = Self { db: open_db(dir)?, mark: IndexMark::default() };
            let mut batch = ::sled::Batch::default();
            // Without a mark, what a crash leaves of this is not taken for an index.
            for (position, (key, stored)) in table.entries.iter().enumerate() {
                index.count(key, None, Some(stored.revision));
                batch.insert(key.as_bytes(), value(key, stored));
                if position % FILL_BATCH == FILL_BATCH - 1 {
                    index.db.apply_batch(std::mem::take(&mut batch))?;
                }
            }
            index.seal(batch, table.revision)?;
            Ok(index)
        })
    }

    /// Applies what the journal has already made durable, as one sled batch with the mark in it.
    pub(super) fn apply(&mut self, changes: &[Change], revision: Revision) -> Result<(), IndexError> {
        guarded(|| {
            let mut batch = ::sled::Batch::default();
            for change in changes {
                let new = change.new.as_ref();
                self.count(&change.key, change.old, new.map(|stored| stored.revision));
                match new {
                    Some(stored) => batch.insert(change.key.as_bytes(), value(&change.key, stored)),
                    None => batch.remove(change.key.as_bytes()),
                }
            }
            self.seal(batch, revision)
        })
    }

    pub(super) fn flush(&self) -> Result<(), IndexError> {
        guarded(|| Ok(self.db.flush().map(|_| ())?))
    }

    pub(super) fn close(self) -> Result<(), IndexError> {
        self.flush()?;
        guarded(|| {
            drop(ManuallyDrop::into_inner(self.db));
            Ok(())
        })
    }

    fn seal(&mut self, mut batch: ::sled::Batch, revision: Revision) -> Result<(), IndexError> {
        let mut mark = Vec::new();
        record::encode(&mut mark, Kind::IndexMark, revision.0, 0, &self.mark);
        batch.insert(MARK_KEY, mark);
        Ok(self.db.apply_batch(batch)?)
    }

    fn count(&mut self, key: &str, old: Option<Revision>, new: Option<Revision>) {
        if let Some(old) = old {
            self.mark.entries -= 1;
            self.mark.sum = self.mark.sum.wrapping_sub(term(key, old));
        }
        if let Some(new) = new {
            self.mark.entries += 1;
            self.mark.sum = self.mark.sum.wrapping_add(term(key, new));
        }
    }
}

fn open_db(dir: &Path) -> Result<ManuallyDrop<::sled::Db>, IndexError> {
    let config = ::sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    for _ in 1..LOCK_TRIES {
        match config.open() {
            Err(::sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return Ok(ManuallyDrop::new(opened?)),
        }
    }
    Ok(ManuallyDrop::new(config.open()?))
}

fn load(db: &::sled::Db) -> Result<(IndexMark, Table), IndexError> {
    let mut table = Table::default();
    let (mut claimed, mut found) = (None, IndexMark::default());
    for item in db.iter() {
        let (key, bytes) = item?;
        if key == MARK_KEY {
            let frame = record::decode(&bytes, Kind::IndexMark, 0).map_err(IndexError::Mark)?;
            let mark = IndexMark::decode(frame.payload).map_err(|_| IndexError::Mark(BadFrame::Damaged))?;
            claimed = Some(mark);
            table.revision = Revision(frame.number);
            continue;
        }
        let bad = |bad| IndexError::Record { key: String::from_utf8_lossy(&key).into_owned(), bad };
        let (name, stored, _) = record::decode_entry(&bytes).map_err(bad)?;
        if name.as_bytes() != key.as_ref() {
            return Err(bad(BadFrame::Damaged));
        }
        found.entries += 1;
        found.sum = found.sum.wrapping_add(term(&name, stored.revision));
        table.entries.insert(name, stored);
    }
    // sled takes a file in which it finds nothing of its own for an empty one; ours always has a mark.
    let claimed = claimed.ok_or(IndexError::Unfinished)?;
    if found != claimed {
        return Err(IndexError::Content { revision: table.revision.0, entries: claimed.entries });
    }
    Ok((found, table))
}

fn value(key: &str, stored: &Stored) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(stored.value.len() + key.len() + 64);
    record::encode_entry(&mut bytes, key, stored);
    bytes
}

/// One entry's part of the mark's sum. A revision stands for a value, which has its own checksum.
fn term(key: &str, revision: Revision) -> u64 {
    let mixed = (u64::from(crc32fast::hash(key.as_bytes())) << 32) ^ revision.0;
    // An odd constant without structure (2^64 divided by the golden ratio) spreads the bits.
    let spread = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 29)
}

/// sled panics on some damaged files. It is only an index: that must not end the program.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    // Whoever sees the error gives the index up, so nothing broken is looked at again.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(IndexError::Panic(text.unwrap_or_else(|| "without a message".to_owned())))
    })
}
