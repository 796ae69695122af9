//! Applying, again and in conflict.

use bytes::Bytes;
use futures::stream;
use littoral_proto::v1::placement::Replicas;
use littoral_proto::v1::{HttpTrigger, Placement, PushModuleHeader, Role};

use super::*;
use crate::testing::{Fixture, user};

struct Setting {
    fixture: Fixture,
    registry: Arc<Registry>,
    functions: Functions,
}

async fn setting() -> Setting {
    let fixture = Fixture::new();
    let registry = Arc::new(Registry::of(&fixture));
    for (name, wat) in [("typed", r#"(module (func (export "f")))"#), ("web", HTTP)] {
        let header =
            PushModuleHeader { name: name.into(), version: "1".into(), ..PushModuleHeader::default() };
        let chunks = stream::iter([Ok(Bytes::from(wat::parse_str(wat).unwrap()))]);
        registry.push(header, chunks, &user("ada", Role::Deployer)).await.unwrap();
    }
    let functions =
        Functions::new(fixture.store.clone(), fixture.blobs.clone(), fixture.audit.clone(), registry.clone());
    Setting { fixture, registry, functions }
}

const HTTP: &str = r#"(component
    (core module $m (func (export "f")))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (instance $e (export "handle" (func $f)))
    (export "wasi:http/incoming-handler@0.2.3" (instance $e)))"#;

fn spec(name: &str, module: &str, count: u32) -> v1::FunctionSpec {
    v1::FunctionSpec {
        name: name.into(),
        module: module.into(),
        placement: Some(Placement { replicas: Some(Replicas::Count(count)), ..Placement::default() }),
        ..v1::FunctionSpec::default()
    }
}

fn routed(name: &str, path: &str) -> v1::FunctionSpec {
    let http_triggers = vec![HttpTrigger { host: "*".into(), path: path.into() }];
    v1::FunctionSpec { http_triggers, ..spec(name, "web@1", 1) }
}

impl Setting {
    async fn apply(&self, spec: v1::FunctionSpec) -> Result<ApplyFunctionResponse, ApiError> {
        let request = ApplyFunctionRequest { spec: Some(spec), ..ApplyFunctionRequest::default() };
        self.functions.apply(request, &user("ada", Role::Deployer)).await
    }

    async fn record(&self, name: &str) -> Option<FunctionRecord> {
        let found = records::get(self.fixture.store.as_ref(), &key::function(name)).await.unwrap();
        found.map(|stored: Stored<FunctionRecord>| stored.value)
    }
}

#[tokio::test]
async fn what_was_aborted_is_tried_again_when_it_is_asked_for_again() {
    let s = setting().await;
    s.apply(spec("f", "typed@1", 1)).await.unwrap();
    let mut record = s.record("f").await.unwrap();
    record.set_rollout(RolloutState::Aborted);
    s.fixture.store.commit(Txn::new().write(&record)).await.unwrap();
    let again = s.apply(spec("f", "typed@1", 1)).await.unwrap();
    assert_eq!((again.revision, again.changed), (2, true));
    assert_eq!(s.record("f").await.unwrap().rollout(), RolloutState::Progressing);
}

#[tokio::test]
async fn the_same_spec_again_changes_nothing_and_another_is_a_new_revision() {
    let s = setting().await;
    let first = s.apply(spec("f", "typed@1", 1)).await.unwrap();
    assert_eq!((first.revision, first.changed), (1, true));
    let again = s.apply(spec("f", "typed", 1)).await.unwrap();
    assert_eq!((again.revision, again.changed), (1, false), "the newest version has the same name");
    let second = s.apply(spec("f", "typed@1", 3)).await.unwrap();
    assert_eq!((second.revision, second.changes), (2, vec!["placement.replicas: 1 -> 3".to_owned()]));

    let record = s.record("f").await.unwrap();
    let digest: littoral_model::digest::Digest = record.spec_digest.parse().unwrap();
    let body = s.fixture.blobs.get(digest, 1 << 20).await.unwrap();
    let body = <v1::FunctionSpec as prost::Message>::decode(body).unwrap();
    assert_eq!(Some(&body), record.spec.as_ref());
    assert_eq!(body.kind(), v1::ModuleKind::TypedCore);
    assert_eq!(record.rollout(), RolloutState::Progressing);
    let audit: Vec<String> = s.fixture.events.follow(2).0.into_iter().map(|e| e.message).collect();
    assert_eq!(audit, ["revision 0 -> 1, typed@1", "revision 1 -> 2, typed@1"]);
}

