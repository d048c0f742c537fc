//! Nothing of a message survives but its state: a function that has run cannot be told from a fresh one.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

mod common;

use common::*;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::manifest::Manifest;

/// A guest that first emits a digest of all it can see, then does what its payload tells it, one 6-byte step after the
/// other: operation, argument (u32), value.
struct Prober {
    name: &'static str,
    memory: &'static str,
    /// Code of `eyot_init`.
    init: &'static str,
    items: &'static str,
    /// Code that fails if a segment is gone; run twice, it changes nothing more.
    touch: &'static str,
    /// Mixes what `items` can hold into `$d`.
    look: &'static str,
    /// Steps above 9, by their number.
    steps: &'static str,
}

const GLOBALS: &str = r#"
(global $sp (mut i32) (i32.const 65536))
(global $a (mut i64) (i64.const -7))
(global $f (mut f32) (f32.const 1.5))
(global $g (mut f64) (f64.const nan:0x8000000000001))
(global $shown (export "shown") (mut i32) (i32.const 3))
(global $fixed i32 (i32.const 9))
(global $r (mut funcref) (ref.null func))
"#;

/// `$d` mixed with an i64.
macro_rules! mix {
    ($value:literal) => {
        concat!("(local.set $d (i64.mul (i64.xor (local.get $d) ", $value, ") (i64.const 0x100000001b3)))\n")
    };
}

const LOOK_AT_GLOBALS: &str = concat!(
    mix!("(i64.extend_i32_u (global.get $sp))"),
    mix!("(global.get $a)"),
    mix!("(i64.extend_i32_u (i32.reinterpret_f32 (global.get $f)))"),
    mix!("(i64.reinterpret_f64 (global.get $g))"),
    mix!("(i64.extend_i32_u (global.get $shown))"),
    mix!("(i64.extend_i32_u (ref.is_null (global.get $r)))"),
    mix!("(i64.extend_i32_u (memory.size))"),
);

const LOOK_AT_MEMORY: &str = concat!(
    "(loop $m ",
    mix!("(i64.load (local.get $n))"),
    "(br_if $m (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 8))) (i32.mul (memory.size) (i32.const 65536)))))"
);

const LOOK_AT_TABLE: &str = concat!(
    "(local.set $n (i32.const 0)) (loop $t ",
    mix!("(i64.extend_i32_u (ref.is_null (table.get $tab (local.get $n))))"),
    "(br_if $t (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 4))))"
);

const STEPS: &str = r#"
(if (i32.eq (local.get $op) (i32.const 0)) (then
    (i32.store8 (i32.rem_u (local.get $arg) (i32.mul (memory.size) (i32.const 65536))) (local.get $val))))
(if (i32.eq (local.get $op) (i32.const 1)) (then (global.set $sp (local.get $arg))))
(if (i32.eq (local.get $op) (i32.const 2)) (then (global.set $a (i64.extend_i32_s (local.get $arg)))))
(if (i32.eq (local.get $op) (i32.const 3)) (then (global.set $f (f32.reinterpret_i32 (local.get $arg)))))
(if (i32.eq (local.get $op) (i32.const 4)) (then (global.set $g (f64.convert_i32_s (local.get $arg)))))
(if (i32.eq (local.get $op) (i32.const 5)) (then (global.set $shown (local.get $arg)) (global.set $r (ref.func $look))))
(if (i32.eq (local.get $op) (i32.const 6)) (then (drop (memory.grow (i32.const 1)))))
(if (i32.eq (local.get $op) (i32.const 7)) (then unreachable))
(if (i32.eq (local.get $op) (i32.const 8)) (then (return (i32.const 1))))
(if (i32.eq (local.get $op) (i32.const 9)) (then (memory.fill (i32.const 1024) (local.get $val) (i32.const 31744))))
(if (i32.eq (local.get $op) (i32.const 14)) (then
    (memory.fill (i32.const 0) (local.get $val) (i32.mul (memory.size) (i32.const 65536))) (return (i32.const 0))))
(if (i32.eq (local.get $op) (i32.const 13)) (then (call $look)))
"#;

const SMALL: Prober = Prober {
    name: "one page",
    memory: r#"(memory (export "memory") 1)"#,
    init: "",
    items: "",
    touch: "",
    look: "",
    steps: "",
};

