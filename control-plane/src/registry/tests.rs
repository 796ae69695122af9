//! Pushes that are taken, and those that are not.

use bytes::Bytes;
use futures::stream;
use littoral_platform::error::ApiCode;
use littoral_proto::v1::{FunctionSpec, PushModuleHeader, PushModuleResponse, Role};

use super::*;
use crate::records::TxnRecords;
use crate::store::Txn;
use crate::testing::{Fixture, user};

impl Registry {
    pub(crate) fn of(fixture: &Fixture) -> Self {
        registry(fixture, 1 << 20)
    }
}

fn registry(fixture: &Fixture, max_module_bytes: u64) -> Registry {
    Registry {
        store: fixture.store.clone(),
        blobs: fixture.blobs.clone(),
        audit: fixture.audit.clone(),
        compiler: fixture.compiler("exit 1").1,
        max_module_bytes,
        content: RwLock::default(),
        pushes: Semaphore::new(2),
        inspections: Semaphore::new(1),
    }
}

fn wasm(constant: u32) -> Vec<u8> {
    wat::parse_str(format!(r#"(module (func (export "f") (result i32) i32.const {constant}))"#)).unwrap()
}

fn header(name: &str, version: &str, size_bytes: u64) -> PushModuleHeader {
    PushModuleHeader { name: name.into(), version: version.into(), message: String::new(), size_bytes }
}

async fn push(
    registry: &Registry,
    header: PushModuleHeader,
    wasm: &[u8],
) -> Result<PushModuleResponse, ApiError> {
    let chunks: Vec<_> = wasm.chunks(7).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    registry.push(header, stream::iter(chunks), &user("ada", Role::Deployer)).await
}

#[tokio::test]
async fn the_same_bytes_again_are_the_same_answer_and_others_are_refused_with_both_digests() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    let first = push(&registry, header("a", "1", 0), &wasm(1)).await.unwrap();
    assert!(first.created);
    let again = push(&registry, header("a", "1", wasm(1).len() as u64), &wasm(1)).await.unwrap();
    assert_eq!((again.created, &again.module), (false, &first.module));

    let other = push(&registry, header("a", "1", 0), &wasm(2)).await.unwrap_err();
    assert_eq!(other.code, ApiCode::AlreadyExists);
    for digest in [Digest::of(&wasm(1)), Digest::of(&wasm(2))] {
        assert!(other.message.contains(&digest.to_string()), "{other}");
    }
    assert!(!fixture.blobs.exists(Digest::of(&wasm(2))).await.unwrap(), "refused bytes are not kept");
    assert!(fixture.blobs.exists(Digest::of(&wasm(1))).await.unwrap());
    assert_eq!(fixture.events.follow(9).0.len(), 1, "one audit entry");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    let foreign = wat::parse_str(r#"(module (import "env" "x" (func)) (func (export "f")))"#).unwrap();
    let truncated = &wasm(1)[..wasm(1).len() - 3];
    for (bytes, part) in [
        (&foreign[..], "env.x"),
        (truncated, "ends in the middle"),
        (b"GIF89a", "not WebAssembly"),
        (b"", "not WebAssembly"),
    ] {
        let refused = push(&registry, header("a", "1", 0), bytes).await.unwrap_err();
        assert_eq!(refused.code, ApiCode::InvalidArgument);
        assert!(refused.message.contains(part), "{refused}");
        assert!(!fixture.blobs.exists(Digest::of(bytes)).await.unwrap());
    }
    assert_eq!(registry.list("").await.unwrap().modules, []);
}

#[tokio::test]
async fn a_module_over_the_cap_is_refused_by_its_size_before_its_bytes_and_by_its_bytes_too() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 100);
    let untouched = stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, ApiError>>> {
        panic!("a byte was asked for")
    });
    let by = user("ada", Role::Deployer);
    let announced = registry.push(header("a", "1", 1 << 30), untouched, &by).await.unwrap_err();
    assert_eq!(announced.code, ApiCode::InvalidArgument);
    assert!(announced.message.contains("1GiB") && announced.message.contains("100B"), "{announced}");
    let mut long = wasm(1);
    long.resize(101, 0);
    let sent = push(&registry, header("a", "1", 0), &long).await.unwrap_err();
    assert_eq!(sent.code, ApiCode::InvalidArgument);
}

#[tokio::test]
async fn a_push_that_ends_early_or_is_misnamed_is_refused() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    let short = push(&registry, header("a", "1", 1000), &wasm(1)).await.unwrap_err();
    assert!(short.message.contains("1000 bytes were announced"), "{short}");
    for (name, version) in [("A", "1"), ("", "1"), ("a/b", "1"), ("a", "1/2"), ("a", "../x")] {
        assert_eq!(
            push(&registry, header(name, version, 0), &wasm(1)).await.unwrap_err().code,
            ApiCode::InvalidArgument
        );
    }
    let broken = stream::iter([Ok(Bytes::from(wasm(1))), Err(ApiError::unavailable("the link is gone"))]);
    let by = user("ada", Role::Deployer);
    assert!(registry.push(header("a", "1", 0), broken, &by).await.is_err());
    assert!(registry.resolve("a").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_link_is_given_up() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    let silent = stream::pending();
    let by = user("ada", Role::Deployer);
    let error = registry.push(header("a", "1", 0), silent, &by).await.unwrap_err();
    assert_eq!(error.code, ApiCode::DeadlineExceeded);
}

