//! The one frame that everything on disk is in: journal, snapshots and the values in sled.
//!
//! ```text
//! 0   magic "LtF1"
//! 4   kind     u16  what the payload is
//! 6   schema   u16  how the payload is written
//! 8   length   u32  of the payload
//! 12  number   u64  a revision
//! 20  checksum u32  CRC-32 of salt, bytes 0..20 and payload
//! 24  payload, a prost message
//! ```
//! Little endian. The salt is zero but for the frames of a journal segment, which has a random one in its head:
//! bytes that an operator stored, or that an older file left on the disk, never pass for a frame there.

use bytes::Bytes;
use prost::Message;

use super::table::{Committed, Stored};
use super::{MAX_TXN_BYTES, Revision, Write};

pub(crate) const HEADER: usize = 24;
const MAGIC: [u8; 4] = *b"LtF1";
const SCHEMA: u16 = 1;
/// A batch stops growing at 4 MiB and its last transaction may be one of the largest; the rest is slack.
const MAX_PAYLOAD: usize = MAX_BATCH_BYTES + 2 * MAX_TXN_BYTES;
/// One write to the disk: large enough that the fdatasync is what costs, small enough to answer soon.
pub(crate) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    SegmentHead = 1,
    Batch = 2,
    SnapshotHead = 3,
    Entry = 4,
    IndexMark = 5,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) number: u64,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes that it takes up.
    pub(crate) fn len(&self) -> usize {
        HEADER + self.payload.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("its checksum does not match its content")]
    Damaged,
    /// Whole, but not for this program: never to be taken for damage.
    #[error("it is in format {0}, which this release does not know: run a newer one")]
    Newer(u16),
    #[error("it holds another kind of record than is expected there")]
    Kind,
}

/// Appends a frame around `message` to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, kind: Kind, number: u64, salt: u64, message: &impl Message) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(kind as u16).to_le_bytes());
    out.extend_from_slice(&SCHEMA.to_le_bytes());
    out.extend_from_slice(&u32::try_from(message.encoded_len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    message.encode_raw(out);
    let sum = checksum(salt, &out[start..start + 20], &out[start + HEADER..]);
    out[start + 20..start + HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// The frame at the start of `bytes`.
pub(crate) fn decode(bytes: &[u8], kind: Kind, salt: u64) -> Result<Frame<'_>, BadFrame> {
    if bytes.len() < HEADER || bytes[..4] != MAGIC {
        return Err(BadFrame::Damaged);
    }
    let length = u32_at(bytes, 8) as usize;
    if length > MAX_PAYLOAD {
        return Err(BadFrame::Damaged);
    }
    let payload = bytes.get(HEADER..HEADER + length).ok_or(BadFrame::Damaged)?;
    if checksum(salt, &bytes[..20], payload) != u32_at(bytes, 20) {
        return Err(BadFrame::Damaged);
    }
    let schema = u16_at(bytes, 6);
    if schema != SCHEMA {
        return Err(BadFrame::Newer(schema));
    }
    if u16_at(bytes, 4) != kind as u16 {
        return Err(BadFrame::Kind);
    }
    Ok(Frame { number: u64_at(bytes, 12), payload })
}

/// Whether a whole batch starts anywhere in `bytes`: then what comes before it was on the disk before.
pub(crate) fn holds_frame(bytes: &[u8], salt: u64) -> bool {
    (0..bytes.len()).any(|at| {
        bytes[at..].starts_with(&MAGIC) && decode(&bytes[at..], Kind::Batch, salt) != Err(BadFrame::Damaged)
    })
}

fn checksum(salt: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The head of a journal segment; the frame's number is the first revision that may follow.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentHead {
    #[prost(fixed64, tag = 1)]
    pub(crate) salt: u64,
}

/// All that one fdatasync made durable; the frame's number is the revision of the first transaction.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchRecord {
    #[prost(message, repeated, tag = 1)]
    txns: Vec<TxnRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRecord {
    #[prost(message, repeated, tag = 1)]
    writes: Vec<WriteRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRecord {
    #[prost(string, tag = 1)]
    key: String,
    /// Absent: the key is deleted.
    #[prost(bytes = "bytes", optional, tag = 2)]
    value: Option<Bytes>,
}

/// The head of a snapshot; the frame's number is the revision it was taken at.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotHead {
    #[prost(uint64, tag = 1)]
    pub(crate) entries: u64,
}

/// One record, in a snapshot or in sled; the frame's number is its revision.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRecord {
    #[prost(string, tag = 1)]
    pub(crate) key: String,
    #[prost(bytes = "bytes", tag = 2)]
    pub(crate) value: Bytes,
}

/// What the index claims to hold; the frame's number is the last revision applied to it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IndexMark {
    #[prost(uint64, tag = 1)]
    pub(crate) entries: u64,
    /// Wrapping sum over the entries of a hash of key and revision: a lost or outdated entry changes it.
    #[prost(fixed64, tag = 2)]
    pub(crate) sum: u64,
}

