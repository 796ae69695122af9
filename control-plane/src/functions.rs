//! What operators want running: applied and deleted here, carried out by the planner.

mod changes;

use std::sync::Arc;

use littoral_model::function::{FunctionSpec, ResolvedModule};
use littoral_model::id::FunctionName;
use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_proto::convert::{encode_spec, kind_from_pb, spec_from_pb, spec_to_pb};
use littoral_proto::store::{FunctionRecord, ModuleUseRecord};
use littoral_proto::v1::{self, ApplyFunctionRequest, ApplyFunctionResponse, ModuleVersion, RolloutState};
use tokio::sync::Mutex;

use crate::audit::{Audit, Change};
use crate::blobs::Blobs;
use crate::principal::Principal;
use crate::records::{self, Record, Stored, TxnRecords, key};
use crate::registry::Registry;
use crate::store::{Store, StoreError, Txn};

/// A record holds two specs, the newest and the stable one, and a value in the store at most 256 KiB.
const MAX_SPEC: usize = 100 * 1024;
/// The planner writes the same records, a few times in a rollout.
const ATTEMPTS: usize = 5;

/// Shared as an `Arc`.
pub struct Functions {
    store: Arc<dyn Store>,
    blobs: Blobs,
    audit: Audit,
    registry: Arc<Registry>,
    /// Applies take turns, so that no two functions come to claim the same route.
    applying: Mutex<()>,
}

/// A spec that can be committed.
struct Prepared {
    spec: v1::FunctionSpec,
    digest: String,
    module: Stored<ModuleVersion>,
}

impl Functions {
    pub fn new(store: Arc<dyn Store>, blobs: Blobs, audit: Audit, registry: Arc<Registry>) -> Self {
        Self { store, blobs, audit, registry, applying: Mutex::default() }
    }

