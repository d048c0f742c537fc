//! Test functions written as text.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_engine::{Function, Invocation, LoadError, LoadOptions, Step, Usage};
use eyot_wire::code::Failure;
use eyot_wire::manifest::Manifest;

pub const IMPORTS: &str = include_str!("imports.wat");

pub const ABI: &str = r#"(func (export "eyot_abi") (result i32) i32.const 1)"#;
pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;
/// Input goes to 32768; below is room for the test's own data.
pub const ALLOC: &str = r#"(func (export "eyot_alloc") (param i32) (result i32) i32.const 32768)"#;

pub fn handle(body: &str) -> String {
    format!(
        r#"(func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
        (local $i i32) (local $j i32) {body})"#
    )
}

/// A function with all imports, one page of memory and `body` as `eyot_handle`.
pub fn guest(items: &str, body: &str) -> Vec<u8> {
    module(&[IMPORTS, MEMORY, items, ABI, ALLOC, &handle(body)])
}

pub fn module(items: &[&str]) -> Vec<u8> {
    let text = format!("(module {})", items.join("\n"));
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub fn manifest(extra: &str) -> Manifest {
    Manifest::parse(&format!("name = \"test\"\nversion = \"1.0.0\"\n{extra}")).unwrap()
}

/// May emit below `out/`, knows one configuration value.
pub fn standard() -> Manifest {
    manifest("[allow]\nemit = [\"out/#\"]\n[config]\nunit = \"celsius\"")
}

pub fn try_load(wasm: &[u8]) -> Result<Function, LoadError> {
    load_with(wasm, standard())
}

pub fn load_with(wasm: &[u8], manifest: Manifest) -> Result<Function, LoadError> {
    Function::load(wasm, LoadOptions { manifest: Some(manifest), ..LoadOptions::default() })
}

pub fn load(wasm: &[u8]) -> Function {
    try_load(wasm).unwrap_or_else(|e| panic!("{e}"))
}

/// Loads a function with standard parts and `body` as its handler.
pub fn function(items: &str, body: &str) -> Function {
    load(&guest(items, body))
}

pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Invocation<'a> {
    Invocation { topic, payload, now_ms: 1_700_000_000_123, seed: 42 }
}

pub fn run(function: &mut Function) -> Result<Usage, Failure> {
    function.invoke(&message("in/a", b"payload"))
}

/// What the function returned: 0 is success.
pub fn code(function: &mut Function) -> i32 {
    match run(function) {
        Ok(_) => 0,
        Err(Failure::Code(code)) => code,
        Err(other) => panic!("{other}"),
    }
}

pub fn emits(function: &Function) -> Vec<(String, Vec<u8>)> {
    function.effects().emits().map(|e| (e.topic.to_string(), e.payload.to_vec())).collect()
}

/// Runs to the end, counting the slices.
pub fn run_in_slices(function: &mut Function) -> (Result<Usage, Failure>, u32) {
    let mut step = function.begin(&message("in/a", b"payload"));
    let mut slices = 1;
    loop {
        match step {
            Step::Done(result) => return (result, slices),
            Step::Yield => step = function.resume(),
        }
        slices += 1;
    }
}

/// A small generator for random tests (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
