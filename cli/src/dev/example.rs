//! The function that a new fleet begins with.

use std::time::Duration;

use littoral_model::id::ModuleRef;
use littoral_model::manifest::Manifest;
use littoral_proto::{convert, v1 as pb};

use crate::Shell;
use crate::commands::apply::wait;
use crate::commands::module::push;
use crate::connection::{Connection, call};
use crate::errors::{Failure, Result, Tried};
use crate::progress::Progress;

const NAME: &str = "hello";
const WASM: &[u8] = include_bytes!("../../../examples/hello-http/hello-http.wasm");
const MANIFEST: &str = r#"
[function]
name = "hello"
module = "hello@0"

[[trigger.http]]
host = "*"
path = "/*"

[placement]
replicas = "every"
"#;
/// A debug build of the compiler on a busy machine takes a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pushes it, applies it, and waits until every node serves it.
pub(super) async fn deploy(shell: &Shell, connection: &Connection) -> Result<()> {
    let header = pb::PushModuleHeader {
        name: NAME.into(),
        version: String::new(),
        message: "the example of `littoral dev`".into(),
        size_bytes: WASM.len() as u64,
    };
    let progress = Progress::bytes(shell.output, "pushing the example as module hello", WASM.len() as u64);
    let pushed = push::push(connection, header, Box::new(WASM), "the example", &progress).await?;
    drop(progress);
    let spec = spec(&pushed.module.reference())?;
    let request = pb::ApplyFunctionRequest { spec: Some(spec), expected_revision: 0, dry_run: false };
    let answer = connection.fleet().apply_function(call(request)).await;
    let revision = answer.tried("apply the example")?.into_inner().revision;
    shell.output.note(&format!("function/{NAME} applied; compiling {}", pushed.module.reference()));
    wait::until_running(shell, connection, [(NAME, revision)].into_iter(), PATIENCE).await
}

fn spec(module: &str) -> Result<pb::FunctionSpec> {
    let tried = "read the example's manifest";
    let manifest = Manifest::parse(MANIFEST).map_err(|error| Failure::caused(tried, &error))?;
    let module: ModuleRef = module.parse().map_err(|error| Failure::caused(tried, &error))?;
    Ok(convert::spec_to_pb(&manifest.into_spec(module)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_everywhere_and_answers_every_path() {
        let spec = spec("hello@sha-1").unwrap();
        assert_eq!((spec.name.as_str(), spec.module.as_str()), (NAME, "hello@sha-1"));
        assert_eq!(spec.placement.unwrap().replicas, Some(pb::placement::Replicas::Every(true)));
        assert_eq!(spec.http_triggers[0].path, "/*");
        assert!(WASM.starts_with(b"\0asm"));
    }
}
