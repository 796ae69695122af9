//! Writing a plan: rollout states first, then assignments, each on condition that nothing moved meanwhile.

use littoral_model::assignment::NodeAssignment;
use littoral_model::id::FunctionName;
use littoral_model::plan::Plan;
use littoral_model::rollout::state::{Rollout, State};
use littoral_proto::convert::assignment_to_pb;
use littoral_proto::store::{AssignmentRecord, FunctionRecord};
use littoral_proto::v1::RolloutState;

use crate::records::{TxnRecords as _, key};
use crate::store::{MAX_TXN_BYTES, Revision, Store, StoreError, Txn};
use crate::world::World;

/// Two operations each, a precondition and a write: below the 128 that a transaction may have.
const NODES_PER_TXN: usize = 50;
/// Messages of one transaction, so that keys and framing still fit.
const BYTES_PER_TXN: usize = MAX_TXN_BYTES - 64 * 1024;

/// Writes `plan`; the store's revision afterwards.
pub(super) async fn commit(store: &dyn Store, world: &World, plan: &Plan) -> Result<Revision, StoreError> {
    let mut revision = world.revision;
    for (name, rollout) in &plan.rollouts {
        if let Some(txn) = write_rollout(world, name, rollout) {
            revision = store.commit(txn).await?;
        }
    }
    let mut txn = Txn::new();
    let (mut nodes, mut bytes) = (0, 0);
    for assignment in plan.assignments.values() {
        let record = AssignmentRecord { assignment: Some(assignment_to_pb(assignment)) };
        let size = prost::Message::encoded_len(&record);
        if nodes > 0 && (nodes >= NODES_PER_TXN || bytes + size > BYTES_PER_TXN) {
            revision = store.commit(std::mem::take(&mut txn)).await?;
            (nodes, bytes) = (0, 0);
        }
        txn = write(txn, world, assignment, &record);
        nodes += 1;
        bytes += size;
    }
    if nodes > 0 {
        revision = store.commit(txn).await?;
    }
    Ok(revision)
}

fn write(txn: Txn, world: &World, assignment: &NodeAssignment, record: &AssignmentRecord) -> Txn {
    match world.assignments.get(assignment.node.as_str()) {
        Some(read) => txn.replace(read.revision, record),
        None => txn.create(record),
    }
}

fn write_rollout(world: &World, name: &FunctionName, rollout: &Rollout) -> Option<Txn> {
    let read = world.functions.get(name.as_str())?;
    let mut record: FunctionRecord = read.value.clone();
    match rollout.state {
        State::Succeeded => {
            record.stable_spec = record.spec.clone();
            record.stable_revision = record.revision;
            record.stable_spec_digest = record.spec_digest.clone();
            record.set_rollout(RolloutState::Succeeded);
            record.rollout_message = String::new();
        }
        State::Aborting | State::Aborted => {
            record.set_rollout(RolloutState::Aborted);
            record.rollout_message = rollout.reason.text.clone();
        }
        _ => return None,
    }
    debug_assert_eq!(key::function(name.as_str()), crate::records::Record::key(&record));
    Some(Txn::new().replace(read.revision, &record))
}
