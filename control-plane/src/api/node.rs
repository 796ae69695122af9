//! `littoral.v1.NodeService`: what agents call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use littoral_model::digest::Digest;
use littoral_platform::error::ApiError;
use littoral_platform::tasks::Tasks;
use littoral_proto::v1::{self, invocation_up, invoke_response, node_service_server};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::blobs::Blobs;
use crate::pki::Pki;
use crate::principal::Principal;
use crate::sessions::Sessions;
use crate::world::World;

/// Of artifact bytes: between 64 and 256 KiB a tonic stream is fastest.
const CHUNK: u64 = 256 * 1024;
/// The agent sends it with the call.
const PICK_UP: Duration = Duration::from_secs(10);

pub struct NodeApi {
    pub pki: Arc<Pki>,
    pub blobs: Blobs,
    pub world: watch::Receiver<Arc<World>>,
    pub sessions: Sessions,
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl node_service_server::NodeService for NodeApi {
    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;
    type FetchArtifactStream = Pin<Box<dyn Stream<Item = Result<v1::FetchArtifactResponse, Status>> + Send>>;
    type ServeInvocationStream = ReceiverStream<Result<v1::InvocationDown, Status>>;

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Ok(Response::new(self.pki.join(request.into_inner()).await?))
    }

    async fn renew_challenge(
        &self,
        _: Request<v1::RenewChallengeRequest>,
    ) -> Result<Response<v1::RenewChallengeResponse>, Status> {
        Ok(Response::new(self.pki.challenge()))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Ok(Response::new(self.pki.renew(request.into_inner()).await?))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = Principal::of(&request)?.node()?.clone();
        Ok(Response::new(self.sessions.open(node, request.into_inner()).await?))
    }

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let node = Principal::of(&request)?.node()?.clone();
        let request = request.into_inner();
        let digest: Digest = request.digest.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        if !references(&self.world.borrow(), node.as_str(), &request.digest) {
            return Err(ApiError::denied(format!("{digest} is not in this node's assignment")).into());
        }
        let size = self.blobs.size(digest).await.map_err(ApiError::from)?;
        let chunks = self.blobs.stream(digest, request.offset, CHUNK).await.map_err(ApiError::from)?;
        // The size comes before the bytes, also when none are left.
        let head = v1::FetchArtifactResponse { size_bytes: size, chunk: Bytes::new() };
        let head = tokio_stream::once(Ok(head));
        let rest = chunks.map(|chunk| match chunk {
            Ok(chunk) => Ok(v1::FetchArtifactResponse { size_bytes: 0, chunk }),
            Err(error) => Err(Status::from(ApiError::from(error))),
        });
        Ok(Response::new(Box::pin(head.chain(rest))))
    }

    async fn serve_invocation(
        &self,
        request: Request<Streaming<v1::InvocationUp>>,
    ) -> Result<Response<Self::ServeInvocationStream>, Status> {
        let node = Principal::of(&request)?.node()?.clone();
        let mut up = request.into_inner();
        let first = tokio::time::timeout(PICK_UP, up.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no message came within 10 s"))??;
        let Some(invocation_up::Message::InvocationId(id)) = first.and_then(|m| m.message) else {
            return Err(ApiError::invalid("the first message must name the invocation").into());
        };
        let Some(streams) = self.sessions.invocations().take(&id, &node) else {
            return Err(
                ApiError::not_found("that invocation is over, or was not offered to this node").into()
            );
        };
        self.tasks.spawn("invocation answer", answer(up, streams.up));
        Ok(Response::new(ReceiverStream::new(streams.down)))
    }
}

/// Whether a node's assignment names this content.
fn references(world: &World, node: &str, digest: &str) -> bool {
    let names = |w: &v1::Workload| {
        [&w.artifact_digest, &w.spec_digest, &w.statement_digest].contains(&&digest.to_owned())
    };
    world.assignment(node).is_some_and(|assignment| assignment.workloads.iter().any(names))
}

async fn answer(mut up: Streaming<v1::InvocationUp>, to: mpsc::Sender<Result<v1::InvokeResponse, Status>>) {
    loop {
        let next = tokio::select! {
            // The caller has gone away; dropping `up` tells the node.
            () = to.closed() => return,
            next = up.message() => next,
        };
        let response = match next {
            // Which node and revision it is was told to the caller when the node came.
            Ok(Some(v1::InvocationUp { message: Some(invocation_up::Message::Response(response)) }))
                if !matches!(response.part, Some(invoke_response::Part::Accepted(_))) =>
            {
                Ok(response)
            }
            Ok(Some(_)) => continue,
            Ok(None) => return,
            Err(status) => Err(status),
        };
        if to.send(response).await.is_err() {
            return;
        }
    }
}
