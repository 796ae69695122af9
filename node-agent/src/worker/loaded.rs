//! The revisions that are loaded, and which of them answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::artifact::LoadError;
use super::ingress::routes::{RouteTable, choose};
use super::runtime::Function;

/// Each takes three mappings of the 65,530 that a process has by default.
const MAX_LOADED: usize = 10_000;
/// Requests end by their own limits; this is for those whose function may run for an hour.
const MAX_DRAIN: Duration = Duration::from_secs(60);

type Shares = Vec<(Arc<Function>, u32)>;

/// Revisions by the digest of their spec, and the routes to them.
#[derive(Default)]
pub(crate) struct Loaded {
    functions: Mutex<HashMap<String, Arc<Function>>>,
    routes: RwLock<Arc<Routes>>,
}

/// Who answers, all at one point in time.
#[derive(Default)]
pub(crate) struct Routes {
    wanted: Vec<Share>,
    by_path: RouteTable<Shares>,
    by_name: HashMap<String, Shares>,
}

/// The part of a function's requests that one of its revisions gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) function: String,
    /// Digest of the spec.
    pub(crate) revision: String,
    pub(crate) weight: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("the revision {revision} of `{function}` is to be routed and is not loaded: load it first")]
pub(crate) struct NotLoaded {
    function: String,
    revision: String,
}

impl Routes {
    /// The revision that answers this request. `draw` decides between several.
    pub(crate) fn by_path(&self, host: &str, path: &str, draw: u64) -> Option<&Arc<Function>> {
        choose(self.by_path.find(host, path)?, draw)
    }

    pub(crate) fn by_name(&self, function: &str, draw: u64) -> Option<&Arc<Function>> {
        choose(self.by_name.get(function)?, draw)
    }
}

impl Loaded {
    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this spec is loaded as this revision: an older spec that is applied again comes back under a new number.
    pub(crate) fn contains(&self, spec_digest: &str, revision: u64) -> bool {
        self.functions().get(spec_digest).is_some_and(|function| function.spec().revision == revision)
    }

    /// Takes the place of an earlier revision with the same spec, also in the routes. Of two that are loaded at once the
    /// first is kept.
    pub(crate) fn insert(&self, function: Function) -> Result<(), LoadError> {
        let mut functions = self.functions();
        if functions.len() >= MAX_LOADED {
            return Err(LoadError::Limit(format!(
                "{MAX_LOADED} revisions are loaded and no more are accepted"
            )));
        }
        let (digest, revision) = (function.spec().digest.clone(), function.spec().revision);
        if functions.get(&digest).is_some_and(|there| there.spec().revision == revision) {
            return Ok(());
        }
        let earlier = functions.insert(digest, Arc::new(function));
        drop(functions);
        if earlier.is_some() {
            // What was wanted is loaded still.
            let _ = self.route(self.routes().wanted.clone());
        }
        Ok(())
    }

    /// Replaces all routes at once; requests under way are not touched. On an error the old ones stay.
    pub(crate) fn route(&self, wanted: Vec<Share>) -> Result<(), NotLoaded> {
        let functions = self.functions();
        let mut routes = Routes::default();
        for share in &wanted {
            let function = functions.get(&share.revision).ok_or_else(|| NotLoaded {
                function: share.function.clone(),
                revision: share.revision.clone(),
            })?;
            let shared = || (Arc::clone(function), share.weight);
            routes.by_name.entry(share.function.clone()).or_default().push(shared());
            for (host, path) in &function.spec().routes {
                routes.by_path.entry(host, path).push(shared());
            }
        }
        routes.wanted = wanted;
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        Ok(())
    }

    /// Takes a revision away, waits for its requests, and unmaps it. Nothing happens when it is not there.
    pub(crate) async fn unload(&self, revision: &str) {
        let Some(function) = self.functions().remove(revision) else { return };
        let mut wanted = self.routes().wanted.clone();
        wanted.retain(|share| share.revision != revision);
        // Only what is loaded was wanted, and only this one has gone.
        let _ = self.route(wanted);
        if tokio::time::timeout(MAX_DRAIN, function.drained()).await.is_err() {
            tracing::warn!(function = function.spec().function, "unloaded with requests still under way");
        }
    }

    fn functions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Function>>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
