//! Every import of function interface version 1: what it does, and what it answers when it cannot.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::{Level, StateOp, Step};
use eyot_wire::code::Failure;

const NOT_FOUND: i32 = -1;
const NOT_ALLOWED: i32 = -2;
const OVER_LIMIT: i32 = -3;
const BAD_POINTER: i32 = -4;

/// Data at 16: the texts the bodies below point at.
const DATA: &str = r#"(data (i32.const 16) "out/a" "no/way" "out/+" "\ff\fe" "unit" "key" "value" "out/\01")"#;
const OUT_A: &str = "(i32.const 16) (i32.const 5)";
const NO_WAY: &str = "(i32.const 21) (i32.const 6)";
const WILDCARD: &str = "(i32.const 27) (i32.const 5)";
const NOT_UTF8: &str = "(i32.const 32) (i32.const 2)";
const CONTROL: &str = "(i32.const 46) (i32.const 5)";
const UNIT: &str = "(i32.const 34) (i32.const 4)";
const KEY: &str = "(i32.const 38) (i32.const 3)";
const VALUE: &str = "(i32.const 41) (i32.const 5)";

/// What one call answers.
fn answer(call: &str) -> i32 {
    code(&mut function(DATA, call))
}

#[test]
fn the_handler_sees_topic_and_payload_in_one_block() {
    let body = format!("(call $emit {OUT_A} (local.get $t) (i32.add (local.get $tl) (local.get $pl)))");
    let mut f = function(DATA, &body);
    run(&mut f).unwrap();
    assert_eq!(emits(&f), [("out/a".to_string(), b"in/apayload".to_vec())]);
}

#[test]
fn emits_keep_their_order() {
    let body = format!(
        "(drop (call $emit {OUT_A} {KEY})) (drop (call $emit {OUT_A} {VALUE})) (drop (call $emit {OUT_A} (i32.const 0) \
         (i32.const 0))) (i32.const 0)"
    );
    let mut f = function(DATA, &body);
    run(&mut f).unwrap();
    let payloads: Vec<_> = emits(&f).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, [&b"key"[..], b"value", b""]);
    assert_eq!((f.effects().emit_count(), f.effects().emit_bytes()), (3, 15 + 8));
}

#[test]
fn emit_refuses_and_counts() {
    let calls = [
        (format!("(call $emit {NO_WAY} {KEY})"), NOT_ALLOWED),
        (format!("(call $emit {WILDCARD} {KEY})"), BAD_POINTER),
        (format!("(call $emit {NOT_UTF8} {KEY})"), BAD_POINTER),
        (format!("(call $emit {CONTROL} {KEY})"), BAD_POINTER),
        (format!("(call $emit (i32.const 16) (i32.const 0) {KEY})"), BAD_POINTER),
        (format!("(call $emit {OUT_A} (i32.const 65536) (i32.const 1))"), BAD_POINTER),
        (format!("(call $emit {OUT_A} (i32.const -1) (i32.const 2))"), BAD_POINTER),
        (format!("(call $emit (i32.const 65532) (i32.const 5) {KEY})"), BAD_POINTER),
    ];
    for (call, expected) in &calls {
        assert_eq!(answer(call), *expected, "{call}");
    }
    let all: String = calls.iter().map(|(call, _)| format!("(drop {call})")).collect();
    let mut f = function(DATA, &format!("{all} (i32.const 0)"));
    run(&mut f).unwrap();
    let refused = f.effects().refused_emits();
    assert_eq!((refused.not_allowed, refused.malformed, refused.over_limit), (1, 7, 0));
    assert_eq!(emits(&f), []);
}

#[test]
fn output_limit_counts_topics_and_payloads() {
    let body = format!("(drop (call $emit {OUT_A} {VALUE})) (call $emit {OUT_A} {VALUE})");
    for (limit, expected) in [(20, 0), (19, OVER_LIMIT)] {
        let extra = format!("[allow]\nemit = [\"#\"]\n[limits]\noutput = \"{limit}B\"");
        let mut f = load_with(&guest(DATA, &body), manifest(&extra)).unwrap();
        assert_eq!(code(&mut f), expected, "limit {limit}");
        assert_eq!(f.effects().refused_emits().over_limit, u32::from(expected != 0));
    }
}

