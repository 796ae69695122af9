//! What the compiler makes, an engine without a compiler loads, if it is meant for it and in no other case.
#![expect(unsafe_code, reason = "loading what this test has just compiled")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use littoral_engine::{CompileError, compile, fingerprint, host_target, pooled_config, runtime_config};
use littoral_model::target::{MemoryClass, Target};
use wasmtime::{Engine, Instance, Module, Result, Store};

/// Uses what differs between CPU levels: rounding, SIMD, and a memory access that needs a bounds check.
const MODULE: &str = r#"(module
    (memory 1)
    (data (i32.const 8) "\2a")
    (func (export "run") (param i32) (result i32)
        (i32.add
            (i32.load8_u (local.get 0))
            (i32.add
                (i32.trunc_f32_s (f32.ceil (f32.const 1.5)))
                (i8x16.extract_lane_u 0
                    (i8x16.swizzle (v128.const i8x16 5 6 7 0 0 0 0 0 0 0 0 0 0 0 0 0) (i8x16.splat (i32.const 1))))))))"#;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn compiled(text: &str) -> Vec<u8> {
    compile(&wat::parse_str(MODULE).unwrap(), target(text)).unwrap()
}

fn load(memory: MemoryClass, code: &[u8]) -> Result<(Engine, Module)> {
    let mut config = runtime_config(memory)?;
    config.memory_reservation_for_growth(1 << 20);
    let engine = Engine::new(&config)?;
    // SAFETY: made by `compile` above.
    let module = unsafe { Module::deserialize(&engine, code)? };
    Ok((engine, module))
}

fn refusal(memory: MemoryClass, code: &[u8]) -> String {
    format!("{:#}", load(memory, code).map(|_| ()).unwrap_err())
}

fn run(engine: &Engine, module: &Module) -> i32 {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1);
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap().call(&mut store, 8).unwrap()
}

#[test]
fn every_target_compiles_on_this_host() {
    for target in Target::compiled() {
        let code = compile(&wat::parse_str(MODULE).unwrap(), target).unwrap();
        assert_eq!(code[..4], *b"\x7fELF", "{target}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_this_host_can_run_runs_in_an_engine_without_a_compiler() {
    for memory in [MemoryClass::Wide, MemoryClass::Narrow] {
        for level in ["x86_64-v1", "x86_64-v3"] {
            let artifact = target(&format!("{level}-{memory}"));
            if !host_target(memory).runs(artifact) {
                continue;
            }
            let (engine, module) = load(memory, &compiled(&artifact.to_string())).unwrap();
            assert_eq!(run(&engine, &module), 42 + 2 + 6, "{artifact}");
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_pooled_engine_loads_the_same_artifact() {
    let engine = Engine::new(&pooled_config(littoral_engine::Pool { instances: 2 }).unwrap()).unwrap();
    // SAFETY: made by `compile` above.
    let module = unsafe { Module::deserialize(&engine, compiled("x86_64-v1-wide")).unwrap() };
    assert_eq!(run(&engine, &module), 50);
}

#[test]
fn another_architecture_or_memory_class_is_refused_and_says_so() {
    let foreign = if cfg!(target_arch = "x86_64") { "aarch64-v8.0-wide" } else { "x86_64-v1-wide" };
    let text = refusal(MemoryClass::Wide, &compiled(foreign));
    assert!(text.contains("architecture"), "{text}");

    let code = compiled("x86_64-v1-narrow");
    let text = refusal(MemoryClass::Wide, &code);
    assert!(text.contains(&fingerprint(target("x86_64-v1-narrow"))), "{text}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn another_fingerprint_is_refused_and_named() {
    let mut code = compiled("x86_64-v1-wide");
    let ours = fingerprint(target("x86_64-v1-wide"));
    let at = code.windows(ours.len()).position(|window| window == ours.as_bytes()).unwrap();
    code[at..at + ours.len()].copy_from_slice(ours.replace("48.0.8", "48.0.7").as_bytes());
    let text = refusal(MemoryClass::Wide, &code);
    assert!(text.contains("wasmtime-48.0.7-wide"), "{text}");
}

#[test]
fn bad_modules_are_refused_with_a_reason() {
    let any = target("x86_64-v1-wide");
    assert!(matches!(compile(b"not wasm", any), Err(CompileError::NotWasm(8))));
    let truncated = &wat::parse_str(MODULE).unwrap()[..40];
    let text = compile(truncated, any).unwrap_err().to_string();
    assert!(text.starts_with("could not compile for x86_64-v1-wide: "), "{text}");
    let threads = wat::parse_str("(module (memory 1 1 shared))").unwrap();
    let text = compile(&threads, any).unwrap_err().to_string();
    assert!(text.contains("threads"), "{text}");
}

#[test]
fn gc_and_exceptions_are_off_whatever_the_build_contains() {
    for text in ["(module (type (struct)))", "(module (tag))"] {
        let wasm = wat::parse_str(text).unwrap();
        assert!(compile(&wasm, target("aarch64-v8.1-narrow")).is_err(), "{text}");
    }
}
