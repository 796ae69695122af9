//! Modules: pushed once, never changed, found by name and version.

mod compile;
mod push;
mod remove;

use std::collections::BTreeSet;
use std::sync::Arc;

use littoral_model::digest::Digest;
use littoral_model::id::{ModuleName, ModuleRef};
use littoral_platform::error::ApiError;
use littoral_proto::store::FunctionRecord;
use littoral_proto::v1::{
    Artifact, CompileFailure, DiffModulesResponse, GetModuleResponse, ListModulesResponse, ModuleVersion,
};
use prost::Message;
use tokio::sync::{RwLock, Semaphore};

use crate::audit::Audit;
use crate::blobs::Blobs;
use crate::compiler::CompilerHandle;
use crate::records::{self, Stored, key};
use crate::shared::Shared;
use crate::store::Store;

pub use self::push::CHUNK_DEADLINE;

/// Each holds a part of its module in memory, 8 MiB.
const MAX_PUSHES: usize = 16;
/// Each holds a whole module in memory.
const MAX_INSPECTIONS: usize = 2;
/// A list that comes near the largest message leaves the imports and exports out.
const LONG_LIST: usize = littoral_proto::MAX_MESSAGE * 3 / 4;

/// Shared as an `Arc`.
pub struct Registry {
    store: Arc<dyn Store>,
    blobs: Blobs,
    audit: Audit,
    compiler: CompilerHandle,
    max_module_bytes: u64,
    /// Held for reading from "the bytes are stored" to "a record refers to them", and for writing while bytes that no
    /// record refers to are deleted.
    content: RwLock<()>,
    pushes: Semaphore,
    inspections: Semaphore,
}

impl Registry {
    pub fn new(shared: &Shared) -> Self {
        Self {
            store: shared.store.clone(),
            blobs: shared.blobs.clone(),
            audit: shared.audit.clone(),
            compiler: shared.compiler.clone(),
            max_module_bytes: shared.config.max_module_size.0,
            content: RwLock::default(),
            pushes: Semaphore::new(MAX_PUSHES),
            inspections: Semaphore::new(MAX_INSPECTIONS),
        }
    }

    /// `NAME@VERSION`, or `NAME` for what was pushed last under it.
    ///
    /// # Errors
    /// `InvalidArgument` for what is neither, `NotFound` for what is not there.
    pub async fn resolve(&self, text: &str) -> Result<Stored<ModuleVersion>, ApiError> {
        if text.contains('@') {
            let module: ModuleRef = text.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
            let key = key::module(module.name.as_str(), module.version.as_str());
            let found = records::get::<ModuleVersion>(self.store.as_ref(), &key).await?;
            return found.ok_or_else(|| ApiError::not_found(format!("there is no module {module}")));
        }
        let name: ModuleName = text.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        let prefix = key::module_versions(name.as_str());
        let versions = records::scan::<ModuleVersion>(self.store.as_ref(), &prefix).await?.records;
        let newest = versions.into_iter().max_by_key(|module| module.revision);
        newest.ok_or_else(|| ApiError::not_found(format!("there is no module {name}")))
    }

    /// All modules, or all versions of one: by name, then newest first.
    ///
    /// # Errors
    /// When `name` is none, or the store cannot be read.
    pub async fn list(&self, name: &str) -> Result<ListModulesResponse, ApiError> {
        let prefix = if name.is_empty() {
            key::MODULE.to_owned()
        } else {
            let name: ModuleName = name.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
            key::module_versions(name.as_str())
        };
        let mut modules = records::scan::<ModuleVersion>(self.store.as_ref(), &prefix).await?.records;
        modules.sort_by(|a, b| a.value.name.cmp(&b.value.name).then(b.revision.cmp(&a.revision)));
        let mut list =
            ListModulesResponse { modules: modules.into_iter().map(|module| module.value).collect() };
        if list.encoded_len() > LONG_LIST {
            for module in &mut list.modules {
                module.imports.clear();
                module.exports.clear();
            }
        }
        Ok(list)
    }

    /// A module with everything that was made of it.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub async fn describe(&self, text: &str) -> Result<GetModuleResponse, ApiError> {
        let module = self.resolve(text).await?.value;
        let store = self.store.as_ref();
        let artifacts = records::scan::<Artifact>(store, &key::artifacts_of(&module.digest)).await?.records;
        let failures =
            records::scan::<CompileFailure>(store, &key::compile_failures_of(&module.digest)).await?.records;
        let compiling =
            module.digest.parse::<Digest>().map(|source| self.compiler.compiling(source)).unwrap_or_default();
        let used_by = self.used_by(&name_of(&module)).await?;
        Ok(GetModuleResponse {
            module: Some(module),
            artifacts: artifacts.into_iter().map(|artifact| artifact.value).collect(),
            failures: failures.into_iter().map(|failure| failure.value).collect(),
            compiling: compiling.iter().map(ToString::to_string).collect(),
            used_by,
        })
    }

    /// What changed from one module to another.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub async fn diff(&self, a: &str, b: &str) -> Result<DiffModulesResponse, ApiError> {
        let (a, b) = (self.resolve(a).await?.value, self.resolve(b).await?.value);
        Ok(DiffModulesResponse {
            imports_added: only_in(&b.imports, &a.imports),
            imports_removed: only_in(&a.imports, &b.imports),
            exports_added: only_in(&b.exports, &a.exports),
            exports_removed: only_in(&a.exports, &b.exports),
            a: Some(a),
            b: Some(b),
        })
    }

    /// Functions whose current or stable revision uses `module`, `NAME@VERSION`.
    async fn used_by(&self, module: &str) -> Result<Vec<String>, ApiError> {
        let functions = records::scan::<FunctionRecord>(self.store.as_ref(), key::FUNCTION).await?.records;
        let uses = |function: &FunctionRecord| {
            [&function.spec, &function.stable_spec].into_iter().flatten().any(|spec| spec.module == module)
        };
        let users = functions.into_iter().map(|function| function.value).filter(uses);
        Ok(users.filter_map(|function| function.spec).map(|spec| spec.name).collect())
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("max_module_bytes", &self.max_module_bytes).finish_non_exhaustive()
    }
}

/// `NAME@VERSION`.
fn name_of(module: &ModuleVersion) -> String {
    format!("{}@{}", module.name, module.version)
}

fn only_in(one: &[String], other: &[String]) -> Vec<String> {
    let other: BTreeSet<&String> = other.iter().collect();
    one.iter().filter(|name| !other.contains(name)).cloned().collect()
}

#[cfg(test)]
mod tests;
