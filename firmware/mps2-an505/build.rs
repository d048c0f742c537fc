//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use std::path::PathBuf;
use std::{env, fs};

use serde::Deserialize;

/// Secure aliases of the two static memories, in which QEMU starts the processor.
const FLASH_ORIGIN: u32 = 0x1000_0000;
const RAM_ORIGIN: u32 = 0x3800_0000;
const BOARD: &str = "../../boards/mps2-an505.toml";

#[derive(Deserialize)]
struct Board {
    mcu: Mcu,
}

#[derive(Deserialize)]
struct Mcu {
    flash_kib: u32,
    ram_kib: u32,
    heap_kib: u32,
}

fn main() {
    let text = fs::read_to_string(BOARD).expect("the board's file is in the repository");
    let Mcu { flash_kib, ram_kib, heap_kib } = toml::from_str::<Board>(&text).expect("the board's file is valid").mcu;
    let memory = format!(
        "MEMORY\n{{\n  FLASH : ORIGIN = {FLASH_ORIGIN:#x}, LENGTH = {flash_kib}K\n  RAM : ORIGIN = {RAM_ORIGIN:#x}, LENGTH = {ram_kib}K\n}}\n"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("memory.x"), memory).expect("OUT_DIR is writable");
    fs::write(out.join("heap.rs"), format!("{heap_kib} << 10")).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed={BOARD}");
    println!("cargo:rerun-if-changed=build.rs");
}
