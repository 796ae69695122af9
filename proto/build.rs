//! Generates the types of `littoral.v1`. protox compiles the files, so that no `protoc` has to be installed.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 8] = [
    "littoral/v1/types.proto",
    "littoral/v1/registry.proto",
    "littoral/v1/rollout.proto",
    "littoral/v1/fleet.proto",
    "littoral/v1/node.proto",
    "littoral/v1/invoke.proto",
    "littoral/worker/v1/worker.proto",
    "littoral/store/v1/records.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // Payloads are shared, not copied.
        .bytes(".littoral.v1.FetchArtifactResponse.chunk")
        .bytes(".littoral.v1.PushModuleRequest.chunk")
        // Maps in key order: a spec's digest is over its encoding.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
