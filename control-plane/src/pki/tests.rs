//! Joining, renewing, revoking: what is given to whom, and what is refused.

use littoral_platform::clock;
use littoral_platform::error::ApiCode;
use littoral_platform::identity::{Identity, KeyAndCsr};
use littoral_platform::join_token::JoinToken;
use littoral_platform::renewal;
use littoral_proto::store::{ClusterRecord, NodeNameRecord, TokenRecord};
use littoral_proto::v1::{CreateTokenRequest, JoinRequest, JoinResponse, RenewRequest, Role};
use sha2::{Digest, Sha256};

use super::*;
use crate::testing::{Fixture, csr, user};

async fn token(pki: &Pki, uses: u32) -> JoinToken {
    let labels = [("zone".to_owned(), "a".to_owned())].into();
    let request = CreateTokenRequest { ttl_ms: 0, uses, labels };
    pki.create_token(request, &user("ada", Role::Admin)).await.unwrap().token.parse().unwrap()
}

fn request(token: &JoinToken, key: &KeyAndCsr, name: &str) -> JoinRequest {
    JoinRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.to_string(),
        csr_pem: key.csr_pem(),
        requested_name: name.to_owned(),
    }
}

async fn joined(pki: &Pki, name: &str) -> (JoinResponse, Identity) {
    let (token, key) = (token(pki, 1).await, csr());
    let response = pki.join(request(&token, &key, name)).await.unwrap();
    let identity = key.into_identity(response.certificate_pem.as_bytes()).unwrap();
    (response, identity)
}

fn renewal_of(pki: &Pki, old: &Identity, key: &KeyAndCsr) -> RenewRequest {
    let nonce = pki.challenge().nonce;
    let signed = [nonce.as_slice(), &Sha256::digest(key.csr_pem().as_bytes())].concat();
    RenewRequest {
        signature: renewal::prove(old, &signed).unwrap(),
        nonce,
        old_certificate_pem: old.chain_pem(),
        csr_pem: key.csr_pem(),
    }
}

