//! Guests in WAT.

/// A component that answers HTTP by running `body`, and nothing after it.
pub(super) fn http(memory: &str, body: &str) -> String {
    format!(
        r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    (core module $m
        (memory {memory})
        (func $deeper (param i32) (result i32)
            (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
        (func (export "handle") (param i32 i32) {body}))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
        (canon lift (core func $i "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    )
}

pub(super) const LOOP: &str = "(loop (br 0))";
pub(super) const TRAP: &str = "unreachable";
pub(super) const RECURSE: &str = "(drop (call $deeper (i32.const 0)))";
/// As an allocator does: traps when it gets no more.
pub(super) const GROW: &str =
    "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
pub(super) const NOTHING: &str = "";

/// Copies standard input to standard output, piece by piece, and exits with the code that is `exit`.
pub(super) fn p1_echo(exit: u32) -> String {
    format!(
        r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br $more))))
        (if (i32.const {exit}) (then (call $exit (i32.const {exit}))))))"#
    )
}

/// Prints without end.
pub(super) const P1_YES: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\00\10\00\00")
    (func (export "_start")
        (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))) (br 0))))"#;

pub(super) const P1_LOOP: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Prints a line and returns `ok` or an error.
pub(super) fn command(result: u32) -> String {
    format!(
        r#"(component
    (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
    (alias export $error "error" (type $io-error))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (export "output-stream" (type $out (sub resource)))
        (alias outer 1 $io-error (type $outer-error))
        (export "error" (type $e (eq $outer-error)))
        (type $stream-error (variant (case "last-operation-failed" (own $e)) (case "closed")))
        (export "stream-error" (type $se (eq $stream-error)))
        (export "[method]output-stream.blocking-write-and-flush"
            (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $se)))))))
    (alias export $streams "output-stream" (type $out))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $out (type $outer-out))
        (export "output-stream" (type $o (eq $outer-out)))
        (export "get-stdout" (func (result (own $o))))))
    (core module $libc
        (memory (export "memory") 1)
        (data (i32.const 100) "hello\n"))
    (core instance $libc (instantiate $libc))
    (alias export $streams "[method]output-stream.blocking-write-and-flush" (func $write))
    (alias export $stdout "get-stdout" (func $get))
    (core func $write-core (canon lower (func $write) (memory $libc "memory")))
    (core func $get-core (canon lower (func $get)))
    (core module $m
        (import "host" "write" (func $write (param i32 i32 i32 i32)))
        (import "host" "stdout" (func $stdout (result i32)))
        (func (export "run") (result i32)
            (call $write (call $stdout) (i32.const 100) (i32.const 6) (i32.const 0))
            (i32.const {result})))
    (core instance $i (instantiate $m (with "host" (instance
        (export "write" (func $write-core))
        (export "stdout" (func $get-core))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $runner (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $runner)))"#
    )
}

pub(super) const TYPED: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "halve") (param i32) (result i32)
            (i32.store8 (i32.const 16) (i32.and (local.get 0) (i32.const 1)))
            (i32.store (i32.const 20) (i32.shr_u (local.get 0) (i32.const 1)))
            (i32.const 16))
        (func (export "nothing"))
        (func (export "crash") unreachable))
    (core instance $i (instantiate $m))
    (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
    (func $halve (param "n" u32) (result (result u32 (error u32)))
        (canon lift (core func $i "halve") (memory $i "memory")))
    (func $nothing (canon lift (core func $i "nothing")))
    (func $crash (canon lift (core func $i "crash")))
    (instance $math (export "add" (func $add)) (export "halve" (func $halve)))
    (export "docs:adder/math@0.1.0" (instance $math))
    (export "nothing" (func $nothing))
    (export "crash" (func $crash)))"#;

pub(super) const TYPED_CORE: &str = r#"(module
    (global $ready (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $ready (i32.const 1)))
    (func (export "add_one") (param i32) (result i32) (i32.add (local.get 0) (global.get $ready)))
    (func (export "both") (param i64 f64) (result i64 f64) (local.get 0) (local.get 1)))"#;