#[tokio::test]
async fn a_name_alone_is_what_was_pushed_last() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    for (version, constant) in [("2", 2), ("10", 10), ("1", 1)] {
        push(&registry, header("a", version, 0), &wasm(constant)).await.unwrap();
    }
    let derived = push(&registry, header("b", "", 0), &wasm(1)).await.unwrap().module.unwrap();
    assert_eq!(derived.version, format!("sha-{}", Digest::of(&wasm(1)).short()));
    assert_eq!(registry.resolve("a").await.unwrap().value.version, "1");
    assert_eq!(registry.resolve("a@10").await.unwrap().value.digest, Digest::of(&wasm(10)).to_string());
    let listed = registry.list("").await.unwrap().modules;
    let listed: Vec<String> = listed.iter().map(name_of).collect();
    assert_eq!(listed[..3], ["a@1", "a@10", "a@2"]);
    assert_eq!(listed.len(), 4);
    assert_eq!(registry.resolve("a@3").await.unwrap_err().code, ApiCode::NotFound);
    assert_eq!(registry.resolve("c").await.unwrap_err().code, ApiCode::NotFound);
    assert_eq!(registry.resolve("a@").await.unwrap_err().code, ApiCode::InvalidArgument);
}

#[tokio::test]
async fn a_module_in_use_stays_and_shared_bytes_stay_with_the_last_version() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    push(&registry, header("a", "1", 0), &wasm(1)).await.unwrap();
    push(&registry, header("b", "1", 0), &wasm(1)).await.unwrap();
    let spec = FunctionSpec { name: "f".into(), module: "a@1".into(), ..FunctionSpec::default() };
    let function =
        FunctionRecord { stable_spec: Some(spec.clone()), spec: Some(spec), ..FunctionRecord::default() };
    fixture.store.commit(Txn::new().create(&function)).await.unwrap();
    let by = user("ada", Role::Deployer);
    let refused = registry.remove("a@1", &by).await.unwrap_err();
    assert_eq!((refused.code, refused.details), (ApiCode::FailedPrecondition, vec!["f".to_owned()]));
    assert_eq!(registry.describe("a").await.unwrap().used_by, ["f"]);

    fixture.store.commit(Txn::new().delete(key::function("f"))).await.unwrap();
    registry.remove("a@1", &by).await.unwrap();
    assert!(fixture.blobs.exists(Digest::of(&wasm(1))).await.unwrap());
    registry.remove("b@1", &by).await.unwrap();
    assert!(!fixture.blobs.exists(Digest::of(&wasm(1))).await.unwrap());
    assert_eq!(registry.remove("b@1", &by).await.unwrap_err().code, ApiCode::NotFound);
    assert!(registry.remove("b", &by).await.is_err(), "a removal names its version");
}

#[tokio::test]
async fn compiling_on_demand_forgets_the_failure_and_refuses_unknown_targets() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    push(&registry, header("a", "1", 0), &wasm(1)).await.unwrap();
    let by = user("ada", Role::Deployer);
    let target: littoral_model::target::Target = "x86_64-v1-wide".parse().unwrap();
    let failure = CompileFailure {
        source_digest: Digest::of(&wasm(1)).to_string(),
        target: target.to_string(),
        engine: littoral_engine::fingerprint(target),
        ..CompileFailure::default()
    };
    fixture.store.commit(Txn::new().create(&failure)).await.unwrap();
    assert_eq!(registry.describe("a@1").await.unwrap().failures.len(), 1);
    assert_eq!(registry.compile("a", &[], &by).await.unwrap(), ["x86_64-v1-wide"]);
    assert_eq!(registry.describe("a@1").await.unwrap().failures.len(), 0);
    for bad in ["x86_64-v4-wide", "vax", ""] {
        let refused = registry.compile("a", &[bad.to_owned()], &by).await.unwrap_err();
        assert!(refused.message.contains("aarch64-v8.1-narrow"), "{refused}");
    }
}

#[tokio::test]
async fn a_difference_is_told_in_both_directions() {
    let fixture = Fixture::new();
    let registry = registry(&fixture, 1 << 20);
    push(&registry, header("a", "1", 0), &wasm(1)).await.unwrap();
    let more = wat::parse_str(r#"(module (func (export "f")) (func (export "g")))"#).unwrap();
    push(&registry, header("a", "2", 0), &more).await.unwrap();
    let diff = registry.diff("a@1", "a").await.unwrap();
    assert_eq!((diff.exports_added, diff.exports_removed.len()), (vec!["g".to_owned()], 0));
}
