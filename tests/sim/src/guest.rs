//! The functions of the simulation, as WebAssembly text.

use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::manifest::{Limits, Manifest};

/// Passes its payload on to `cloud/…`, counts its messages in state under `n`, and traps on every payload that ends
/// in `7` when `traps` is set.
fn module(traps: bool) -> Vec<u8> {
    let trap = if traps {
        "(if (i32.eq (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 1))) (i32.const 55))
            (then unreachable))"
    } else {
        ""
    };
    let text = format!(
        r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "n")
  (data (i32.const 16) "cloud/x")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    {trap}
    (call $emit (i32.const 16) (i32.const 7) (local.get $p) (local.get $pl))))"#
    );
    wat::parse_str(text).expect("the guest is valid text")
}

/// The function set of one run.
pub fn load(traps: bool) -> Vec<Loaded> {
    let manifest = r#"name = "pass"
version = "1.0.0"
[[trigger]]
mqtt = "s/+"
[allow]
emit = ["cloud/#"]"#;
    let manifest = Manifest::parse(manifest).expect("the manifest is valid");
    let options = LoadOptions { manifest: Some(manifest), ceiling: Limits::CEILING, ..LoadOptions::default() };
    let function = Function::load(&module(traps), options).expect("the guest loads");
    vec![Loaded { function, sha256: [0; 32] }]
}
