//! On whose behalf something is done.

use littoral_model::id::{NodeId, UserName};
use littoral_platform::error::ApiError;
use littoral_platform::spiffe::SpiffeId;
use littoral_proto::v1::Role;

/// Who makes a request, and the id that ties its log lines and audit entries together. In the extensions of every
/// request that passed the authorisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub caller: Caller,
    /// UUID v7.
    pub request_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Without a certificate: only for the methods that anybody may call.
    Anonymous,
    Node {
        id: NodeId,
        spiffe: SpiffeId,
    },
    User {
        name: UserName,
        spiffe: SpiffeId,
        role: Role,
    },
    /// The program itself: its tasks, and its first start.
    ControlPlane,
}

impl Principal {
    pub fn new(caller: Caller) -> Self {
        Self { caller, request_id: uuid::Uuid::now_v7().to_string() }
    }

    /// SPIFFE id; empty for the control plane itself and for callers without one.
    pub fn actor(&self) -> String {
        match &self.caller {
            Caller::Node { spiffe, .. } | Caller::User { spiffe, .. } => spiffe.to_string(),
            Caller::Anonymous | Caller::ControlPlane => String::new(),
        }
    }

    /// The calling node.
    ///
    /// # Errors
    /// When somebody else calls, which the authorisation has ruled out for the methods of nodes.
    pub fn node(&self) -> Result<&NodeId, ApiError> {
        match &self.caller {
            Caller::Node { id, .. } => Ok(id),
            _ => Err(ApiError::denied("this method is for nodes: call it with a node's certificate")),
        }
    }

    /// The principal of a request that passed the authorisation.
    ///
    /// # Errors
    /// When the request did not come through it, which is a fault of ours.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, ApiError> {
        let found = request.extensions().get::<Self>().cloned();
        found.ok_or_else(|| {
            ApiError::internal("the request was not authorised: this is a fault of the control plane")
        })
    }
}