#[tokio::test]
async fn a_node_joins_with_the_tokens_labels_and_a_certificate_for_a_day() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let (response, identity) = joined(&pki, "shop-3").await;
    assert_eq!(response.node_name, "shop-3");
    assert_eq!(identity.leaf().spiffe.to_string(), format!("spiffe://littoral/node/{}", response.node_id));
    let life = identity.leaf().not_after.since(clock::now()).as_secs();
    assert!((86_000..=86_400).contains(&life), "{life}");
    let node = records::get::<NodeRecord>(fixture.store.as_ref(), &key::node(&response.node_id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(node.value.labels["zone"], "a");
    assert_eq!(response.keys.unwrap(), fixture.signer.trusted_keys());
    assert!(fixture.events.follow(9).0.iter().any(|event| event.reason == "NodeJoined" && event.audit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_for_one_lets_one_join_however_many_try_at_once() {
    let fixture = Fixture::new();
    // Two control planes on one store: the second does not share the first one's turns.
    let (one, other) = (Arc::new(fixture.pki().await), Arc::new(fixture.pki().await));
    let token = token(&one, 1).await;
    let attempts = (0..16).map(|i| {
        let (pki, request) =
            (if i % 2 == 0 { one.clone() } else { other.clone() }, request(&token, &csr(), ""));
        async move { pki.join(request).await }
    });
    let results = attempts.collect::<tokio::task::JoinSet<_>>().join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in results.into_iter().filter_map(Result::err) {
        assert!(refused.message.contains("has been used"), "{refused}");
    }
    let nodes = records::scan::<NodeRecord>(fixture.store.as_ref(), key::NODE).await.unwrap().records;
    assert_eq!(nodes.len(), 1);
}

#[tokio::test]
async fn tokens_that_do_not_work_say_why_only_to_those_who_know_the_secret() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let token = token(&pki, 1).await;
    let mut expired =
        records::get::<TokenRecord>(fixture.store.as_ref(), &key::token(&token.id)).await.unwrap().unwrap();
    expired.value.expires_at_ms = 1;
    fixture.store.commit(Txn::new().write(&expired.value)).await.unwrap();
    let refused = pki.join(request(&token, &csr(), "")).await.unwrap_err();
    assert!(refused.message.contains("expired"), "{refused}");

    let guessed = JoinRequest { token_secret: "0".repeat(64), ..request(&token, &csr(), "") };
    let unknown = JoinRequest { token_id: "0".repeat(16), ..request(&token, &csr(), "") };
    let injected = JoinRequest { token_id: "../user/admin".into(), ..request(&token, &csr(), "") };
    let huge = JoinRequest { token_secret: "0".repeat(1 << 20), ..request(&token, &csr(), "") };
    for request in [guessed, unknown, injected, huge] {
        let refused = pki.join(request).await.unwrap_err();
        assert_eq!(refused.code, ApiCode::PermissionDenied);
        assert!(refused.message.contains("not known here"), "{refused}");
    }
    pki.revoke_token(&token.id, &user("ada", Role::Admin)).await.unwrap();
    assert!(pki.revoke_token(&token.id, &user("ada", Role::Admin)).await.is_err());
}

#[tokio::test]
async fn a_name_belongs_to_one_node_until_it_is_revoked_and_a_bad_request_costs_no_use() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let (first, _) = joined(&pki, "shop-3").await;
    let token = token(&pki, 1).await;
    let taken = pki.join(request(&token, &csr(), "shop-3")).await.unwrap_err();
    assert_eq!(taken.code, ApiCode::AlreadyExists);
    assert!(pki.join(request(&token, &csr(), "Shop 3")).await.is_err());
    let bad_csr = JoinRequest { csr_pem: "garbage".into(), ..request(&token, &csr(), "shop-4") };
    assert_eq!(pki.join(bad_csr).await.unwrap_err().code, ApiCode::InvalidArgument);
    pki.revoke_node(&first.node_id, "stolen", &user("ada", Role::Admin)).await.unwrap();
    let second = pki.join(request(&token, &csr(), "shop-3")).await.unwrap();
    assert_ne!(second.node_id, first.node_id);
    let name =
        records::get::<NodeNameRecord>(fixture.store.as_ref(), "node-name/shop-3").await.unwrap().unwrap();
    assert_eq!(name.value.node_id, second.node_id);
}

#[tokio::test]
async fn a_token_needs_a_sensible_life_uses_and_labels() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let by = user("ada", Role::Admin);
    let create = |ttl_ms, uses, label: &str| CreateTokenRequest {
        ttl_ms,
        uses,
        labels: [(label.to_owned(), "v".to_owned())].into(),
    };
    for bad in
        [create(999, 1, "a"), create(31 * 86_400_000, 1, "a"), create(0, 10_001, "a"), create(0, 1, "A B")]
    {
        assert_eq!(pki.create_token(bad, &by).await.unwrap_err().code, ApiCode::InvalidArgument);
    }
    let many = pki.create_token(create(1000, 10_000, "a"), &by).await.unwrap();
    assert_eq!(pki.list_tokens().await.unwrap().iter().map(|t| t.id.clone()).collect::<Vec<_>>(), [many.id]);
}

#[tokio::test]
async fn a_certificate_is_renewed_for_its_holder_and_each_nonce_once() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let (response, old) = joined(&pki, "shop-3").await;
    let key = csr();
    let request = renewal_of(&pki, &old, &key);
    let renewed = pki.renew(request.clone()).await.unwrap();
    let identity = key.into_identity(renewed.certificate_pem.as_bytes()).unwrap();
    assert_eq!(identity.leaf().spiffe, old.leaf().spiffe);
    assert_ne!(identity.leaf().serial, old.leaf().serial);
    assert_eq!(pki.renew(request).await.unwrap_err().code, ApiCode::Unauthenticated);

    // Somebody in between who puts a request of their own under the proof of another.
    let mut swapped = renewal_of(&pki, &old, &csr());
    swapped.csr_pem = csr().csr_pem();
    assert_eq!(pki.renew(swapped).await.unwrap_err().code, ApiCode::Unauthenticated);

    pki.revoke_node(&response.node_id, "", &user("ada", Role::Admin)).await.unwrap();
    let refused = pki.renew(renewal_of(&pki, &identity, &csr())).await.unwrap_err();
    assert_eq!(refused.code, ApiCode::PermissionDenied);
}

