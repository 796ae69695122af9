//! Snapshots: all records at one revision in one file, in key order.
//!
//! The file appears under its name only when it is whole and on the disk. The frames say how many entries
//! there are and check each, so that a snapshot is either read entirely or not used.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use prost::Message;

use super::Revision;
use super::error::{StoreError, io_error};
use super::files::{publish, sync_dir};
use super::record::{self, BadFrame, Kind, SnapshotHead};
use super::table::Table;

/// The newest, and one before it in case the newest turns out unreadable. The journal reaches back to the
/// older one.
const KEPT: usize = 2;

/// A snapshot that is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub path: PathBuf,
    pub revision: Revision,
}

/// The snapshots of `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<SnapshotInfo>, StoreError> {
    let failed = || io_error("list the snapshots in", dir);
    let mut snapshots = Vec::new();
    for item in std::fs::read_dir(dir).map_err(failed())? {
        let item = item.map_err(failed())?;
        let name = item.file_name();
        let revision = name.to_str().and_then(|n| n.strip_suffix(".snap")).and_then(|n| n.parse().ok());
        if let Some(revision) = revision {
            snapshots.push(SnapshotInfo { path: item.path(), revision: Revision(revision) });
        }
    }
    snapshots.sort_by_key(|snapshot| snapshot.revision);
    Ok(snapshots)
}

/// Writes `table` out. On an error nothing of it stays behind.
pub(crate) fn write(dir: &Path, table: &Table) -> Result<SnapshotInfo, StoreError> {
    let path = dir.join(format!("{:020}.snap", table.revision.0));
    let temporary = temporary(dir);
    let written = dump(&temporary, table).and_then(|()| publish(&temporary, &path));
    if let Err(source) = written {
        // It may not exist; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        return Err(StoreError::Io { tried: "write the snapshot", path, source });
    }
    Ok(SnapshotInfo { path, revision: table.revision })
}

fn dump(path: &Path, table: &Table) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    let mut frame = Vec::new();
    let head = SnapshotHead { entries: table.entries.len() as u64 };
    record::encode(&mut frame, Kind::SnapshotHead, table.revision.0, 0, &head);
    out.write_all(&frame)?;
    for (key, stored) in &table.entries {
        frame.clear();
        record::encode_entry(&mut frame, key, stored);
        out.write_all(&frame)?;
    }
    let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Snapshots are taken one at a time, so one name is enough.
fn temporary(dir: &Path) -> PathBuf {
    dir.join("unfinished")
}

/// Removes what a crash left of a snapshot.
pub(crate) fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    let path = temporary(dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove the unfinished snapshot", &path)(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn read(path: &Path) -> Result<Table, StoreError> {
    let bytes = std::fs::read(path).map_err(io_error("read the snapshot", path))?;
    parse(&bytes).map_err(|(at, bad)| StoreError::Corrupt {
        path: path.to_path_buf(),
        what: format!("at byte {at}, {bad}"),
    })
}

fn parse(bytes: &[u8]) -> Result<Table, (usize, BadFrame)> {
    let frame = record::decode(bytes, Kind::SnapshotHead, 0).map_err(|bad| (0, bad))?;
    let head = SnapshotHead::decode(frame.payload).map_err(|_| (0, BadFrame::Damaged))?;
    let mut table = Table { revision: Revision(frame.number), ..Table::default() };
    let mut at = frame.len();
    for _ in 0..head.entries {
        let (key, stored, length) = record::decode_entry(&bytes[at..]).map_err(|bad| (at, bad))?;
        table.entries.insert(key, stored);
        at += length;
    }
    // Keys are unique and all counted; anything behind them was not written by `dump`.
    if table.entries.len() as u64 != head.entries || at != bytes.len() {
        return Err((at, BadFrame::Damaged));
    }
    Ok(table)
}

/// Removes all but the newest snapshots. Returns the revision up to which the journal is not needed any more,
/// even if the newest snapshot cannot be read.
pub(crate) fn prune(dir: &Path) -> Result<Revision, StoreError> {
    let mut snapshots = list(dir)?;
    let kept = snapshots.split_off(snapshots.len().saturating_sub(KEPT));
    for old in snapshots {
        std::fs::remove_file(&old.path).map_err(io_error("remove the snapshot", &old.path))?;
    }
    sync_dir(dir).map_err(io_error("sync the folder", dir))?;
    let spare = (kept.len() == KEPT).then(|| kept.first().map(|oldest| oldest.revision)).flatten();
    Ok(spare.unwrap_or_default())
}
