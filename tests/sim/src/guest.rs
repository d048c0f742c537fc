//! The functions of the simulation, as WebAssembly text.

use std::sync::OnceLock;

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

/// Adds `/<version><part>` to its payload and emits it as part `a` to `cloud/a` and as part `b` to `cloud/b`, and, if the
/// payload ends in `3`, as part `c` to `local/c`. Counts its messages in state under `n`.
fn module(failing: Failing) -> Vec<u8> {
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
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
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
    (local $last i32) (local $r i32)
    (local.set $last (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 1))))
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
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
pub fn load(name: &str, version: u8, failing: Failing) -> Loaded {
    static MODULES: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    let mut module = MODULES[failing as usize].get_or_init(|| module(failing)).clone();
    for byte in module.iter_mut().filter(|byte| **byte == VERSION_MARK) {
        *byte = b'0' + version;
    }
    let manifest = format!(
        "name = \"{name}\"\nversion = \"{version}.0.0\"\n[[trigger]]\nmqtt = \"s/+\"\n[limits]\nfuel = 5_000\n\
         [allow]\nemit = [\"cloud/#\", \"local/#\"]"
    );
    let manifest = Manifest::parse(&manifest).expect("the manifest is valid");
    let options = LoadOptions { manifest: Some(manifest), ceiling: Limits::CEILING, ..LoadOptions::default() };
    let function = Function::load(&module, options).expect("the guest loads");
    Loaded { function, sha256: [version; 32] }
}
