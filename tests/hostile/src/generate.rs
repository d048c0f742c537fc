//! Random functions: valid modules with all imports that compute, call, write anywhere and use everything a module may
//! use, and that show what they find.
//!
//! Each message begins and ends with a digest of memory, globals and table, which is emitted: nothing that is left of an
//! earlier message, and no difference between two engines, stays unseen.

mod code;

use crate::choices::Choices;
use crate::guest::{ABI, ALLOC, IMPORTS};
use code::Code;

/// A memory: how it is declared, and the bytes of one of its pages.
const MEMORIES: &[(&str, u32)] =
    &[("1", 65_536), ("1 3", 65_536), ("2", 65_536), ("40000 (pagesize 1)", 1), ("9", 65_536), ("1 1", 65_536)];

/// Numeric globals; the first four can be changed.
const GLOBALS: &str = r#"
(global $g0 (mut i32) (i32.const 7)) (global $g1 (mut i64) (i64.const -7))
(global $g2 (mut f32) (f32.const 1.5)) (global $g3 (mut f64) (f64.const -0.0))
(global $g4 i32 (i32.const 40)) (global $depth (mut i32) (i32.const 0))
(global $r (mut funcref) (ref.null func))
"#;

/// Helpers, so many of them, all of the same type.
const HELPERS: u64 = 3;

/// The text of a random module.
pub fn text(choices: &mut Choices<'_>) -> String {
    let (memory, page_bytes) = *choices.pick(&MEMORIES.iter().collect::<Vec<_>>());
    // Most functions leave tables and segments alone, and are reset in another way.
    let tables = choices.once_in(4);
    let init = if choices.once_in(3) { init(choices, tables) } else { String::new() };
    let handle = Code::new(choices, tables).body();
    let result = if choices.once_in(4) { Code::new(choices, tables).i32(2) } else { "(i32.const 0)".to_owned() };
    let helpers: String = (0..HELPERS).map(|number| helper(number, choices, tables)).collect();
    format!(
        r#"(module {IMPORTS} (memory (export "memory") {memory}) {GLOBALS}
(type $helper (func (param i32 i64) (result i64)))
(table $t 6 funcref) (elem (table $t) (i32.const 1) func $h0 $h1 $h2) (elem $e func $h1 $h0) (elem declare func $h2)
(data (i32.const 16) "out/aout/bconfigkey") (data $d "passive data") (data (i32.const 39000) "far away")
{look} {ABI} {ALLOC} {init} {helpers}
(func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
(local $a i32) (local $b i32) (local $c i64) (local $d i64) (local $e f32) (local $f f64) (local $n i32)
(local.set $a (i32.load8_u (local.get $p))) (local.set $c (i64.load (local.get $p)))
(call $look) {handle} (i64.store (i32.const 16) (i64.const 0x6f612f74756f)) (call $look) {result}))"#,
        look = look(page_bytes)
    )
}

/// A random module.
///
/// # Panics
/// When the generator made text that is none.
#[allow(clippy::panic)] // a mistake in the generator
pub fn module(choices: &mut Choices<'_>) -> Vec<u8> {
    let text = text(choices);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn init(choices: &mut Choices<'_>, tables: bool) -> String {
    let body = Code::new(choices, tables).body();
    format!(
        r#"(func (export "eyot_init") (result i32)
        (local $a i32) (local $b i32) (local $c i64) (local $d i64) (local $e f32) (local $f f64) (local $n i32)
        (local $p i32) (local.set $p (i32.const 32768)) {body} (i32.const 0))"#
    )
}

fn helper(number: u64, choices: &mut Choices<'_>, tables: bool) -> String {
    let body = Code::new(choices, tables).body();
    let result = Code::new(choices, tables).i64(2);
    format!(
        "(func $h{number} (param $a i32) (param $c i64) (result i64)
        (local $b i32) (local $d i64) (local $e f32) (local $f f64) (local $n i32) (local $p i32)
        (local.set $p (i32.const 32768))
        (if (i32.gt_u (global.get $depth) (i32.const 12)) (then (return (i64.const 99))))
        (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
        {body} (global.set $depth (i32.sub (global.get $depth) (i32.const 1))) {result})"
    )
}

/// Emits a digest of all there is to see, and leaves everything as it was.
fn look(page_bytes: u32) -> String {
    let mix =
        |value: &str| format!("(local.set $d (i64.mul (i64.xor (local.get $d) {value}) (i64.const 0x100000001b3)))\n");
    let values: String = [
        "(i64.extend_i32_u (global.get $g0))",
        "(global.get $g1)",
        "(i64.extend_i32_u (i32.reinterpret_f32 (global.get $g2)))",
        "(i64.reinterpret_f64 (global.get $g3))",
        "(i64.extend_i32_u (global.get $depth))",
        "(i64.extend_i32_u (ref.is_null (global.get $r)))",
        "(i64.extend_i32_u (memory.size))",
    ]
    .map(mix)
    .concat();
    let table: String = (0..6)
        .map(|index| mix(&format!("(i64.extend_i32_u (ref.is_null (table.get $t (i32.const {index}))))")))
        .collect();
    let memory = mix("(i64.load (local.get $n))");
    format!(
        "(func $look (local $n i32) (local $d i64) (local $saved i64) {values} {table}
        (loop $m {memory} (br_if $m (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 8)))
            (i32.mul (memory.size) (i32.const {page_bytes})))))
        (local.set $saved (i64.load (i32.const 8))) (i64.store (i32.const 8) (local.get $d))
        (drop (call $emit (i32.const 16) (i32.const 5) (i32.const 8) (i32.const 8)))
        (i64.store (i32.const 8) (local.get $saved)))"
    )
}
