//! Compiling on demand: for targets that no node has, or once more after a failure.

use std::collections::BTreeSet;

use littoral_model::target::Target;
use littoral_platform::clock;
use littoral_platform::error::ApiError;
use littoral_proto::store::CompileRequestRecord;
use littoral_proto::v1::Artifact;

use super::{Registry, name_of};
use crate::audit::Change;
use crate::principal::Principal;
use crate::records::{self, TxnRecords, key};
use crate::store::Txn;

impl Registry {
    /// Records a request for each of `targets` that has no artifact (for none named: the fleet's), and forgets earlier
    /// failures. Answers which are queued.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; `InvalidArgument` for a target that nothing is compiled for.
    pub async fn compile(
        &self,
        text: &str,
        targets: &[String],
        by: &Principal,
    ) -> Result<Vec<String>, ApiError> {
        let module = self.resolve(text).await?;
        let targets = self.targets(targets)?;
        let mut txn =
            Txn::new().revision(key::module(&module.value.name, &module.value.version), module.revision);
        let mut queued = Vec::new();
        for target in targets {
            let engine = littoral_engine::fingerprint(target);
            let target = target.to_string();
            let digest = &module.value.digest;
            let artifact = key::artifact(digest, &engine, &target);
            if records::get::<Artifact>(self.store.as_ref(), &artifact).await?.is_some() {
                continue;
            }
            let request = CompileRequestRecord {
                source_digest: digest.clone(),
                target: target.clone(),
                requested_at_ms: clock::now().as_millis(),
                requested_by: by.actor(),
            };
            txn = txn.write(&request).delete(key::compile_failure(digest, &engine, &target));
            queued.push(target);
        }
        if !queued.is_empty() {
            let change = Change {
                subject: format!("module/{}", name_of(&module.value)),
                reason: "CompileRequested",
                message: format!("for {}", queued.join(", ")),
            };
            self.audit.commit(txn, by, change).await?;
        }
        Ok(queued)
    }

    fn targets(&self, named: &[String]) -> Result<BTreeSet<Target>, ApiError> {
        if named.is_empty() {
            return Ok(self.compiler.targets());
        }
        let all: BTreeSet<Target> = Target::compiled().collect();
        let known = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut targets = BTreeSet::new();
        for text in named {
            let target = text.parse::<Target>().ok().filter(|target| all.contains(target));
            let shown: String = text.chars().take(40).collect();
            let target = target.ok_or_else(|| {
                ApiError::invalid(format!("`{shown}` is not compiled for: there are {}", known()))
            })?;
            targets.insert(target);
        }
        Ok(targets)
    }
}