#[test]
fn the_number_of_emits_is_limited() {
    let body = format!(
        "(loop $next (if (i32.eqz (call $emit {OUT_A} (i32.const 0) (i32.const 0))) (then (local.set $i (i32.add \
         (local.get $i) (i32.const 1))) (br $next)))) (local.get $i)"
    );
    let extra = "[allow]\nemit = [\"#\"]\n[limits]\noutput = \"1MiB\"\nfuel = 10000000";
    let mut f = load_with(&guest(DATA, &body), manifest(extra)).unwrap();
    assert_eq!(code(&mut f), eyot_engine::limits::EMITS_MAX as i32);
}

#[test]
fn without_permission_nothing_is_emitted() {
    let mut f = load_with(&guest(DATA, &format!("(call $emit {OUT_A} {KEY})")), manifest("")).unwrap();
    assert_eq!(code(&mut f), NOT_ALLOWED);
}

#[test]
fn log_lines_carry_their_level() {
    let calls: String = [0, 1, 2, 3, 4, 77, -1].map(|level| format!("(call $log (i32.const {level}) {KEY})")).concat();
    let mut f = function(DATA, &format!("{calls} (i32.const 0)"));
    run(&mut f).unwrap();
    let levels: Vec<_> = f.effects().logs().map(|line| line.level).collect();
    use Level::{Debug, Error, Info, Trace, Warn};
    assert_eq!(levels, [Error, Warn, Info, Debug, Trace, Trace, Trace]);
    assert!(f.effects().logs().all(|line| line.text == "key"));
}

#[test]
fn logs_are_bounded_and_survive_failure() {
    let body = "(call $log (i32.const 0) (i32.const 65000) (i32.const 5000)) (loop $again (call $log (i32.const 2) \
                (i32.const 0) (i32.const 5000)) (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) \
                (i32.const 1))) (i32.const 40)))) unreachable";
    let mut f = function("", body);
    assert!(matches!(run(&mut f), Err(Failure::Trap(_))));
    assert_eq!(f.effects().logs().count(), 32);
    assert_eq!(f.effects().logs_dropped(), 9);
    assert!(f.effects().logs().all(|line| line.text.len() == 1024));
}

#[test]
fn time_is_the_time_of_arrival() {
    let mut f = function(
        "",
        "(i64.store (i32.const 0) (call $now_ms)) (call $log (i32.const 0) (i32.const 0) (i32.const \
         8)) (i64.eq (call $now_ms) (i64.const 1700000000123)) (i32.eqz)",
    );
    assert_eq!(code(&mut f), 0);
}

#[test]
fn random_bytes_come_from_the_seed() {
    let body = format!(
        "(drop (call $random (i32.const 100) (i32.const 16))) (call $emit {OUT_A} (i32.const 100) \
         (i32.const 16))"
    );
    let mut f = function(DATA, &body);
    let usage = run(&mut f).unwrap();
    assert!(usage.random_used);
    // Frozen: replays of captured messages depend on these bytes.
    assert_eq!(emits(&f)[0].1, RANDOM_OF_SEED_42);
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, RANDOM_OF_SEED_42, "each message starts from its own seed");
    let mut other = message("in/a", b"");
    other.seed = 43;
    f.invoke(&other).unwrap();
    assert_ne!(emits(&f)[0].1, RANDOM_OF_SEED_42);
    assert_eq!(answer("(call $random (i32.const 65530) (i32.const 7))"), BAD_POINTER);
    assert_eq!(answer("(call $random (i32.const 65530) (i32.const 6))"), 0);
}

const RANDOM_OF_SEED_42: [u8; 16] = [159, 104, 118, 68, 79, 77, 118, 208, 145, 55, 111, 87, 116, 65, 158, 81];

#[test]
fn state_is_kept_between_messages() {
    let body = format!(
        "(drop (call $state_get {KEY} (i32.const 200) (i32.const 1))) (i32.store8 (i32.const 200) (i32.add \
         (i32.load8_u (i32.const 200)) (i32.const 1))) (call $state_set {KEY} (i32.const 200) (i32.const 1))"
    );
    let mut f = function(DATA, &body);
    for expected in 1..=3 {
        run(&mut f).unwrap();
        assert_eq!(f.state().get(b"key"), Some(&[expected][..]));
        let ops: Vec<_> = f.effects().state_ops().collect();
        assert_eq!(ops, [StateOp::Set { key: b"key", value: &[expected] }]);
    }
    assert_eq!((f.state().len(), f.state().bytes()), (1, 4));
}

