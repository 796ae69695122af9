//! Who may call what, decided once for every method before its handler runs.
//!
//! The certificate says who somebody is; what they may do is asked from the store at each request, so that revoking
//! works at once.

mod rules;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use littoral_platform::error::{ApiCode, ApiError};
use littoral_platform::identity::PeerIdentity;
use littoral_platform::listener::ConnectInfo;
use littoral_platform::spiffe::{ClusterName, Kind, SpiffeId};
use littoral_proto::store::{NodeRecord, UserRecord};
use littoral_proto::v1::Role;
use tonic::Status;
use tower::{Layer, Service};

pub use self::rules::{Requirement, requirement};
use crate::principal::{Caller, Principal};
use crate::records::{self, key};
use crate::store::Store;

/// Set on every answer, so that a person can find it in the audit log.
const REQUEST_ID: &str = "littoral-request-id";

/// What the decision needs. Clones share everything.
#[derive(Clone)]
pub struct Authorizer {
    store: Arc<dyn Store>,
    cluster: ClusterName,
}

impl Authorizer {
    pub fn new(store: Arc<dyn Store>, cluster: ClusterName) -> Self {
        Self { store, cluster }
    }

    /// Whether the holder of `peer`'s certificate may call the method at `path`, and as whom.
    ///
    /// # Errors
    /// `Unauthenticated` without a usable certificate, `PermissionDenied` with what is needed, `Unavailable` when the
    /// store cannot be asked.
    pub async fn decide(&self, path: &str, peer: Option<&PeerIdentity>) -> Result<Principal, ApiError> {
        let Some(needed) = requirement(path) else {
            return Err(ApiError::denied(format!("there is no method {path} here")));
        };
        let caller = match peer {
            // A certificate that does not count any more must not keep anybody from joining or renewing.
            _ if needed == Requirement::Public => Caller::Anonymous,
            None => return Err(unauthenticated(path, needed)),
            Some(peer) => self.caller(peer).await?,
        };
        permit(path, needed, &caller)?;
        Ok(Principal::new(caller))
    }

    async fn caller(&self, peer: &PeerIdentity) -> Result<Caller, ApiError> {
        let spiffe = &peer.spiffe;
        if spiffe.cluster() != &self.cluster {
            return Err(ApiError::denied(format!("{spiffe} is not of this cluster, {}", self.cluster)));
        }
        match spiffe.kind() {
            Kind::Node(id) => {
                let node = self.read::<NodeRecord>(&key::node(id.as_str())).await?;
                match node {
                    None => {
                        Err(ApiError::denied(format!("{spiffe} is not a node of this cluster: join again")))
                    }
                    Some(node) if node.revoked => Err(revoked(spiffe)),
                    Some(_) => Ok(Caller::Node { id: id.clone(), spiffe: spiffe.clone() }),
                }
            }
            Kind::User(name) => {
                let user = self.read::<UserRecord>(&key::user(name.as_str())).await?;
                let user = user
                    .filter(|user| user.certificate_serial == peer.serial)
                    .ok_or_else(|| revoked(spiffe))?;
                Ok(Caller::User { name: name.clone(), spiffe: spiffe.clone(), role: user.role() })
            }
            Kind::ControlPlane(_) => {
                Err(ApiError::denied(format!("{spiffe} is a control plane's identity: it calls nobody")))
            }
        }
    }

    async fn read<R: records::Record>(&self, key: &str) -> Result<Option<R>, ApiError> {
        let found = records::get::<R>(self.store.as_ref(), key).await.map_err(crate::api::errors::store)?;
        Ok(found.map(|stored| stored.value))
    }
}

fn permit(path: &str, needed: Requirement, caller: &Caller) -> Result<(), ApiError> {
    let allowed = match (needed, caller) {
        (Requirement::Public, _) | (Requirement::Node, Caller::Node { .. }) => true,
        (Requirement::Role(needed), Caller::User { role, .. }) => *role >= needed,
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    let who = match caller {
        Caller::User { spiffe, role, .. } => format!("{spiffe} has the role {}", role_name(*role)),
        Caller::Node { spiffe, .. } => format!("{spiffe} is a node"),
        Caller::Anonymous | Caller::ControlPlane => "the caller".to_owned(),
    };
    Err(ApiError::denied(format!("{who}, and {path} needs {needed}")))
}

fn unauthenticated(path: &str, needed: Requirement) -> ApiError {
    let message = format!("{path} needs {needed}, and the connection came without a client certificate");
    ApiError::new(ApiCode::Unauthenticated, message)
}

fn revoked(spiffe: &SpiffeId) -> ApiError {
    ApiError::denied(format!("{spiffe} was revoked: its certificate is accepted no more"))
}

/// As people write it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Deployer => "deployer",
        Role::Admin => "admin",
        Role::Unspecified => "none",
    }
}

impl<S> Layer<S> for Authorizer {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, authorizer: self.clone() }
    }
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A service that only sees what may pass.
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    inner: S,
    authorizer: Authorizer,
}

impl<S, B> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<tonic::body::Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authorizer = self.authorizer.clone();
        // The one that was polled ready goes with the request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let peer = request.extensions().get::<ConnectInfo>().and_then(|info| info.peer.clone());
            let path = request.uri().path().to_owned();
            match authorizer.decide(&path, peer.as_deref()).await {
                Ok(principal) => {
                    let id = HeaderValue::from_str(&principal.request_id);
                    request.extensions_mut().insert(principal);
                    let mut response = inner.call(request).await?;
                    if let Ok(id) = id {
                        response.headers_mut().insert(REQUEST_ID, id);
                    }
                    Ok(response)
                }
                Err(error) => {
                    tracing::info!(method = %path, "refused: {error}");
                    Ok(Status::from(error).into_http())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
