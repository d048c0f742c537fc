//! How a message fails, and what is left of it then.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::{Level, Step};
use eyot_wire::code::Failure;
use eyot_wire::module::PAYLOAD_MAX_BYTES;
use eyot_wire::topic::TOPIC_MAX_BYTES;

/// Emits, sets state and logs, then does `end`.
fn busy(end: &str) -> eyot_engine::Function {
    let body = format!(
        "(drop (call $emit (i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5)))
         (drop (call $state_set (i32.const 16) (i32.const 1) (i32.const 16) (i32.const 5)))
         (call $log (i32.const 2) (i32.const 16) (i32.const 5)) {end}"
    );
    function(r#"(data (i32.const 16) "out/a")"#, &body)
}

#[test]
fn a_failed_message_has_no_effects_but_its_log() {
    for (end, expected) in [
        ("(i32.const 7)", Failure::Code(7)),
        ("(i32.const -1)", Failure::Code(-1)),
        ("(loop $l (br $l)) unreachable", Failure::Fuel),
        ("unreachable", Failure::Trap("wasm `unreachable` instruction executed".into())),
        ("(i32.load (i32.const 65533))", Failure::Trap("out of bounds memory access".into())),
        ("(i32.div_u (i32.const 1) (i32.const 0))", Failure::Trap("integer divide by zero".into())),
        ("(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (i32.const 0)", Failure::Memory),
    ] {
        let mut f = busy(end);
        f.state_mut().set(b"o", b"old");
        for _ in 0..2 {
            assert_eq!(run(&mut f), Err(expected.clone()));
            assert_eq!(f.effects().emits().count() + f.effects().state_ops().count(), 0, "{end}");
            assert_eq!(f.effects().logs().map(|l| (l.level, l.text)).collect::<Vec<_>>(), [(Level::Info, "out/a")]);
            assert_eq!(f.state().iter().collect::<Vec<_>>(), [(&b"o"[..], &b"old"[..])]);
        }
    }
}

#[test]
fn growth_within_the_limit_is_granted_and_beyond_it_answered() {
    let body = "(if (i32.ne (memory.grow (i32.const 15)) (i32.const 1)) (then (return (i32.const 1)))) (if (i32.ne \
                (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 2)))) (i32.const 0)";
    let mut f = function("", body);
    for _ in 0..2 {
        assert_eq!(run(&mut f).unwrap().memory_bytes, 1 << 20);
    }
}

#[test]
fn unbounded_recursion_traps() {
    for items in ["(func $r (call $r))", "(func $r (local i64 i64 i64 i64) (call $r) (call $r))"] {
        let mut f = function(items, "(call $r) (i32.const 0)");
        let Err(Failure::Trap(text)) = run(&mut f) else { panic!("no trap") };
        assert!(text.contains("stack"), "{text}");
    }
}

#[test]
fn alloc_that_lies_or_fails() {
    for (alloc, expected) in [
        ("i32.const 0", Failure::Memory),
        ("i32.const 65536", Failure::BadAlloc),
        ("i32.const 65530", Failure::BadAlloc),
        ("i32.const -1", Failure::BadAlloc),
        ("(loop $l (br $l)) unreachable", Failure::Fuel),
        ("(drop (memory.grow (i32.const 9999))) unreachable", Failure::Memory),
    ] {
        let alloc = format!(r#"(func (export "eyot_alloc") (param i32) (result i32) {alloc})"#);
        let mut f = load(&module(&[MEMORY, ABI, &alloc, &handle("(i32.const 0)")]));
        assert_eq!(run(&mut f), Err(expected.clone()), "{alloc}");
        assert_eq!(run(&mut f), Err(expected), "{alloc}");
    }
}

#[test]
fn alloc_may_place_the_input_at_the_very_end() {
    let alloc = r#"(func (export "eyot_alloc") (param i32) (result i32) (i32.sub (i32.const 65536) (local.get 0)))"#;
    let body = handle("(i32.ne (i32.add (local.get $p) (local.get $pl)) (i32.const 65536))");
    run(&mut load(&module(&[MEMORY, ABI, alloc, &body]))).unwrap();
}

#[test]
fn inputs_have_a_limit() {
    let alloc = r#"(func (export "eyot_alloc") (param i32) (result i32) (i32.const 65536))"#;
    let mut f = load(&module(&[r#"(memory (export "memory") 16)"#, ABI, alloc, &handle("(i32.const 0)")]));
    let topic = "t".repeat(TOPIC_MAX_BYTES);
    f.invoke(&message(&topic, &vec![1; PAYLOAD_MAX_BYTES])).unwrap();
    assert_eq!(f.invoke(&message(&topic, &vec![1; PAYLOAD_MAX_BYTES + 1])), Err(Failure::PayloadTooLarge));
    assert_eq!(f.invoke(&message("t", &vec![1; PAYLOAD_MAX_BYTES + 1])), Err(Failure::PayloadTooLarge));
    f.invoke(&message("t", &[])).unwrap();
}

/// Runs `n` rounds of a loop.
const COUNT: &str =
    "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const %))))";

#[test]
fn long_functions_yield_and_use_the_same_fuel() {
    let body = format!("{} (i32.const 0)", COUNT.replace('%', "50000"));
    let mut f = function("", &body);
    let (result, slices) = run_in_slices(&mut f);
    let sliced = result.unwrap();
    assert!((8..40).contains(&slices), "{slices}");
    assert_eq!(run(&mut f).unwrap(), sliced);
}

#[test]
fn alloc_yields_as_well() {
    let alloc = format!(
        r#"(func (export "eyot_alloc") (param i32) (result i32) (local $i i32) {} (i32.const 8))"#,
        COUNT.replace('%', "20000")
    );
    let check = handle("(i32.ne (i32.load8_u (local.get $p)) (i32.const 112))");
    let mut f = load(&module(&[MEMORY, ABI, &alloc, &check]));
    let (result, slices) = run_in_slices(&mut f);
    result.unwrap();
    assert!(slices > 3);
}

#[test]
fn fuel_is_exact_whatever_the_slices() {
    let body = format!(
        "{} (drop (call $random (i32.const 0) (i32.const 60000))) {} (i32.const 0)",
        COUNT.replace('%', "9000"),
        COUNT.replace('%', "3000")
    );
    let wasm = guest("", &body);
    let needed = run(&mut load(&wasm)).unwrap().fuel;
    let with = |fuel: u64| load_with(&wasm, manifest(&format!("[limits]\nfuel = {fuel}"))).unwrap();
    assert_eq!(run(&mut with(needed)).map(|usage| usage.fuel), Ok(needed));
    assert_eq!(run(&mut with(needed - 1)), Err(Failure::Fuel));
}

#[test]
fn host_calls_are_paid_for_what_they_move() {
    let fuel = |body: &str| run(&mut function("", body)).unwrap().fuel;
    let small = fuel("(drop (call $random (i32.const 0) (i32.const 1))) (i32.const 0)");
    let large = fuel("(drop (call $random (i32.const 0) (i32.const 65536))) (i32.const 0)");
    assert!(large > small + 10_000, "{small} {large}");
    // The stack of the host depends on this price, see `GUEST_STACK_MIN_BYTES`.
    let grow = fuel("(drop (memory.grow (i32.const -1))) (i32.const 0)");
    assert!(grow >= fuel("(i32.const 0)") + 255, "{grow}");
    // 1000 calls without a branch between them: wasmi would look at fuel only at their end.
    let straight = "(drop (call $random (i32.const 0) (i32.const 65536)))".repeat(1000) + "(i32.const 0)";
    assert_eq!(run(&mut function("", &straight)), Err(Failure::Fuel));
}

#[test]
fn a_block_larger_than_a_slice_runs_and_pays() {
    let adds = "(local.set $i (i32.add (local.get $i) (i32.const 3)))".repeat(20_000);
    let mut f = function("", &format!("{adds} (i32.ne (local.get $i) (i32.const 60000))"));
    let usage = run(&mut f).unwrap();
    assert!(usage.fuel > 20_000, "{}", usage.fuel);
}

#[test]
fn bulk_memory_is_paid_and_continues_where_it_stopped() {
    // Copies and fills that run out of fuel half-way through a slice must happen once each.
    let body = "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 60000)) (i32.store8 (i32.const 0) (local.get \
                $i)) (memory.copy (i32.const 1) (i32.const 0) (i32.const 50000)) (local.set $j (i32.add (local.get $j) \
                (i32.load8_u (i32.const 1)))) (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) \
                (i32.const 100)))) (i32.ne (local.get $j) (i32.const 4950))";
    let mut f = function("", body);
    let (result, slices) = run_in_slices(&mut f);
    assert!(result.unwrap().fuel > 100 * 110_000 / 64);
    assert!(slices > 5);
}

#[test]
fn an_aborted_message_leaves_nothing() {
    let body = format!(
        "(drop (call $state_set (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))) (i32.store (i32.const \
         64) (i32.const 1)) {} (i32.load (i32.const 64))",
        COUNT.replace('%', "50000")
    );
    let mut f = function("", &body);
    assert_eq!(f.begin(&message("a", b"")), Step::Yield);
    f.abort();
    assert_eq!(f.effects().state_ops().count(), 0);
    assert!(matches!(f.resume(), Step::Done(Err(Failure::Trap(_)))));
    // A message that is begun over another one ends that.
    assert_eq!(f.begin(&message("a", b"")), Step::Yield);
    assert_eq!(f.begin(&message("b", b"")), Step::Yield);
    let mut step = f.resume();
    while step == Step::Yield {
        step = f.resume();
    }
    assert_eq!(step, Step::Done(Err(Failure::Code(1))));
    assert!(f.state().is_empty());
}

#[test]
fn a_function_moves_between_threads_even_in_a_message() {
    let mut f = function("", &format!("{} (i32.const 0)", COUNT.replace('%', "50000")));
    assert_eq!(f.begin(&message("a", b"")), Step::Yield);
    let result = std::thread::spawn(move || {
        let mut step = f.resume();
        while step == Step::Yield {
            step = f.resume();
        }
        step
    });
    assert!(matches!(result.join().unwrap(), Step::Done(Ok(_))));
}

#[test]
fn what_starting_takes_is_known_and_is_no_part_of_a_message() {
    let spin = "(local $n i32) (loop $l (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
                (i32.const 10000))))";
    let init = format!(r#"(func (export "eyot_init") (result i32) {spin} (i32.const 0))"#);
    let (plain, mut started) = (function("", "(i32.const 5)"), function(&init, "(unreachable)"));
    let start_fuel = started.start_fuel();
    assert!(plain.start_fuel() < 100 && (40_000..100_000).contains(&start_fuel), "{start_fuel}");
    assert!(run(&mut started).is_err());
    assert!(started.fuel_spent() < 100, "{}", started.fuel_spent());
    started.reset();
    assert_eq!(started.start_fuel(), start_fuel);
}
