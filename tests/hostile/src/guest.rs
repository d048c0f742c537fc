//! Modules around hostile code.

use eyot_engine::{Function, Invocation, LoadError, LoadOptions};
use eyot_wire::manifest::Manifest;

/// All imports of function interface version 1.
pub const IMPORTS: &str = include_str!("../../../runtime/engine/tests/common/imports.wat");
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

/// About 5 KB, as a function of some fifty lines comes to without a library for JSON: a page of memory, a stack, 2 KB of
/// constants, 30 routines.
pub fn small() -> Vec<u8> {
    let constants = format!("(data (i32.const 8192) \"{}\")", "constants ".repeat(200));
    let routines: String = (0..30)
        .map(|number| {
            format!(
                "(func $f{number} (param i32 i32) (result i32) (local i32)
                (loop $l (local.set 2 (i32.add (i32.mul (local.get 2) (i32.const 31)) (i32.load8_u (local.get 0))))
                    (i32.store offset={number} (local.get 0) (i32.xor (local.get 2) (i32.const 0x5bd1e995)))
                    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                    (br_if $l (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
                (i32.rotl (local.get 2) (i32.const 7)))"
            )
        })
        .collect();
    let items = format!("(global $sp (mut i32) (i32.const 8192)) {constants} {routines}");
    guest(&items, "(drop (call $f3 (local.get $p) (local.get $pl))) (i32.const 0)")
}

/// What the kernel says process `pid` has in memory.
///
/// # Panics
/// When there is no such process.
#[allow(clippy::expect_used)] // there is nobody to report to
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
}
