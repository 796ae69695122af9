//! A module version goes, with everything that was made of it.

use littoral_model::digest::Digest;
use littoral_model::id::ModuleRef;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_proto::store::{CompileRequestRecord, ModuleUseRecord};
use littoral_proto::v1::{Artifact, CompileFailure, ModuleVersion};

use super::Registry;
use crate::audit::Change;
use crate::principal::Principal;
use crate::records::{self, Record, TxnRecords, key};
use crate::store::{StoreError, Txn};

impl Registry {
    /// # Errors
    /// `FailedPrecondition` while a function uses it, with the functions as details; `NotFound`.
    pub async fn remove(&self, text: &str, by: &Principal) -> Result<(), ApiError> {
        let module: ModuleRef = text.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        let _alone = self.content.write().await;
        let found = self.resolve(text).await?;
        // Read before the functions are: an apply in between changes it, and the removal then fails.
        let use_key = key::module_use(module.name.as_str(), module.version.as_str());
        let used = records::get::<ModuleUseRecord>(self.store.as_ref(), &use_key).await?;
        let functions = self.used_by(&module.to_string()).await?;
        if !functions.is_empty() {
            let text = format!("{module} is used by {}: delete or change it first", functions.join(", "));
            return Err(ApiError::new(ApiCode::FailedPrecondition, text).with_details(functions));
        }
        let txn = match &used {
            Some(used) => Txn::new().remove(used),
            None => Txn::new().absent(use_key),
        };
        let change = Change {
            subject: format!("module/{module}"),
            reason: "Removed",
            message: found.value.digest.clone(),
        };
        match self.audit.commit(txn.remove(&found), by, change).await {
            Err(StoreError::Conflict { .. }) => {
                return Err(ApiError::conflict(format!("{module} was just applied or removed: look again")));
            }
            done => done?,
        };
        // The version is gone, which is what was asked for; what is left over costs room and nothing else.
        if let Err(error) = self.collect(&found.value).await {
            tracing::warn!(%module, "could not delete everything that was made of it: {error}");
        }
        Ok(())
    }

    /// Deletes source and artifacts, unless another version has the same bytes.
    async fn collect(&self, module: &ModuleVersion) -> Result<(), ApiError> {
        let store = self.store.as_ref();
        let modules = records::scan::<ModuleVersion>(store, key::MODULE).await?.records;
        if modules.iter().any(|other| other.value.digest == module.digest) {
            return Ok(());
        }
        let artifacts = records::scan::<Artifact>(store, &key::artifacts_of(&module.digest)).await?.records;
        let failures =
            records::scan::<CompileFailure>(store, &key::compile_failures_of(&module.digest)).await?.records;
        let requests =
            records::scan::<CompileRequestRecord>(store, &key::compile_requests_of(&module.digest))
                .await?
                .records;
        // One by one: there are as many as targets and engines, which has no bound over the years.
        let keys = artifacts.iter().map(|a| a.value.key()).chain(failures.iter().map(|f| f.value.key()));
        for key in keys.chain(requests.iter().map(|r| r.value.key())) {
            store.commit(Txn::new().delete(key)).await?;
        }
        let made = artifacts.iter().flat_map(|a| [&a.value.digest, &a.value.statement_digest]);
        for digest in made.chain([&module.digest]).filter_map(|digest| digest.parse::<Digest>().ok()) {
            self.blobs.delete(digest).await?;
        }
        Ok(())
    }
}
