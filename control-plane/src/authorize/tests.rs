//! The decision for each kind of caller.

use littoral_platform::identity::{Identity, PeerIdentity};
use littoral_proto::v1::{CreateTokenRequest, JoinRequest};

use super::*;
use crate::pki::Pki;
use crate::testing::{Fixture, csr, user};

const LIST: &str = "/littoral.v1.Registry/ListModules";
const PUSH: &str = "/littoral.v1.Registry/PushModule";
const TOKEN: &str = "/littoral.v1.Fleet/CreateToken";
const SESSION: &str = "/littoral.v1.NodeService/Session";
const RENEW: &str = "/littoral.v1.NodeService/Renew";

async fn operator(pki: &Pki, name: &str, role: Role) -> PeerIdentity {
    let key = csr();
    let issued = pki.issue_user(&key.csr_pem(), name, role, &user("root", Role::Admin)).await.unwrap();
    key.into_identity(issued.certificate_pem.as_bytes()).unwrap().leaf().clone()
}

async fn node(pki: &Pki) -> (String, Identity) {
    let token = pki.create_token(CreateTokenRequest::default(), &user("root", Role::Admin)).await.unwrap();
    let token: littoral_platform::join_token::JoinToken = token.token.parse().unwrap();
    let key = csr();
    let request = JoinRequest {
        token_id: token.id,
        token_secret: token.secret.to_string(),
        csr_pem: key.csr_pem(),
        requested_name: String::new(),
    };
    let joined = pki.join(request).await.unwrap();
    (joined.node_id, key.into_identity(joined.certificate_pem.as_bytes()).unwrap())
}

fn authorizer(fixture: &Fixture, pki: &Pki) -> Authorizer {
    Authorizer::new(fixture.store.clone(), pki.cluster().clone())
}

#[tokio::test]
async fn a_role_includes_the_lower_ones_and_not_the_higher() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let authorizer = authorizer(&fixture, &pki);
    for (role, allowed) in [
        (Role::Viewer, [true, false, false]),
        (Role::Deployer, [true, true, false]),
        (Role::Admin, [true, true, true]),
    ] {
        let peer = operator(&pki, role_name(role), role).await;
        for (path, allowed) in [LIST, PUSH, TOKEN].into_iter().zip(allowed) {
            let decided = authorizer.decide(path, Some(&peer)).await;
            assert_eq!(decided.is_ok(), allowed, "{role:?} {path}");
        }
        let refused = authorizer.decide(SESSION, Some(&peer)).await.unwrap_err();
        assert!(
            refused.message.contains("a node's certificate") && refused.message.contains(role_name(role))
        );
    }
}

#[tokio::test]
async fn without_a_certificate_only_the_open_methods_answer() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let authorizer = authorizer(&fixture, &pki);
    for path in [LIST, PUSH, TOKEN, SESSION] {
        assert_eq!(authorizer.decide(path, None).await.unwrap_err().code, ApiCode::Unauthenticated, "{path}");
    }
    assert_eq!(authorizer.decide(RENEW, None).await.unwrap().caller, Caller::Anonymous);
    let admin = operator(&pki, "ada", Role::Admin).await;
    for unknown in ["/littoral.v1.Fleet/DropEverything", "/", "", "/littoral.v1.Fleet/ListNodes/"] {
        let refused = authorizer.decide(unknown, Some(&admin)).await.unwrap_err();
        assert_eq!(refused.code, ApiCode::PermissionDenied, "{unknown}");
    }
}

#[tokio::test]
async fn a_node_calls_what_is_for_nodes_until_it_is_revoked() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let authorizer = authorizer(&fixture, &pki);
    let (id, identity) = node(&pki).await;
    let principal = authorizer.decide(SESSION, Some(identity.leaf())).await.unwrap();
    assert_eq!(principal.node().unwrap().as_str(), id);
    assert!(authorizer.decide(LIST, Some(identity.leaf())).await.is_err());
    pki.revoke_node(&id, "", &user("root", Role::Admin)).await.unwrap();
    let refused = authorizer.decide(SESSION, Some(identity.leaf())).await.unwrap_err();
    assert!(refused.message.contains("was revoked"), "{refused}");
    assert!(authorizer.decide(RENEW, Some(identity.leaf())).await.is_ok(), "renewal itself says no");
}

#[tokio::test]
async fn a_revoked_users_certificate_does_not_come_back_with_the_name() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let authorizer = authorizer(&fixture, &pki);
    let old = operator(&pki, "ada", Role::Viewer).await;
    pki.revoke_user("ada", &user("root", Role::Admin)).await.unwrap();
    assert!(authorizer.decide(LIST, Some(&old)).await.is_err());
    let new = operator(&pki, "ada", Role::Admin).await;
    assert!(authorizer.decide(LIST, Some(&old)).await.is_err());
    assert!(authorizer.decide(TOKEN, Some(&new)).await.is_ok());
}

#[tokio::test]
async fn other_clusters_and_control_planes_are_nobody_here() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let authorizer = authorizer(&fixture, &pki);
    let admin = operator(&pki, "ada", Role::Admin).await;
    for spiffe in
        ["spiffe://other/user/ada", "spiffe://littoral/control-plane/cp-1", "spiffe://littoral/node/n-1"]
    {
        let peer = PeerIdentity { spiffe: spiffe.parse().unwrap(), ..admin.clone() };
        assert!(authorizer.decide(LIST, Some(&peer)).await.is_err(), "{spiffe}");
    }
}
