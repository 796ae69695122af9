//! A guest's output, on its way to whoever called it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::{self, OwnedPermit};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Largest piece that a guest hands over at once.
const PIECE: usize = 64 << 10;

/// Pieces in flight between a guest and its caller.
pub(crate) const PIECES: usize = 4;

/// Something that an invocation gives back.
#[derive(Debug)]
pub enum Output {
    Head(http::response::Parts),
    Stdout(Bytes),
    Stderr(Bytes),
}

/// More output than the function's limit.
#[derive(Debug, thiserror::Error)]
#[error("its answer is larger than its limit of {0} bytes")]
pub(crate) struct OutputExceeded(pub(crate) u64);

/// Which of the two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn output(self, bytes: Bytes) -> Output {
        match self {
            Self::Stdout => Output::Stdout(bytes),
            Self::Stderr => Output::Stderr(bytes),
        }
    }
}

/// What is left of the limit of one answer, for all of its streams together.
#[derive(Debug)]
pub(crate) struct Allowance {
    used: AtomicU64,
    limit: u64,
}

impl Allowance {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), limit })
    }

    pub(crate) fn take(&self, bytes: usize) -> Result<(), OutputExceeded> {
        let bytes = bytes as u64;
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used <= self.limit { Ok(()) } else { Err(OutputExceeded(self.limit)) }
    }
}

/// Standard output or standard error of one guest.
#[derive(Clone)]
pub(crate) struct Pipe {
    pub(crate) stream: Stream,
    pub(crate) sink: mpsc::Sender<Output>,
    pub(crate) allowance: Arc<Allowance>,
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    /// Only guests of WASI 0.3 ask for this form, and none is run yet.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(PipeStream { pipe: self.clone(), permit: None })
    }
}

/// One handle of a guest to a pipe. It has a place in the queue before it says that it can be written to.
struct PipeStream {
    pipe: Pipe,
    permit: Option<OwnedPermit<Output>>,
}

impl OutputStream for PipeStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.pipe.allowance.take(bytes.len()).map_err(|exceeded| StreamError::Trap(exceeded.into()))?;
        let Some(permit) = self.permit.take() else {
            return Err(StreamError::trap("the guest wrote without asking whether it may"));
        };
        permit.send(self.pipe.stream.output(bytes));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.permit.is_none() {
            match self.pipe.sink.clone().try_reserve_owned() {
                Ok(permit) => self.permit = Some(permit),
                Err(mpsc::error::TrySendError::Full(_)) => return Ok(0),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(StreamError::Closed),
            }
        }
        Ok(PIECE)
    }
}

#[async_trait::async_trait]
impl Pollable for PipeStream {
    async fn ready(&mut self) {
        if self.permit.is_none() {
            // When the caller is gone, the next write says so.
            self.permit = self.pipe.sink.clone().reserve_owned().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(limit: u64) -> (Box<dyn OutputStream>, mpsc::Receiver<Output>) {
        let (sink, output) = mpsc::channel(1);
        let pipe = Pipe { stream: Stream::Stdout, sink, allowance: Allowance::new(limit) };
        (pipe.p2_stream(), output)
    }

    #[tokio::test]
    async fn a_full_queue_holds_the_guest_back() {
        let (mut stream, mut output) = pipe(100);
        assert_eq!(stream.check_write().unwrap(), PIECE);
        stream.write(Bytes::from_static(b"one")).unwrap();
        assert_eq!(stream.check_write().unwrap(), 0);
        assert!(matches!(output.recv().await, Some(Output::Stdout(bytes)) if bytes == "one"));
        stream.ready().await;
        assert_eq!(stream.check_write().unwrap(), PIECE);
    }

    #[tokio::test]
    async fn too_much_output_traps_and_a_caller_that_left_closes() {
        let (mut stream, output) = pipe(5);
        stream.ready().await;
        assert!(matches!(stream.write(Bytes::from_static(b"123456")), Err(StreamError::Trap(_))));
        drop(output);
        let (mut stream, output) = pipe(5);
        drop(output);
        stream.ready().await;
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    }
}
