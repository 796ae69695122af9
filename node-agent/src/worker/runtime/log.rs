//! What guests print while nobody listens: lines of the worker's log, at the level `debug`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::pipe::Stream;

/// Of one request and stream; the rest is dropped. A guest must not fill a disk with its log.
const MAX_LOGGED: usize = 64 << 10;
/// Longer lines are cut.
const MAX_LINE: usize = 4096;

/// Standard output or standard error of one guest. All its handles share it.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Lines>>);

struct Lines {
    function: String,
    stream: Stream,
    pending: Vec<u8>,
    left: usize,
}

impl GuestLog {
    /// Whether anybody would see it.
    pub(crate) fn is_wanted() -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    pub(crate) fn new(function: &str, stream: Stream) -> Self {
        let lines = Lines { function: function.into(), stream, pending: Vec::new(), left: MAX_LOGGED };
        Self(Arc::new(Mutex::new(lines)))
    }
}

impl Lines {
    fn append(&mut self, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(self.left)];
        self.left -= kept.len();
        for byte in kept {
            if *byte == b'\n' || self.pending.len() == MAX_LINE {
                self.emit();
            }
            if *byte != b'\n' {
                self.pending.push(*byte);
            }
        }
    }

    fn emit(&mut self) {
        let line = String::from_utf8_lossy(&self.pending);
        tracing::debug!(function = %self.function, stream = ?self.stream, "{line}");
        self.pending.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.emit();
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    /// Only guests of WASI 0.3 ask for this form, and none is run yet.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LOGGED)
    }
}

#[async_trait::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_bounded_part_and_no_more() {
        let mut lines =
            Lines { function: "f".into(), stream: Stream::Stdout, pending: Vec::new(), left: MAX_LOGGED };
        lines.append(b"one\ntwo");
        assert_eq!(lines.pending, b"two");
        lines.append(&vec![b'x'; 10 * MAX_LOGGED]);
        assert_eq!(lines.left, 0);
        assert!(lines.pending.len() <= MAX_LINE);
        lines.append(b"more");
        assert!(!lines.pending.ends_with(b"more"));
    }
}
