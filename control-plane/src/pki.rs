//! The cluster's own certificate authority: who gets a certificate, for how long, and who no longer counts.

mod join;
mod nonces;
mod renew;
mod setup;
mod tokens;
mod users;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use littoral_model::time::Timestamp;
use littoral_platform::ca::{CaError, CertificateAuthority, Issued, Subject};
use littoral_platform::error::ApiError;
use littoral_platform::pin::CaPin;
use littoral_platform::spiffe::{ClusterName, Kind, SpiffeId};
use littoral_platform::tls::ServerTls;
use littoral_platform::trust::TrustBundle;
use littoral_proto::store::NodeRecord;
use littoral_proto::v1::TrustedKeys;
use rustls::pki_types::ServerName;
use tokio::sync::watch;

use self::nonces::Nonces;
use crate::audit::{Audit, Change};
use crate::config::Lifetimes;
use crate::principal::Principal;
use crate::records::{self, RecordError, Stored, TxnRecords, key};
use crate::store::{Store, StoreError, Txn};

pub use self::setup::PkiError;

/// Longer reasons are stories; they go into a record.
const MAX_REASON: usize = 1024;
/// Two changes of one record meet rarely, three in a row hardly ever.
const ATTEMPTS: usize = 5;

/// Issues and withdraws identities. Shared as an `Arc`.
pub struct Pki {
    ca: CertificateAuthority,
    trust: TrustBundle,
    pin: CaPin,
    lifetimes: Lifetimes,
    keys: TrustedKeys,
    store: Arc<dyn Store>,
    audit: Audit,
    nonces: Mutex<Nonces>,
    /// Joins take turns here, so that a token with many uses is not fought over.
    joining: tokio::sync::Mutex<()>,
    revoked: watch::Sender<Arc<HashSet<String>>>,
    listener: ServerTls,
    server_names: Vec<ServerName<'static>>,
}

impl Pki {
    pub fn cluster(&self) -> &ClusterName {
        self.ca.cluster()
    }

    /// What checks the control plane's certificate, and all others.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    pub fn ca_pem(&self) -> String {
        self.trust.to_pem()
    }

    /// Public keys that nodes verify artifacts and assignments with.
    pub fn trusted_keys(&self) -> TrustedKeys {
        self.keys.clone()
    }

    /// What the listener presents and believes; the certificate in it is renewed in place.
    pub fn listener(&self) -> ServerTls {
        self.listener.clone()
    }

    /// Ids of revoked nodes. Whoever holds a session of one closes it when this changes.
    pub fn revoked(&self) -> watch::Receiver<Arc<HashSet<String>>> {
        self.revoked.subscribe()
    }

    /// Whether this is a node that was revoked. Users are asked for in the store.
    pub fn is_revoked(&self, id: &SpiffeId) -> bool {
        match id.kind() {
            Kind::Node(node) => self.revoked.borrow().contains(node.as_str()),
            Kind::User(_) | Kind::ControlPlane(_) => false,
        }
    }

    /// Ends a node's membership for ever: its sessions are closed and its certificates refused. Its name is free again.
    ///
    /// # Errors
    /// `NotFound` for no such node; revoking twice is no error.
    pub async fn revoke_node(&self, id: &str, reason: &str, by: &Principal) -> Result<(), ApiError> {
        if reason.len() > MAX_REASON {
            return Err(ApiError::invalid(format!("the reason is longer than {MAX_REASON} bytes")));
        }
        for _ in 0..ATTEMPTS {
            let found = records::get::<NodeRecord>(self.store.as_ref(), &key::node(id)).await?;
            let Some(Stored { value: mut node, revision }) = found else {
                return Err(ApiError::not_found(format!("there is no node {id}")));
            };
            if node.revoked {
                return Ok(());
            }
            node.revoked = true;
            node.revoked_reason = reason.to_owned();
            let change = Change {
                subject: format!("node/{}", node.name),
                reason: "NodeRevoked",
                message: if reason.is_empty() { node.id.clone() } else { format!("{}: {reason}", node.id) },
            };
            let txn = Txn::new().replace(revision, &node).delete(key::node_name(&node.name));
            match self.audit.commit(txn, by, change).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    self.revoked.send_modify(|revoked| {
                        Arc::make_mut(revoked).insert(node.id.clone());
                    });
                    return Ok(());
                }
            }
        }
        Err(busy(&format!("node/{id}")))
    }

    /// Reads from the store who was revoked. Called once, at start.
    async fn load_revoked(&self) -> Result<(), RecordError> {
        let nodes = records::scan::<NodeRecord>(self.store.as_ref(), key::NODE).await?.records;
        let revoked: HashSet<String> =
            nodes.into_iter().filter(|node| node.value.revoked).map(|node| node.value.id).collect();
        self.revoked.send_replace(Arc::new(revoked));
        Ok(())
    }

    fn id(&self, kind: Kind) -> SpiffeId {
        SpiffeId::new(self.cluster(), kind)
    }

    fn issue(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        now: Timestamp,
        not_after: Timestamp,
    ) -> Result<Issued, ApiError> {
        let subject = Subject { id, names: &[], not_before: now, not_after };
        self.ca.issue_from_csr(csr_pem.as_bytes(), &subject).map_err(|error| match error {
            CaError::BadRequest(_) => ApiError::invalid(error.to_string()),
            other => {
                tracing::error!(
                    "could not issue a certificate for {id}: {}",
                    littoral_platform::error::Chain(&other)
                );
                ApiError::internal(format!("could not issue a certificate for {id}"))
            }
        })
    }
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("cluster", self.cluster()).field("pin", &self.pin).finish_non_exhaustive()
    }
}

/// Somebody else changed the same record, again and again.
fn busy(what: &str) -> ApiError {
    ApiError::unavailable(format!("{what} is being changed by others: try again"))
}

#[cfg(test)]
mod tests;
