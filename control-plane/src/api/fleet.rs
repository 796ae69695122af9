//! `littoral.v1.Fleet`.

mod events;
mod views;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use littoral_model::id::NodeId;
use littoral_model::target::Target;
use littoral_platform::clock;
use littoral_platform::error::ApiError;
use littoral_proto::store::NodeNameRecord;
use littoral_proto::v1::fleet_server::Fleet;
use littoral_proto::v1::*;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::functions::Functions;
use crate::principal::Principal;
use crate::records::{self, key};
use crate::shared::Shared;
use crate::world::World;

/// The world follows the store within milliseconds. An answer that is a moment old is better than none.
const FRESH_WITHIN: Duration = Duration::from_secs(1);

type Answer<T> = Result<Response<T>, Status>;

/// The handlers of the fleet.
#[derive(Debug)]
pub struct FleetService {
    shared: Arc<Shared>,
    functions: Functions,
}

impl FleetService {
    pub fn new(shared: Arc<Shared>, functions: Functions) -> Self {
        Self { shared, functions }
    }

    /// The world, with everything in it that was committed before this call: whoever applies and then looks must see it.
    async fn world(&self) -> Arc<World> {
        let committed = *self.shared.store.watch().borrow();
        let mut world = self.shared.world.clone();
        // On a timeout the newest there is will do.
        let _ = timeout(FRESH_WITHIN, world.wait_for(|world| world.revision >= committed)).await;
        self.shared.world.borrow().clone()
    }

    /// A node's id, from its id or its name.
    async fn node_id(&self, name_or_id: &str) -> Result<NodeId, ApiError> {
        let text: NodeId = name_or_id.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        let named =
            records::get::<NodeNameRecord>(self.shared.store.as_ref(), &key::node_name(text.as_str()))
                .await?;
        match named {
            Some(named) => named.value.node_id.parse().map_err(|e| ApiError::internal(format!("{e}"))),
            None => Ok(text),
        }
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn apply_function(&self, request: Request<ApplyFunctionRequest>) -> Answer<ApplyFunctionResponse> {
        let by = Principal::of(&request)?;
        Ok(Response::new(self.functions.apply(request.into_inner(), &by).await?))
    }

    async fn list_functions(&self, _: Request<ListFunctionsRequest>) -> Answer<ListFunctionsResponse> {
        let world = self.world().await;
        let outlooks = self.shared.outlooks.borrow().clone();
        let functions = world.functions.values();
        let functions = functions.map(|row| views::function(&row.value, &world, &outlooks)).collect();
        Ok(Response::new(ListFunctionsResponse { functions }))
    }

    async fn get_function(&self, request: Request<GetFunctionRequest>) -> Answer<GetFunctionResponse> {
        let name = &request.get_ref().name;
        let world = self.world().await;
        let Some(row) = world.functions.get(name) else {
            let name: String = name.chars().take(80).collect();
            return Err(ApiError::not_found(format!("there is no function {name}")).into());
        };
        let outlooks = self.shared.outlooks.borrow().clone();
        Ok(Response::new(GetFunctionResponse {
            function: Some(views::function(&row.value, &world, &outlooks)),
            nodes: views::function_on_nodes(name, &world),
        }))
    }

    async fn delete_function(
        &self,
        request: Request<DeleteFunctionRequest>,
    ) -> Answer<DeleteFunctionResponse> {
        let by = Principal::of(&request)?;
        self.functions.delete(&request.get_ref().name, &by).await?;
        Ok(Response::new(DeleteFunctionResponse {}))
    }

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        let (world, now) = (self.world().await, clock::now());
        let nodes = world.nodes.values().map(|row| views::node(&row.value, &world, now)).collect();
        Ok(Response::new(ListNodesResponse { nodes }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Answer<GetNodeResponse> {
        let name_or_id = &request.get_ref().node;
        let world = self.world().await;
        let Some(node) = world.find_node(name_or_id) else {
            let name: String = name_or_id.chars().take(80).collect();
            return Err(ApiError::not_found(format!("there is no node {name}")).into());
        };
        Ok(Response::new(GetNodeResponse {
            node: Some(views::node(node, &world, clock::now())),
            desired: world.assignment(&node.id).map(|a| a.workloads.clone()).unwrap_or_default(),
            observed: world.observed(&node.id).map(|o| o.workloads.to_vec()).unwrap_or_default(),
        }))
    }

    async fn revoke_node(&self, request: Request<RevokeNodeRequest>) -> Answer<RevokeNodeResponse> {
        let by = Principal::of(&request)?;
        let RevokeNodeRequest { node, reason } = request.get_ref();
        let id = self.node_id(node).await?;
        self.shared.pki.revoke_node(id.as_str(), reason, &by).await?;
        Ok(Response::new(RevokeNodeResponse {}))
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        let by = Principal::of(&request)?;
        Ok(Response::new(self.shared.pki.create_token(request.into_inner(), &by).await?))
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        Ok(Response::new(ListTokensResponse { tokens: self.shared.pki.list_tokens().await? }))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        let by = Principal::of(&request)?;
        self.shared.pki.revoke_token(&request.get_ref().id, &by).await?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answer<CreateUserResponse> {
        let by = Principal::of(&request)?;
        let CreateUserRequest { name, csr_pem, .. } = request.get_ref();
        Ok(Response::new(self.shared.pki.issue_user(csr_pem, name, request.get_ref().role(), &by).await?))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        Ok(Response::new(ListUsersResponse { users: self.shared.pki.list_users().await? }))
    }

    async fn revoke_user(&self, request: Request<RevokeUserRequest>) -> Answer<RevokeUserResponse> {
        let by = Principal::of(&request)?;
        self.shared.pki.revoke_user(&request.get_ref().name, &by).await?;
        Ok(Response::new(RevokeUserResponse {}))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let WatchEventsRequest { follow, last } = *request.get_ref();
        let stop = self.shared.serving.child();
        Ok(Response::new(Box::pin(events::stream(&self.shared.events, follow, last, stop))))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let (world, now) = (self.world().await, clock::now());
        let member = |node: &Node| node.availability() != Availability::Revoked;
        let nodes: Vec<Node> =
            world.nodes.values().map(|row| views::node(&row.value, &world, now)).filter(member).collect();
        let ready = nodes.iter().filter(|node| node.availability() == Availability::Ready).count();
        let targets: BTreeSet<Target> = Target::compiled().collect();
        let engines =
            targets.into_iter().map(|target| (target.to_string(), littoral_engine::fingerprint(target)));
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.shared.pki.cluster().to_string(),
            engines: engines.collect(),
            now_ms: now.as_millis(),
            nodes: views::count(nodes.len()),
            nodes_ready: views::count(ready),
            functions: views::count(world.functions.len()),
            compiling: views::count(self.shared.compiler.underway().borrow().len()),
        }))
    }
}
