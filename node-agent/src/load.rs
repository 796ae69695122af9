//! Having the worker load one revision, and what its refusals mean for the cache.

use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_proto::worker::{LoadFailure, LoadRequest};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use tonic::Status;

use crate::artifacts::{Cache, CacheError};
use crate::assignment::Workload;
use crate::fetch::{MAX_SPEC, MAX_STATEMENT};
use crate::supervisor::Worker;

/// Hashing 512 MiB from an SD card at 10 MB/s takes 50 s.
const LOAD_DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the artifact in the cache was damaged: it is in quarantine and will be fetched again")]
    Damaged,
    #[error("verification failed: {0}")]
    Verification(String),
    #[error("this node cannot run it: {0}")]
    Incompatible(String),
    #[error("a limit of this node was reached: {0}")]
    Limit(String),
    #[error("it could not be loaded: {0}")]
    Host(String),
    #[error("the worker did not answer while loading it: {}", .0.message())]
    Worker(Status),
    #[error("loading took longer than {} s", LOAD_DEADLINE.as_secs())]
    Deadline,
    #[error("a task of the disk ended early")]
    Task(#[from] JoinError),
}

impl LoadError {
    /// Whether bytes were not what they should be.
    pub(crate) fn is_verification(&self) -> bool {
        matches!(self, Self::Damaged | Self::Verification(_) | Self::Cache(CacheError::Damaged(_)))
    }
}

/// Returns how long the worker took, in microseconds.
pub(crate) async fn load(
    mut worker: Worker,
    cache: Cache,
    workload: Workload,
    now: Timestamp,
) -> Result<u64, LoadError> {
    let request = {
        let (cache, workload) = (cache.clone(), workload.clone());
        spawn_blocking(move || request(&cache, &workload, now)).await??
    };
    let response = match timeout(LOAD_DEADLINE, worker.client.load(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(LoadError::Worker(status)),
        Err(_) => return Err(LoadError::Deadline),
    };
    let failure = response.failure();
    if matches!(failure, LoadFailure::Verification | LoadFailure::Host) {
        // What is damaged or gone is fetched again. What is whole was refused for its statement: fetching the same
        // bytes again would change nothing, so it stays, unused, and the failure is told.
        let whole = spawn_blocking(move || cache.check(&workload.artifact, now)).await??;
        if !whole {
            return Err(LoadError::Damaged);
        }
    }
    match failure {
        LoadFailure::Unspecified => Ok(response.load_us),
        LoadFailure::Verification => Err(LoadError::Verification(response.message)),
        LoadFailure::Incompatible => Err(LoadError::Incompatible(response.message)),
        LoadFailure::Limit => Err(LoadError::Limit(response.message)),
        LoadFailure::Host => Err(LoadError::Host(response.message)),
    }
}

fn request(cache: &Cache, workload: &Workload, now: Timestamp) -> Result<LoadRequest, CacheError> {
    Ok(LoadRequest {
        spec: cache.read(&workload.spec, MAX_SPEC, now)?,
        spec_digest: workload.spec.to_string(),
        revision: workload.revision.0,
        artifact_digest: workload.artifact.to_string(),
        artifact_file: Cache::relative(&workload.artifact),
        statement: cache.read(&workload.statement, MAX_STATEMENT, now)?,
    })
}
