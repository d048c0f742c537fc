//! What is refused before it runs, and what is said then.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::{Function, LoadError, LoadOptions};
use eyot_wire::code::Failure;
use eyot_wire::manifest::Limits;

const OK: &str = "(i32.const 0)";

/// The error of a module that must be refused; its text must hold all of `needles`.
fn refused(wasm: &[u8], needles: &[&str]) -> LoadError {
    let error = match try_load(wasm) {
        Ok(_) => panic!("loaded, but should not: {needles:?}"),
        Err(error) => error,
    };
    let text = error.to_string();
    for needle in needles {
        assert!(text.contains(needle), "\"{text}\" lacks \"{needle}\"");
    }
    error
}

fn refused_with(items: &str, needles: &[&str]) -> LoadError {
    refused(&guest(items, OK), needles)
}

#[test]
fn the_manifest_comes_from_its_section() {
    let with = |section: &str| module(&[section, MEMORY, ABI, ALLOC, &handle(OK)]);
    let load = |wasm: &[u8]| Function::load(wasm, LoadOptions::default());
    let good = with(r#"(@custom "eyot.manifest" "name = \"m\"\nversion = \"2.0.1\"\n")"#);
    assert_eq!(load(&good).unwrap().manifest().version.to_string(), "2.0.1");
    assert_eq!(load(&with("")).err(), Some(LoadError::NoManifest));
    let error = load(&with(r#"(@custom "eyot.manifest" "name = \"M\"\n")"#)).err().unwrap();
    assert!(error.to_string().contains("a-z"), "{error}");
    let error = load(&with(r#"(@custom "eyot.manifest" "\ff")"#)).err().unwrap();
    assert!(error.to_string().contains("UTF-8"), "{error}");
    let twice = with(r#"(@custom "eyot.manifest" "a") (@custom "eyot.manifest" "b")"#);
    assert!(matches!(load(&twice), Err(LoadError::Forbidden { .. })));
}

#[test]
fn limits_over_the_ceiling_are_refused() {
    let ceiling = Limits { fuel: 999_999, ..Limits::default() };
    let options = LoadOptions { manifest: Some(standard()), ceiling, ..LoadOptions::default() };
    let error = Function::load(&guest("", OK), options).err().unwrap();
    assert_eq!(error, LoadError::OverCeiling { key: "fuel", asked: 1_000_000, allowed: 999_999 });
}

#[test]
fn not_a_module() {
    refused(b"", &["not loadable"]);
    refused(b"(module)", &["not loadable", "\\0asm"]);
    refused(b"\0asm\x0d\0\x01\0", &["component", "wasm32-unknown-unknown"]);
    refused(&vec![0; (8 << 20) + 1], &["8388609", "strip"]);
    let wasm = guest("", OK);
    // The last section holds names only, so a module that ends before it is whole.
    let names = wasm.windows(4).position(|at| at == b"name").unwrap() - 3;
    for end in (0..wasm.len()).filter(|&end| end != names) {
        assert!(try_load(&wasm[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn damaged_modules_are_refused_or_harmless() {
    let wasm =
        guest("(global $g (mut i32) (i32.const 1)) (table 2 funcref)", "(call $random (local.get $p) (i32.const 8))");
    let seed = 7;
    let mut random = Random(seed);
    for round in 0..3000 {
        let mut bad = wasm.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bad.len() as u64) as usize;
            bad[at] = random.next() as u8;
        }
        if let Ok(mut f) = try_load(&bad) {
            // Whatever it does, it ends.
            let _ = run(&mut f);
            let _ = run(&mut f);
        }
        assert!(round < 3000, "seed {seed}");
    }
}

#[test]
fn code_after_the_end_of_a_function_is_refused() {
    let wasm = guest("(func (result i32) (i32.const 77) nop nop nop nop)", OK);
    let at = wasm.windows(4).position(|bytes| bytes == [1; 4]).unwrap();
    // end, loop, (end): wasmi 2.0.0 panics while it translates a loop that stands there.
    for code in [[0x0b, 0x03, 0x40, 0x01], [0x0b, 0x03, 0x40, 0x0b], [0x0b, 0x01, 0x01, 0x01]] {
        let mut bad = wasm.clone();
        bad[at..at + 4].copy_from_slice(&code);
        refused(&bad, &["operators remaining after end of function"]);
    }
}

#[test]
fn imports_are_those_of_the_interface() {
    let with = |import: &str| module(&[import, MEMORY, ABI, ALLOC, &handle(OK)]);
    refused(&with(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#), &["fd_write", "WASI"]);
    refused(&with(r#"(import "eyot" "sleep" (func))"#), &["eyot.sleep"]);
    refused(&with(r#"(import "env" "emit" (func (param i32 i32 i32 i32) (result i32)))"#), &["env.emit"]);
    refused(&with(r#"(import "eyot" "emit" (global i32))"#), &["eyot.emit"]);
    refused(&with(r#"(import "eyot" "memory" (memory 1))"#), &["imported memory"]);
    for wrong in [
        r#"(import "eyot" "emit" (func (param i32 i32 i32) (result i32)))"#,
        r#"(import "eyot" "log" (func (param i32 i32 i32) (result i32)))"#,
        r#"(import "eyot" "now_ms" (func (result i32)))"#,
        r#"(import "eyot" "random" (func (param i64 i32) (result i32)))"#,
        r#"(import "eyot" "state_get" (func (param i32 i32) (result i32)))"#,
        r#"(import "eyot" "state_delete" (func (param i32 i32)))"#,
        r#"(import "eyot" "config_get" (func (result i32)))"#,
    ] {
        assert!(matches!(refused(&with(wrong), &["wrong type"]), LoadError::ImportType { .. }));
    }
}

#[test]
fn exports_are_required_with_their_types() {
    let handle = handle(OK);
    refused(&module(&[MEMORY, ALLOC, &handle]), &["eyot_abi", "missing"]);
    refused(&module(&[MEMORY, ABI, &handle]), &["eyot_alloc", "missing"]);
    refused(&module(&[MEMORY, ABI, ALLOC]), &["eyot_handle", "missing"]);
    refused(&module(&[ABI, ALLOC, &handle]), &["memory", "missing"]);
    refused(&module(&["(memory 1)", ABI, ALLOC, &handle]), &["memory", "missing"]);
    refused(
        &module(&["(memory 1)", r#"(global (export "memory") i32 (i32.const 0))"#, ABI, ALLOC, &handle]),
        &["a memory"],
    );
    refused(&module(&["(memory 1)"]), &["missing"]);
    let wrong = r#"(func (export "eyot_alloc") (param i64) (result i32) i32.const 8)"#;
    refused(&module(&[MEMORY, ABI, wrong, &handle]), &["eyot_alloc", "(i32) -> i32"]);
    let wrong = r#"(global (export "eyot_handle") i32 (i32.const 0))"#;
    refused(&module(&[MEMORY, ABI, ALLOC, wrong]), &["eyot_handle", "(i32, i32, i32, i32) -> i32"]);
    refused_with(r#"(func (export "eyot_init"))"#, &["eyot_init", "() -> i32"]);
}

#[test]
fn the_interface_version_must_match() {
    let abi = r#"(func (export "eyot_abi") (result i32) i32.const 2)"#;
    let error = refused(&module(&[MEMORY, abi, ALLOC, &handle(OK)]), &["eyot_abi", "2"]);
    assert_eq!(error, LoadError::Abi { version: 2 });
}

#[test]
fn init_must_end_well() {
    let init = |body: &str| format!(r#"(func (export "eyot_init") (result i32) {body})"#);
    assert_eq!(refused_with(&init("(i32.const 5)"), &["eyot_init: returned", "5"]), LoadError::Init(Failure::Code(5)));
    assert_eq!(refused_with(&init("(loop $l (br $l)) unreachable"), &["fuel"]), LoadError::Init(Failure::Fuel));
    refused_with(&init("unreachable"), &["eyot_init", "unreachable"]);
    let grow = "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable)) (i32.const 0)";
    assert_eq!(refused_with(&init(grow), &["memory"]), LoadError::Init(Failure::Memory));
    assert_eq!(refused_with(&init(&many_random_calls()), &["fuel"]), LoadError::Init(Failure::Fuel));
}

/// Straight code whose host calls cost far more than its instructions.
fn many_random_calls() -> String {
    "(drop (call $random (i32.const 0) (i32.const 65536)))".repeat(100) + "(i32.const 0)"
}

#[test]
fn start_functions_are_refused() {
    refused_with("(func $s) (start $s)", &["start function", "eyot_init"]);
}

#[test]
fn memory_must_fit_the_manifest() {
    let with = |memory: &str| module(&[memory, ABI, ALLOC, &handle(OK)]);
    refused(&with(r#"(memory (export "memory") 17)"#), &["1114112", "1048576", "limits.memory"]);
    refused(&with(r#"(memory (export "memory") 1 (pagesize 1))(memory 1)"#), &["more than one memory"]);
    refused(&with(r#"(memory (export "memory") i64 1)"#), &["memory"]);
    refused(&with(r#"(memory (export "memory") 1 1 shared)"#), &["not loadable"]);
    load(&with(r#"(memory (export "memory") 16)"#));
    refused(&guest(r#"(data (i32.const 65536) "x")"#, OK), &["instantiated"]);
}

#[test]
fn memory_may_have_small_pages() {
    let alloc = r#"(func (export "eyot_alloc") (param i32) (result i32) i32.const 100)"#;
    let mut f = load(&module(&[r#"(memory (export "memory") 200 (pagesize 1))"#, ABI, alloc, &handle(OK)]));
    assert_eq!(run(&mut f).unwrap().memory_bytes, 200);
    assert_eq!(f.invoke(&message("t", &[0; 100])), Err(Failure::BadAlloc));
}

#[test]
fn what_cannot_be_metered_is_capped() {
    refused_with(&format!("(func (local {}))", "i32 ".repeat(257)), &["257", "256", "locals"]);
    load(&guest(&format!("(func (local {}))", "i32 ".repeat(256)), OK));
    let many_groups = (0..200).map(|i| if i % 2 == 0 { "i32 i32 " } else { "i64 " }).collect::<String>();
    refused_with(&format!("(func (local {many_groups}))"), &["locals"]);
    refused_with("(table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1))))", &["table.grow"]);
    refused_with("(table 70000 funcref)", &["70000", "table elements"]);
    refused_with(&"(table 1 funcref)".repeat(5), &["5 tables"]);
    refused_with(&"(global i32 (i32.const 0))".repeat(1001), &["1001 globals"]);
    refused_with(&"(func)".repeat(10_001), &["functions"]);
    refused_with(&(0..1001).map(|i| format!("(export \"x{i}\" (memory 0))")).collect::<String>(), &["exports"]);
    refused_with(&r#"(data "x")"#.repeat(1001), &["1001 data segments"]);
    refused_with(&"(elem func)".repeat(1001), &["1001 element segments"]);
    refused_with(&format!("(func $f) (elem func {})", "$f ".repeat(65_537)), &["65537 elements"]);
    let grows = |count: usize| format!("(func {})", "(drop (memory.grow (i32.const 1)))".repeat(count));
    refused_with(&grows(9), &["9 memory.grow in one function", "8"]);
    load(&guest(&grows(8), OK));
    refused_with(&format!("(func {})", "(drop (i32.const 1))".repeat(90_000)), &["bytes in one function"]);
    refused_with(&format!("(func (param {}))", "i32 ".repeat(33)), &["parameters"]);
    refused_with(&"(func)".repeat(600), &["average bytes"]);
}

#[test]
fn proposals_outside_the_interface_are_refused() {
    refused_with("(func (return_call 0))", &["tail calls"]);
    refused_with("(func (drop (v128.const i64x2 0 0)))", &["SIMD"]);
    refused_with("(tag)", &["not loadable"]);
}

#[test]
fn an_export_that_looks_like_ours_is_refused() {
    refused_with(r#"(global $g (export "eyot.global.0") (mut i32) (i32.const 0))"#, &["duplicate export name"]);
}
