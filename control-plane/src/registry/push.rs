//! A module comes in: digested while it is written, inspected, and then recorded.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use littoral_model::digest::Digest;
use littoral_model::id::{ModuleName, Version};
use littoral_model::quantity;
use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_proto::v1::{ModuleVersion, PushModuleHeader, PushModuleResponse};
use tokio::time::timeout;

use super::{Registry, name_of};
use crate::audit::Change;
use crate::blobs::{BlobError, BlobWriter};
use crate::inspect::{Inspected, Refused, begins_as_wasm, inspect};
use crate::principal::Principal;
use crate::records::{self, TxnRecords, key};
use crate::store::{StoreError, Txn};

/// A link that is silent for longer is gone.
pub const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
/// 256 MiB at 1 Mbit/s take 36 minutes.
const PUSH_DEADLINE: Duration = Duration::from_secs(3600);
/// Frames of HTTP/2 are smaller; a message of several MiB would be copied once more.
const MAX_CHUNK: usize = 1024 * 1024;
const MAX_MESSAGE: usize = 1024;
/// A second attempt sees the record that was in the way.
const ATTEMPTS: usize = 2;

/// What a header asks for, checked.
struct Wanted {
    name: ModuleName,
    /// `None`: derived from the digest.
    version: Option<Version>,
    message: String,
    /// 0: not told.
    size_bytes: u64,
}

impl Registry {
    /// Takes `chunks` as the module that `header` announces.
    ///
    /// # Errors
    /// `InvalidArgument` for a module over the cap, before any of its bytes are read when its size was announced, and
    /// with the reason for what cannot be run; `AlreadyExists` for other bytes under the same name and
    /// version.
    pub async fn push(
        &self,
        header: PushModuleHeader,
        chunks: impl Stream<Item = Result<Bytes, ApiError>> + Send,
        by: &Principal,
    ) -> Result<PushModuleResponse, ApiError> {
        let wanted = self.check(header)?;
        let too_many = || ApiError::unavailable("too many modules are being pushed at once: try again");
        let _place = self.pushes.try_acquire().map_err(|_| too_many())?;
        let late = |_| ApiError::new(ApiCode::DeadlineExceeded, "the push took longer than an hour");
        let writer = timeout(PUSH_DEADLINE, self.receive(&wanted, chunks)).await.map_err(late)??;
        let refused = {
            let _reading = self.content.read().await;
            let (digest, size_bytes) = writer.finish().await?;
            match self.record(&wanted, digest, size_bytes, by).await {
                Ok(response) => return Ok(response),
                Err(error) => (digest, error),
            }
        };
        let (digest, error) = refused;
        self.delete_unless_used(digest).await;
        Err(error)
    }

    fn check(&self, header: PushModuleHeader) -> Result<Wanted, ApiError> {
        let name = header.name.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        let version = match header.version.as_str() {
            "" => None,
            version => Some(version.parse().map_err(|e| ApiError::invalid(format!("{e}")))?),
        };
        if header.message.len() > MAX_MESSAGE {
            return Err(ApiError::invalid(format!("the message is longer than {MAX_MESSAGE} bytes")));
        }
        if header.size_bytes > self.max_module_bytes {
            return Err(self.too_large(&format!("the module has {}", quantity::Bytes(header.size_bytes))));
        }
        Ok(Wanted { name, version, message: header.message, size_bytes: header.size_bytes })
    }

    async fn receive(
        &self,
        wanted: &Wanted,
        chunks: impl Stream<Item = Result<Bytes, ApiError>>,
    ) -> Result<BlobWriter, ApiError> {
        let mut writer = self.blobs.writer(self.max_module_bytes).await?;
        let mut chunks = std::pin::pin!(chunks);
        let mut received = 0_u64;
        loop {
            let silent = |_| {
                ApiError::new(ApiCode::DeadlineExceeded, "the push stopped: no bytes came for 30 seconds")
            };
            let Some(chunk) = timeout(CHUNK_DEADLINE, chunks.next()).await.map_err(silent)? else { break };
            let chunk = chunk?;
            if chunk.len() > MAX_CHUNK {
                return Err(ApiError::invalid(format!(
                    "a chunk has {} bytes: at most {MAX_CHUNK}",
                    chunk.len()
                )));
            }
            if received == 0 && !begins_as_wasm(&chunk[..chunk.len().min(4)]) {
                return Err(refusal(&Refused::NotWasm));
            }
            received += chunk.len() as u64;
            writer.write(&chunk).await.map_err(|error| match error {
                BlobError::TooLarge { .. } => self.too_large("the module is larger"),
                other => other.into(),
            })?;
        }
        if wanted.size_bytes != 0 && wanted.size_bytes != received {
            let text =
                format!("{} bytes were announced and {received} came: push it again", wanted.size_bytes);
            return Err(ApiError::invalid(text));
        }
        Ok(writer)
    }

