//! What a node's program is made of.

use std::process::Command;

#[test]
fn the_agent_holds_no_compiler() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "littoral-agent",
            "-e",
            "normal,build",
            "--prefix",
            "none",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.status.success() && text.contains("wasmtime v48"),
        "{text}{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    for compiler in ["cranelift-codegen", "wasmtime-internal-cranelift", "wasmtime-internal-winch"] {
        assert!(!text.lines().any(|line| line.starts_with(compiler)), "{compiler} is in the agent");
    }
}
