//! A function does the same to the bit on every processor: floats, and the bits of NaN, included.
//!
//! The other processor is aarch64 in `qemu-aarch64-static`, with `rustup target add aarch64-unknown-linux-musl`; where
//! either is missing the comparison says SKIPPED. `EYOT_REQUIRE_QEMU=1` makes that a failure.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/outcomes.rs"]
mod outcomes;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use eyot_engine::{Function, Invocation, LoadOptions};
use eyot_wire::capture::{Capture, Outcome};
use outcomes::outcomes;

const TARGET: &str = "aarch64-unknown-linux-musl";
const QEMU: &str = "qemu-aarch64-static";

/// Operators whose NaN the specification leaves to the processor, by type: what we promise is the canonical one.
const UNARY: [&str; 5] = ["ceil", "floor", "trunc", "nearest", "sqrt"];
const BINARY: [&str; 6] = ["add", "sub", "mul", "div", "min", "max"];

/// Bytes of one result.
const RESULT_BYTES: usize = 8;

/// Code that stores the bits of each result, and how many of them must be canonical if they are NaN, by type.
struct Operators {
    code: String,
    count: usize,
    /// Where results are floats of this many bytes whose NaN is canonical.
    canonical: Vec<(usize, usize)>,
}

impl Operators {
    fn all() -> Self {
        let mut all = Self { code: String::new(), count: 0, canonical: Vec::new() };
        for (ty, bytes, a, b) in [("f64", 8, "$a", "$b"), ("f32", 4, "$fa", "$fb")] {
            let (a, b) = (format!("(local.get {a})"), format!("(local.get {b})"));
            for name in UNARY {
                all.float(ty, bytes, &format!("({ty}.{name} {a})"));
            }
            for name in BINARY {
                all.float(ty, bytes, &format!("({ty}.{name} {a} {b})"));
            }
            // The bits of a NaN are those that went in.
            for name in ["abs", "neg"] {
                all.store(&format!("({ty}.store offset={{}} (i32.const 1024) ({ty}.{name} {a}))"));
            }
            all.store(&format!("({ty}.store offset={{}} (i32.const 1024) ({ty}.copysign {a} {b}))"));
            for int in ["i32", "i64"] {
                for sign in ["s", "u"] {
                    all.store(&format!("({int}.store offset={{}} (i32.const 1024) ({int}.trunc_sat_{ty}_{sign} {a}))"));
                    let from = if int == "i32" { "(i32.wrap_i64 (local.get $i))" } else { "(local.get $i)" };
                    all.float(ty, bytes, &format!("({ty}.convert_{int}_{sign} {from})"));
                }
            }
            for name in ["eq", "ne", "lt", "gt", "le", "ge"] {
                all.store(&format!("(i32.store offset={{}} (i32.const 1024) ({ty}.{name} {a} {b}))"));
            }
        }
        all.float("f32", 4, "(f32.demote_f64 (local.get $a))");
        all.float("f64", 8, "(f64.promote_f32 (local.get $fa))");
        // What a compiler makes of longer code is not the sum of its parts.
        all.float("f64", 8, "(f64.add (f64.mul (local.get $a) (local.get $b)) (f64.sqrt (local.get $a)))");
        all.float("f32", 4, "(f32.sub (f32.mul (local.get $fa) (local.get $fb)) (f32.demote_f64 (local.get $b)))");
        all
    }

    fn float(&mut self, ty: &str, bytes: usize, expression: &str) {
        self.canonical.push((self.count, bytes));
        self.store(&format!("({ty}.store offset={{}} (i32.const 1024) {expression})"));
    }

    fn store(&mut self, code: &str) {
        self.code.push_str(&code.replace("{}", &(self.count * RESULT_BYTES).to_string()));
        self.code.push('\n');
        self.count += 1;
    }
}

const MANIFEST: &str = r#"name = \"floats\"\0aversion = \"1.0.0\"\0a[allow]\0aemit = [\"out\"]"#;

/// A function that is given two doubles, two singles and an integer, emits what all operators make of them, and keeps it.
fn floats(operators: &Operators) -> Vec<u8> {
    let Operators { code, count, .. } = operators;
    let bytes = count * RESULT_BYTES;
    let text = format!(
        r#"(module
        (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
        (import "eyot" "random" (func $random (param i32 i32) (result i32)))
        (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "out")
        (func (export "eyot_abi") (result i32) i32.const 1)
        (func (export "eyot_alloc") (param i32) (result i32) i32.const 32768)
        (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
            (local $a f64) (local $b f64) (local $fa f32) (local $fb f32) (local $i i64)
            (local.set $a (f64.load (local.get $p))) (local.set $b (f64.load offset=8 (local.get $p)))
            (local.set $fa (f32.load offset=16 (local.get $p))) (local.set $fb (f32.load offset=20 (local.get $p)))
            (local.set $i (i64.load offset=24 (local.get $p)))
            {code}
            (drop (call $random (i32.const 16) (i32.const 8)))
            (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 8)))
            (drop (call $emit (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const {bytes})))
            (call $set (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const {bytes})))
        (@custom "eyot.manifest" "{MANIFEST}"))"#
    );
    wat::parse_str(text).unwrap()
}

/// Every kind of float, NaN of both signs, quiet and signalling and with a payload among them.
const DOUBLES: [u64; 20] = [
    0,
    1 << 63,
    0x3ff8_0000_0000_0000, // 1.5
    0x4004_0000_0000_0000, // 2.5
    0xbfe0_0000_0000_0000, // -0.5
    0x3fb9_9999_9999_999a, // 0.1
    0x4340_0000_0000_0001,
    0xc1e0_0000_0000_0000, // -2^31
    0x43e0_0000_0000_0000, // 2^63
    0x7fef_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    1,
    0x800f_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff4_1234_5678_9abc,
    0x7ff8_dead_beef_0001,
];
const SINGLES: [u32; 20] = [
    0,
    1 << 31,
    0x3fc0_0000,
    0x4020_0000,
    0xbf00_0000,
    0x3dcc_cccd,
    0x4b80_0001,
    0xcf00_0000,
    0x5f00_0000,
    0x7f7f_ffff,
    0x0080_0000,
    1,
    0x807f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xffa1_2345,
    0x7fc0_dead,
];

