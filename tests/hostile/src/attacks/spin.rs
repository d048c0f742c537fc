//! Time: loops, calls and recursion that never end.

use super::{Attack, End, OUT_OF_FUEL};
use crate::guest::guest;

/// Loops around these never end: what they cost for a unit of fuel differs most.
const STEPS: &[(&str, &str)] = &[
    ("empty", ""),
    ("arithmetic", "(local.set $i (i32.add (i32.mul (local.get $i) (i32.const 33)) (i32.const 7)))"),
    ("division", "(global.set $g (i64.div_u (i64.const -1) (i64.or (global.get $g) (i64.const 3))))"),
    ("root", "(global.set $f (f64.sqrt (f64.add (global.get $f) (f64.const 1e300))))"),
    ("rounding", "(global.set $f (f64.nearest (f64.trunc (f64.floor (f64.ceil (global.get $f))))))"),
    ("subnormals", "(global.set $f (f64.mul (f64.const 4e-320) (f64.sub (f64.const 0.75) (global.get $f))))"),
    ("nan", "(global.set $f (f64.min (f64.const nan) (f64.max (global.get $f) (f64.const nan))))"),
    ("truncation", "(global.set $g (i64.trunc_sat_f64_u (f64.sub (f64.const 1e300) (global.get $f))))"),
    (
        "branches",
        "(block $a (block $b (block $c (br_table $a $b $c $b $a (i32.and (local.tee $i (i32.add \
                  (i32.mul (local.get $i) (i32.const 1103515245)) (i32.const 12345))) (i32.const 3))))))",
    ),
    (
        "far-loads",
        "(local.set $i (i32.load (i32.and (i32.mul (i32.add (local.get $i) (i32.const 1)) (i32.const \
                   2654435761)) (i32.const 0xfffc))))",
    ),
    ("unaligned-stores", "(i64.store (i32.const 63) (i64.add (i64.load (i32.const 61)) (i64.const 1)))"),
    ("calls", "(call $nop)"),
    ("calls-with-256-locals", "(call $large)"),
    ("calls-with-32-values", "(call $take (call $give))"),
    (
        "indirect-calls",
        "(call_indirect (type $none) (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 1))) \
                        (i32.const 3)))",
    ),
    (
        "indirect-calls-of-many",
        "(call_indirect (type $none) (i32.and (local.tee $i (i32.add (i32.mul (local.get $i) \
                                (i32.const 1103515245)) (i32.const 12345))) (i32.const 1)))",
    ),
    ("table-reads", "(drop (ref.is_null (table.get $t (i32.const 2))))"),
    ("table-writes", "(table.set $t (i32.const 5) (ref.func $nop))"),
];

fn items() -> String {
    let values = "i64 ".repeat(32);
    let constants = "(i64.const 1)".repeat(32);
    let drops = "drop ".repeat(32);
    format!(
        "(type $none (func)) (type $give (func (result {values}))) (type $take (func (param {values})))
         (global $g (mut i64) (i64.const 1)) (global $f (mut f64) (f64.const 1))
         (table $t 8 funcref) (elem (table $t) (i32.const 0) func $nop $large $nop2 $nop $nop $nop $nop $nop)
         (func $nop) (func $nop2 (global.set $g (i64.const 5)))
         (func $large (local {}))
         (func $give (type $give) {constants})
         (func $take (type $take))
         (func $unused {constants} {drops})",
        "i64 ".repeat(256)
    )
}

fn forever(step: &str) -> String {
    format!("(loop $again {step} (br $again)) unreachable")
}

pub(super) fn all() -> Vec<Attack> {
    let items = items();
    let mut attacks: Vec<Attack> = STEPS
        .iter()
        .map(|(name, step)| Attack::new(format!("endless-{name}"), guest(&items, &forever(step)), OUT_OF_FUEL))
        .collect();
    attacks.push(Attack::new("nested-loops", nested_loops(), OUT_OF_FUEL));
    attacks.extend(recursion());
    attacks
}

/// Loops in loops, each as long as it can be.
fn nested_loops() -> Vec<u8> {
    let mut body = String::new();
    for depth in 0..40 {
        body =
            format!("(loop $l{depth} {body} (br_if $l{depth} (local.tee $i (i32.add (local.get $i) (i32.const 1)))))");
    }
    guest("", &format!("{body} (i32.const 0)"))
}

fn recursion() -> Vec<Attack> {
    const TOO_DEEP: End = End::Fails("trap", "stack");
    let call = "(call $a (local.get $i)) (i32.const 0)";
    let locals = "i64 ".repeat(255);
    let deep = "(func $a (param i32) (call $a (local.get 0)))".to_owned();
    let mutual = "(func $a (param i32) (call $b (local.get 0) (i64.const 1)))
                  (func $b (param i32 i64) (call $c (f64.const 1) (local.get 0)))
                  (func $c (param f64 i32) (call $a (local.get 1)))"
        .to_owned();
    let indirect = "(type $t (func (param i32))) (table 1 funcref) (elem (i32.const 0) $a)
                    (func $a (param i32) (call_indirect (type $t) (local.get 0) (i32.const 0)))"
        .to_owned();
    let large = format!("(func $a (param i32) (local {locals}) (call $a (local.get 0)))");
    // Never too deep, and two to the power of its depth calls.
    let tree = "(func $a (param i32) (if (i32.lt_u (local.get 0) (i32.const 400)) (then
        (call $a (i32.add (local.get 0) (i32.const 1))) (call $a (i32.add (local.get 0) (i32.const 1))))))"
        .to_owned();
    let large_tree = format!(
        "(func $a (param i32) (local {locals}) (if (i32.lt_u (local.get 0) (i32.const 100)) (then
         (call $a (i32.add (local.get 0) (i32.const 1))) (call $a (i32.add (local.get 0) (i32.const 1))))))"
    );
    [
        ("recursion", deep, TOO_DEEP),
        ("mutual-recursion", mutual, TOO_DEEP),
        ("indirect-recursion", indirect, TOO_DEEP),
        ("recursion-with-256-locals", large, TOO_DEEP),
        ("recursion-as-a-tree", tree, OUT_OF_FUEL),
        ("tree-with-256-locals", large_tree, OUT_OF_FUEL),
    ]
    .into_iter()
    .map(|(name, items, end)| Attack::new(name, guest(&items, call), end))
    .collect()
}
