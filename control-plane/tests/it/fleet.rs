//! Functions, tokens and users, as an operator meets them.

use littoral_platform::identity::KeyAndCsr;
use littoral_proto::v1::{
    ApplyFunctionRequest, CreateTokenRequest, CreateUserRequest, DeleteFunctionRequest, FunctionSpec,
    GetFunctionRequest, ListFunctionsRequest, ListTokensRequest, RevokeNodeRequest, RevokeTokenRequest,
    RevokeUserRequest, Role, RolloutState, WatchEventsRequest,
};
use tonic::Code;

use crate::plane::{Plane, config, example, push};

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_applied_seen_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (mut registry, mut fleet) = plane.operator(dir.path()).await;
    push(&mut registry, "upper", "1", &example("upper")).await.unwrap();
    let spec = FunctionSpec { name: "upper".into(), module: "upper".into(), ..FunctionSpec::default() };
    let request = ApplyFunctionRequest { spec: Some(spec), ..ApplyFunctionRequest::default() };
    let applied = fleet.apply_function(request.clone()).await.unwrap().into_inner();
    assert_eq!((applied.revision, applied.changed), (1, true));
    // At once: an answer holds what was committed before the call.
    let listed = fleet.list_functions(ListFunctionsRequest {}).await.unwrap().into_inner().functions;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].revision, listed[0].rollout()), (1, RolloutState::Progressing));
    assert_eq!(listed[0].spec.as_ref().unwrap().module, "upper@1");
    assert_eq!(listed[0].applied_by, "spiffe://littoral/user/admin");

    let name = || "upper".to_owned();
    let got = fleet.get_function(GetFunctionRequest { name: name() }).await.unwrap().into_inner();
    assert_eq!(got.nodes, []);
    fleet.delete_function(DeleteFunctionRequest { name: name() }).await.unwrap();
    let gone = fleet.get_function(GetFunctionRequest { name: name() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);

    let mut events = fleet.watch_events(WatchEventsRequest::default()).await.unwrap().into_inner();
    let mut audited = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        if event.audit {
            assert!(!event.request_id.is_empty());
            audited.push(event.reason);
        }
    }
    assert_eq!(audited, ["ClusterCreated", "Pushed", "Applied", "Deleted"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_changes_nothing_and_is_gone_once_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (_, mut admin) = plane.operator(dir.path()).await;
    let key = KeyAndCsr::generate().unwrap();
    let request =
        CreateUserRequest { name: "vera".into(), role: Role::Viewer.into(), csr_pem: key.csr_pem() };
    let created = admin.create_user(request).await.unwrap().into_inner();
    let identity = key.into_identity(created.certificate_pem.as_bytes()).unwrap();
    let (mut registry, mut fleet) = plane.as_user(&created.ca_pem, &identity).await;
    fleet.list_functions(ListFunctionsRequest {}).await.unwrap();
    let refused = push(&mut registry, "upper", "1", &example("upper")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for part in ["spiffe://littoral/user/vera", "viewer", "deployer"] {
        assert!(refused.message().contains(part), "{part} in {refused}");
    }
    admin.revoke_user(RevokeUserRequest { name: "vera".into() }).await.unwrap();
    let revoked = fleet.list_functions(ListFunctionsRequest {}).await.unwrap_err();
    assert_eq!(revoked.code(), Code::PermissionDenied);
    let last = admin.revoke_user(RevokeUserRequest { name: "admin".into() }).await.unwrap_err();
    assert_eq!(last.code(), Code::FailedPrecondition);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_without_their_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (_, mut fleet) = plane.operator(dir.path()).await;
    let created = fleet.create_token(CreateTokenRequest::default()).await.unwrap().into_inner();
    let secret = created.token.split('.').nth(2).unwrap().to_owned();
    let listed = fleet.list_tokens(ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!((listed.len(), listed[0].uses_left), (1, 1));
    assert!(!format!("{listed:?}").contains(&secret));
    fleet.revoke_token(RevokeTokenRequest { id: created.id }).await.unwrap();
    assert_eq!(fleet.list_tokens(ListTokensRequest {}).await.unwrap().into_inner().tokens, []);
    let node = RevokeNodeRequest { node: "nobody".into(), reason: String::new() };
    assert_eq!(fleet.revoke_node(node).await.unwrap_err().code(), Code::NotFound);
    plane.stop().await;
}
