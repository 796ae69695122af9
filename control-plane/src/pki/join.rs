//! A machine becomes a node.

use littoral_model::id::{NodeId, NodeName};
use littoral_model::time::Timestamp;
use littoral_platform::ca::Issued;
use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_platform::random;
use littoral_platform::spiffe::Kind;
use littoral_proto::store::{NodeNameRecord, NodeRecord, TokenRecord};
use littoral_proto::v1::{JoinRequest, JoinResponse};

use super::tokens::{hash, same, token_key};
use super::{ATTEMPTS, Pki, busy};
use crate::audit::Change;
use crate::principal::{Caller, Principal};
use crate::records::{self, Stored, TxnRecords, key};
use crate::store::{StoreError, Txn};

/// A secret has 64 digits.
const MAX_SECRET: usize = 128;

impl Pki {
    /// Checks the token, uses it up, creates the node and issues its first certificate, in one transaction.
    ///
    /// # Errors
    /// `PermissionDenied` for a token that is unknown, used, or wrong; `AlreadyExists` for a name that another node has.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinResponse, ApiError> {
        let token_key = token_key(&request.token_id).map_err(|_| refused())?;
        if request.token_secret.len() > MAX_SECRET {
            return Err(refused());
        }
        let _turn = self.joining.lock().await;
        for _ in 0..ATTEMPTS {
            let now = clock::now();
            let found = records::get::<TokenRecord>(self.store.as_ref(), &token_key).await?;
            let token = usable(found, &request.token_secret, now)?;
            let name = self.node_name(&request.requested_name).await?;
            match self.admit(&request, token, &name, now).await {
                Err(StoreOrApi::Store(StoreError::Conflict { .. })) => {}
                Err(StoreOrApi::Store(error)) => return Err(error.into()),
                Err(StoreOrApi::Api(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        Err(busy("the token"))
    }

    async fn admit(
        &self,
        request: &JoinRequest,
        token: Stored<TokenRecord>,
        name: &NodeName,
        now: Timestamp,
    ) -> Result<JoinResponse, StoreOrApi> {
        let id = uuid::Uuid::new_v4().to_string();
        let spiffe =
            self.id(Kind::Node(id.parse::<NodeId>().map_err(|e| ApiError::internal(e.to_string()))?));
        let issued = self.issue(&request.csr_pem, &spiffe, now, now.plus(self.lifetimes.node))?;
        let used = TokenRecord { uses_left: token.value.uses_left - 1, ..token.value };
        let node = node_record(&id, name, &used, &issued, now);
        let taken = NodeNameRecord { name: name.to_string(), node_id: id.clone() };
        let txn = Txn::new().replace(token.revision, &used).create(&node).create(&taken);
        let by = Principal::new(Caller::Node { id: id.parse().map_err(|_| refused())?, spiffe });
        let change = Change {
            subject: format!("node/{name}"),
            reason: "NodeJoined",
            message: format!("{id} with token {}", used.id),
        };
        self.audit.commit(txn, &by, change).await?;
        Ok(JoinResponse {
            node_id: id,
            node_name: name.to_string(),
            cluster: self.cluster().to_string(),
            certificate_pem: issued.chain_pem,
            ca_pem: self.ca_pem(),
            keys: Some(self.trusted_keys()),
        })
    }

    /// The name that was asked for, if it is free; otherwise one that is.
    async fn node_name(&self, requested: &str) -> Result<NodeName, ApiError> {
        if requested.is_empty() {
            let name = format!("node-{}", hex::encode(random::bytes::<3>()));
            return name.parse().map_err(|_| ApiError::internal("a name that was made up is not a name"));
        }
        let name: NodeName = requested.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        let taken =
            records::get::<NodeNameRecord>(self.store.as_ref(), &key::node_name(name.as_str())).await?;
        match taken {
            None => Ok(name),
            Some(other) => Err(ApiError::new(
                ApiCode::AlreadyExists,
                format!(
                    "the name {name} belongs to node {}: choose another, or revoke that node first",
                    other.value.node_id
                ),
            )),
        }
    }
}

/// The token, if this secret is its own and it can still be used.
fn usable(
    found: Option<Stored<TokenRecord>>,
    secret: &str,
    now: Timestamp,
) -> Result<Stored<TokenRecord>, ApiError> {
    let Some(token) = found.filter(|token| same(&token.value.secret_hash, &hash(secret))) else {
        return Err(refused());
    };
    // Only whoever knows the secret learns more.
    if token.value.expires_at_ms <= now.as_millis() {
        let ended = Timestamp::from_millis(token.value.expires_at_ms);
        return Err(ApiError::denied(format!(
            "the join token {} expired at {ended}: create another",
            token.value.id
        )));
    }
    if token.value.uses_left == 0 {
        return Err(ApiError::denied(format!(
            "the join token {} has been used: create another",
            token.value.id
        )));
    }
    Ok(token)
}

fn refused() -> ApiError {
    ApiError::denied("the join token is not known here: it was withdrawn, or is of another cluster")
}

fn node_record(
    id: &str,
    name: &NodeName,
    token: &TokenRecord,
    issued: &Issued,
    now: Timestamp,
) -> NodeRecord {
    NodeRecord {
        id: id.to_owned(),
        name: name.to_string(),
        // From the token: a node cannot pick its own zone.
        labels: token.labels.clone(),
        joined_at_ms: now.as_millis(),
        certificate_expires_at_ms: issued.leaf.not_after.as_millis(),
        ..NodeRecord::default()
    }
}

enum StoreOrApi {
    Store(StoreError),
    Api(ApiError),
}

impl From<StoreError> for StoreOrApi {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ApiError> for StoreOrApi {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}