const LARGE: Prober = Prober { name: "large memory", memory: r#"(memory (export "memory") 10)"#, ..SMALL };

const FULL: Prober = Prober {
    name: "more in memory than is kept",
    init: "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 580000))",
    ..LARGE
};

const TABLES: Prober = Prober {
    name: "tables and segments",
    items: r#"(table $tab 4 funcref) (elem $e func $look) (data $seg "segment")"#,
    touch: "(memory.init $seg (i32.const 100) (i32.const 0) (i32.const 7)) (table.init $tab $e (i32.const 3) (i32.const 0) \
            (i32.const 1))",
    look: LOOK_AT_TABLE,
    steps: "(if (i32.eq (local.get $op) (i32.const 10)) (then (table.set $tab (i32.rem_u (local.get $arg) (i32.const 3)) \
            (ref.func $look)))) (if (i32.eq (local.get $op) (i32.const 11)) (then (data.drop $seg))) (if (i32.eq (local.get \
            $op) (i32.const 12)) (then (elem.drop $e)))",
    ..SMALL
};

impl Prober {
    fn wasm(&self) -> Vec<u8> {
        let look = format!(
            r#"(func $look (local $n i32) (local $d i64) (local $saved i64)
            {} {LOOK_AT_MEMORY} {LOOK_AT_GLOBALS} {}
            (local.set $saved (i64.load (i32.const 8)))
            (i64.store (i32.const 8) (local.get $d))
            (drop (call $emit (i32.const 16) (i32.const 5) (i32.const 8) (i32.const 8)))
            (i64.store (i32.const 8) (local.get $saved)))"#,
            self.touch, self.look
        );
        let handle = format!(
            r#"(func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
            (local $op i32) (local $arg i32) (local $val i32) (local $end i32)
            (call $look)
            (local.set $end (i32.add (local.get $p) (local.get $pl)))
            (block $done (loop $s
                (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
                (local.set $op (i32.load8_u (local.get $p)))
                (local.set $arg (i32.load (i32.add (local.get $p) (i32.const 1))))
                (local.set $val (i32.load8_u (i32.add (local.get $p) (i32.const 5))))
                (local.set $p (i32.add (local.get $p) (i32.const 6)))
                {STEPS} {}
                (br $s)))
            (i32.const 0))"#,
            self.steps
        );
        let init = format!(
            r#"(func (export "eyot_init") (result i32) (global.set $a (i64.const 77)) (i32.store (i32.const 4000)
            (i32.const 0x55555555)) {} (i32.const 0))"#,
            self.init
        );
        let data = r#"(data (i32.const 16) "out/a") (data (i32.const 60000) "far away") (elem declare func $look)"#;
        module(&[IMPORTS, self.memory, GLOBALS, self.items, data, &look, ABI, ALLOC, &init, &handle])
    }

    fn load(&self, wasm: &[u8]) -> Function {
        let manifest = Manifest::parse(
            "name = \"prober\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"out/#\"]\n[limits]\nfuel = 100000000",
        );
        let options = LoadOptions { manifest: Some(manifest.unwrap()), ..LoadOptions::default() };
        Function::load(wasm, options).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

fn program(random: &mut Random) -> Vec<u8> {
    let mut program = Vec::new();
    for _ in 0..random.below(12) {
        // Failing and growing are rare, so that most programs get to write.
        let op = match random.below(48) {
            0 => 6,
            1 => 7,
            2 => 8,
            3 | 4 => 14,
            n @ 5..=23 => [1, 2, 3, 4, 5, 9, 10, 11, 12].into_iter().nth(n as usize % 9).unwrap_or(0),
            _ => 0,
        };
        program.push(op);
        program.extend_from_slice(&(random.next() as u32).to_le_bytes());
        program.push(random.next() as u8);
    }
    program
}

fn cannot_be_told_from_fresh(prober: &Prober, seed: u64, rounds: u32) {
    let mut random = Random(seed);
    let wasm = prober.wasm();
    let mut fresh = prober.load(&wasm);
    let expected_usage = fresh.invoke(&message("in/a", b"")).unwrap();
    let expected = emits(&fresh);
    assert_eq!(expected.len(), 1);
    let mut used = prober.load(&wasm);
    for round in 0..rounds {
        let steps = program(&mut random);
        let _ = used.invoke(&message("in/a", &steps));
        if random.below(2) == 0 {
            used.reset();
        }
        if random.below(8) == 0 {
            // Left in the middle: the digest alone takes longer than a slice.
            let _ = used.begin(&message("in/a", &program(&mut random)));
            used.abort();
        }
        let usage = used.invoke(&message("in/a", b"")).unwrap();
        let place = format!("{}: seed {seed}, round {round}, after {steps:?}", prober.name);
        assert_eq!(emits(&used), expected, "{place}");
        assert_eq!(usage, expected_usage, "{place}");
    }
}

fn seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[test]
fn small_instances() {
    cannot_be_told_from_fresh(&SMALL, seed(), 300);
}

#[test]
fn large_instances() {
    cannot_be_told_from_fresh(&LARGE, seed(), 40);
}

#[test]
fn instances_too_full_to_keep() {
    cannot_be_told_from_fresh(&FULL, seed(), 40);
}

#[test]
fn instances_with_tables_and_segments() {
    cannot_be_told_from_fresh(&TABLES, seed(), 150);
}

/// If a step changed nothing that the digest shows, the tests above would prove nothing about it.
#[test]
fn the_digest_shows_each_kind_of_change() {
    let wasm = TABLES.wasm();
    let twice = |step: &[u8]| {
        let mut f = TABLES.load(&wasm);
        f.invoke(&message("in/a", &[step, &[13, 0, 0, 0, 0, 0]].concat())).is_ok().then(|| emits(&f))
    };
    let same = twice(&[]).unwrap();
    assert_eq!(same[0], same[1]);
    for op in [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12] {
        if let Some(looks) = twice(&[op, 200, 0, 0, 0, 0x77]) {
            assert_ne!(looks[0], looks[1], "step {op}");
        }
    }
}