#[tokio::test]
async fn a_node_that_was_away_comes_back_within_the_window_and_not_after_it() {
    let mut fixture = Fixture::new();
    fixture.config.certificates.rejoin_window = std::time::Duration::from_secs(3600);
    let pki = fixture.pki().await;
    let (response, _) = joined(&pki, "shop-3").await;
    let id: SpiffeId = format!("spiffe://littoral/node/{}", response.node_id).parse().unwrap();
    for (minutes_ago, renews) in [(30, true), (90, false)] {
        let key = csr();
        let lapsed = clock::now().minus(std::time::Duration::from_secs(minutes_ago * 60));
        let issued = pki
            .issue(&key.csr_pem(), &id, lapsed.minus(std::time::Duration::from_secs(3600)), lapsed)
            .unwrap();
        let old = key.into_identity(issued.chain_pem.as_bytes()).unwrap();
        let renewed = pki.renew(renewal_of(&pki, &old, &csr())).await;
        assert_eq!(renewed.is_ok(), renews, "{minutes_ago}: {renewed:?}");
    }
}

#[tokio::test]
async fn another_cluster_of_the_same_name_renews_nothing_here() {
    let (ours, theirs) = (Fixture::new(), Fixture::new());
    let (pki, foreign) = (ours.pki().await, theirs.pki().await);
    let (_, identity) = joined(&foreign, "shop-3").await;
    let refused = pki.renew(renewal_of(&pki, &identity, &csr())).await.unwrap_err();
    assert_eq!(refused.code, ApiCode::Unauthenticated);
}

#[tokio::test]
async fn a_revocation_is_told_at_once_and_after_a_restart() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let (response, identity) = joined(&pki, "shop-3").await;
    let mut revoked = pki.revoked();
    assert!(!pki.is_revoked(&identity.leaf().spiffe));
    let by = user("ada", Role::Admin);
    pki.revoke_node(&response.node_id, "stolen", &by).await.unwrap();
    assert!(revoked.has_changed().unwrap());
    assert!(revoked.borrow_and_update().contains(&response.node_id));
    assert!(pki.is_revoked(&identity.leaf().spiffe));
    assert!(fixture.pki().await.is_revoked(&identity.leaf().spiffe));
    assert_eq!(pki.revoke_node("nobody", "", &by).await.unwrap_err().code, ApiCode::NotFound);
    pki.revoke_node(&response.node_id, "again", &by).await.unwrap();
}

#[tokio::test]
async fn the_last_admin_stays() {
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let by = user("root", Role::Admin);
    for (name, role) in [("ada", Role::Admin), ("bob", Role::Viewer)] {
        pki.issue_user(&csr().csr_pem(), name, role, &by).await.unwrap();
    }
    let twice = pki.issue_user(&csr().csr_pem(), "ada", Role::Viewer, &by).await.unwrap_err();
    assert_eq!(twice.code, ApiCode::AlreadyExists);
    assert_eq!(pki.revoke_user("ada", &by).await.unwrap_err().code, ApiCode::FailedPrecondition);
    pki.issue_user(&csr().csr_pem(), "eve", Role::Admin, &by).await.unwrap();
    pki.revoke_user("ada", &by).await.unwrap();
    pki.revoke_user("bob", &by).await.unwrap();
    assert_eq!(pki.revoke_user("bob", &by).await.unwrap_err().code, ApiCode::NotFound);
    assert!(pki.issue_user(&csr().csr_pem(), "kim", Role::Unspecified, &by).await.is_err());
    assert_eq!(pki.list_users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_first_start_makes_an_operator_once_and_a_lost_ca_is_not_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let pki = fixture.pki().await;
    let url = "https://localhost:7443".to_owned();
    let path = pki.first_start(&fixture.config, url.clone()).await.unwrap().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let credential: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(credential["server"].as_str(), Some(url.as_str()));
    let key = credential["key_pem"].as_str().unwrap();
    let certificate = credential["certificate_pem"].as_str().unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY") && !certificate.contains("PRIVATE"));
    let identity = Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap();
    assert_eq!(identity.leaf().spiffe.to_string(), "spiffe://littoral/user/admin");
    let cluster = records::get::<ClusterRecord>(fixture.store.as_ref(), key::CLUSTER).await.unwrap().unwrap();
    assert_eq!((cluster.value.name.as_str(), cluster.value.epoch), ("littoral", 1));

    let again = fixture.pki().await;
    assert_eq!(again.first_start(&fixture.config, url).await.unwrap(), None);
    assert_eq!(again.ca_pem(), pki.ca_pem());

    std::fs::remove_file(fixture.config.data_dir.join("pki/ca.pem")).unwrap();
    let keys = fixture.signer.trusted_keys();
    let lost =
        Pki::open(&fixture.config, keys, fixture.store.clone(), fixture.audit.clone()).await.unwrap_err();
    assert!(matches!(lost, PkiError::Missing { .. }) && lost.to_string().contains("backup"), "{lost}");
}
