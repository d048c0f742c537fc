//! Modules that are refused as a whole, or make the load itself expensive.

use super::{Attack, End};
use crate::guest::{guest, handle, module, ABI, ALLOC, MEMORY};

const OK: &str = "(i32.const 0)";

pub(super) fn all() -> Vec<Attack> {
    [interface(), starts(), shapes(), sizes(), translation()].concat()
}

fn refused(name: &str, wasm: Vec<u8>, reason: &'static str) -> Attack {
    Attack::new(name, wasm, End::Refused(reason))
}

fn interface() -> Vec<Attack> {
    let handle = handle(OK);
    let import = |import: &str| module(&[import, MEMORY, ABI, ALLOC, &handle]);
    vec![
        refused("no-memory", module(&[ABI, ALLOC, &handle]), "export memory: missing"),
        refused("no-abi", module(&[MEMORY, ALLOC, &handle]), "export eyot_abi: missing"),
        refused("no-alloc", module(&[MEMORY, ABI, &handle]), "export eyot_alloc: missing"),
        refused("no-handle", module(&[MEMORY, ABI, ALLOC]), "export eyot_handle: missing"),
        refused("nothing-at-all", module(&[]), "export memory: missing"),
        refused(
            "mistyped-alloc",
            module(&[MEMORY, ABI, r#"(func (export "eyot_alloc") (param i64) (result i64) (local.get 0))"#, &handle]),
            "export eyot_alloc: wrong type",
        ),
        refused(
            "mistyped-handle",
            module(&[MEMORY, ABI, ALLOC, r#"(global (export "eyot_handle") i32 (i32.const 0))"#]),
            "export eyot_handle: wrong type",
        ),
        refused(
            "mistyped-memory",
            module(&["(memory 1)", r#"(func (export "memory"))"#, ABI, ALLOC, &handle]),
            "export memory: wrong type",
        ),
        refused(
            "mistyped-init",
            guest(r#"(func (export "eyot_init") (param i32) (result i32) (i32.const 0))"#, OK),
            "export eyot_init: wrong type",
        ),
        refused("unknown-import", import(r#"(import "eyot" "exec" (func))"#), "import eyot.exec: not part of"),
        refused("import-of-wasi", import(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#), "no WASI"),
        refused("import-of-a-memory", import(r#"(import "eyot" "memory" (memory 1))"#), "imported memory"),
        refused("import-of-a-table", import(r#"(import "eyot" "emit" (table 1 funcref))"#), "import eyot.emit"),
        refused("import-of-a-global", import(r#"(import "eyot" "emit" (global (mut i32)))"#), "import eyot.emit"),
        refused(
            "mistyped-import",
            import(r#"(import "eyot" "emit" (func (param i64)))"#),
            "import eyot.emit: wrong type",
        ),
    ]
}

fn starts() -> Vec<Attack> {
    let handle = handle(OK);
    vec![
        refused("start-function", guest("(func $s (loop $l (br $l))) (start $s)", OK), "start function"),
        refused(
            "wrong-version",
            module(&[MEMORY, r#"(func (export "eyot_abi") (result i32) (i32.const 7))"#, ALLOC, &handle]),
            "eyot_abi: returned 7",
        ),
        refused(
            "endless-abi",
            module(&[
                MEMORY,
                r#"(func (export "eyot_abi") (result i32) (loop $l (br $l)) unreachable)"#,
                ALLOC,
                &handle,
            ]),
            "out of fuel",
        ),
        refused(
            "endless-init",
            guest(r#"(func (export "eyot_init") (result i32) (loop $l (br $l)) unreachable)"#, OK),
            "eyot_init: out of fuel",
        ),
        refused("init-traps", guest(r#"(func (export "eyot_init") (result i32) unreachable)"#, OK), "eyot_init: trap"),
        refused(
            "init-takes-all",
            guest(
                r#"(func (export "eyot_init") (result i32) (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (if (then unreachable)) (i32.const 0))"#,
                OK,
            ),
            "eyot_init: out of memory",
        ),
        refused(
            "segment-outside-memory",
            guest("(data (i32.const 65530) \"0123456789\")", OK),
            "cannot be instantiated",
        ),
        refused(
            "element-outside-its-table",
            guest("(table 1 funcref) (func $f) (elem (i32.const 1) func $f)", OK),
            "cannot be instantiated",
        ),
    ]
}

fn shapes() -> Vec<Attack> {
    let grows = "(drop (memory.grow (i32.const 1)))".repeat(9);
    vec![
        refused("257-locals", guest(&format!("(func (local {}))", "i64 ".repeat(257)), OK), "257 locals"),
        refused(
            "table-grow",
            guest("(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))", OK),
            "table.grow",
        ),
        refused("nine-grows", guest(&format!("(func {grows})"), OK), "9 memory.grow"),
        refused("table-of-a-billion", guest("(table 1000000000 funcref)", OK), "1000000000 table elements"),
        refused("tables-of-much", guest(&"(table 65536 funcref)".repeat(4), OK), "table elements"),
        refused("table-with-initial-value", guest("(func $f) (table 10 funcref (ref.func $f))", OK), "initial value"),
        refused("two-memories", guest("(memory 1)", OK), "more than one memory"),
        refused(
            "memory-of-64-bits",
            module(&[r#"(memory (export "memory") i64 1)"#, ABI, ALLOC, &handle(OK)]),
            "memory",
        ),
        refused("tail-calls", guest("(func $f (return_call $f))", OK), "tail calls"),
        refused("vectors", guest("(func (drop (v128.const i64x2 0 0)))", OK), "SIMD"),
        refused("atomics", guest("(func (drop (i32.atomic.load (i32.const 0))))", OK), "not loadable"),
        refused("exceptions", guest("(tag)", OK), "not loadable"),
        refused("33-parameters", guest(&format!("(func (param {}))", "i32 ".repeat(33)), OK), "parameters"),
        refused(
            "export-of-a-reserved-name",
            guest("(global (export \"eyot.global.0\") (mut i32) (i32.const 0))", OK),
            "duplicate export",
        ),
    ]
}

fn sizes() -> Vec<Attack> {
    let mut large = guest("", OK);
    large.resize(100 << 20, 0);
    let count = |item: &str, count: usize| guest(&item.repeat(count), OK);
    vec![
        refused("100-mb", large, "104857600 bytes, at most 8388608"),
        refused("too-many-functions", count("(func)", 10_001), "functions"),
        refused("too-small-functions", count("(func)", 9_000), "average bytes"),
        refused("too-many-types", count("(type (func (param i32)))", 1_001), "types"),
        refused("too-many-globals", count("(global i32 (i32.const 0))", 1_001), "1001 globals"),
        refused("too-many-tables", count("(table 1 funcref)", 5), "5 tables"),
        refused("too-many-segments", count("(data \"x\")", 1_001), "1001 data segments"),
        refused(
            "too-many-exports",
            guest(&(0..1001).map(|i| format!("(export \"{i}\" (memory 0))")).collect::<String>(), OK),
            "exports",
        ),
        refused(
            "too-much-code-in-one-function",
            guest(&format!("(func {})", "(drop (i32.const 1))".repeat(90_000)), OK),
            "bytes in one function",
        ),
    ]
}

/// What makes a translator work hard: each loads, and does nothing.
fn translation() -> Vec<Attack> {
    let never = |code: &str| guest(&format!("(func (local $i i32) (local $j i32) {code})"), OK);
    let nested = |open: &str, close: &str, depth: usize| {
        guest("", &format!("{}{}{OK}", open.repeat(depth), close.repeat(depth)))
    };
    let targets = "0 ".repeat(60_000);
    let gets = "local.get $i ".repeat(40_000);
    let drops = "drop ".repeat(40_000);
    let branches = "(br_if $out (local.get $i))".repeat(30_000);
    let values = "i64 ".repeat(32);
    let constants = "(i64.const 1) ".repeat(32);
    let chain = format!("{}(local.get $i){}", "(i32.add (i32.const 1) ".repeat(60_000), ")".repeat(60_000));
    let runs = |name: &str, wasm: Vec<u8>| Attack::new(name, wasm, End::Nothing);
    vec![
        refused("too-deeply-nested-blocks", nested("block ", "end ", 80_000), "4097 blocks inside each other"),
        refused("too-deeply-nested-loops", nested("loop ", "end ", 80_000), "4097 blocks inside each other"),
        refused("too-deeply-nested-ifs", nested("i32.const 0 if ", "end ", 40_000), "4097 blocks inside each other"),
        runs("deeply-nested-blocks", nested("block ", "end ", 4_096)),
        runs("deeply-nested-loops", nested("loop ", "end ", 4_096)),
        runs("deeply-nested-ifs", nested("i32.const 0 if ", "end ", 4_096)),
        runs("branch-table-of-60000", never(&format!("(block (br_table {targets} (i32.const 5)))"))),
        runs(
            "branch-table-with-32-values",
            never(&format!(
                "(block (result {values}) {constants} (br_table {targets} (i32.const 5))) {}",
                "drop ".repeat(32)
            )),
        ),
        runs("many-branches-to-one-label", never(&format!("(block $out {branches})"))),
        runs("deep-operand-stack", never(&format!("{gets} {drops}"))),
        runs(
            "writes-below-a-deep-stack",
            never(&format!("{gets} {} {drops}", "(local.set $j (i32.const 1))".repeat(30_000))),
        ),
        runs(
            "writes-of-a-deep-stack",
            never(&format!("{gets} {} {drops}", "(local.get $i) (local.set $i (i32.const 1)) drop".repeat(15_000))),
        ),
        runs("blocks-above-a-deep-stack", never(&format!("{gets} {} {drops}", "(block (br 0))".repeat(20_000)))),
        runs(
            "ifs-above-a-deep-stack",
            never(&format!("{gets} {} {drops}", "(if (i32.load (i32.const 0)) (then (nop)))".repeat(10_000))),
        ),
        runs("dead-code", never(&format!("unreachable {}", "(block (br 0))".repeat(20_000)))),
        runs("deep-expression", never(&format!("(drop {chain})"))),
        runs("many-calls", guest(&format!("(func $f) (func {})", "(call $f)".repeat(80_000)), OK)),
        runs("as-much-code-as-fits", guest(&full(), OK)),
        runs(
            "many-constants",
            never(&(0..20_000).map(|n| format!("(drop (i64.const {}))", n * 0x1234_5678_9abc_u64)).collect::<String>()),
        ),
        Attack::new(
            "deep-expression-that-runs",
            guest("", &format!("(drop {chain}) {OK}")),
            End::Fails("trap", "stack"),
        ),
    ]
}

/// Nearly the largest module.
fn full() -> String {
    let code = "(drop (i32.add (i32.const 1) (i32.load (i32.const 2))))".repeat(4_000);
    (0..200).map(|number| format!("(func {code} (drop (i32.const {number})))")).collect()
}
