//! The one place that asks for the time of day.
//!
//! Everything that decides gets its time as an argument; programs ask here, at their edge. Deadlines and
//! intervals are `tokio::time`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use littoral_model::time::Timestamp;

use crate::files::{self, FileError};

/// Twenty digits hold every `u64`; more is not a time.
const MAX_FLOOR_FILE: usize = 32;

/// The time of day by the machine's clock. Zero when the clock stands before 1970.
#[expect(clippy::disallowed_methods, reason = "the single place that reads the machine's clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A clock that never runs before the last time that it wrote down.
///
/// Many boards have no clock battery: after a power cut they start in 1970, where every certificate is "not yet
/// valid". The last known time is a better guess than that. Clones share the floor.
#[derive(Clone, Debug)]
pub struct PersistedClock {
    path: Arc<PathBuf>,
    floor_millis: Arc<AtomicU64>,
}

impl PersistedClock {
    /// Reads the floor from `path`; a missing file is a floor of zero.
    ///
    /// # Errors
    /// When the file is there but cannot be read. A file without a number in it is logged and counts as missing:
    /// a node must start without its clock file too.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let floor_millis = match files::read_capped(path, MAX_FLOOR_FILE) {
            Ok(bytes) => parse_floor(&bytes).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the clock file holds no time: ignoring it");
                0
            }),
            Err(error) if error.is_not_found() => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path: Arc::new(path.to_owned()), floor_millis: Arc::new(AtomicU64::new(floor_millis)) })
    }

    /// The machine's time, or the floor while the machine's clock is behind it.
    pub fn now(&self) -> Timestamp {
        self.never_before_floor(now())
    }

    /// Writes the current time down as the new floor, durably, and returns it.
    ///
    /// # Errors
    /// When the file cannot be written; the floor stays what it was.
    pub fn persist(&self) -> Result<Timestamp, FileError> {
        let now = self.now();
        files::write_atomic(&self.path, now.as_millis().to_string().as_bytes())?;
        self.floor_millis.fetch_max(now.as_millis(), Ordering::Relaxed);
        Ok(now)
    }

    /// Raises the floor in memory, for example to the time that a trusted server told.
    pub fn raise(&self, known: Timestamp) {
        self.floor_millis.fetch_max(known.as_millis(), Ordering::Relaxed);
    }

    fn never_before_floor(&self, time: Timestamp) -> Timestamp {
        time.max(Timestamp::from_millis(self.floor_millis.load(Ordering::Relaxed)))
    }
}

fn parse_floor(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_clock_is_past_2024() {
        assert!(now() > Timestamp::from_millis(1_704_067_200_000));
    }

    #[test]
    fn never_runs_before_the_persisted_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        let far_ahead = Timestamp::from_millis(now().as_millis() + 3_600_000);

        let clock = PersistedClock::open(&path).unwrap();
        clock.raise(far_ahead);
        assert_eq!(clock.persist().unwrap(), far_ahead);

        let reopened = PersistedClock::open(&path).unwrap();
        assert_eq!(reopened.now(), far_ahead);
        assert_eq!(reopened.never_before_floor(Timestamp::from_millis(1)), far_ahead);
        let later = Timestamp::from_millis(far_ahead.as_millis() + 1);
        assert_eq!(reopened.never_before_floor(later), later);
    }

    #[test]
    fn a_damaged_clock_file_does_not_keep_a_node_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        let clock = PersistedClock::open(&path).unwrap();
        assert!(clock.now().since(now()).as_secs() < 60);
    }
}