#[tokio::test]
async fn the_stable_revision_stays_while_a_new_one_goes_out() {
    let s = setting().await;
    s.apply(spec("f", "typed@1", 1)).await.unwrap();
    let mut record = s.record("f").await.unwrap();
    record.stable_spec = record.spec.clone();
    record.stable_revision = 1;
    record.stable_spec_digest = record.spec_digest.clone();
    record.rollout = RolloutState::Succeeded.into();
    s.fixture.store.commit(Txn::new().write(&record)).await.unwrap();
    s.apply(spec("f", "typed@1", 2)).await.unwrap();
    let after = s.record("f").await.unwrap();
    assert_eq!((after.revision, after.stable_revision, after.rollout()), (2, 1, RolloutState::Progressing));
    assert_eq!(after.stable_spec, record.stable_spec);
}

#[tokio::test]
async fn a_dry_run_and_a_wrong_expectation_change_nothing() {
    let s = setting().await;
    let by = user("ada", Role::Deployer);
    let dry =
        ApplyFunctionRequest { spec: Some(spec("f", "typed@1", 1)), dry_run: true, expected_revision: 0 };
    let would = s.functions.apply(dry, &by).await.unwrap();
    assert_eq!((would.revision, would.changes.len()), (1, 1));
    assert!(s.record("f").await.is_none());
    let late =
        ApplyFunctionRequest { spec: Some(spec("f", "typed@1", 1)), expected_revision: 7, dry_run: false };
    assert_eq!(s.functions.apply(late, &by).await.unwrap_err().code, ApiCode::Conflict);
    assert!(s.record("f").await.is_none());
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let s = setting().await;
    let missing = s.apply(spec("f", "none@1", 1)).await.unwrap_err();
    assert_eq!(missing.code, ApiCode::NotFound);
    let mut constraint = spec("f", "typed@1", 1);
    constraint.placement.as_mut().unwrap().constraints = vec!["colour == red".into()];
    let trigger = v1::FunctionSpec { module: "typed@1".into(), ..routed("f", "/x") };
    let large = v1::FunctionSpec { args: vec!["x".repeat(4096); 30], ..spec("f", "typed@1", 1) };
    let forged = v1::FunctionSpec { module_digest: "sha256:00".into(), kind: 1, ..trigger.clone() };
    for (spec, part) in [
        (constraint, "placement.constraints"),
        (trigger, "trigger.http"),
        (large, "at most 102400"),
        (forged, "trigger.http"),
        (spec("F", "typed@1", 1), "function.name"),
    ] {
        let error = s.apply(spec).await.unwrap_err();
        assert_eq!(error.code, ApiCode::InvalidArgument);
        assert!(error.message.contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn a_route_belongs_to_one_function() {
    let s = setting().await;
    s.apply(routed("one", "/x/*")).await.unwrap();
    let taken = s.apply(routed("other", "/x/*")).await.unwrap_err();
    assert_eq!(taken.code, ApiCode::AlreadyExists);
    assert!(taken.message.contains("one"), "{taken}");
    s.apply(routed("other", "/y")).await.unwrap();
    assert!(!s.apply(routed("one", "/x/*")).await.unwrap().changed);
}

#[tokio::test]
async fn a_function_that_is_deleted_lets_its_module_go() {
    let s = setting().await;
    let by = user("ada", Role::Deployer);
    s.apply(spec("f", "typed@1", 1)).await.unwrap();
    assert_eq!(s.registry.remove("typed@1", &by).await.unwrap_err().code, ApiCode::FailedPrecondition);
    s.functions.delete("f", &by).await.unwrap();
    assert_eq!(s.functions.delete("f", &by).await.unwrap_err().code, ApiCode::NotFound);
    s.registry.remove("typed@1", &by).await.unwrap();
    assert_eq!(s.apply(spec("f", "typed@1", 1)).await.unwrap_err().code, ApiCode::NotFound);
}
