//! Every kind, and every refusal.

use super::*;

fn of(text: &str) -> Result<Inspected, Refused> {
    inspect(&wat::parse_str(text).unwrap())
}

fn refusal(text: &str) -> String {
    of(text).unwrap_err().to_string()
}

/// A component that exports an instance `name` with one function.
fn exporting(name: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $e (export "f" (func $f)))
            (export "{name}" (instance $e)))"#
    )
}

#[test]
fn kinds_of_core_modules() {
    let command = of(r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func (param i32 i32) (result i32)))
        (memory (export "memory") 1) (func (export "_start")))"#)
    .unwrap();
    assert_eq!(command.kind, ModuleKind::CommandP1);
    assert_eq!(command.imports, ["wasi_snapshot_preview1.args_get", "wasi_snapshot_preview1.fd_write"]);
    assert_eq!(command.exports, ["_start", "memory"]);
    let typed = of(r#"(module (func (export "add") (param i32 i32) (result i32) local.get 0))"#).unwrap();
    assert_eq!((typed.kind, typed.exports), (ModuleKind::TypedCore, vec!["add".to_owned()]));
}

#[test]
fn kinds_of_components() {
    assert_eq!(of(&exporting("wasi:http/incoming-handler@0.2.3")).unwrap().kind, ModuleKind::Http);
    assert_eq!(of(&exporting("wasi:cli/run@0.2.0")).unwrap().kind, ModuleKind::Command);
    assert_eq!(of(&exporting("shop:cart/cart")).unwrap().kind, ModuleKind::Typed);
    let typed = of(r#"(component
        (import "wasi:io/error@0.2.3" (instance (export "error" (type (sub resource)))))
        (core module $m (func (export "f") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "f"))))"#)
    .unwrap();
    assert_eq!(typed.kind, ModuleKind::Typed);
    assert_eq!((typed.imports.len(), typed.exports), (1, vec!["one".to_owned()]));
}

#[test]
fn examples_are_what_they_are_documented_to_be() {
    for (name, kind) in [
        ("hello-http", ModuleKind::Http),
        ("resize", ModuleKind::Http),
        ("typed", ModuleKind::Typed),
        ("upper", ModuleKind::CommandP1),
    ] {
        let path = format!("{}/../examples/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(inspect(&std::fs::read(path).unwrap()).unwrap().kind, kind, "{name}");
    }
}

#[test]
fn bytes_that_are_no_wasm() {
    for bytes in [&b""[..], b"\0as", b"hello", b"\x7fELF\x02\x01\x01", b"(module)", b"\0asm\x09\0\0\0"] {
        assert_eq!(inspect(bytes), Err(Refused::NotWasm), "{bytes:?}");
    }
    assert!(begins_as_wasm(b"") && begins_as_wasm(b"\0as") && begins_as_wasm(b"\0asm\x01"));
    assert!(!begins_as_wasm(b"\0ax") && !begins_as_wasm(b"GIF8"));
}

#[test]
fn every_cut_of_a_module_is_refused_and_none_panics() {
    for text in [exporting("shop:cart/cart"), r#"(module (memory 1) (func (export "f")))"#.to_owned()] {
        let whole = wat::parse_str(&text).unwrap();
        let expected = inspect(&whole).unwrap();
        let mut truncated = 0;
        for end in 8..whole.len() {
            match inspect(&whole[..end]) {
                Err(Refused::Truncated { .. }) => truncated += 1,
                Err(_) => {}
                // Names for debuggers come last: without them it is the same module.
                Ok(found) => assert_eq!(found, expected, "{end} of {}", whole.len()),
            }
        }
        assert!(truncated > whole.len() / 3, "{truncated} of {}", whole.len());
        for at in 8..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            let _ = inspect(&flipped);
        }
    }
}

#[test]
fn what_nobody_provides_is_listed() {
    let core = refusal(
        r#"(module (import "env" "b" (func)) (import "env" "a" (memory 1))
            (import "wasi_snapshot_preview1" "thread_spawn" (func)) (func (export "f")))"#,
    );
    assert!(core.ends_with("env.a, env.b, wasi_snapshot_preview1.thread_spawn"), "{core}");
    let component = refusal(
        r#"(component (import "shop:cart/cart@1.0.0" (instance)) (import "log" (func))
            (import "wasi:keyvalue/store@0.2.0" (instance)) (import "wasi:io/poll@0.2.1" (instance)))"#,
    );
    assert!(component.ends_with("log, shop:cart/cart@1.0.0, wasi:keyvalue/store@0.2.0"), "{component}");
    let many: String = (0..40).map(|i| format!("(import \"env\" \"f{i}\" (func))")).collect();
    assert!(refusal(&format!("(module {many})")).ends_with("and 28 more"));
}

#[test]
fn wasi_0_3_is_named_as_not_yet_supported() {
    for name in ["wasi:http/handler@0.3.0", "wasi:cli/run@0.3.0-rc-2025-09-16"] {
        assert!(refusal(&exporting(name)).contains("not yet supported"), "{name}");
    }
    let import = refusal(r#"(component (import "wasi:http/types@0.3.0" (instance)))"#);
    assert!(import.contains("wasi:http/types@0.3.0") && import.contains("not yet supported"), "{import}");
    let asynchronous = refusal(r#"(component (type (future u32)))"#);
    assert!(asynchronous.contains("asynchronous") && asynchronous.contains("WASI 0.2"), "{asynchronous}");
}

#[test]
fn nothing_to_call() {
    assert!(refusal(&exporting_types()).contains("shop:cart/types"));
    assert!(refusal("(component)").ends_with("its exports are: none"));
    assert_eq!(of("(module (memory (export \"memory\") 1))"), Err(Refused::NoFunction));
    assert_eq!(of("(module (func (export \"_initialize\")))"), Err(Refused::NoFunction));
    assert_eq!(of("(module (func (export \"_start\") (param i32)))"), Err(Refused::StartType));
    let no_memory = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (func (export "_start")))"#;
    assert_eq!(of(no_memory), Err(Refused::NoMemory));
}

fn exporting_types() -> String {
    r#"(component (instance $e) (export "shop:cart/types" (instance $e)))"#.to_owned()
}

#[test]
fn proposals_that_the_engine_does_not_have_are_invalid() {
    let threads = refusal(r#"(module (memory 1 1 shared) (func (export "f")))"#);
    assert!(threads.contains("threads"), "{threads}");
    assert!(matches!(of("(module (type (struct)) (func (export \"f\")))"), Err(Refused::Invalid { .. })));
    assert!(of("(module (func (export \"f\") (result v128) v128.const i32x4 0 0 0 0))").is_ok());
}

#[test]
fn floods_of_names_are_refused() {
    let many: String = (0..=MAX_NAMES).map(|i| format!("(func (export \"f{i}\"))")).collect();
    assert_eq!(of(&format!("(module {many})")), Err(Refused::TooManyNames(MAX_NAMES + 1)));
    let long = "x".repeat(MAX_NAME + 1);
    assert_eq!(of(&format!("(module (func (export \"{long}\")))")), Err(Refused::LongName(MAX_NAME + 1)));
}
