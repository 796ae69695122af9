//! Records that were decoded once and are kept until they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use littoral_model::id::NodeId;
use littoral_model::target::Target;
use littoral_model::time::Timestamp;
use littoral_proto::store::{AssignmentRecord, ClusterRecord, FunctionRecord, NodeRecord};
use littoral_proto::v1::{Artifact, CompileFailure};

use super::fleet::World;
use super::observed::ObservedNode;
use crate::records::{Record, RecordError, Stored, decode, key};
use crate::store::{Revision, Store};

/// One kind of record, by key.
pub(crate) type Rows<R> = BTreeMap<String, Arc<Stored<R>>>;

#[derive(Default)]
pub(crate) struct RecordCache {
    revision: Revision,
    cluster: Rows<ClusterRecord>,
    functions: Rows<FunctionRecord>,
    nodes: Rows<NodeRecord>,
    assignments: Rows<AssignmentRecord>,
    artifacts: Rows<Artifact>,
    failures: Rows<CompileFailure>,
}

impl RecordCache {
    /// Reads what changed since the last time.
    pub(crate) async fn refresh(&mut self, store: &dyn Store) -> Result<(), RecordError> {
        let revision = *store.watch().borrow();
        if revision == self.revision && revision != Revision::default() {
            return Ok(());
        }
        // Kinds are read one after the other; a later one may be newer than `revision`, never older. Whoever writes
        // compares with the revision of each record, so that a mixed picture costs a second look and nothing else.
        refresh(&mut self.cluster, store, key::CLUSTER).await?;
        refresh(&mut self.functions, store, key::FUNCTION).await?;
        refresh(&mut self.nodes, store, key::NODE).await?;
        refresh(&mut self.assignments, store, key::ASSIGNMENT).await?;
        refresh(&mut self.artifacts, store, key::ARTIFACT).await?;
        refresh(&mut self.failures, store, key::COMPILE_FAILURE).await?;
        self.revision = revision;
        Ok(())
    }

    pub(crate) fn world(
        &self,
        observed: BTreeMap<NodeId, Arc<ObservedNode>>,
        engines: BTreeMap<Target, String>,
        started: Timestamp,
    ) -> World {
        World {
            started,
            revision: self.revision,
            cluster_epoch: self.cluster.values().next().map_or(0, |row| row.value.epoch),
            functions: self
                .functions
                .values()
                .map(|row| (row.value.name().to_owned(), row.clone()))
                .collect(),
            nodes: self.nodes.values().map(|row| (row.value.id.clone(), row.clone())).collect(),
            assignments: by_node(&self.assignments),
            artifacts: self.artifacts.values().cloned().collect(),
            failures: self.failures.values().cloned().collect(),
            observed,
            engines,
        }
    }
}

fn by_node(rows: &Rows<AssignmentRecord>) -> BTreeMap<String, Arc<Stored<AssignmentRecord>>> {
    let id = |row: &Stored<AssignmentRecord>| row.value.assignment.as_ref().map(|a| a.node_id.clone());
    rows.values().filter_map(|row| Some((id(row)?, row.clone()))).collect()
}

/// Decodes only entries whose revision is new: a fleet of thousands changes one record at a time.
async fn refresh<R: Record>(rows: &mut Rows<R>, store: &dyn Store, prefix: &str) -> Result<(), RecordError> {
    let scan = store.scan(prefix).await?;
    let mut next = Rows::new();
    for entry in &scan.entries {
        let row = match rows.remove(&entry.key) {
            Some(row) if row.revision == entry.revision => row,
            _ => Arc::new(decode(entry)?),
        };
        next.insert(entry.key.clone(), row);
    }
    *rows = next;
    Ok(())
}

/// The function's name, for a record whose spec must be there.
pub(crate) trait FunctionRecordName {
    fn name(&self) -> &str;
}

impl FunctionRecordName for FunctionRecord {
    fn name(&self) -> &str {
        self.spec.as_ref().map_or("", |spec| &spec.name)
    }
}
