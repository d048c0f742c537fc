//! `eyot_migrate`: what it may do, and what is left when it fails.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::limits::{MIGRATION_FUEL_MAX, STATE_KEYS_MAX};
use eyot_engine::{Function, LoadError, State, StateOp};
use eyot_wire::code::Failure;

/// Data at 16: "out/a", then "key", "new", "unit".
const DATA: &str = r#"(data (i32.const 16) "out/a" "key" "new" "unit") (global $ran (mut i32) (i32.const 0))"#;
const OUT_A: &str = "(i32.const 16) (i32.const 5)";
const KEY: &str = "(i32.const 21) (i32.const 3)";
const NEW: &str = "(i32.const 24) (i32.const 3)";
const UNIT: &str = "(i32.const 27) (i32.const 4)";

/// A function with `body` as its migration, whose messages tell the byte at 200 and the global, which must be 0.
fn migrating(body: &str, extra: &str) -> Function {
    let migrate = format!(r#"(func (export "eyot_migrate") (param $from i32) (result i32) (local $i i32) {body})"#);
    let handle = "(i32.add (i32.load8_u (i32.const 200)) (global.get $ran))";
    let manifest = manifest(&format!("{extra}\n[allow]\nemit = [\"#\"]\n[config]\nunit = \"celsius\""));
    let mut function = load_with(&guest(&format!("{DATA} {migrate}"), handle), manifest).unwrap();
    function.state_mut().set(b"key", b"old");
    function.state_mut().set(b"gone", b"x");
    function
}

fn entries(state: &State) -> Vec<(&[u8], &[u8])> {
    state.iter().collect()
}

const BEFORE: [(&[u8], &[u8]); 2] = [(b"gone", b"x"), (b"key", b"old")];

#[test]
fn the_state_becomes_what_the_migration_makes_of_it() {
    // Reads the old value to 100, writes the number of the version before it, and forgets "key".
    let body = format!(
        "(drop (call $state_get {KEY} (i32.const 101) (i32.const 8))) (i32.store8 (i32.const 100) (local.get $from))
         (drop (call $state_delete {KEY})) (call $state_set {NEW} (i32.const 100) (i32.const 4))"
    );
    let mut f = migrating(&body, "");
    assert!(f.has_migrate());
    f.migrate(7).unwrap();
    assert_eq!(entries(f.state()), [(&b"gone"[..], &b"x"[..]), (b"new", b"\x07old")]);
    let ops: Vec<_> = f.effects().state_ops().collect();
    assert_eq!(ops, [StateOp::Delete { key: b"key" }, StateOp::Set { key: b"new", value: b"\x07old" }]);
}

#[test]
fn a_major_beyond_its_range_is_the_largest() {
    let body = "(i32.ne (local.get $from) (i32.const 0x7fffffff))";
    migrating(body, "").migrate(u64::MAX).unwrap();
    assert_eq!(migrating(body, "").migrate(7), Err(Failure::Code(1)));
}

#[test]
fn the_instance_is_put_back_whether_it_went_well_or_not() {
    for end in ["i32.const 0", "i32.const 5", "unreachable", "(loop br 0) i32.const 0"] {
        let mut f =
            migrating(&format!("(i32.store8 (i32.const 200) (i32.const 1)) (global.set $ran (i32.const 1)) {end}"), "");
        assert_eq!(f.migrate(1).is_ok(), end == "i32.const 0", "{end}");
        assert_eq!(code(&mut f), 0, "{end}");
    }
}

#[test]
fn a_failure_changes_nothing_and_its_log_stays() {
    let change = format!("(drop (call $state_set {KEY} {NEW})) (call $log (i32.const 0) {NEW})");
    for (end, failure) in [
        ("i32.const 5", Some(Failure::Code(5))),
        ("unreachable", None),
        ("(loop br 0) i32.const 0", Some(Failure::Fuel)),
    ] {
        let mut f = migrating(&format!("{change} {end}"), "");
        let result = f.migrate(1).unwrap_err();
        assert!(failure.is_none_or(|failure| failure == result), "{end}: {result}");
        assert_eq!(entries(f.state()), BEFORE, "{end}");
        assert_eq!(f.effects().state_ops().count(), 0, "{end}");
        assert_eq!(f.effects().logs().map(|log| log.text).collect::<Vec<_>>(), ["new"], "{end}");
    }
}

#[test]
fn it_may_read_the_configuration_and_nothing_goes_out() {
    let body = format!(
        "(if (i32.ne (call $config_get {UNIT} (i32.const 100) (i32.const 8)) (i32.const 7)) (then unreachable))
         (if (i32.ne (call $emit {OUT_A} {NEW}) (i32.const -2)) (then unreachable))
         (if (i32.ne (call $random (i32.const 100) (i32.const 8)) (i32.const -2)) (then unreachable))
         (i32.wrap_i64 (call $now_ms))"
    );
    let mut f = migrating(&body, "");
    f.migrate(1).unwrap();
    assert_eq!(f.effects().emit_count(), 0);
}

#[test]
fn it_has_the_fuel_of_a_message_and_may_take_slices() {
    let body = "(loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50000)))) i32.const 0";
    assert_eq!(migrating(body, "[limits]\nfuel = 10_000").migrate(1), Err(Failure::Fuel));
    let mut f = migrating(body, "[limits]\nfuel = 1_000_000");
    f.migrate(1).unwrap();
    assert!(f.fuel_spent() > 50_000, "{}", f.fuel_spent());
}

#[test]
fn it_has_no_more_fuel_than_others_can_wait_for() {
    for (rounds, expected) in [(1_000_000, Ok(())), (MIGRATION_FUEL_MAX, Err(Failure::Fuel))] {
        let body = format!("(loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {rounds})))) i32.const 0");
        assert_eq!(migrating(&body, "[limits]\nfuel = 1_000_000_000").migrate(1), expected, "{rounds}");
    }
}

#[test]
fn its_state_has_the_limit_of_a_message() {
    let body = format!("(call $state_set {NEW} (i32.const 0) (i32.const 64))");
    assert_eq!(migrating(&body, "[limits]\nstate = \"70B\"").migrate(1), Err(Failure::Code(-3)));
    migrating(&body, "[limits]\nstate = \"80B\"").migrate(1).unwrap();
}

#[test]
fn it_may_touch_every_key_there_can_be() {
    // Every key gets another byte: in place of each there is a new one.
    let body = |end: &str| {
        format!(
            "(loop (i32.store (i32.const 100) (local.get $i)) (i32.store8 (i32.const 104) (i32.const 1))
               (if (call $state_delete (i32.const 100) (i32.const 4)) (then unreachable))
               (if (call $state_set (i32.const 100) (i32.const 5) (i32.const 104) (i32.const 1)) (then unreachable))
               (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {STATE_KEYS_MAX})))) {end}"
        )
    };
    for (end, is_done) in [("i32.const 0", true), ("i32.const 1", false)] {
        let mut f = migrating(&body(end), "[limits]\nfuel = 3_000_000");
        f.state_mut().clear();
        (0..STATE_KEYS_MAX as u32).for_each(|i| f.state_mut().set(&i.to_le_bytes(), b"x"));
        assert_eq!(f.migrate(1).is_ok(), is_done, "{}", f.fuel_spent());
        let lengths: Vec<_> = f.state().iter().map(|(key, _)| key.len()).collect();
        assert_eq!(lengths, vec![4 + usize::from(is_done); STATE_KEYS_MAX]);
    }
}

#[test]
fn without_the_export_there_is_nothing_to_call() {
    let mut f = function("", "i32.const 0");
    assert!(!f.has_migrate());
    let failure = f.migrate(1).unwrap_err();
    assert!(failure.to_string().contains("eyot_migrate"), "{failure}");
    assert_eq!(code(&mut f), 0);
}

#[test]
fn an_export_of_another_type_is_refused() {
    let wasm = guest(r#"(func (export "eyot_migrate") (result i32) i32.const 0)"#, "i32.const 0");
    let expected = LoadError::ExportType { name: "eyot_migrate", expected: "(i32) -> i32" };
    assert_eq!(try_load(&wasm).err(), Some(expected));
}
