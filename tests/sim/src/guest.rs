//! The functions of the simulation, as WebAssembly text.

use std::sync::{Arc, OnceLock};

use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::manifest::{Limits, Manifest};

/// Highest version: one digit, so that it fits into every output.
pub const VERSION_MAX: u8 = 9;
/// Where the module's text has its version.
const VERSION_MARK: u8 = 0xf7;

/// How the function fails, when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Never.
    Never,
    /// Now and then, at random: by a trap, by running until its fuel is gone, or by an error code; always after its
    /// first output, which must not be seen.
    AtRandom,
    /// As a mistake that the checks must find: it stops after its first output and says that all is well.
    Silently,
}

/// What of the function goes on for so long that it is done by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// Nothing.
    Never,
    /// Messages whose number ends in `5`.
    Sometimes,
    /// The same, and it keeps no state: several workers can be at it.
    WithoutState,
}

/// Adds `/<version><part>` to its payload and emits it as part `a` to `cloud/a` and as part `b` to `cloud/b`, and, if the
/// payload ends in `3`, as part `c` to `local/c`. Counts its messages in state under `n`, if it is to keep any.
fn module(failing: Failing, long: Long) -> Vec<u8> {
    let turns = if long == Long::Never { 0 } else { 7_000 };
    let (imports, counts) = match long {
        Long::WithoutState => ("", ""),
        _ => (
            r#"(import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))"#,
            "(drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))",
        ),
    };
    let fails = match failing {
        Failing::Never => String::new(),
        Failing::AtRandom => "(drop (call $random (i32.const 64) (i32.const 1)))
            (local.set $r (i32.load8_u (i32.const 64)))
            (if (i32.lt_u (local.get $r) (i32.const 8)) (then unreachable))
            (if (i32.lt_u (local.get $r) (i32.const 10)) (then (loop $for_ever (br $for_ever))))
            (if (i32.lt_u (local.get $r) (i32.const 16)) (then (return (i32.const 7))))"
            .to_owned(),
        Failing::Silently => "(if (i32.eq (local.get $last) (i32.const 55)) (then (return (i32.const 0))))".to_owned(),
    };
    let text = format!(
        r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "random" (func $random (param i32 i32) (result i32)))
  {imports}
  (memory (export "memory") 1)
  (data (i32.const 0) "n")
  (data (i32.const 16) "cloud/a")
  (data (i32.const 32) "cloud/b")
  (data (i32.const 48) "local/c")
  (data (i32.const 80) "/\{VERSION_MARK:02x}")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func $part (param $topic i32) (param $p i32) (param $pl i32) (param $part i32)
    (i32.store8 (i32.add (local.get $p) (i32.add (local.get $pl) (i32.const 2))) (local.get $part))
    (drop (call $emit (local.get $topic) (i32.const 7) (local.get $p) (i32.add (local.get $pl) (i32.const 3)))))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $last i32) (local $r i32) (local $turns i32)
    (local.set $last (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 1))))
    {counts}
    (if (i32.eq (local.get $last) (i32.const 53)) (then
      (local.set $turns (i32.const {turns}))
      (loop $turn
        (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
        (br_if $turn (i32.gt_s (local.get $turns) (i32.const 0))))))
    (i32.store16 (i32.add (local.get $p) (local.get $pl)) (i32.load16_u (i32.const 80)))
    (call $part (i32.const 16) (local.get $p) (local.get $pl) (i32.const 97))
    {fails}
    (call $part (i32.const 32) (local.get $p) (local.get $pl) (i32.const 98))
    (if (i32.eq (local.get $last) (i32.const 51))
      (then (call $part (i32.const 48) (local.get $p) (local.get $pl) (i32.const 99))))
    (i32.const 0)))"#
    );
    let module = wat::parse_str(text).expect("the guest is valid text");
    assert_eq!(module.iter().filter(|byte| **byte == VERSION_MARK).count(), 1, "the mark must be one of a kind");
    module
}

/// Whether a message with this number has a part `c`.
pub fn has_local_part(number: u64) -> bool {
    number % 10 == 3
}

/// The function called `name`, in `version` (1 to 9).
pub fn load(name: &str, version: u8, failing: Failing, long: Long) -> Loaded {
    static MODULES: [OnceLock<Vec<u8>>; 9] = [const { OnceLock::new() }; 9];
    let index = 3 * long as usize + failing as usize;
    let mut module = MODULES[index].get_or_init(|| module(failing, long)).clone();
    for byte in module.iter_mut().filter(|byte| **byte == VERSION_MARK) {
        *byte = b'0' + version;
    }
    let manifest = format!(
        "name = \"{name}\"\nversion = \"{version}.0.0\"\n[[trigger]]\nmqtt = \"s/+\"\n[limits]\nfuel = 100_000\n\
         [allow]\nemit = [\"cloud/#\", \"local/#\"]"
    );
    let manifest = Manifest::parse(&manifest).expect("the manifest is valid");
    let load = move || {
        let manifest = Some(manifest.clone());
        let options = LoadOptions { manifest, ceiling: Limits::CEILING, ..LoadOptions::default() };
        Function::load(&module, options).expect("the guest loads")
    };
    Loaded {
        function: load(),
        sha256: [version; 32],
        content_sha256: [version; 32],
        replica: Some(Arc::new(move || Some(load()))),
    }
}

/// Name of the reducer.
pub const REDUCER: &str = "thin";

/// Whether the reducer takes the outputs of a message with this number.
pub fn is_reduced(number: u64) -> bool {
    number % 2 == 1
}

/// The reducer: keeps outputs of even numbers, and dead letters.
pub fn reducer() -> Loaded {
    const TEXT: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (if (i32.and (i32.ne (i32.load8_u (local.get $p)) (i32.const 123))
                 (i32.and (i32.const 1) (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 4)))))
      (then (return (i32.const 0))))
    (drop (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl)))
    (i32.const 0)))"#;
    let manifest = format!("name = \"{REDUCER}\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"#\"]");
    let manifest = Some(Manifest::parse(&manifest).expect("the manifest is valid"));
    let module = wat::parse_str(TEXT).expect("the reducer is valid text");
    let options = LoadOptions { manifest, ceiling: Limits::CEILING, ..LoadOptions::default() };
    let function = Function::load(&module, options).expect("the reducer loads");
    Loaded { function, sha256: [0; 32], content_sha256: [0; 32], replica: None }
}