impl BatchRecord {
    pub(crate) fn of(batch: &[Committed]) -> Self {
        let txns = batch
            .iter()
            .map(|committed| TxnRecord { writes: committed.writes.iter().map(WriteRecord::of).collect() })
            .collect();
        Self { txns }
    }

    /// The transactions, the first one at `first`.
    pub(crate) fn committed(self, first: Revision) -> Vec<Committed> {
        let revisions = (first.0..).map(Revision);
        self.txns
            .into_iter()
            .zip(revisions)
            .map(|(txn, revision)| Committed {
                revision,
                writes: txn.writes.into_iter().map(WriteRecord::into_write).collect(),
            })
            .collect()
    }
}

impl WriteRecord {
    fn of(write: &Write) -> Self {
        let value = match write {
            Write::Put(_, value) => Some(value.clone()),
            Write::Delete(_) => None,
        };
        Self { key: write.key().to_owned(), value }
    }

    fn into_write(self) -> Write {
        match self.value {
            Some(value) => Write::Put(self.key, value),
            None => Write::Delete(self.key),
        }
    }
}

/// Appends the frame of one record.
pub(crate) fn encode_entry(out: &mut Vec<u8>, key: &str, stored: &Stored) {
    let record = EntryRecord { key: key.to_owned(), value: stored.value.clone() };
    encode(out, Kind::Entry, stored.revision.0, 0, &record);
}

/// A record and how many bytes its frame takes up.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<(String, Stored, usize), BadFrame> {
    let frame = decode(bytes, Kind::Entry, 0)?;
    let record = EntryRecord::decode(frame.payload).map_err(|_| BadFrame::Damaged)?;
    let stored = Stored { value: record.value, revision: Revision(frame.number) };
    Ok((record.key, stored, frame.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Vec<u8> {
        let mut out = Vec::new();
        encode_entry(
            &mut out,
            "nodes/a",
            &Stored { value: Bytes::from_static(b"tide"), revision: Revision(7) },
        );
        out
    }

    /// A release that reads its predecessor's disk differently loses data: these bytes never change.
    #[test]
    fn format_1_is_pinned() {
        let expected = "4c744631040001000f00000007000000000000004d0b84200a076e6f6465732f61120474696465";
        assert_eq!(hex::encode(entry()), expected);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = entry();
        assert_eq!(decode_entry(&good).unwrap().0, "nodes/a");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_entry(&bad), Err(BadFrame::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_not_damage() {
        let mut bytes = entry();
        bytes[6] = 2;
        let sum = checksum(0, &bytes[..20], &bytes[HEADER..]);
        bytes[20..HEADER].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(decode_entry(&bytes), Err(BadFrame::Newer(2)));
    }

    #[test]
    fn a_frame_with_another_salt_is_no_frame() {
        let mut bytes = vec![0; 5];
        encode(&mut bytes, Kind::Batch, 3, 42, &BatchRecord::default());
        assert!(holds_frame(&bytes, 42));
        assert!(!holds_frame(&bytes, 43));
    }
}
