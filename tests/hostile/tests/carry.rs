//! Functions that try to carry bytes from one message to the next: the next one finds what a fresh instance has.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_engine::{Function, Invocation, Step};
use eyot_test_hostile::guest::{handle, load, module, ABI, ALLOC, IMPORTS, MESSAGE};
use eyot_wire::code::Failure;

/// A place to hide something.
struct Place {
    name: &'static str,
    memory: &'static str,
    items: &'static str,
    /// Hides something.
    hide: &'static str,
    /// Answers an i64: another one if something was hidden. It may also trap.
    seek: &'static str,
}

const fn place(name: &'static str, items: &'static str, hide: &'static str, seek: &'static str) -> Place {
    Place { name, memory: "1", items, hide, seek }
}

const fn large(name: &'static str, memory: &'static str, hide: &'static str, seek: &'static str) -> Place {
    Place { name, memory, items: "", hide, seek }
}

const PLACES: &[Place] = &[
    place("first byte", "", "(i32.store8 (i32.const 0) (i32.const 1))", "(i64.load8_u (i32.const 0))"),
    place("last byte", "", "(i32.store8 (i32.const 65535) (i32.const 1))", "(i64.load8_u (i32.const 65535))"),
    place("in the middle", "", "(i64.store (i32.const 30001) (i64.const -1))", "(i64.load (i32.const 30001))"),
    place("over data", "", "(i64.store (i32.const 16) (i64.const 7))", "(i64.load (i32.const 16))"),
    place("a zero", "", "(i32.store8 (i32.const 17) (i32.const 0))", "(i64.load (i32.const 16))"),
    place("where the input goes", "", "(memory.fill (i32.const 32768) (i32.const 65) (i32.const 99))", "(i64.load (i32.const 32860))"),
    place("everywhere", "", "(memory.fill (i32.const 0) (i32.const 65) (i32.const 65536))", "(i64.load (i32.const 44444))"),
    place("a copy", "", "(memory.copy (i32.const 5000) (i32.const 16) (i32.const 5))", "(i64.load (i32.const 5000))"),
    place("random bytes", "", "(drop (call $random (i32.const 6000) (i32.const 8)))", "(i64.load (i32.const 6000))"),
    large("large memory", "10", "(i64.store (i32.const 600000) (i64.const 1))", "(i64.load (i32.const 600000))"),
    large("largest memory", "16", "(i64.store (i32.const 1048568) (i64.const 1))", "(i64.load (i32.const 1048568))"),
    large("small pages", "40000 (pagesize 1)", "(i64.store (i32.const 39992) (i64.const 1))", "(i64.load (i32.const 39992))"),
    place("a page more", "", "(drop (memory.grow (i32.const 1)))", "(i64.extend_i32_u (memory.size))"),
    place("in a page more", "", "(drop (memory.grow (i32.const 1))) (i64.store (i32.const 65536) (i64.const 1))", "(drop (memory.grow (i32.const 1))) (i64.load (i32.const 65536))"),
    place("i32", "(global $g (mut i32) (i32.const 1))", "(global.set $g (i32.const 7))", "(i64.extend_i32_u (global.get $g))"),
    place("i64", "(global $g (mut i64) (i64.const 1))", "(global.set $g (i64.const 7))", "(global.get $g)"),
    place("f32", "(global $g (mut f32) (f32.const nan:0x200001))", "(global.set $g (f32.const nan:0x200002))", "(i64.extend_i32_u (i32.reinterpret_f32 (global.get $g)))"),
    place("f64", "(global $g (mut f64) (f64.const 0))", "(global.set $g (f64.const -0))", "(i64.reinterpret_f64 (global.get $g))"),
    place("exported", "(global $g (export \"g\") (mut i64) (i64.const 1))", "(global.set $g (i64.const 7))", "(global.get $g)"),
    place("funcref", "(func $f) (elem declare func $f) (global $g (mut funcref) (ref.null func))", "(global.set $g (ref.func $f))", "(i64.extend_i32_u (ref.is_null (global.get $g)))"),
    place("funcref to null", "(func $f) (elem declare func $f) (global $g (mut funcref) (ref.func $f))", "(global.set $g (ref.null func))", "(i64.extend_i32_u (ref.is_null (global.get $g)))"),
    place("table.set", "(table $t 9 funcref) (func $f) (elem declare func $f)", "(table.set $t (i32.const 8) (ref.func $f))", "(i64.extend_i32_u (ref.is_null (table.get $t (i32.const 8))))"),
    place("table.fill", "(table $t 9 funcref) (func $f) (elem (table $t) (i32.const 0) func $f $f)", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 9))", "(i64.extend_i32_u (ref.is_null (table.get $t (i32.const 1))))"),
    place("table.copy", "(table $t 9 funcref) (func $f) (elem (table $t) (i32.const 0) func $f)", "(table.copy $t $t (i32.const 4) (i32.const 0) (i32.const 1))", "(i64.extend_i32_u (ref.is_null (table.get $t (i32.const 4))))"),
    place("table.init", "(table $t 9 funcref) (func $f) (elem $e func $f)", "(table.init $t $e (i32.const 4) (i32.const 0) (i32.const 1))", "(i64.extend_i32_u (ref.is_null (table.get $t (i32.const 4))))"),
    place("which function", "(type $n (func (result i64))) (table $t 2 funcref) (func $a (result i64) (i64.const 1)) (func $b (result i64) (i64.const 2)) (elem (table $t) (i32.const 0) func $a $b)", "(table.set $t (i32.const 0) (table.get $t (i32.const 1)))", "(call_indirect $t (type $n) (i32.const 0))"),
    place("data.drop", "(data $d \"secret\")", "(data.drop $d)", "(memory.init $d (i32.const 9000) (i32.const 0) (i32.const 6)) (i64.load (i32.const 9000))"),
    place("elem.drop", "(table $t 9 funcref) (func $f) (elem $e func $f)", "(elem.drop $e)", "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (i64.const 1)"),
    place("state", "", "(drop (call $state_set (i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5)))", "(i64.extend_i32_s (call $state_get (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 0)))"),
    place("the generator", "", "(drop (call $random (i32.const 0) (i32.const 1)))", "(drop (call $random (i32.const 9000) (i32.const 8))) (i64.load (i32.const 9000))"),
    place("locals", "(func $a (param i64 i64 i64 i64)) (func $b (result i64) (local i64 i64 i64 i64) (i64.add (local.get 0) (local.get 3)))", "(call $a (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4))", "(call $b)"),
];

