//! The fleet as it is known now: records from the store, and what nodes last said.
//!
//! One task looks at all of it whenever a level rises and publishes a whole new picture. Nothing is changed in place.

mod fleet;
mod observed;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use littoral_model::target::Target;
use littoral_model::time::Timestamp;
use littoral_platform::clock;
use littoral_platform::tasks::Tasks;
use tokio::sync::watch;

pub use self::fleet::World;
pub use self::observed::{FunctionStats, Observations, ObservedNode};
use self::records::RecordCache;
use crate::records::RecordError;
use crate::store::{Retry, Store};

/// Where the current picture is read.
#[derive(Clone)]
pub struct WorldHandle {
    pub world: watch::Receiver<Arc<World>>,
    /// Targets that the fleet's nodes need code for.
    pub targets: watch::Receiver<BTreeSet<Target>>,
}

/// Builds the first picture and starts the task that keeps it current.
///
/// # Errors
/// When the store cannot be read, or holds a record that this release does not understand.
pub async fn start(
    store: Arc<dyn Store>,
    observations: Observations,
    engines: BTreeMap<Target, String>,
    tasks: &Tasks,
) -> Result<WorldHandle, RecordError> {
    let mut builder =
        Builder { store, observations, cache: RecordCache::default(), engines, started: clock::now() };
    // Subscribed before the first look, so that no change falls between the two.
    let revisions = builder.store.watch();
    let reports = builder.observations.changed();
    let first = builder.build().await?;
    let (targets, targets_seen) = watch::channel(first.targets());
    let (world, world_seen) = watch::channel(Arc::new(first));
    tasks.critical("world", builder.run(revisions, reports, world, targets, tasks.clone()));
    Ok(WorldHandle { world: world_seen, targets: targets_seen })
}

struct Builder {
    store: Arc<dyn Store>,
    observations: Observations,
    cache: RecordCache,
    engines: BTreeMap<Target, String>,
    started: Timestamp,
}

impl Builder {
    async fn build(&mut self) -> Result<World, RecordError> {
        self.cache.refresh(&*self.store).await?;
        Ok(self.cache.world(self.observations.all(), self.engines.clone(), self.started))
    }

    async fn run(
        mut self,
        mut revisions: watch::Receiver<crate::store::Revision>,
        mut reports: watch::Receiver<u64>,
        world: watch::Sender<Arc<World>>,
        targets: watch::Sender<BTreeSet<Target>>,
        tasks: Tasks,
    ) -> Result<(), RecordError> {
        loop {
            tokio::select! {
                () = tasks.cancelled() => return Ok(()),
                changed = revisions.changed() => if changed.is_err() { return Ok(()) },
                changed = reports.changed() => if changed.is_err() { return Ok(()) },
            }
            let next = match self.build().await {
                Ok(next) => next,
                Err(RecordError::Store(error)) if error.retry() != Retry::Never => {
                    tracing::warn!(
                        "the store could not be read; the fleet is as it was a moment ago: {error}"
                    );
                    continue;
                }
                Err(error) => return Err(error),
            };
            let wanted = next.targets();
            targets.send_if_modified(|current| {
                let differs = *current != wanted;
                *current = wanted;
                differs
            });
            world.send_replace(Arc::new(next));
        }
    }
}

#[cfg(test)]
mod tests;
