//! What nodes say, taken into what is known.

use std::sync::Arc;
use std::time::Duration;

use littoral_model::id::NodeId;
use littoral_model::time::Timestamp;
use littoral_platform::clock;
use littoral_proto::store::NodeRecord;
use littoral_proto::v1;
use tonic::Status;

use super::Sessions;
use crate::records::{self, TxnRecords as _, key};
use crate::store::{StoreError, Txn};
use crate::world::ObservedNode;

/// What one node may say at once; the agent keeps below, anybody else is cut off here.
const MAX_WORKLOADS: usize = 16_384;
const MAX_WINDOWS: usize = 64;
const MAX_EVENTS: usize = 100;
/// Compare-and-swap on the node's own record: only renewals and operators write it as well.
const ATTEMPTS: usize = 5;

impl Sessions {
    /// Keeps what the node can run, so that a restart of the control plane does not forget it.
    pub(super) async fn write_capacity(
        &self,
        node: &NodeId,
        capacity: v1::NodeCapacity,
    ) -> Result<(), Status> {
        let unavailable =
            |e: &dyn std::fmt::Display| Status::unavailable(format!("the node's record: {e}; try again"));
        for _ in 0..ATTEMPTS {
            let stored = records::get::<NodeRecord>(&*self.inner.store, &key::node(node.as_str())).await;
            let Some(stored) = stored.map_err(|e| unavailable(&e))? else {
                return Err(Status::permission_denied(format!(
                    "{node} is not a node of this cluster: join again"
                )));
            };
            if stored.value.capacity.as_ref() == Some(&capacity) {
                return Ok(());
            }
            let changed = NodeRecord { capacity: Some(capacity.clone()), ..stored.value };
            match self.inner.store.commit(Txn::new().replace(stored.revision, &changed)).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Err(Status::unavailable("the node's record kept changing; try again"))
    }

    pub(super) fn greet(&self, node: &NodeId, epoch: u64, interval: Duration, hello: &v1::Hello) {
        let now = clock::now();
        self.inner.observations.update(
            node,
            || ObservedNode::new(now, interval),
            |observed| {
                observed.epoch = epoch;
                observed.connected = true;
                observed.report_interval = interval;
                observed.observed_generation = hello.observed_generation;
                observed.clock_skew_ms = skew(hello.now_ms, now);
            },
        );
    }

    pub(super) fn disconnected(&self, node: &NodeId) {
        let first = || ObservedNode::new(clock::now(), Duration::ZERO);
        self.inner.observations.update(node, first, |observed| observed.connected = false);
    }

    /// Takes a report in, and says which windows need not come again.
    pub(super) fn report(&self, node: &NodeId, epoch: u64, report: v1::NodeReport) -> Option<v1::WindowAck> {
        let now = clock::now();
        if report.workloads.len() > MAX_WORKLOADS
            || report.windows.len() > MAX_WINDOWS
            || report.events.len() > MAX_EVENTS
        {
            tracing::warn!(%node, "a report larger than any agent sends was ignored");
            return None;
        }
        let name = self.name_of(node);
        for event in report.events {
            let subject = if event.function.is_empty() {
                format!("node/{name}")
            } else {
                format!("function/{}", event.function)
            };
            let message = if event.function.is_empty() {
                event.message
            } else {
                format!("on {name}: {}", event.message)
            };
            self.inner.events.emit(v1::Event {
                at_ms: now.as_millis(),
                subject,
                reason: event.reason.chars().take(64).collect(),
                message: message.chars().take(1024).collect(),
                ..v1::Event::default()
            });
        }
        let first = || ObservedNode::new(now, Duration::ZERO);
        self.inner.observations.update(node, first, |observed| {
            // A report that was under way when a newer session opened says what is no longer so.
            if epoch != observed.epoch || report.session_epoch != epoch {
                return None;
            }
            observed.heard.last = now;
            observed.heard.reported = true;
            // Of one session they come in order. Lower than before is right after a restore: the ledger goes by the
            // cluster's epoch first.
            observed.observed_generation = report.observed_generation;
            observed.heard.settled = report.settled;
            if *observed.workloads != report.workloads {
                observed.workloads = Arc::new(report.workloads);
            }
            observed.load = report.load.unwrap_or_default();
            observed.clock_skew_ms = skew(report.now_ms, now);
            count_windows(observed, report.windows, now)
        })
    }

    fn name_of(&self, node: &NodeId) -> String {
        let world = self.inner.world.borrow();
        world.nodes.get(node.as_str()).map_or_else(|| node.to_string(), |row| row.value.name.clone())
    }
}

/// Counts each window once, in order; what came before is acknowledged again and not counted again.
fn count_windows(
    observed: &mut ObservedNode,
    windows: Vec<v1::StatsWindow>,
    now: Timestamp,
) -> Option<v1::WindowAck> {
    let mut ack = None;
    for window in windows {
        let seen = observed.window.as_ref();
        let is_new =
            seen.is_none_or(|(boot, sequence)| *boot != window.boot_id || window.sequence > *sequence);
        ack = Some(v1::WindowAck { boot_id: window.boot_id.clone(), sequence: window.sequence });
        if !is_new {
            continue;
        }
        for function in &window.functions {
            let stats = observed.stats.entry(function.function.clone()).or_default();
            stats.add(function, now);
        }
        observed.window = Some((window.boot_id, window.sequence));
    }
    ack
}

fn skew(theirs_ms: u64, ours: Timestamp) -> i64 {
    let millis = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    if theirs_ms == 0 { 0 } else { millis(theirs_ms).saturating_sub(millis(ours.as_millis())) }
}
