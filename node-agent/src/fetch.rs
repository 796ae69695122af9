//! Downloading a blob by its digest, from where the last try was cut.

use std::time::Duration;

use bytes::Bytes;
use littoral_model::digest::Digest;
use littoral_proto::v1::{FetchArtifactRequest, FetchArtifactResponse};
use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::artifacts::{Cache, CacheError, Partial};
use crate::link::NodeClient;
use crate::reconciler::BlobKind;

/// The control plane answers at once or not at all.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// Between two chunks. A link that carries 1 MiB in this time is slow (140 kbit/s) but gets somewhere; the whole
/// download has no deadline.
const CHUNK_DEADLINE: Duration = Duration::from_secs(60);

const MAX_ARTIFACT: u64 = 512 << 20;
pub(crate) const MAX_SPEC: usize = 1 << 20;
pub(crate) const MAX_STATEMENT: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the control plane did not send {digest}: {}", status.message())]
    Refused { digest: Digest, status: Status },
    #[error("the download of {digest} was cut: {}", status.message())]
    Cut { digest: Digest, status: Status },
    #[error("the download of {digest} stood still for {} s", waited.as_secs())]
    Stalled { digest: Digest, waited: Duration },
    #[error("the download of {digest} began without its size")]
    NoSize { digest: Digest },
    #[error("a task of the disk ended early")]
    Task(#[from] JoinError),
}

/// Brings a blob into the cache. One caller at a time for each digest.
///
/// What came before an error is kept and resumed, unless it was wrong.
pub(crate) async fn fetch(
    mut client: NodeClient,
    cache: Cache,
    digest: Digest,
    kind: BlobKind,
    received: Counter,
) -> Result<(), FetchError> {
    let cap = cap(kind);
    let partial = spawn_blocking(move || cache.partial(&digest, cap)).await??;
    let request = FetchArtifactRequest { digest: digest.to_string(), offset: partial.offset() };
    let stream = match timeout(OPEN_DEADLINE, client.fetch_artifact(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(FetchError::Refused { digest, status }),
        Err(_) => return Err(FetchError::Stalled { digest, waited: OPEN_DEADLINE }),
    };
    let partial = receive(stream, partial, digest, &received).await?;
    Ok(spawn_blocking(move || partial.finish()).await??)
}

async fn receive(
    mut stream: Streaming<FetchArtifactResponse>,
    partial: Partial,
    digest: Digest,
    received: &Counter,
) -> Result<Partial, FetchError> {
    let first = next(&mut stream, digest).await?.ok_or(FetchError::NoSize { digest })?;
    let size = first.size_bytes;
    let mut partial = spawn_blocking(move || partial_with_size(partial, size)).await??;
    let mut chunk = Some(first.chunk);
    while let Some(bytes) = chunk {
        received.inc_by(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        partial = spawn_blocking(move || written(partial, &bytes)).await??;
        chunk = next(&mut stream, digest).await?.map(|message| message.chunk);
    }
    Ok(partial)
}

fn partial_with_size(mut partial: Partial, size: u64) -> Result<Partial, CacheError> {
    partial.declare(size)?;
    Ok(partial)
}

fn written(mut partial: Partial, bytes: &Bytes) -> Result<Partial, CacheError> {
    partial.write(bytes)?;
    Ok(partial)
}

async fn next(
    stream: &mut Streaming<FetchArtifactResponse>,
    digest: Digest,
) -> Result<Option<FetchArtifactResponse>, FetchError> {
    match timeout(CHUNK_DEADLINE, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(FetchError::Cut { digest, status }),
        Err(_) => Err(FetchError::Stalled { digest, waited: CHUNK_DEADLINE }),
    }
}

fn cap(kind: BlobKind) -> u64 {
    match kind {
        BlobKind::Spec => MAX_SPEC as u64,
        BlobKind::Statement => MAX_STATEMENT as u64,
        BlobKind::Artifact => MAX_ARTIFACT,
    }
}
