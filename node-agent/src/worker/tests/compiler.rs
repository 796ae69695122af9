//! Native code for guests.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use super::*;

/// A `littorald` to compile with: for tests on ARM, which hold no compiler. An emulated test can name one of the host's.
const COMPILER: &str = "LITTORAL_TEST_COMPILER";
/// More than any guest here needs.
const LIMITS: [&str; 4] = ["--memory", "8589934592", "--cpu-seconds", "120"];

type Compiled = HashMap<(Digest, Target), Vec<u8>>;

/// Each guest is compiled once for each target; tests share what came out.
pub(super) fn compile(wasm: &[u8], target: Target) -> Vec<u8> {
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let code = compiled.get_or_insert_default().entry((Digest::of(wasm), target));
    code.or_insert_with(|| match std::env::var_os(COMPILER) {
        Some(littorald) => ask(&littorald, wasm, target),
        None => in_this_process(wasm, target),
    })
    .clone()
}

/// As the control plane does.
fn ask(littorald: &OsStr, wasm: &[u8], target: Target) -> Vec<u8> {
    let mut command = Command::new(littorald);
    command.args(["__compile", "--target", &target.to_string()]).args(LIMITS);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{COMPILER} is {littorald:?}: {e}"));
    child.stdin.take().unwrap().write_all(wasm).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{littorald:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[cfg(not(target_arch = "aarch64"))]
fn in_this_process(wasm: &[u8], target: Target) -> Vec<u8> {
    littoral_engine::compile(wasm, target).unwrap()
}

#[cfg(target_arch = "aarch64")]
fn in_this_process(_: &[u8], target: Target) -> Vec<u8> {
    panic!("nothing here compiles for {target}: set {COMPILER} to the path of a littorald")
}
