//! Functions as WebAssembly text.

use super::TempDir;

/// A module that emits each payload, as it is, to `cloud/out`.
pub fn echo(dir: &TempDir) -> std::path::PathBuf {
    let manifest = r#"name = \"echo\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"sensors/+/raw\"\n[allow]\nemit = [\"cloud/#\", \"processed/#\"]\n"#;
    module(dir, "echo.wasm", manifest)
}

/// The same module with another manifest, written as the inside of a WebAssembly text string.
pub fn module(dir: &TempDir, file: &str, manifest: &str) -> std::path::PathBuf {
    let text = format!(
        r#"(module
            (@custom "eyot.manifest" "{manifest}")
            (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 6)
            (data (i32.const 16) "cloud/out")
            (func (export "eyot_abi") (result i32) (i32.const 1))
            (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32)
                (drop (call $emit (i32.const 16) (i32.const 9) (local.get 2) (local.get 3)))
                (i32.const 0)))"#
    );
    let path = dir.0.join(file);
    std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
    path
}

/// A module that, for each message, runs until its fuel or its time is over.
pub fn spinner(dir: &TempDir) -> std::path::PathBuf {
    let limits = "[limits]\\nfuel = 1_000_000_000\\ndeadline = \\\"10s\\\"";
    let text = format!(
        r#"(module
            (@custom "eyot.manifest" "name = \"spinner\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"spin/#\"\n{limits}")
            (memory (export "memory") 1)
            (func (export "eyot_abi") (result i32) (i32.const 1))
            (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) (loop $turn (br $turn)) (i32.const 0)))"#
    );
    let path = dir.0.join("spinner.wasm");
    std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
    path
}

/// A module that may keep the 64 KiB of state that are the default, and nothing else.
pub fn keeper(dir: &TempDir, name: &str) -> std::path::PathBuf {
    let text = format!(
        r#"(module
            (@custom "eyot.manifest" "name = \"{name}\"\nversion = \"1.0.0\"")
            (import "eyot" "state_set" (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "eyot_abi") (result i32) (i32.const 1))
            (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#
    );
    let path = dir.0.join(format!("{name}.wasm"));
    std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
    path
}
