//! Who is let in, what answers, and what survives a restart.

use littoral_proto::v1::fleet_client::FleetClient;
use littoral_proto::v1::registry_client::RegistryClient;
use littoral_proto::v1::{GetStatusRequest, ListModulesRequest, ListNodesRequest};
use littorald::RunError;
use littorald::store::StoreError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::plane::{Plane, config, example, push};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_let_in_and_nobody_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let credential = plane.ready.operator.clone().unwrap();
    let nobody = plane.connect(&credential, false).await;
    let refused = FleetClient::new(nobody.clone()).list_nodes(ListNodesRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("ListNodes") && refused.message().contains("viewer"), "{refused}");
    let health =
        HealthClient::new(nobody.clone()).check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let asked = futures::stream::iter([request.clone()]);
    let refused = ServerReflectionClient::new(nobody).server_reflection_info(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let admin = plane.connect(&credential, true).await;
    let answer = FleetClient::new(admin.clone()).get_status(GetStatusRequest {}).await.unwrap();
    assert!(answer.metadata().get("littoral-request-id").is_some());
    let status = answer.into_inner();
    assert_eq!((status.cluster.as_str(), status.nodes, status.engines.len()), ("littoral", 0, 8));
    let asked = futures::stream::iter([request]);
    let mut services =
        ServerReflectionClient::new(admin).server_reflection_info(asked).await.unwrap().into_inner();
    let described = format!("{:?}", services.message().await.unwrap().unwrap());
    for service in ["littoral.v1.Registry", "littoral.v1.NodeService", "grpc.health.v1.Health"] {
        assert!(described.contains(service), "{service} in {described}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_modules_meet_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (mut registry, _) = plane.operator(dir.path()).await;
    let hello = example("hello-http");
    push(&mut registry, "hello", "1", &hello).await.unwrap();
    let again = push(&mut registry, "hello", "1", &hello).await.unwrap();
    assert!(!again.created);
    let other = push(&mut registry, "hello", "1", &example("typed")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    for (bytes, part) in
        [(&hello[..hello.len() / 2], "ends in the middle"), (b"#!/bin/sh", "not WebAssembly")]
    {
        let refused = push(&mut registry, "bad", "1", bytes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{refused}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_modules_credential_and_cluster_and_a_second_program_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (mut registry, _) = plane.operator(dir.path()).await;
    push(&mut registry, "upper", "1", &example("upper")).await.unwrap();
    let second = Plane::start(config(dir.path())).await.err().unwrap();
    assert!(matches!(second, RunError::Store(StoreError::Locked { .. })), "{second}");
    plane.stop().await;

    let plane = Plane::start(config(dir.path())).await.unwrap();
    assert_eq!(plane.ready.operator, None);
    let channel = plane.connect(&dir.path().join("operator.toml"), true).await;
    let modules =
        RegistryClient::new(channel).list_modules(ListModulesRequest::default()).await.unwrap().into_inner();
    assert_eq!(modules.modules.len(), 1);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_readiness_answer_on_the_plain_port() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    for (path, part) in
        [("/readyz", "ready"), ("/healthz", "ok"), ("/metrics", "littoral_compile_queue_depth")]
    {
        let mut tcp = tokio::net::TcpStream::connect(plane.ready.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(part), "{answer}");
    }
    plane.stop().await;
}
