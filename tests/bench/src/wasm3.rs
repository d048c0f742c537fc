//! wasm3 on the microcontroller that QEMU emulates: the sources of its last release, fetched by pip, and a program of `peers`
//! that does with the functions what `figures` of `firmware/mps2-an505` does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_test_e2e::programs::root;
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::Module;
use wasmparser::Parser;

use crate::peers::succeed;

const COMPILER: &str = "arm-none-eabi-gcc";
const SIZE: &str = "arm-none-eabi-size";
/// The sources, as pip unpacks their archive.
const SOURCES: &str = "pywasm3-0.5.0";
const FILES: [&str; 5] = ["requirements.txt", "main.c", "start.c", "functions.S", "an505.ld"];
const SOURCE: &str = "main.c start.c functions.S";
/// For speed, as wasm3 advises, for the processor that our firmware is for; what it says goes to the emulator.
const FLAGS: &str =
    "-O3 -mcpu=cortex-m33 -mthumb -mfloat-abi=hard -w -ffunction-sections -fdata-sections -Wl,--gc-sections \
                     -Dd_m3LogOutput=0 -Wa,-I. --specs=rdimon.specs -nostartfiles -T an505.ld";

/// The program, built below `target`.
///
/// # Errors
/// What is missing, or failed.
pub fn program(target: &Path) -> Result<PathBuf, String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/wasm3");
    let dir = target.join("bench-peers/wasm3");
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for file in FILES {
        fs::copy(from.join(file), dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    }
    if !dir.join(SOURCES).is_dir() {
        fetch(&dir)?;
    }
    for (name, module) in functions()? {
        fs::write(dir.join(name).with_extension("wasm"), module).map_err(|e| format!("{name}: {e}"))?;
    }
    compile(&dir)?;
    Ok(dir.join("figures"))
}

fn fetch(dir: &Path) -> Result<(), String> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]);
    pip.args(["--no-binary", ":all:", "-r", "requirements.txt"]).current_dir(dir);
    succeed(&mut pip).map_err(|reason| format!("{reason}; apt install python3-pip"))?;
    let mut tar = Command::new("tar");
    succeed(tar.arg("-xzf").arg(format!("{SOURCES}.tar.gz")).current_dir(dir))
}

/// The functions that `figures` has, as wasm3 can read them: it knows no memories of single bytes, and no number that takes more
/// bytes than it must, as linkers write them.
fn functions() -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let small =
        fs::read_to_string(root().join("firmware/mps2-an505/src/small.wat")).map_err(|e| format!("small: {e}"))?;
    let small = wat::parse_str(small.replace("2048 (pagesize 1)", "1")).map_err(|e| format!("small: {e}"))?;
    let mut functions = vec![("small", small)];
    for name in ["alarm", "celsius"] {
        let file = root().join("functions").join(name).join(name).with_extension("wasm");
        let module = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut shorter = Module::new();
        RoundtripReencoder
            .parse_core_module(&mut shorter, Parser::new(0), &module)
            .map_err(|e| format!("{}: {e}", file.display()))?;
        functions.push((name, shorter.finish()));
    }
    Ok(functions)
}

fn compile(dir: &Path) -> Result<(), String> {
    let sources = dir.join(SOURCES).join("wasm3");
    let mut files: Vec<PathBuf> = fs::read_dir(&sources)
        .map_err(|e| format!("{}: {e}", sources.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    let mut compiler = Command::new(COMPILER);
    compiler.args(FLAGS.split(' ')).arg("-I").arg(&sources).args(SOURCE.split(' ')).args(files);
    compiler.args(["-lm", "-o", "figures"]);
    let remedy = "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi";
    succeed(compiler.current_dir(dir)).map_err(|reason| format!("{reason}; {remedy}"))
}

/// Bytes of flash that a program takes.
///
/// # Errors
/// When it cannot be told.
pub fn flash_bytes(program: &Path) -> Result<u64, String> {
    let output = Command::new(SIZE).arg(program).output().map_err(|e| format!("{SIZE} does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.lines().nth(1).unwrap_or_default().split_whitespace().filter_map(|n| n.parse::<u64>().ok());
    numbers.next().zip(numbers.next()).map(|(code, data)| code + data).ok_or(format!("{}: no size", program.display()))
}
