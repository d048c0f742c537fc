//! Links `eyotd` small.
//!
//! The loader reads all relocations at start, and 400 KB of them would stay in memory: they are packed where the linker knows
//! how. A GNU linker that does not know the option says so and goes on. For the static programs of gateways, whose linker is
//! Rust's own, functions with the same code are one, and what a stack is unwound with is left out.

use std::env;

/// For the linker, beside what it does by itself.
const STATIC: &str = "eyotd.ld";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={STATIC}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found.ends_with(value));
    if !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    if is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    } else if is("RUSTC_LINKER", "rust-lld") {
        let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for argument in ["--pack-dyn-relocs=relr", "--icf=all", &format!("-T{directory}/{STATIC}")] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
