//! Loading a module: the scan, the rewrite of its exports, wasmi's validation, its start.

use eyot_engine::{Function, Invocation, LoadError, LoadOptions};
use eyot_wire::manifest::{Limits, Manifest};

/// Little, so that what spins is soon over.
const FUEL: u64 = 200_000;

fn manifest() -> Manifest {
    let text = format!("name = \"a\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"#\"]\n[limits]\nfuel = {FUEL}");
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A module that is loaded runs messages to some end, and each as the first one.
pub fn module(bytes: &[u8]) -> bool {
    let own = LoadOptions { ceiling: Limits { fuel: FUEL, ..Limits::CEILING }, ..LoadOptions::default() };
    if let Err(error) = Function::load(bytes, own) {
        short(&error);
    }
    let mut function = match Function::load(bytes, LoadOptions { manifest: Some(manifest()), ..LoadOptions::default() })
    {
        Ok(function) => function,
        Err(error) => {
            short(&error);
            return false;
        }
    };
    let message = Invocation { topic: "in/a", payload: b"{\"t\":21.5}", now_ms: 1_700_000_000_123, seed: 42 };
    let results = [(); 2].map(|()| {
        let result = function.invoke(&message);
        let seen = function.effects().outcome(result.clone().map(drop));
        function.state_mut().clear();
        (result, seen)
    });
    assert_eq!(results[0], results[1], "a message leaves nothing behind");
    true
}

fn short(error: &LoadError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 32 << 10, "an error has a reason, and an end: {} bytes", text.len());
}

const GUEST: &str = r#"(module
    (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
    (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
    (import "eyot" "now_ms" (func $now (result i64)))
    (memory (export "memory") 1 2)
    (table $t 2 funcref) (elem (table $t) (i32.const 0) func $count)
    (global $sp (mut i32) (i32.const 1024)) (global $f (mut f64) (f64.const 1.5))
    (data (i32.const 16) "out/key")
    (func $count (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "eyot_abi") (result i32) (i32.const 1))
    (func (export "eyot_init") (result i32) (global.set $sp (i32.const 2048)) (i32.const 0))
    (func (export "eyot_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32) (local $n i32)
        (loop $l (local.set $n (call_indirect $t (param i32) (result i32) (local.get $n) (i32.const 0)))
            (i32.store8 (global.get $sp) (local.get $n))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 20))))
        (i64.store (i32.const 32) (call $now)) (drop (memory.grow (i32.const 1)))
        (drop (call $set (i32.const 16) (i32.const 3) (i32.const 32) (i32.const 8)))
        (global.set $f (f64.div (global.get $f) (f64.convert_i32_s (local.get $n))))
        (memory.fill (i32.const 64) (i32.const 7) (i32.const 20))
        (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl))))"#;

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let guest = wat::parse_str(GUEST).unwrap_or_else(|error| panic!("{error}"));
    let least = r#"(module (memory (export "memory") 1)
        (func (export "eyot_abi") (result i32) (i32.const 1))
        (func (export "eyot_alloc") (param i32) (result i32) (i32.const 8))
        (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#;
    vec![("guest.wasm", guest), ("least.wasm", wat::parse_str(least).unwrap_or_else(|error| panic!("{error}")))]
}
