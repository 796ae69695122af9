//! Writes the module that lets preview 1 calls (wasi-libc makes them) reach WASI 0.2 to standard output.

use std::io::Write;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
}
