//! A folder for each test, modules in it, and the program run in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wasm_encoder::{CustomSection, Section};

/// A manifest that lets a function emit below `out/`.
pub const MANIFEST: &str = r#"
name = "sample"
version = "1.2.3"
[[trigger]]
mqtt = "in/#"
[allow]
emit = ["out/#"]
[config]
greeting = "hello"
"#;

/// What a run of the program left behind.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Checks that standard error is an error that has all of `needles`.
    #[track_caller]
    pub fn says(self, needles: &[&str]) -> Self {
        assert!(self.stderr.contains("error: "), "stderr: {}", self.stderr);
        for needle in needles {
            assert!(self.stderr.contains(needle), "no \"{needle}\" in: {}", self.stderr);
        }
        self
    }

    /// Checks that standard output has all of `needles`.
    #[track_caller]
    pub fn prints(self, needles: &[&str]) -> Self {
        for needle in needles {
            assert!(self.stdout.contains(needle), "no \"{needle}\" in: {}", self.stdout);
        }
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "stdout: {}", self.stdout);
        serde_json::from_str(&self.stdout).expect(&self.stdout)
    }
}

/// A folder of one test, removed with it.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    /// Writes `fn.wasm`: a module whose `eyot_handle` has this body, with [`MANIFEST`].
    pub fn function(&self, body: &str) {
        self.write("fn.wasm", with_manifest(&module(body), MANIFEST));
    }

    /// The program, in this folder, with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eyot"));
        command.args(args).current_dir(self.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        for key in ["EYOT_BROKER", "EYOT_GATEWAY", "EYOT_KEY", "EYOT_PASSWORD"] {
            command.env_remove(key);
        }
        command
    }

    /// Runs the program.
    pub fn eyot(&self, args: &[&str]) -> Output {
        output(self.command(args))
    }

    /// Runs the program with this on its standard input.
    pub fn eyot_reading(&self, input: &[u8], args: &[&str]) -> Output {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that ends without having read everything is not at fault.
        let _ = child.stdin.take().unwrap().write_all(input);
        finished(&child.wait_with_output().unwrap())
    }
}

/// Runs a command to its end.
pub fn output(mut command: Command) -> Output {
    finished(&command.output().unwrap())
}

fn finished(output: &std::process::Output) -> Output {
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout.clone()).unwrap(),
        stderr: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

/// A module whose `eyot_handle` has this body; in it, `$topic $topic_len $payload $payload_len` are its parameters.
/// The words at 0: `out/a` (5 bytes), at 16 `last` (4), at 32 `greeting` (8), at 48 the bytes ff 00.
pub fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
        (import "eyot" "log" (func $log (param i32 i32 i32)))
        (import "eyot" "now_ms" (func $now_ms (result i64)))
        (import "eyot" "random" (func $random (param i32 i32) (result i32)))
        (import "eyot" "state_get" (func $state_get (param i32 i32 i32 i32) (result i32)))
        (import "eyot" "state_set" (func $state_set (param i32 i32 i32 i32) (result i32)))
        (import "eyot" "config_get" (func $config_get (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 8)
        (data (i32.const 0) "out/a") (data (i32.const 16) "last") (data (i32.const 32) "greeting")
        (data (i32.const 48) "\ff\00")
        (func (export "eyot_abi") (result i32) i32.const 1)
        (func (export "eyot_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "eyot_handle")
            (param $topic i32) (param $topic_len i32) (param $payload i32) (param $payload_len i32) (result i32)
            {body}))"#
    );
    wat::parse_str(text).unwrap()
}

/// The module with a manifest section at its end.
pub fn with_manifest(wasm: &[u8], manifest: &str) -> Vec<u8> {
    let mut wasm = wasm.to_vec();
    CustomSection { name: "eyot.manifest".into(), data: manifest.as_bytes().into() }.append_to(&mut wasm);
    wasm
}

/// Emits the payload to `out/a`.
pub const ECHO: &str = "(call $emit (i32.const 0) (i32.const 5) (local.get $payload) (local.get $payload_len))";
/// Emits what state `last` holds, then keeps the payload there.
pub const REMEMBER: &str = r#"
    (local $len i32)
    (local.set $len (call $state_get (i32.const 16) (i32.const 4) (i32.const 512) (i32.const 512)))
    (if (i32.ge_s (local.get $len) (i32.const 0))
        (then (drop (call $emit (i32.const 0) (i32.const 5) (i32.const 512) (local.get $len)))))
    (call $state_set (i32.const 16) (i32.const 4) (local.get $payload) (local.get $payload_len))"#;
