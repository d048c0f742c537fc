//! Choosing by a comparison with zero: wasmi 2.0.0 by itself takes another condition than the one that is written.

mod common;

use common::{function, message};
use eyot_wire::code::Failure;

/// `$tl`, the length of the topic, is 4; `$i` is 0.
const CASES: &[(&str, i32)] = &[
    ("(select (i32.const 3) (i32.const 7) (i32.eqz (local.get $tl)))", 7),
    ("(select (i32.const 3) (i32.const 7) (i32.eqz (local.get $i)))", 3),
    ("(select (i32.const 3) (i32.const 7) (i32.ne (local.get $tl) (i32.const 0)))", 3),
    ("(select (i32.const 3) (i32.const 7) (i32.ne (i32.const 0) (local.get $i)))", 7),
    ("(select (i32.const 3) (i32.const 7) (i32.eq (i32.const 0) (local.get $tl)))", 7),
    ("(select (result i32) (i32.const 3) (local.get $i) (i32.eqz (local.get $tl))) (i32.add (i32.const 9))", 9),
    ("(i32.sub (i32.const 9) (select (i32.const 3) (i32.const 7) (i32.eqz (local.get $tl))))", 2),
    ("(select (i32.const 3) (i32.const 7) (i32.eqz (i32.eqz (local.get $tl))))", 3),
    ("(i32.const 3) (i32.const 7) (i32.eqz (local.get $tl)) nop (i32.const 5) drop select", 7),
    ("(i32.const 3) (i32.const 7) (i32.eqz (local.get $i)) drop (local.get $tl) select", 3),
    ("(i32.wrap_i64 (select (i64.const 3) (i64.const 7) (i32.eqz (local.get $tl))))", 7),
    ("(i32.trunc_f64_s (select (f64.const 3) (f64.const 7) (i32.eqz (local.get $tl))))", 7),
];

#[test]
fn a_comparison_decides_what_is_selected() {
    for (body, expected) in CASES {
        // The register that wasmi takes holds what was computed before.
        for before in
            ["", "(local.set $j (i32.mul (local.get $tl) (local.get $pl)))", "(local.set $j (i32.load (local.get $i)))"]
        {
            let mut function = function("", &format!("{before} {body}"));
            let result = function.invoke(&message("in/7", b"payload"));
            assert_eq!(result.map(|_| ()), Err(Failure::Code(*expected)), "{before} {body}");
        }
    }
}

/// Sections behind the code stay where they belong.
#[test]
fn all_else_of_the_module_is_as_it_was() {
    let items = r#"(global $g (mut i32) (i32.const 0)) (data (i32.const 64) "\05")
        (func $other (param i32) (result i32) (select (i32.const 1) (i32.load8_u (i32.const 64)) (i32.eqz (local.get 0))))"#;
    let body = "(global.set $g (call $other (local.get $tl))) (i32.add (global.get $g) (call $other (local.get $i)))";
    let mut function = function(items, body);
    for _ in 0..2 {
        assert_eq!(function.invoke(&message("in/7", b"")).map(|_| ()), Err(Failure::Code(6)));
    }
}
