//! Reading the journal back: at opening, and only then.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::store::Revision;
use crate::store::error::{StoreError, io_error};
use crate::store::files::sync_dir;
use crate::store::record::{self, BadFrame, BatchRecord, Kind, SegmentHead};
use crate::store::table::Committed;

/// The way out of a journal that cannot be read through.
const ADVICE: &str = "Keep a copy of the data directory and check the disk. Then restore a backup, or move the \
                      `journal` folder aside to go on from the last revision that the index or a snapshot holds, \
                      without the later ones";

#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) first: Revision,
    bytes: u64,
}

/// The segments of `dir`, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let failed = || io_error("list the journal segments in", dir);
    let mut segments = Vec::new();
    for item in std::fs::read_dir(dir).map_err(failed())? {
        let item = item.map_err(failed())?;
        let name = item.file_name();
        let first = name.to_str().and_then(|n| n.strip_suffix(".log")).and_then(|n| n.parse().ok());
        if let Some(first) = first {
            let bytes = item.metadata().map_err(failed())?.len();
            segments.push(SegmentFile { path: item.path(), first: Revision(first), bytes });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// What was found on the disk, its torn end already cut off.
#[derive(Debug)]
pub(crate) struct Found {
    segments: Vec<SegmentFile>,
    /// The last transaction in the journal; when it holds none, the one before its first.
    last: Revision,
}

impl Found {
    pub(crate) fn look(dir: &Path) -> Result<Self, StoreError> {
        let mut segments = list(dir)?;
        let Some(newest) = segments.last() else { return Ok(Self { segments, last: Revision::default() }) };
        let bytes =
            std::fs::read(&newest.path).map_err(io_error("read the journal segment", &newest.path))?;
        let contents = Contents::parse(&bytes, newest)?;
        if contents.end == 0 {
            // Its head never reached the disk, so nothing was acknowledged from it.
            tracing::warn!(path = %newest.path.display(), "removing a journal segment that was never finished");
            std::fs::remove_file(&newest.path)
                .map_err(io_error("remove the journal segment", &newest.path))?;
            sync_dir(dir).map_err(io_error("sync the folder", dir))?;
            segments.pop();
            return Self::sealed(segments);
        }
        cut(&newest.path, &bytes, contents.end)?;
        Ok(Self { segments, last: contents.last })
    }

    /// The newest segment was complete before its successor was begun.
    fn sealed(segments: Vec<SegmentFile>) -> Result<Self, StoreError> {
        let last = match segments.last() {
            Some(newest) => read_sealed(newest)?.last,
            None => Revision::default(),
        };
        Ok(Self { segments, last })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn last(&self) -> Revision {
        self.last
    }

    /// Whether everything after `revision` is in the journal (as far as the names of the segments tell).
    pub(crate) fn covers(&self, revision: Revision) -> bool {
        self.segments.first().is_none_or(|oldest| oldest.first <= revision.next())
    }

    /// Bytes in segments begun after `revision`.
    pub(crate) fn bytes_after(&self, revision: Revision) -> u64 {
        self.segments.iter().filter(|s| s.first > revision).map(|s| s.bytes).sum()
    }

    /// Hands over all transactions after `revision`, in order and without a gap.
    pub(crate) fn replay(
        &self,
        revision: Revision,
        mut apply: impl FnMut(Committed),
    ) -> Result<(), StoreError> {
        let start = self.segments.iter().rposition(|s| s.first <= revision.next()).unwrap_or(0);
        let mut last = revision;
        for segment in &self.segments[start..] {
            // Within a segment they follow each other, or it would not have been read.
            if segment.first > last.next() {
                return Err(gap(segment, last));
            }
            for committed in read_sealed(segment)?.transactions {
                if committed.revision <= last {
                    continue;
                }
                last = committed.revision;
                apply(committed);
            }
        }
        Ok(())
    }

    /// Removes all segments: a fsynced snapshot covers them, and what follows it does not join on to them.
    pub(crate) fn remove(self) -> Result<(), StoreError> {
        for segment in &self.segments {
            std::fs::remove_file(&segment.path)
                .map_err(io_error("remove the journal segment", &segment.path))?;
        }
        Ok(())
    }
}

fn gap(segment: &SegmentFile, last: Revision) -> StoreError {
    StoreError::Corrupt {
        path: segment.path.clone(),
        what: format!("it does not join on to revision {last}: a segment before it is missing. {ADVICE}"),
    }
}

/// Cuts off what a crash left behind `end`, and the zeros that were written ahead.
fn cut(path: &Path, bytes: &[u8], end: usize) -> Result<(), StoreError> {
    let torn = bytes[end..].iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    if torn > 0 {
        tracing::warn!(
            path = %path.display(), bytes = torn, at = end,
            "cutting off a write that was never finished (and never acknowledged) from the journal"
        );
    }
    let failed = || io_error("cut the end off the journal segment", path);
    let file = OpenOptions::new().write(true).open(path).map_err(failed())?;
    file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(failed())
}

fn read_sealed(segment: &SegmentFile) -> Result<Contents, StoreError> {
    let bytes = std::fs::read(&segment.path).map_err(io_error("read the journal segment", &segment.path))?;
    let contents = Contents::parse(&bytes, segment)?;
    if contents.end == 0 || bytes[contents.end..].iter().any(|b| *b != 0) {
        return Err(damaged(segment, contents.last, contents.end, BadFrame::Damaged));
    }
    Ok(contents)
}

fn damaged(segment: &SegmentFile, last: Revision, at: usize, bad: BadFrame) -> StoreError {
    let what = match bad {
        BadFrame::Newer(_) => bad.to_string(),
        BadFrame::Damaged | BadFrame::Kind => format!(
            "after revision {last}, at byte {at}, {bad}, although it was complete once. This is no write cut \
             short by a crash: the disk or another program changed it. {ADVICE}"
        ),
    };
    StoreError::Corrupt { path: segment.path.clone(), what }
}

#[derive(Debug)]
struct Contents {
    transactions: Vec<Committed>,
    last: Revision,
    /// Where the whole frames end: 0 if there is not even a head.
    end: usize,
}

impl Contents {
    /// Reads frames up to the first that is not whole. An error if that one was whole once.
    fn parse(bytes: &[u8], segment: &SegmentFile) -> Result<Self, StoreError> {
        let before = Revision(segment.first.0.saturating_sub(1));
        let mut contents = Self { transactions: Vec::new(), last: before, end: 0 };
        let fail = |last, at, bad| Err(damaged(segment, last, at, bad));

        let head = match record::decode(bytes, Kind::SegmentHead, 0) {
            Ok(frame) if frame.number == segment.first.0 => frame,
            Ok(_) => return fail(before, 0, BadFrame::Kind),
            Err(BadFrame::Damaged) if bytes.len() <= HEAD_BYTES => return Ok(contents),
            Err(bad) => return fail(before, 0, bad),
        };
        let Ok(SegmentHead { salt }) = SegmentHead::decode(head.payload) else {
            return fail(before, 0, BadFrame::Damaged);
        };
        contents.end = head.len();
        loop {
            let rest = &bytes[contents.end..];
            let (frame, batch) = match record::decode(rest, Kind::Batch, salt) {
                Ok(frame) => (frame.len(), (frame.number, BatchRecord::decode(frame.payload))),
                Err(BadFrame::Damaged) if !record::holds_frame(rest, salt) => return Ok(contents),
                Err(bad) => return fail(contents.last, contents.end, bad),
            };
            let (number, Ok(batch)) = batch else {
                return fail(contents.last, contents.end, BadFrame::Damaged);
            };
            if number != contents.last.next().0 {
                return fail(contents.last, contents.end, BadFrame::Kind);
            }
            contents.transactions.extend(batch.committed(Revision(number)));
            contents.last = contents.transactions.last().map_or(contents.last, |c| c.revision);
            contents.end += frame;
        }
    }
}

/// A head's frame; a segment that has more has a head on the disk, since that is synced first.
const HEAD_BYTES: usize = record::HEADER + 9;