#[test]
fn a_message_sees_its_own_writes() {
    let body = format!(
        "(drop (call $state_set {KEY} {VALUE})) (if (i32.ne (call $state_get {KEY} (i32.const 0) (i32.const 0)) \
         (i32.const 5)) (then (return (i32.const 11)))) (drop (call $state_delete {KEY})) (if (i32.ne (call $state_get \
         {KEY} (i32.const 0) (i32.const 0)) (i32.const -1)) (then (return (i32.const 12)))) (if (i32.ne (call \
         $state_delete {KEY}) (i32.const -1)) (then (return (i32.const 13)))) (drop (call $state_set {UNIT} {KEY})) \
         (i32.const 0)"
    );
    let mut f = function(DATA, &body);
    f.state_mut().set(b"key", b"before");
    assert_eq!(code(&mut f), 0);
    let ops: Vec<_> = f.effects().state_ops().collect();
    assert_eq!(ops, [StateOp::Delete { key: b"key" }, StateOp::Set { key: b"unit", value: b"key" }]);
    assert_eq!(f.state().iter().collect::<Vec<_>>(), [(&b"unit"[..], &b"key"[..])]);
}

#[test]
fn get_answers_the_full_length_and_copies_what_fits() {
    for (cap, copied) in [(0, &b"\0\0\0\0\0"[..]), (2, b"va\0\0\0"), (5, b"value"), (9, b"value")] {
        let body = format!(
            "(if (i32.ne (call $state_get {KEY} (i32.const 300) (i32.const {cap})) (i32.const 5)) (then \
             (return (i32.const 1)))) (call $emit {OUT_A} (i32.const 300) (i32.const 5))"
        );
        let mut f = function(DATA, &body);
        f.state_mut().set(b"key", b"value");
        assert_eq!(code(&mut f), 0);
        assert_eq!(emits(&f)[0].1, copied, "cap {cap}");
    }
}

#[test]
fn state_calls_refuse() {
    for (call, expected) in [
        (format!("(call $state_get {KEY} (i32.const 0) (i32.const 0))"), NOT_FOUND),
        (format!("(call $state_get {KEY} (i32.const 65536) (i32.const 1))"), BAD_POINTER),
        ("(call $state_get (i32.const 65535) (i32.const 2) (i32.const 0) (i32.const 0))".into(), BAD_POINTER),
        ("(call $state_get (i32.const 0) (i32.const 257) (i32.const 0) (i32.const 0))".into(), OVER_LIMIT),
        (format!("(call $state_set {KEY} (i32.const 65535) (i32.const 2))"), BAD_POINTER),
        (format!("(call $state_set {KEY} (i32.const 0) (i32.const 65534))"), OVER_LIMIT),
        (format!("(call $state_set {KEY} (i32.const 0) (i32.const 65533))"), 0),
        (format!("(call $state_set (i32.const 0) (i32.const 257) {KEY})"), OVER_LIMIT),
        (format!("(call $state_set (i32.const -8) (i32.const 16) {KEY})"), BAD_POINTER),
        (format!("(call $state_delete {KEY})"), NOT_FOUND),
        ("(call $state_delete (i32.const 65535) (i32.const 2))".into(), BAD_POINTER),
    ] {
        assert_eq!(answer(&call), expected, "{call}");
    }
}

#[test]
fn a_state_over_its_limit_can_still_shrink() {
    let extra = "[limits]\nstate = \"10B\"";
    for (call, expected) in [
        (format!("(call $state_set {KEY} {VALUE})"), 0),
        (format!("(call $state_set {UNIT} {KEY})"), OVER_LIMIT),
        (format!("(call $state_delete {KEY})"), 0),
    ] {
        let mut f = load_with(&guest(DATA, &call), manifest(extra)).unwrap();
        f.state_mut().set(b"key", &[7; 100]);
        assert_eq!(code(&mut f), expected, "{call}");
    }
}

#[test]
fn state_keys_of_one_message_are_limited() {
    let body = "(loop $next (i32.store (i32.const 0) (local.get $i)) (if (i32.eqz (call $state_set (i32.const 0) (i32.const \
                4) (i32.const 0) (i32.const 1))) (then (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))) \
                (local.get $i)";
    let mut f = load_with(&guest("", body), manifest("[limits]\nfuel = 100000000")).unwrap();
    assert_eq!(code(&mut f), eyot_engine::limits::STATE_OPS_MAX as i32);
    assert!(f.state().is_empty(), "a failed message leaves the state alone");
}