/// How the message ends in which something is hidden.
const ENDS: &[(&str, &str)] = &[
    ("well", "(i32.const 0)"),
    ("with an error", "(i32.const 5)"),
    ("with a trap", "unreachable"),
    ("without fuel", "(loop $l (br $l)) unreachable"),
];

const HIDE: &[u8] = b"hide";
const SEEK: &[u8] = b"s";
const BOTH: &[u8] = b"hide and seek";

fn message(payload: &[u8]) -> Invocation<'_> {
    Invocation { payload, ..MESSAGE }
}

fn function(place: &Place, end: &str) -> Function {
    // One byte seeks, four hide, more do both.
    let body = format!(
        "(if (i32.gt_u (local.get $pl) (i32.const 1)) (then {}))
         (if (i32.eq (local.get $pl) (i32.const 4)) (then (return (block (result i32) {end}))))
         (i64.store (i32.const 50000) (block (result i64) {}))
         (call $emit (i32.const 16) (i32.const 5) (i32.const 50000) (i32.const 8))",
        place.hide, place.seek
    );
    // Not every memory has room for the answer at 50,000.
    let body = if place.memory.contains("pagesize") { body.replace("50000", "38000") } else { body };
    let memory = format!(r#"(memory (export "memory") {})"#, place.memory);
    let data = r#"(data (i32.const 16) "out/a" "and data behind it")"#;
    load(&module(&[IMPORTS, &memory, data, place.items, ABI, ALLOC, &handle(&body)]), "").unwrap()
}

/// What a message comes to, as far as a function can tell.
fn outcome(function: &mut Function, payload: &[u8]) -> (Result<(), Failure>, Vec<Vec<u8>>) {
    let result = function.invoke(&message(payload)).map(|_| ());
    (result, function.effects().emits().map(|emit| emit.payload.to_vec()).collect())
}

#[test]
fn the_next_message_finds_nothing() {
    for place in PLACES {
        for (ends, end) in ENDS {
            if place.name == "state" && *ends == "well" {
                continue; // State is what may be carried.
            }
            let mut function = function(place, end);
            let fresh = outcome(&mut function, SEEK);
            for round in 0..3 {
                let _ = outcome(&mut function, HIDE);
                assert_eq!(
                    outcome(&mut function, SEEK),
                    fresh,
                    "{}, round {round}: hidden in a message that ends {ends}",
                    place.name
                );
            }
        }
    }
}

#[test]
fn nor_after_a_message_that_was_given_up() {
    for place in PLACES {
        let mut function = function(place, "(loop $l (br $l)) unreachable");
        let fresh = outcome(&mut function, SEEK);
        for round in 0..3 {
            assert_eq!(function.begin(&message(HIDE)), Step::Yield, "{}", place.name);
            function.abort();
            assert_eq!(outcome(&mut function, SEEK), fresh, "{}, round {round}", place.name);
        }
    }
}

/// If what is hidden could not be found in the same message, the tests above would prove nothing.
#[test]
fn within_a_message_it_is_found() {
    for place in PLACES.iter().filter(|place| place.name != "locals") {
        let fresh = outcome(&mut function(place, "(i32.const 0)"), SEEK);
        assert_ne!(outcome(&mut function(place, "(i32.const 0)"), BOTH), fresh, "{}", place.name);
    }
}
