//! What a child says: into a file, and the end of it in memory for when it dies.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::output::{plain, say};

/// A file and its predecessor hold a day of a chatty fleet.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Some thirty lines: what is read when a child has died.
const MAX_TAIL: usize = 4 * 1024;
const TAIL_LINES: usize = 12;
/// A longer line is shown in parts.
const MAX_LINE: usize = 8 * 1024;

/// The end of what a child said. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut tail = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let surplus = tail.len().saturating_sub(MAX_TAIL);
        tail.drain(..surplus);
    }

    /// The last lines, without control characters.
    pub(super) fn lines(&self) -> Vec<String> {
        let tail = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        last.iter().map(|line| plain(line)).collect()
    }
}

/// Copies what comes through the pipe until its last writer is gone.
pub(super) async fn copy(
    mut pipe: pipe::Receiver,
    mut file: LogFile,
    tail: Tail,
    prefix: Option<String>,
) -> io::Result<()> {
    let mut buffer = vec![0; 8 * 1024];
    let mut line = Vec::new();
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        tail.push(&buffer[..read]);
        if let Some(prefix) = &prefix {
            echo(prefix, &mut line, &buffer[..read]);
        }
        // A full disk must not stop the child, which would wait for its pipe.
        if let Err(error) = file.write(&buffer[..read]) {
            tail.push(format!("\n(its log cannot be written: {error})\n").as_bytes());
        }
    }
}

/// Prints whole lines with a prefix; keeps the rest in `line`.
fn echo(prefix: &str, line: &mut Vec<u8>, bytes: &[u8]) {
    for part in bytes.split_inclusive(|&byte| byte == b'\n') {
        line.extend_from_slice(part);
        if part.ends_with(b"\n") || line.len() > MAX_LINE {
            say(&format!("{prefix} {}", String::from_utf8_lossy(line).trim_end()));
            line.clear();
        }
    }
}

/// A file that begins anew when it is long; the one before is kept beside it.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > MAX_FILE {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_short_and_harmless() {
        let tail = Tail::default();
        tail.push(&[b'x'; 2 * MAX_TAIL]);
        for n in 0..40 {
            tail.push(format!("\nline {n}\x1b[2J").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.last().unwrap(), "line 39 [2J");
    }

    #[test]
    fn a_long_file_begins_anew_and_the_old_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = LogFile::open(&path).unwrap();
        file.write(b"first").unwrap();
        file.length = MAX_FILE;
        file.write(b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read(dir.path().join("a.log.1")).unwrap(), b"first");
        assert_eq!(LogFile::open(&path).unwrap().length, 6);
    }

    #[test]
    fn only_whole_lines_are_echoed() {
        let mut line = Vec::new();
        echo("a", &mut line, b"one\ntw");
        assert_eq!(line, b"tw");
        echo("a", &mut line, b"o\n");
        assert!(line.is_empty());
    }
}
