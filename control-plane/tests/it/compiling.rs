//! The real compiler in its own process, with its limits.

use std::time::Duration;

use littoral_model::quantity::Bytes;
use littoral_proto::v1::registry_client::RegistryClient;
use littoral_proto::v1::{CompileModuleRequest, GetModuleRequest, GetModuleResponse, WatchEventsRequest};
use littorald::Config;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::plane::{Plane, SOON, config, example, push};

async fn get(registry: &mut RegistryClient<Channel>, module: &str) -> GetModuleResponse {
    registry.get_module(GetModuleRequest { module: module.into() }).await.unwrap().into_inner()
}

/// What there is of `module` after the next event about it with this reason.
async fn after(
    plane: &Plane,
    dir: &std::path::Path,
    module: &str,
    reason: &str,
    count: usize,
) -> GetModuleResponse {
    let (mut registry, mut fleet) = plane.operator(dir).await;
    let request = WatchEventsRequest { follow: true, last: 1000 };
    let mut events = fleet.watch_events(request).await.unwrap().into_inner();
    let subject = format!("module/{module}");
    let seen = async {
        let mut seen = 0;
        while seen < count {
            let event = events.message().await.unwrap().unwrap();
            seen += usize::from(event.subject == subject && event.reason == reason);
        }
    };
    timeout(SOON, seen).await.unwrap();
    get(&mut registry, module).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_compiled_for_this_machine_and_on_request_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::start(config(dir.path())).await.unwrap();
    let (mut registry, _) = plane.operator(dir.path()).await;
    push(&mut registry, "hello", "1", &example("hello-http")).await.unwrap();
    let compiled = after(&plane, dir.path(), "hello@1", "Compiled", 1).await;
    assert_eq!((compiled.artifacts.len(), compiled.failures.len()), (1, 0));
    let artifact = &compiled.artifacts[0];
    let own = littoral_engine::host_target(littoral_model::target::MemoryClass::Wide).compiled_as();
    assert_eq!(artifact.target, own.to_string());
    assert!(artifact.size_bytes > 100_000 && artifact.compile_ms > 0, "{artifact:?}");

    let targets = ["aarch64-v8.1-wide", "x86_64-v1-narrow"].map(str::to_owned).into();
    let request = CompileModuleRequest { module: "hello".into(), targets };
    let queued = registry.compile_module(request).await.unwrap().into_inner().queued;
    assert_eq!(queued, ["x86_64-v1-narrow", "aarch64-v8.1-wide"]);
    let compiled = after(&plane, dir.path(), "hello@1", "Compiled", 3).await;
    assert_eq!(compiled.artifacts.len(), 3);
    plane.stop().await;
}

/// A module whose compilation takes far longer and far more memory than its size suggests.
fn monster(functions: usize, operators: usize) -> Vec<u8> {
    let body = "(local.set 0 (i64.add (i64.mul (local.get 0) (local.get 1)) (i64.load (i32.wrap_i64 (local.get 0)))))";
    let function =
        format!("(func (export \"fN\") (param i64 i64) (result i64) {} local.get 0)", body.repeat(operators));
    let functions: String =
        (0..functions).map(|n| function.replace("\"fN\"", &format!("\"f{n}\""))).collect();
    wat::parse_str(format!("(module (memory 1) {functions})")).unwrap()
}

async fn fails_with(change: impl FnOnce(&mut Config), wasm: &[u8], part: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    change(&mut config);
    let plane = Plane::start(config).await.unwrap();
    let (mut registry, _) = plane.operator(dir.path()).await;
    push(&mut registry, "monster", "1", wasm).await.unwrap();
    let failed = after(&plane, dir.path(), "monster@1", "CompileFailed", 1).await;
    assert!(failed.failures[0].message.contains(part), "{part} in {}", failed.failures[0].message);
    assert_eq!(failed.artifacts, []);
    // The next module is compiled all the same.
    push(&mut registry, "upper", "1", &wat::parse_str("(module (func (export \"f\")))").unwrap())
        .await
        .unwrap();
    after(&plane, dir.path(), "upper@1", "Compiled", 1).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_takes_too_long_is_a_failure() {
    let wasm = monster(200, 1000);
    fails_with(|config| config.compile.cpu_time = Duration::from_secs(1), &wasm, "CPU time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_takes_too_much_memory_is_a_failure() {
    let wasm = monster(8, 60_000);
    fails_with(|config| config.compile.memory = Bytes::mib(256), &wasm, "256MiB of memory").await;
}
