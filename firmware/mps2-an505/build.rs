//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use std::path::PathBuf;
use std::{env, fs};

use eyot_budget::{apply, Origins};

fn main() {
    // Secure aliases of the two static memories, in which QEMU starts the processor; or the boot loader's slot.
    let flash = if env::var_os("CARGO_FEATURE_SLOT").is_some() { 0x8000_0000 } else { 0x1000_0000 };
    apply("mps2-an505", &Origins { flash, ram: 0x3800_0000 }, "");
    // What is measured.
    let small = wat::parse_file("src/small.wat").expect("it is WebAssembly text");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("small.wasm"), small).expect("OUT_DIR is writable");
    println!("cargo:rerun-if-changed=src/small.wat");
}
