//! What comes of captures here: `outcomes FN.wasm FILE.cap` prints a line for each, in hexadecimal digits.
//!
//! Equal lines on two machines mean that all emits, state operations, log lines and results are equal to the bit, and the
//! fuel that was used.

#[path = "../tests/common/outcomes.rs"]
mod outcomes;

use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, file] = arguments.as_slice() else {
        eprintln!("usage: outcomes FN.wasm FILE.cap");
        return ExitCode::from(2);
    };
    let read = |path: &String| fs::read(path).map_err(|e| format!("{path}: {e}"));
    let lines = read(module).and_then(|wasm| outcomes::outcomes(&wasm, &read(file)?));
    match lines {
        Ok(lines) => {
            print!("{lines}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}