    /// Commits a new revision, unless the spec is the current one already.
    ///
    /// # Errors
    /// `InvalidArgument` names the key that is wrong; `NotFound` the module; `Conflict` when the function is not at the
    /// expected revision; `AlreadyExists` when another function has one of its routes.
    pub async fn apply(
        &self,
        request: ApplyFunctionRequest,
        by: &Principal,
    ) -> Result<ApplyFunctionResponse, ApiError> {
        let spec = request.spec.ok_or_else(|| ApiError::invalid("the request has no spec"))?;
        let _turn = self.applying.lock().await;
        let prepared = self.prepare(spec, request.dry_run).await?;
        for _ in 0..ATTEMPTS {
            let function = key::function(&prepared.spec.name);
            let current = records::get::<FunctionRecord>(self.store.as_ref(), &function).await?;
            let revision = current.as_ref().map_or(0, |current| current.value.revision);
            if request.expected_revision != 0 && request.expected_revision != revision {
                let text = format!(
                    "{} is at revision {revision}, and {} was expected: look at it again",
                    prepared.spec.name, request.expected_revision
                );
                return Err(ApiError::conflict(text));
            }
            let same = current.as_ref().is_some_and(|current| current.value.spec_digest == prepared.digest);
            // What was taken back is tried again when somebody asks for it again: the nodes may have been mended.
            let aborted = current.as_ref().is_some_and(|c| c.value.rollout() == RolloutState::Aborted);
            if same && !aborted {
                return Ok(ApplyFunctionResponse { revision, changed: false, changes: Vec::new() });
            }
            let before = current.as_ref().and_then(|current| current.value.spec.as_ref());
            let mut changes = changes::between(before, &prepared.spec);
            if same {
                changes = vec![format!("revision {revision} was aborted: it is tried again")];
            }
            let applied = ApplyFunctionResponse { revision: revision + 1, changed: true, changes };
            if request.dry_run {
                return Ok(applied);
            }
            match self.commit(&prepared, current, revision, by).await {
                Err(StoreError::Conflict { key }) if key == function => {}
                Err(StoreError::Conflict { .. }) => {
                    return Err(ApiError::conflict(format!(
                        "{} was removed meanwhile",
                        prepared.spec.module
                    )));
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(applied),
            }
        }
        Err(ApiError::unavailable(format!("{} is being changed by others: try again", prepared.spec.name)))
    }

    /// Stops a function everywhere and forgets it.
    ///
    /// # Errors
    /// `NotFound` for no such function.
    pub async fn delete(&self, name: &str, by: &Principal) -> Result<(), ApiError> {
        let name: FunctionName = name.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        for _ in 0..ATTEMPTS {
            let found =
                records::get::<FunctionRecord>(self.store.as_ref(), &key::function(name.as_str())).await?;
            let Some(function) = found else {
                return Err(ApiError::not_found(format!("there is no function {name}")));
            };
            let change = Change {
                subject: format!("function/{name}"),
                reason: "Deleted",
                message: format!("revision {} -> none", function.value.revision),
            };
            match self.audit.commit(Txn::new().remove(&function), by, change).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
        Err(ApiError::unavailable(format!("{name} is being changed by others: try again")))
    }

    /// Resolves the module, checks everything that can be checked now, and stores the body that nodes will fetch.
    async fn prepare(&self, mut pb: v1::FunctionSpec, dry_run: bool) -> Result<Prepared, ApiError> {
        let module = self.registry.resolve(&pb.module).await?;
        pb.module = format!("{}@{}", module.value.name, module.value.version);
        // What the caller may have put there is not believed.
        pb.module_digest.clear();
        let mut spec = spec_from_pb(&pb).map_err(|error| ApiError::invalid(error.to_string()))?;
        spec.resolved = Some(resolved(&module.value)?);
        spec.validate().map_err(|error| ApiError::invalid(error.to_string()))?;
        self.check_routes(&spec).await?;
        let (bytes, digest) = encode_spec(&spec);
        if bytes.len() > MAX_SPEC {
            let text = format!("the spec has {} bytes: at most {MAX_SPEC}", bytes.len());
            return Err(ApiError::invalid(text));
        }
        if !dry_run {
            self.blobs.put(bytes.into()).await?;
        }
        Ok(Prepared { spec: spec_to_pb(&spec), digest: digest.to_string(), module })
    }

    /// Two functions on one route would take turns as nodes see fit.
    async fn check_routes(&self, spec: &FunctionSpec) -> Result<(), ApiError> {
        let functions = records::scan::<FunctionRecord>(self.store.as_ref(), key::FUNCTION).await?.records;
        let others =
            functions.iter().filter_map(|f| f.value.spec.as_ref()).filter(|o| o.name != spec.name.as_str());
        for other in others {
            for taken in &other.http_triggers {
                if spec.triggers.iter().any(|mine| mine.host == taken.host && mine.path == taken.path) {
                    let text = format!(
                        "trigger.http: host `{}`, path `{}` belongs to the function {} already",
                        taken.host, taken.path, other.name
                    );
                    return Err(ApiError::new(ApiCode::AlreadyExists, text));
                }
            }
        }
        Ok(())
    }

    async fn commit(
        &self,
        prepared: &Prepared,
        current: Option<Stored<FunctionRecord>>,
        revision: u64,
        by: &Principal,
    ) -> Result<(), StoreError> {
        let module = &prepared.module;
        let used = ModuleUseRecord {
            name: module.value.name.clone(),
            version: module.value.version.clone(),
            function: prepared.spec.name.clone(),
        };
        let txn = Txn::new().revision(module.value.key(), module.revision).write(&used);
        let change = Change {
            subject: format!("function/{}", prepared.spec.name),
            reason: "Applied",
            message: format!("revision {revision} -> {}, {}", revision + 1, prepared.spec.module),
        };
        let read_at = current.as_ref().map(|current| current.revision);
        let record = FunctionRecord {
            spec: Some(prepared.spec.clone()),
            revision: revision + 1,
            spec_digest: prepared.digest.clone(),
            applied_at_ms: clock::now().as_millis(),
            applied_by: by.actor(),
            rollout: RolloutState::Progressing.into(),
            rollout_message: String::new(),
            // The stable revision stays what it was, until the new one has reached every node.
            ..current.map(|current| current.value).unwrap_or_default()
        };
        let txn = match read_at {
            Some(read_at) => txn.replace(read_at, &record),
            None => txn.create(&record),
        };
        self.audit.commit(txn, by, change).await.map(drop)
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

fn resolved(module: &ModuleVersion) -> Result<ResolvedModule, ApiError> {
    let damaged =
        |what: String| ApiError::internal(format!("the record of {} is damaged: {what}", module.name));
    Ok(ResolvedModule {
        digest: module.digest.parse().map_err(|e| damaged(format!("{e}")))?,
        kind: kind_from_pb(module.kind).map_err(|e| damaged(e.to_string()))?,
    })
}

#[cfg(test)]
mod tests;
