//! Modules around hostile code.

use eyot_engine::{Function, Invocation, LoadError, LoadOptions};
use eyot_wire::manifest::Manifest;

/// All imports of function interface version 1.
pub const IMPORTS: &str = r#"
(import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
(import "eyot" "log" (func $log (param i32 i32 i32)))
(import "eyot" "now_ms" (func $now_ms (result i64)))
(import "eyot" "random" (func $random (param i32 i32) (result i32)))
(import "eyot" "state_get" (func $state_get (param i32 i32 i32 i32) (result i32)))
(import "eyot" "state_set" (func $state_set (param i32 i32 i32 i32) (result i32)))
(import "eyot" "state_delete" (func $state_delete (param i32 i32) (result i32)))
(import "eyot" "config_get" (func $config_get (param i32 i32 i32 i32) (result i32)))
"#;
/// One page, of which the attacks use what lies below 32,768, where the input goes.
pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;
/// The version of the interface.
pub const ABI: &str = r#"(func (export "eyot_abi") (result i32) (i32.const 1))"#;
/// An allocator for one input.
pub const ALLOC: &str = r#"(func (export "eyot_alloc") (param i32) (result i32) (i32.const 32768))"#;

/// A module from its parts.
///
/// # Panics
/// When they are not WebAssembly text.
#[allow(clippy::panic)] // there is nobody to report to
pub fn module(items: &[&str]) -> Vec<u8> {
    let text = format!("(module {})", items.join("\n"));
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{}", text.get(..2000).unwrap_or(&text)))
}

/// `eyot_handle` with `body`, two locals and the parameters `$t $tl $p $pl`.
pub fn handle(body: &str) -> String {
    format!(
        r#"(func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
        (local $i i32) (local $j i32) {body})"#
    )
}

/// A module with all imports, one page of memory, `items`, and `body` as `eyot_handle`.
pub fn guest(items: &str, body: &str) -> Vec<u8> {
    module(&[IMPORTS, MEMORY, items, ABI, ALLOC, &handle(body)])
}

/// Loads a module with a manifest that lets it emit below `out/`; `limits` are lines of its `[limits]`.
///
/// # Errors
/// The engine refuses it.
///
/// # Panics
/// When `limits` are not lines of a manifest.
#[allow(clippy::expect_used)] // there is nobody to report to
pub fn load(wasm: &[u8], limits: &str) -> Result<Function, LoadError> {
    let text = format!("name = \"a\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"out/#\"]\n[limits]\n{limits}");
    let manifest = Manifest::parse(&text).expect("the limits are those of a manifest");
    Function::load(wasm, LoadOptions { manifest: Some(manifest), ..LoadOptions::default() })
}

/// The message that attacks get.
pub const MESSAGE: Invocation<'_> =
    Invocation { topic: "in/a", payload: b"payload", now_ms: 1_700_000_000_123, seed: 42 };
