//! Everything that is served on the gRPC port, in one place.

use std::sync::Arc;

use littoral_proto::MAX_MESSAGE;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use littoral_proto::v1::fleet_server::FleetServer;
use littoral_proto::v1::invoke_server::InvokeServer;
use littoral_proto::v1::node_service_server::NodeServiceServer;
use littoral_proto::v1::registry_server::RegistryServer;

use crate::api::fleet::FleetService;
use crate::api::invoke::InvokeService;
use crate::api::node::NodeApi;
use crate::api::registry::RegistryService;
use crate::functions::Functions;
use crate::registry::Registry;
use crate::shared::Shared;

/// What is served, and the switch that says to load balancers whether it is.
#[derive(Debug)]
pub struct Services {
    pub routes: Routes,
    pub health: HealthReporter,
}

#[derive(Debug, thiserror::Error)]
#[error("the descriptors for reflection cannot be read: this is a fault of the build")]
pub struct DescriptorsError(#[from] tonic_reflection::server::Error);

/// Assembles all services. A new one is added here and in `authorize/rules.rs`.
///
/// # Errors
/// When reflection's descriptors are damaged.
pub fn assemble(shared: &Arc<Shared>) -> Result<Services, DescriptorsError> {
    let (health, health_server) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(littoral_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let node = NodeApi {
        pki: shared.pki.clone(),
        blobs: shared.blobs.clone(),
        world: shared.world.clone(),
        sessions: shared.sessions.clone(),
        tasks: shared.serving.clone(),
    };
    let invoke = InvokeService {
        world: shared.world.clone(),
        sessions: shared.sessions.clone(),
        tasks: shared.serving.clone(),
    };
    let registry = Arc::new(Registry::new(shared));
    let functions =
        Functions::new(shared.store.clone(), shared.blobs.clone(), shared.audit.clone(), registry.clone());
    let fleet = FleetService::new(shared.clone(), functions);
    let registry = RegistryService::new(registry);
    let routes = Routes::new(health_server)
        .add_service(FleetServer::new(fleet).max_decoding_message_size(MAX_MESSAGE))
        .add_service(RegistryServer::new(registry).max_decoding_message_size(MAX_MESSAGE))
        .add_service(NodeServiceServer::new(node).max_decoding_message_size(MAX_MESSAGE))
        .add_service(InvokeServer::new(invoke).max_decoding_message_size(MAX_MESSAGE))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(Services { routes, health })
}

impl Services {
    /// What `grpc.health.v1` answers for the whole server.
    pub async fn set_serving(health: &HealthReporter, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
    }
}
