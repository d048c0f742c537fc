//! What functions take of a microcontroller by Eyot's engine and by wasm3, on the same emulated Cortex-M33, counted in
//! instructions.
//!
//! wasm3 does less: it trusts a module to be valid, and counts no fuel. It does as much else: what a function emits is checked
//! and taken, and memory is what it was before the next message.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a measurement that cannot be made ends here

use std::path::Path;
use std::process::ExitCode;

use eyot_test_bench::wasm3::{flash_bytes, program};
use eyot_test_e2e::programs::root;
use eyot_test_e2e::qemu::{figures, figures_of, firmware};

/// Of a function: bytes of its module, of heap, instructions to load, and for a message.
type Figures = [u64; 4];

const NAMES: [&str; 3] = ["small", "alarm", "celsius"];
/// Why the ratio of one is no comparison.
const SMALL_IS: &str =
    "small has 2 KiB of memory in Eyot, and 64 KiB in wasm3, which knows no smaller pages: most of what \
                        a message takes there is to write those";

fn read(lines: &[String]) -> Result<Vec<Figures>, String> {
    let of = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")))?;
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
        numbers.get(..4)?.try_into().ok()
    };
    NAMES.iter().map(|name| of(name).ok_or(format!("{name} is not in {lines:?}"))).collect()
}

fn run() -> Result<(), String> {
    let firmware = firmware("nodes").ok_or("there is nothing to compare")?;
    let ours = firmware.with_file_name("figures");
    let peer = program(&root().join("target"))?;
    let (eyot, wasm3) = (read(&figures(&firmware))?, read(&figures_of(&peer, &["-semihosting"]))?);
    println!(
        "| function | runtime | heap, KiB | to load, thousands | a message | its ratio |\n|---|---|---|---|---|---|"
    );
    for (name, (eyot, wasm3)) in NAMES.iter().zip(eyot.iter().zip(&wasm3)) {
        for (runtime, [_, heap, load, message]) in [("eyot", eyot), ("wasm3", wasm3)] {
            let ratio = *message as f64 / wasm3[3] as f64;
            println!("| {name} | {runtime} | {} | {} | {message} | {ratio:.2} |", heap >> 10, load / 1000);
        }
    }
    println!("\n{SMALL_IS}.");
    let without = |file: &Path, all: &[Figures]| {
        let modules: u64 = all.iter().map(|figures| figures[0]).sum();
        flash_bytes(file).map(|bytes| bytes.saturating_sub(modules) >> 10)
    };
    println!("Flash without the functions: {} KiB, wasm3 {} KiB.", without(&ours, &eyot)?, without(&peer, &wasm3)?);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("nodes: {reason}");
            ExitCode::FAILURE
        }
    }
}