    /// Commits what the module is, unless it is there already.
    async fn record(
        &self,
        wanted: &Wanted,
        digest: Digest,
        size_bytes: u64,
        by: &Principal,
    ) -> Result<PushModuleResponse, ApiError> {
        let version =
            wanted.version.as_ref().map_or_else(|| format!("sha-{}", digest.short()), ToString::to_string);
        let key = key::module(wanted.name.as_str(), &version);
        for _ in 0..ATTEMPTS {
            if let Some(there) = records::get::<ModuleVersion>(self.store.as_ref(), &key).await? {
                return same_or_refused(there.value, digest);
            }
            let inspected = self.inspect(digest).await?;
            let module = ModuleVersion {
                name: wanted.name.to_string(),
                version: version.clone(),
                digest: digest.to_string(),
                size_bytes,
                kind: inspected.kind.into(),
                imports: inspected.imports,
                exports: inspected.exports,
                message: wanted.message.clone(),
                pushed_by: by.actor(),
                pushed_at_ms: clock::now().as_millis(),
            };
            let change = Change {
                subject: format!("module/{}", name_of(&module)),
                reason: "Pushed",
                message: format!("{digest}, {}", quantity::Bytes(size_bytes)),
            };
            match self.audit.commit(Txn::new().create(&module), by, change).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(PushModuleResponse { module: Some(module), created: true }),
            }
        }
        Err(ApiError::unavailable(format!("{}@{version} is being changed by others: try again", wanted.name)))
    }

    async fn inspect(&self, digest: Digest) -> Result<Inspected, ApiError> {
        let closed = |_| ApiError::unavailable("the control plane is stopping");
        let _place = self.inspections.acquire().await.map_err(closed)?;
        let wasm = self.blobs.get(digest, self.max_module_bytes).await?;
        let inspected = tokio::task::spawn_blocking(move || inspect(&wasm)).await;
        // A panic there is a bug of ours, met by a module: it must not be accepted.
        let inspected = inspected.map_err(|_| ApiError::internal("the module could not be inspected"))?;
        inspected.map_err(|refused| refusal(&refused))
    }

    /// Deletes bytes that were stored for a push that was refused.
    async fn delete_unless_used(&self, digest: Digest) {
        let _alone = self.content.write().await;
        let used = records::scan::<ModuleVersion>(self.store.as_ref(), key::MODULE).await.map(|modules| {
            let digest = digest.to_string();
            modules.records.iter().any(|module| module.value.digest == digest)
        });
        if matches!(used, Ok(false))
            && let Err(error) = self.blobs.delete(digest).await
        {
            tracing::warn!("could not delete the bytes of a refused module: {error}");
        }
    }

    fn too_large(&self, what: &str) -> ApiError {
        let most = quantity::Bytes(self.max_module_bytes);
        let text = format!("{what}, and at most {most} are taken (max_module_size of littorald)");
        // Not a quota that frees itself: the same module will not be taken later either.
        ApiError::invalid(text)
    }
}

fn same_or_refused(there: ModuleVersion, pushed: Digest) -> Result<PushModuleResponse, ApiError> {
    if there.digest == pushed.to_string() {
        return Ok(PushModuleResponse { module: Some(there), created: false });
    }
    let text = format!(
        "{} is there already with other bytes: it is {}, and {pushed} was pushed; give it another version",
        name_of(&there),
        there.digest
    );
    Err(ApiError::new(ApiCode::AlreadyExists, text))
}

fn refusal(refused: &Refused) -> ApiError {
    let details = match refused {
        Refused::Missing(names) | Refused::NoEntry(names) => names.clone(),
        _ => Vec::new(),
    };
    ApiError::invalid(refused.to_string()).with_details(details)
}
