//! Hostile code against the native stack. wasmi 2.0.0 can be made to overflow it, which ends the process: if a
//! mitigation is lost, this test does not fail, it dies. Runs under the dev and the release profile.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::limits::{CALLS_MAX, GROWS_MAX, GUEST_STACK_MIN_BYTES};
use eyot_wire::code::Failure;

/// Runs the guest with much fuel on a thread that has exactly the stack that functions are promised.
fn storm(items: &str, body: &str, expected: Result<(), Failure>) {
    let wasm = guest(items, body);
    let result = std::thread::Builder::new()
        .stack_size(GUEST_STACK_MIN_BYTES)
        .spawn(move || {
            let mut f = load_with(&wasm, manifest("[limits]\nfuel = 60000000")).unwrap();
            (run(&mut f).map(|_| ()), run(&mut f).map(|_| ()))
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(result, (expected.clone(), expected));
}

fn forever(code: &str) -> String {
    format!("(loop $l {code} (br $l)) unreachable")
}

/// As many `memory.grow` as one function may hold.
fn grows(by: i32) -> String {
    format!("(drop (memory.grow (i32.const {by})))").repeat(GROWS_MAX as usize)
}

#[test]
fn grows_in_a_loop() {
    // Over the declared maximum, refused by the limiter, and granted without effect.
    for by in [-1, 16, 0] {
        storm("", &forever(&grows(by)), Err(Failure::Fuel));
        storm("", &forever(&format!("(drop (memory.grow (i32.const {by})))")), Err(Failure::Fuel));
    }
}

#[test]
fn four_hundred_grows_unrolled_in_a_loop() {
    let functions: String = (0..50).map(|i| format!("(func $f{i} {})", grows(-1))).collect();
    let calls: String = (0..50).map(|i| format!("(call $f{i})")).collect();
    storm(&functions, &forever(&calls), Err(Failure::Fuel));
}

#[test]
fn grows_paid_for_in_earlier_slices() {
    // On the way down each call pays for the grows that follow it; on the way up they all run in one slice.
    let deep = format!(
        "(func $deep (param $n i32) (if (local.get $n) (then (call $deep (i32.sub (local.get $n) (i32.const 1))) {})))",
        grows(-1)
    );
    let depth = CALLS_MAX - 2;
    storm(&deep, &forever(&format!("(call $deep (i32.const {depth}))")), Err(Failure::Fuel));
    storm(&deep, &format!("(call $deep (i32.const {depth})) (i32.const 0)"), Ok(()));
}

#[test]
fn grows_in_alloc_and_init_as_well() {
    let grows = forever(&grows(-1));
    let alloc = format!(r#"(func (export "eyot_alloc") (param i32) (result i32) {grows})"#);
    let init = format!(r#"(func (export "eyot_init") (result i32) {grows})"#);
    let ok = handle("(i32.const 0)");
    std::thread::Builder::new()
        .stack_size(GUEST_STACK_MIN_BYTES)
        .spawn(move || {
            assert_eq!(run(&mut load(&module(&[MEMORY, ABI, &alloc, &ok]))), Err(Failure::Fuel));
            assert!(try_load(&module(&[MEMORY, ABI, ALLOC, &init, &ok])).is_err());
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn every_other_kind_of_instruction() {
    let items =
        "(table 2 funcref) (elem (i32.const 0) $nop) (type $t (func)) (func $nop) (global $g (mut i64) (i64.const 0))";
    for code in [
        "(call $nop)",
        "(call_indirect (type $t) (i32.const 0))",
        "(drop (call $random (i32.const 0) (i32.const 0)))",
        "(global.set $g (i64.add (global.get $g) (i64.const 1)))",
        "(f64.store (i32.const 0) (f64.sqrt (f64.convert_i32_u (local.get $i))))",
        "(block $a (block $b (br_table $a $b (local.get $i))))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 100))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 100))",
        "(if (i32.rem_u (local.get $i) (i32.const 3)) (then (nop)) (else (nop)))",
        "(local.set $j (select (local.get $i) (local.get $j) (i32.popcnt (local.get $i))))",
        "(drop (memory.size))",
        "(drop (table.get 0 (i32.const 1)))",
        "(drop (i64.div_s (global.get $g) (i64.const 7)))",
        "(drop (i32.trunc_sat_f64_s (f64.const 1e99)))",
    ] {
        let count = "(local.set $i (i32.add (local.get $i) (i32.const 1)))";
        storm(items, &forever(&format!("{code} {count}")), Err(Failure::Fuel));
    }
}