#[test]
fn configuration_is_read_and_overridden() {
    let body = format!(
        "(drop (call $config_get {UNIT} (i32.const 300) (i32.const 7))) (call $emit {OUT_A} (i32.const 300) \
         (i32.const 7))"
    );
    let mut f = function(DATA, &body);
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, b"celsius");
    f.set_config(&[("unit", "kelvin!")]).unwrap();
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, b"kelvin!");
    let too_long = "x".repeat(5000);
    let error = f.set_config(&[("unit", &too_long)]).unwrap_err().to_string();
    assert!(error.contains("unit") && error.contains("4096"), "{error}");
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, b"kelvin!");
}

#[test]
fn a_configuration_that_init_refuses_changes_nothing() {
    let init = format!(
        "{DATA} (func (export \"eyot_init\") (result i32) (drop (call $config_get {UNIT} (i32.const 300) (i32.const 1))) \
         (i32.eq (i32.load8_u (i32.const 300)) (i32.const 33)))"
    );
    let mut f = function(&init, &format!("(call $emit {OUT_A} (i32.const 300) (i32.const 1))"));
    assert_eq!(f.set_config(&[("unit", "!")]).unwrap_err(), eyot_engine::LoadError::Init(Failure::Code(1)));
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, b"c");
    f.set_config(&[("unit", "k")]).unwrap();
    run(&mut f).unwrap();
    assert_eq!(emits(&f)[0].1, b"k", "eyot_init has read the new value");
}

#[test]
fn config_get_answers_errors() {
    for (call, expected) in [
        (format!("(call $config_get {UNIT} (i32.const 0) (i32.const 0))"), 7),
        (format!("(call $config_get {KEY} (i32.const 0) (i32.const 0))"), NOT_FOUND),
        (format!("(call $config_get {NOT_UTF8} (i32.const 0) (i32.const 0))"), BAD_POINTER),
        (format!("(call $config_get {UNIT} (i32.const 65535) (i32.const 2))"), BAD_POINTER),
        ("(call $config_get (i32.const 0) (i32.const 257) (i32.const 0) (i32.const 0))".into(), OVER_LIMIT),
    ] {
        assert_eq!(answer(&call), expected, "{call}");
    }
}

#[test]
fn init_may_read_its_configuration_and_log_only() {
    let init = |body: &str| format!("{DATA} (func (export \"eyot_init\") (result i32) {body})");
    for (call, expected) in [
        (format!("(call $emit {OUT_A} {KEY})"), NOT_ALLOWED),
        (format!("(call $state_set {KEY} {KEY})"), NOT_ALLOWED),
        (format!("(call $state_get {KEY} (i32.const 0) (i32.const 0))"), NOT_ALLOWED),
        (format!("(call $state_delete {KEY})"), NOT_ALLOWED),
        ("(call $random (i32.const 0) (i32.const 8))".into(), NOT_ALLOWED),
        (format!("(call $config_get {UNIT} (i32.const 0) (i32.const 0))"), 7),
        ("(i32.wrap_i64 (call $now_ms))".into(), 0),
    ] {
        let body = format!("(i32.ne {call} (i32.const {expected}))");
        load(&guest(&init(&body), "(i32.const 0)"));
    }
    let f = function(&init(&format!("(call $log (i32.const 1) {VALUE}) (i32.const 0)")), "(i32.const 0)");
    assert_eq!(f.effects().logs().map(|line| line.text).collect::<Vec<_>>(), ["value"]);
}

#[test]
fn state_operations_count_when_they_are_kept() {
    let mut f = function("", "(call $state_set (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2))");
    assert!(f.uses_state());
    assert!(matches!(f.begin(&message("a", b"")), Step::Done(Ok(_))));
    assert!(f.state().is_empty(), "the message has ended, and is not kept yet");
    f.keep();
    assert_eq!(f.state().bytes(), 3);
    let shared = f.state().clone();
    f.state_mut().clear();
    assert!(matches!(f.begin(&message("a", b"")), Step::Done(Ok(_))));
    let effects = f.take_effects();
    assert_eq!((effects.state_ops().count(), f.effects().state_ops().count()), (1, 0));
    f.keep();
    assert!(f.state().is_empty(), "there is nothing left to keep");
    f.keep_taken(&effects);
    assert_eq!((f.state().bytes(), shared.bytes()), (3, 3));
}

#[test]
fn what_imports_no_state_call_keeps_no_state() {
    let stateless = module(&[MEMORY, ABI, ALLOC, &handle("(i32.const 0)")]);
    assert!(!load(&stateless).uses_state());
}
