//! The loop that writes assignments, and the only one that does.
//!
//! Look at the world, let [`littoral_model::plan`] decide, check it, commit. A conflict throws the plan away.

mod commit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use littoral_model::check::check;
use littoral_model::id::FunctionName;
use littoral_model::plan::{Outlook, Plan, plan};
use littoral_model::rollout::state::State;
use littoral_platform::clock;
use littoral_platform::tasks::Tasks;
use tokio::sync::watch;

use crate::events::Events;
use crate::metrics::ControlMetrics;
use crate::store::{Revision, Store, StoreError};
use crate::world::World;

/// Availability changes with time alone; a second late is soon enough.
const TICK: Duration = Duration::from_secs(1);
/// A plan sees its own writes within milliseconds; past this something else is wrong and a look does no harm.
const OWN_WRITES: Duration = Duration::from_secs(5);

/// How each function stands, after the last plan.
pub type Outlooks = Arc<BTreeMap<FunctionName, Outlook>>;

pub struct Planner {
    pub store: Arc<dyn Store>,
    pub world: watch::Receiver<Arc<World>>,
    pub events: Events,
    pub metrics: ControlMetrics,
}

impl Planner {
    /// Starts the loop; the receiver tells how functions stand.
    pub fn start(self, tasks: &Tasks) -> watch::Receiver<Outlooks> {
        let (outlooks, seen) = watch::channel(Outlooks::default());
        tasks.critical("planner", self.run(outlooks, tasks.clone()));
        seen
    }

    async fn run(mut self, outlooks: watch::Sender<Outlooks>, tasks: Tasks) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_errors = Vec::new();
        loop {
            tokio::select! {
                () = tasks.cancelled() => return,
                _ = tick.tick() => {}
                changed = self.world.changed() => if changed.is_err() { return },
            }
            let world = self.world.borrow_and_update().clone();
            if let Some(written) = self.look(&world, &outlooks, &mut last_errors).await {
                self.see_own_writes(written, &tasks).await;
            }
        }
    }

    /// One look. The store's revision after what it wrote, when it wrote something.
    async fn look(
        &self,
        world: &World,
        outlooks: &watch::Sender<Outlooks>,
        last_errors: &mut Vec<String>,
    ) -> Option<Revision> {
        let started = tokio::time::Instant::now();
        let mut errors = Vec::new();
        let snapshot = world.snapshot(clock::now(), &mut errors);
        if errors != *last_errors {
            for error in &errors {
                tracing::error!("a record makes no sense and is left out of planning: {error}");
            }
            *last_errors = errors;
        }
        let mut next = plan(&snapshot);
        publish(outlooks, &mut next);
        if next.is_empty() {
            self.metrics.planned("unchanged", started.elapsed());
            return None;
        }
        if let Err(violation) = check(&next, &snapshot) {
            tracing::error!("a plan was thrown away, this is a defect of Littoral: {violation}");
            self.metrics.planned("refused", started.elapsed());
            return None;
        }
        let result = commit::commit(&*self.store, world, &next).await;
        let outcome = match &result {
            Ok(_) => "committed",
            Err(StoreError::Conflict { .. }) => "conflict",
            Err(_) => "failed",
        };
        self.metrics.planned(outcome, started.elapsed());
        match result {
            Ok(revision) => {
                self.tell(&next);
                Some(revision)
            }
            Err(error @ StoreError::Conflict { .. }) => {
                tracing::debug!("the world changed under a plan: {error}");
                None
            }
            Err(error) => {
                tracing::error!("assignments were not written and are planned again: {error}");
                None
            }
        }
    }

    /// Waits until the world holds what was just written: a plan on an older one would only conflict.
    async fn see_own_writes(&mut self, written: Revision, tasks: &Tasks) {
        let seen = self.world.wait_for(|world| world.revision >= written);
        tokio::select! {
            () = tasks.cancelled() => {}
            _ = tokio::time::timeout(OWN_WRITES, seen) => {}
        }
        self.world.mark_changed();
    }

    fn tell(&self, plan: &Plan) {
        for (name, rollout) in &plan.rollouts {
            let reason = match rollout.state {
                State::Succeeded => "RolloutSucceeded",
                State::Aborting | State::Aborted => "RolloutAborted",
                _ => continue,
            };
            self.events.record(format!("function/{name}"), reason, &rollout.reason.text);
        }
    }
}

fn publish(outlooks: &watch::Sender<Outlooks>, plan: &mut Plan) {
    let next = std::mem::take(&mut plan.outlooks);
    outlooks.send_if_modified(|current| {
        let differs = **current != next;
        if differs {
            *current = Arc::new(next);
        }
        differs
    });
}
