//! Memory: growth, bulk operations and tables, as much of them as there can be.

use eyot_engine::limits::{GROWS_MAX, TABLE_ELEMENTS_MAX};

use super::{Attack, End, OUT_OF_FUEL};
use crate::guest::{guest, handle, module, ABI, ALLOC, IMPORTS};

/// The most a gateway grants.
const LARGE: &str = "memory = \"16MiB\"";
const LARGE_MEMORY: &str = r#"(memory (export "memory") 256)"#;

fn forever(step: &str) -> String {
    format!("(loop $again {step} (br $again)) unreachable")
}

fn large(items: &str, step: &str) -> Vec<u8> {
    module(&[IMPORTS, LARGE_MEMORY, items, ABI, ALLOC, &handle(&forever(step))])
}

pub(super) fn all() -> Vec<Attack> {
    [grows(), bulk(), tables()].concat()
}

fn grows() -> Vec<Attack> {
    let grow = |by: i64| format!("(drop (memory.grow (i32.const {by})))");
    let many = |by: i64| forever(&grow(by).repeat(GROWS_MAX as usize));
    let growing = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let taken = format!(
        "(drop (memory.grow (i32.const 255))) {}",
        forever(
            "(i64.store (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 0xfffff8)) \
                 (i64.const 1))"
        )
    );
    vec![
        Attack::new("grow-by-nothing", guest("", &many(0)), OUT_OF_FUEL),
        Attack::new("grow-by-all", guest("", &many(-1)), OUT_OF_FUEL),
        Attack::new("grow-over-the-limit", guest("", &many(16)), OUT_OF_FUEL),
        Attack::new("grow-until-refused", guest("", &forever(growing)), End::Fails("memory", "memory")),
        Attack::new("grow-to-the-limit", guest("", &forever(&grow(1))), OUT_OF_FUEL),
        Attack::new("grow-to-the-ceiling", guest("", &forever(growing)), End::Fails("memory", "memory")).limits(LARGE),
        Attack::new("grow-and-touch-all", guest("", &taken), OUT_OF_FUEL).limits(LARGE),
        Attack::new(
            "grow-once-a-message",
            guest("", "(drop (memory.grow (i32.const 15))) (i32.const 0)"),
            End::Nothing,
        ),
    ]
}

fn bulk() -> Vec<Attack> {
    let all = "(i32.const 0x1000000)";
    let half = "(i32.const 0x800000)";
    let segment = format!("(data $d \"{}\")", "x".repeat(200_000));
    vec![
        Attack::new("fill-all", large("", &format!("(memory.fill (i32.const 0) (i32.const 1) {all})")), OUT_OF_FUEL)
            .limits(LARGE),
        Attack::new("copy-half", large("", &format!("(memory.copy {half} (i32.const 0) {half})")), OUT_OF_FUEL)
            .limits(LARGE),
        Attack::new(
            "copy-onto-itself",
            large("", "(memory.copy (i32.const 1) (i32.const 0) (i32.const 0xffffff))"),
            OUT_OF_FUEL,
        )
        .limits(LARGE),
        Attack::new(
            "fill-a-little",
            guest("", &forever("(memory.fill (i32.const 9) (i32.const 1) (i32.const 127))")),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "copy-a-little",
            guest("", &forever("(memory.copy (i32.const 9) (i32.const 300) (i32.const 127))")),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "copy-nothing",
            guest("", &forever("(memory.copy (i32.const 9) (i32.const 300) (i32.const 0))")),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "init-from-a-segment",
            large(&segment, "(memory.init $d (i32.const 70000) (i32.const 0) (i32.const 200000))"),
            OUT_OF_FUEL,
        )
        .limits(LARGE),
        Attack::new(
            "copy-out-of-bounds",
            guest("", "(memory.copy (i32.const 1) (i32.const 0) (i32.const -1)) (i32.const 0)"),
            End::Fails("trap", "out of bounds"),
        ),
        Attack::new(
            "fill-around-the-end",
            guest("", "(memory.fill (i32.const -8) (i32.const 1) (i32.const 16)) (i32.const 0)"),
            End::Fails("trap", "out of bounds"),
        ),
    ]
}

fn tables() -> Vec<Attack> {
    let most = TABLE_ELEMENTS_MAX;
    let table = format!("(table $t {most} funcref) (elem declare func $n) (func $n)");
    let full = format!(
        "(table $t {most} funcref) (func $n) (elem $e (table $t) (i32.const 0) func {})",
        "$n ".repeat(most as usize)
    );
    let passive = format!("(table $t {most} funcref) (func $n) (elem $e func {})", "$n ".repeat(most as usize));
    let nothing = "(i32.const 0)";
    let half = most / 2;
    vec![
        Attack::new("huge-table", guest(&full, nothing), End::Nothing),
        Attack::new(
            "huge-table-filled",
            guest(&table, &forever(&format!("(table.fill $t (i32.const 0) (ref.func $n) (i32.const {most}))"))),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "huge-table-copied",
            guest(&table, &forever(&format!("(table.copy $t $t (i32.const {half}) (i32.const 0) (i32.const {half}))"))),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "huge-table-from-a-segment",
            guest(&passive, &forever(&format!("(table.init $t $e (i32.const 0) (i32.const 0) (i32.const {most}))"))),
            OUT_OF_FUEL,
        ),
        Attack::new(
            "huge-table-written-each-message",
            guest(&full, "(table.set $t (i32.const 1) (ref.null func)) (i32.const 0)"),
            End::Nothing,
        ),
        Attack::new(
            "call-of-null",
            guest("(type $n (func)) (table 4 funcref)", "(call_indirect (type $n) (i32.const 2)) (i32.const 0)"),
            End::Fails("trap", "uninitialized"),
        ),
        Attack::new(
            "call-outside-the-table",
            guest("(type $n (func)) (table 4 funcref)", "(call_indirect (type $n) (i32.const -1)) (i32.const 0)"),
            End::Fails("trap", "table"),
        ),
        Attack::new(
            "call-of-another-type",
            guest(
                "(type $n (func (param i64))) (func $f) (table 1 funcref) (elem (i32.const 0) $f)",
                "(call_indirect (type $n) (i64.const 1) (i32.const 0)) (i32.const 0)",
            ),
            End::Fails("trap", "type mismatch"),
        ),
    ]
}