fn operands() -> Vec<Vec<u8>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut all = Vec::new();
    let mut push = |a: u64, b: u64, fa: u32, fb: u32, i: u64| {
        let parts = [&a.to_le_bytes()[..], &b.to_le_bytes(), &fa.to_le_bytes(), &fb.to_le_bytes(), &i.to_le_bytes()];
        all.push(parts.concat());
    };
    for a in 0..DOUBLES.len() {
        for b in 0..DOUBLES.len() {
            push(DOUBLES[a], DOUBLES[b], SINGLES[a], SINGLES[b], DOUBLES[a].rotate_left(b as u32));
        }
    }
    for _ in 0..200 {
        push(random(), random(), random() as u32, random() as u32, random());
    }
    all
}

fn capture(topic: &str, payload: Vec<u8>, seed: u64) -> Capture {
    Capture {
        function: String::new(),
        version: String::new(),
        sha256: [0; 32],
        topic: topic.into(),
        payload,
        now_ms: 1_700_000_000_123,
        seed,
        state: Some(Vec::new()),
        config: Vec::new(),
        outcome: Outcome { result: Ok(()), emits: Vec::new(), state: Vec::new(), logs: Vec::new(), emits_refused: 0 },
    }
}

#[test]
fn a_nan_that_was_computed_has_the_canonical_bits() {
    let operators = Operators::all();
    let mut function = Function::load(&floats(&operators), LoadOptions::default()).unwrap();
    let mut nans = 0;
    for payload in operands() {
        let message = Invocation { topic: "in", payload: &payload, now_ms: 0, seed: 0 };
        function.invoke(&message).unwrap();
        let results = function.effects().emits().nth(1).unwrap().payload;
        for &(number, bytes) in &operators.canonical {
            let at = number * RESULT_BYTES;
            let (is_nan, bits, canonical) = if bytes == 8 {
                let bits = u64::from_le_bytes(results[at..at + 8].try_into().unwrap());
                (f64::from_bits(bits).is_nan(), bits, 0x7ff8_0000_0000_0000)
            } else {
                let bits = u32::from_le_bytes(results[at..at + 4].try_into().unwrap());
                (f32::from_bits(bits).is_nan(), u64::from(bits), 0x7fc0_0000)
            };
            let code = operators.code.lines().nth(number).unwrap_or_default();
            assert!(!is_nan || bits == canonical, "{bits:x} of {code} with {payload:x?}");
            nans += usize::from(is_nan);
        }
    }
    assert!(nans > 1000, "{nans}");
}

/// The example `outcomes` for the other processor; `None` where it cannot be made or run.
fn other() -> Option<PathBuf> {
    let missing = |what: &str| {
        assert!(env::var_os("EYOT_REQUIRE_QEMU").is_none(), "{what}");
        // Not by a macro, whose output is kept back for tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED comparison of processors: {what}");
        None
    };
    if Command::new(QEMU).arg("--version").output().is_err() {
        return missing(&format!("no {QEMU} here; install qemu-user-static"));
    }
    let sysroot = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().unwrap();
    let libraries = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim().to_owned());
    if !libraries.is_dir() {
        return missing(&format!("no {TARGET} here; rustup target add {TARGET}"));
    }
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cpus");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", "outcomes", "--target", TARGET]).arg("--target-dir").arg(&target_dir);
    // The target's own start files and linker: no compiler for C is needed.
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld").env_remove("RUSTFLAGS");
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(target_dir.join(TARGET).join("debug/examples/outcomes"))
}

#[test]
fn captures_come_out_the_same_on_another_processor() {
    let Some(other) = other() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    let floats_path = folder.join("floats.wasm");
    fs::write(&floats_path, floats(&Operators::all())).unwrap();
    let floats = operands().into_iter().zip(0..).map(|(payload, seed)| capture("in", payload, seed)).collect();
    let readings = |seed: u64| {
        let t = f64::from_bits(0x4035_0000_0000_0000 + seed * 0x0000_1234_5678_9abc);
        let text = format!(r#"{{"device":"d-{seed}","t":{t},"rh":{},"ts":{seed}}}"#, t.sqrt() * 7.0);
        capture("sensors/7/raw", text.into_bytes(), seed)
    };
    let example = |name: &str| functions.join(name).join(format!("{name}.wasm"));
    let mut all: Vec<(PathBuf, Vec<Capture>)> = vec![(floats_path, floats)];
    all.extend(["celsius", "smooth", "alarm"].map(|name| (example(name), (0..100).map(readings).collect())));
    for (module, captures) in all {
        let file = folder.join("cpus.cap");
        fs::write(&file, captures.iter().flat_map(|capture| capture.encode().unwrap()).collect::<Vec<u8>>()).unwrap();
        let ours = outcomes(&fs::read(&module).unwrap(), &fs::read(&file).unwrap()).unwrap();
        let theirs = Command::new(QEMU).args([&other, &module, &file]).output().unwrap();
        assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        assert_eq!(ours.lines().count(), captures.len());
        for ((ours, theirs), capture) in ours.lines().zip(theirs.lines()).zip(&captures) {
            assert_eq!(ours, theirs, "{}: {:x?}", module.display(), capture.payload);
        }
        assert_eq!(ours.len(), theirs.len());
    }
}
