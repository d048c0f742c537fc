//! Holds a program against its board's file, from its build script: what does not fit its flash and memory does not link.

use std::path::PathBuf;
use std::{env, fs};

use serde::Deserialize;

/// Where the board has its memories.
pub struct Origins {
    /// Of its flash, or what stands for it.
    pub flash: u32,
    /// Of its memory.
    pub ram: u32,
}

#[derive(Deserialize)]
struct Board {
    mcu: Mcu,
}

#[derive(Deserialize)]
struct Mcu {
    flash_kib: u32,
    ram_kib: u32,
    stack_kib: u32,
    #[serde(default)]
    state_flash_kib: u32,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    heap_kib: u32,
    module_kib: u32,
    fuel: u64,
    memory_kib: u32,
    output_kib: u32,
    state_kib: u32,
    stack_kib: u32,
    calls: u32,
    deadline_ms: u64,
}

/// What a program takes, in the linker script of a HAL that has its own map of the memory.
pub struct Sections<'a> {
    /// All that is in the flash.
    pub flash: &'a [&'a str],
    /// Where the memory begins.
    pub ram_start: &'a str,
    /// Where what the program takes of it ends, and the stack may begin.
    pub ram_end: &'a str,
}

/// Reads `boards/<board>.toml`, beside this folder's parent, and writes `memory.x` for the linker, `heap.rs`, `limits.rs` and
/// `state.rs`, the range of the flash for state, for the program. The linker also refuses a program that leaves less than `stack_kib` for its stack.
///
/// # Panics
/// The file is not there or not valid: a build script can do no better.
pub fn apply(board: &str, origins: &Origins, sections: &str) {
    let Mcu { flash_kib, ram_kib, stack_kib, state_flash_kib, .. } = grant(board);
    let Origins { flash, ram } = origins;
    // The end of the flash is for state, and not for the program.
    let flash_kib = flash_kib - state_flash_kib;
    let memory = format!(
        "MEMORY\n{{\n  FLASH : ORIGIN = {flash:#x}, LENGTH = {flash_kib}K\n  RAM : ORIGIN = {ram:#x}, LENGTH = {ram_kib}K\n}}\n\
         ASSERT(_stack_start - __euninit >= {stack_kib}K, \"less than {stack_kib} KiB are left for the stack\");\n{sections}"
    );
    write("memory.x", &memory);
}

/// As [`apply`], but instead of `memory.x` writes `budget.x`, which refuses what takes more than the file grants.
///
/// # Panics
/// As [`apply`].
pub fn apply_to(board: &str, sections: &Sections<'_>) {
    let Mcu { flash_kib, ram_kib, stack_kib, state_flash_kib, .. } = grant(board);
    let Sections { flash, ram_start, ram_end } = sections;
    let flash_kib = flash_kib - state_flash_kib;
    let taken: Vec<String> = flash.iter().map(|section| format!("SIZEOF({section})")).collect();
    let budget = format!(
        "ASSERT({} <= {flash_kib}K, \"more than the {flash_kib} KiB of flash\");\n\
         ASSERT({ram_end} - {ram_start} + {stack_kib}K <= {ram_kib}K, \"more than the {ram_kib} KiB of memory, {stack_kib} of them for the stack\");\n",
        taken.join(" + ")
    );
    write("budget.x", &budget);
}

/// What the board's file says, and what of it is for the program to know.
fn grant(board: &str) -> Mcu {
    let path = format!("../../boards/{board}.toml");
    let text = fs::read_to_string(&path).expect("the board's file is in the repository");
    let mcu = toml::from_str::<Board>(&text).expect("the board's file is valid").mcu;
    let Mcu { flash_kib, state_flash_kib, function, .. } = &mcu;
    write("heap.rs", &format!("{} << 10", function.heap_kib));
    write("state.rs", &format!("{}..{}", (flash_kib - state_flash_kib) << 10, flash_kib << 10));
    write("limits.rs", &limits(function));
    println!("cargo:rerun-if-changed={path}");
    println!("cargo:rerun-if-changed=build.rs");
    mcu
}

/// A file where linker and program look for it.
fn write(name: &str, text: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join(name), text).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search={}", out.display());
}

/// What the program gives functions, as an expression of it.
fn limits(function: &Function) -> String {
    let Function { module_kib, fuel, memory_kib, output_kib, state_kib, stack_kib, calls, deadline_ms, .. } = function;
    format!(
        "NodeLimits {{
            module_bytes: {module_kib} << 10,
            limits: Limits {{
                fuel: {fuel},
                memory_bytes: {memory_kib} << 10,
                output_bytes: {output_kib} << 10,
                state_bytes: {state_kib} << 10,
                deadline_ms: {deadline_ms},
            }},
            stack: StackLimits {{ calls: {calls}, values_bytes: {stack_kib} << 10 }},
        }}"
    )
}
