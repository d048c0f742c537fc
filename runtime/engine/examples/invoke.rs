//! What one message costs: `cargo run --release -p eyot-engine --example invoke`.
//!
//! Prints nanoseconds per message, the best of several rounds, for a guest that emits its payload back, with linear
//! memories of several sizes.

#![allow(clippy::expect_used)] // there is nobody to report to

use std::hint::black_box;
use std::time::Instant;

use eyot_engine::{Function, Invocation, LoadOptions};
use eyot_wire::manifest::Manifest;

/// Short ones, so that some of them are not interrupted.
const ROUNDS: u32 = 400;
const MESSAGES: u32 = 64;

fn echo(memory: &str, used_bytes: usize) -> Function {
    let used = "x".repeat(used_bytes);
    let text = format!(
        r#"(module
        (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") {memory})
        (data (i32.const 0) "{used}")
        (global $stack_pointer (mut i32) (i32.const 1024))
        (func (export "eyot_abi") (result i32) i32.const 1)
        (func (export "eyot_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32)
            (call $emit (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"#
    );
    let wasm = wat::parse_str(text).expect("the text above is a module");
    let manifest =
        "name = \"echo\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"sensors/#\"]\n[limits]\nmemory = \"16MiB\"";
    let manifest = Manifest::parse(manifest).expect("the text above is a manifest");
    let options = LoadOptions { manifest: Some(manifest), ..LoadOptions::default() };
    Function::load(&wasm, options).expect("the module follows the interface")
}

/// Nanoseconds per message, and of them those for the reset.
fn measure(function: &mut Function) -> (u64, u64) {
    let payload = br#"{"device":"barn-7/temp","celsius":21.375,"humidity":54.2,"at":1700000000123}"#;
    let message = Invocation { topic: "sensors/7/raw", payload, now_ms: 1_700_000_000_123, seed: 1 };
    let (mut total, mut reset) = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..MESSAGES {
            black_box(function.invoke(black_box(&message))).expect("echo does not fail");
        }
        total = total.min(start.elapsed().as_nanos() as u64 / u64::from(MESSAGES));
        let mut spent = 0;
        for _ in 0..MESSAGES {
            black_box(function.invoke(black_box(&message))).expect("echo does not fail");
            let start = Instant::now();
            function.reset();
            spent += start.elapsed().as_nanos() as u64;
        }
        reset = reset.min(spent / u64::from(MESSAGES));
    }
    (total, reset)
}

fn main() {
    println!("{:24} {:>14} {:>14}", "linear memory", "ns/message", "of it reset");
    for (name, memory, used_bytes) in [
        ("8 KiB", "8192 (pagesize 1)", 4096),
        ("64 KiB, 1 KiB used", "1", 1024),
        ("64 KiB, 16 KiB used", "1", 16 << 10),
        ("64 KiB, all used", "1", 64 << 10),
        ("256 KiB, 16 KiB used", "4", 16 << 10),
        ("512 KiB, 16 KiB used", "8", 16 << 10),
        ("1 MiB, 16 KiB used", "16", 16 << 10),
        ("1 MiB, all used", "16", 1 << 20),
        ("4 MiB, 16 KiB used", "64", 16 << 10),
        ("16 MiB, 16 KiB used", "256", 16 << 10),
    ] {
        let (total, reset) = measure(&mut echo(memory, used_bytes));
        println!("{name:24} {total:14} {reset:14}");
    }
}
