//! Bytes of a file or of stdin as messages of a stream.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;

use crate::errors::{Failure, Result};

/// Where bytes come from.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Watches over an upload from the reading end.
#[derive(Debug)]
pub(crate) struct Guard {
    failed: oneshot::Receiver<Failure>,
}

/// The bytes of `reader` in chunks of `chunk` bytes.
///
/// To the other side the end of the stream means that the payload is whole. So when reading fails, or there are
/// more than `max` bytes, the stream does not end but stops: the guard then ends the call, which the other side
/// sees as broken off.
pub(crate) fn chunks(
    reader: Reader,
    chunk: usize,
    max: u64,
    what: String,
) -> (impl Stream<Item = Bytes> + Send, Guard) {
    let (report, failed) = oneshot::channel();
    let source = Source { reader, chunk, left: max, max, what, report: Some(report) };
    (futures::stream::unfold(source, Source::next), Guard { failed })
}

impl Guard {
    /// Runs the call that the chunks go into.
    ///
    /// # Errors
    /// The call's own, or that reading failed.
    pub(crate) async fn run<T>(self, call: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            Ok(failure) = self.failed => Err(failure),
            result = call => result,
        }
    }
}

struct Source {
    reader: Reader,
    chunk: usize,
    left: u64,
    max: u64,
    what: String,
    report: Option<oneshot::Sender<Failure>>,
}

impl Source {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        match self.read().await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some((bytes, self)),
            Err(failure) => {
                if let Some(report) = self.report.take() {
                    // The guard is gone when the call has ended already.
                    let _ = report.send(failure);
                }
                std::future::pending().await
            }
        }
    }

    /// A full chunk, or what is left.
    async fn read(&mut self) -> Result<Bytes> {
        let mut buffer = BytesMut::with_capacity(self.chunk);
        while buffer.len() < self.chunk {
            let room = self.chunk - buffer.len();
            let read = (&mut self.reader).take(room as u64).read_buf(&mut buffer).await;
            if read.map_err(|error| Failure::caused(format!("read {}", self.what), &error))? == 0 {
                break;
            }
        }
        let length = buffer.len() as u64;
        if length > self.left {
            return Err(Failure::error(format!(
                "{} has more than {} bytes, which is the most",
                self.what, self.max
            )));
        }
        self.left -= length;
        Ok(buffer.freeze())
    }
}

/// Opens a regular file and tells its size.
///
/// # Errors
/// When it is missing, cannot be read, or is not a file.
pub(crate) async fn open(path: &Path) -> Result<(tokio::fs::File, u64)> {
    let tried = format!("read {}", path.display());
    let failed = |error: io::Error| {
        let failure = Failure::caused(&tried, &error);
        if error.kind() == io::ErrorKind::NotFound { failure.hint("check the path") } else { failure }
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::error(format!("could not read {}: it is not a file", path.display())));
    }
    Ok((file, metadata.len()))
}

/// Stdin, unbuffered.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdin() -> Result<tokio::fs::File> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|error| Failure::caused("read stdin", &error))?;
    Ok(tokio::fs::File::from_std(stdin.into()))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    async fn collect(reader: Reader, chunk: usize, max: u64) -> Result<Vec<usize>> {
        let (stream, guard) = chunks(reader, chunk, max, "the payload".into());
        guard.run(async { Ok(stream.map(|bytes| bytes.len()).collect().await) }).await
    }

    #[tokio::test]
    async fn chunks_are_full_but_for_the_last() {
        let parts = (&[1u8; 3][..]).chain(&[2u8; 7][..]);
        assert_eq!(collect(Box::new(parts), 4, 10).await.unwrap(), [4, 4, 2]);
        assert_eq!(collect(Box::new(tokio::io::empty()), 4, 10).await.unwrap(), [0usize; 0]);
    }

    #[tokio::test]
    async fn too_much_breaks_the_call_off() {
        let failure = collect(Box::new(&[0u8; 11][..]), 4, 10).await.unwrap_err();
        assert_eq!(failure.message, "the payload has more than 10 bytes, which is the most");
    }

    #[tokio::test]
    async fn a_failed_read_never_looks_like_the_end() {
        let broken = tokio_util::io::StreamReader::new(futures::stream::iter([
            Ok(Bytes::from_static(b"abcd")),
            Err(io::Error::other("unplugged")),
        ]));
        let (stream, guard) = chunks(Box::new(broken), 4, 10, "stdin".into());
        let mut stream = Box::pin(stream);
        assert_eq!(stream.next().await.unwrap(), "abcd");
        assert!(matches!(futures::poll!(stream.next()), std::task::Poll::Pending));
        let failure = guard.run(async { Ok(stream.next().await) }).await.unwrap_err();
        assert_eq!(failure.message, "could not read stdin: unplugged");
    }

    #[tokio::test]
    async fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).await.unwrap_err().message.contains("not a file"));
        assert!(open(&dir.path().join("none")).await.unwrap_err().hint.is_some());
    }
}
