//! Functions: the examples of the repository, and modules written by hand.
//!
//! Written ones share one layout of memory: constants from 16, scratch from 512, a prefix from 1,024, input from 4,096.

use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::root;

/// A manifest that lets a function do what tests need.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `name`.
    pub name: String,
    /// `version`.
    pub version: String,
    /// `[[trigger]] mqtt`.
    pub triggers: Vec<String>,
    /// `[limits]`: lines as they stand.
    pub limits: String,
    /// `allow.emit`.
    pub emit: Vec<String>,
    /// `[config]`: lines as they stand.
    pub config: String,
    /// `[rollout]`: lines as they stand; none for no rollout.
    pub rollout: String,
}

impl Manifest {
    /// Triggered by `in/#`, may emit to `out/#` and `cloud/#`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            version: "1.0.0".into(),
            triggers: vec!["in/#".into()],
            limits: String::new(),
            emit: vec!["out/#".into(), "cloud/#".into()],
            config: String::new(),
            rollout: String::new(),
        }
    }

    /// The text of `function.toml`.
    pub fn text(&self) -> String {
        let Self { name, version, triggers, limits, emit, config, rollout } = self;
        let rollout = if rollout.is_empty() { String::new() } else { format!("[rollout]\n{rollout}\n") };
        let triggers: String = triggers.iter().map(|filter| format!("[[trigger]]\nmqtt = {filter:?}\n")).collect();
        format!(
            "name = {name:?}\nversion = {version:?}\n{triggers}[limits]\n{limits}\n[allow]\nemit = {emit:?}\n\
             [config]\n{config}\n{rollout}"
        )
    }

    /// `wat`, with this manifest, as a file in `dir`.
    ///
    /// # Panics
    /// When `wat` is not WebAssembly text.
    #[track_caller]
    pub fn module(&self, dir: &Path, wat: &str) -> PathBuf {
        let wasm = wat::parse_str(wat).expect("the guest is WebAssembly text");
        save(dir, &self.name, &with_manifest(&wasm, &self.text()))
    }
}

/// An example function of the repository.
pub fn example(name: &str) -> PathBuf {
    root().join(format!("functions/{name}/{name}.wasm"))
}

/// An example with another manifest, as a file in `dir`.
///
/// # Panics
/// When the example is not there.
pub fn example_with(dir: &Path, name: &str, manifest: &str) -> PathBuf {
    let path = example(name);
    let wasm = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; is it committed?", path.display()));
    save(dir, name, &with_manifest(&without_manifest(&wasm), manifest))
}

/// Writes a module, or what claims to be one.
///
/// # Panics
/// When `dir` is not writable.
pub fn save(dir: &Path, name: &str, wasm: &[u8]) -> PathBuf {
    let path = dir.join(format!("{name}.wasm"));
    fs::write(&path, wasm).expect("the module is written");
    path
}

const SECTION: &str = "eyot.manifest";

/// Appends the custom section `eyot.manifest`.
pub fn with_manifest(wasm: &[u8], manifest: &str) -> Vec<u8> {
    with_section(wasm, SECTION, manifest.as_bytes())
}

/// Appends a custom section that means nothing, of so many bytes with its name.
pub fn padded(wasm: &[u8], bytes: usize) -> Vec<u8> {
    with_section(wasm, "pad", &vec![7; bytes - 4])
}

fn with_section(wasm: &[u8], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(bytes);
    let mut module = wasm.to_vec();
    module.push(0);
    module.extend(leb128(content.len()));
    module.extend(content);
    module
}

/// Removes custom sections `eyot.manifest`.
///
/// # Panics
/// When `wasm` is not a module.
pub fn without_manifest(wasm: &[u8]) -> Vec<u8> {
    let mut module = wasm[..8].to_vec();
    let mut at = 8;
    while at < wasm.len() {
        let (size, size_len) = read_leb128(&wasm[at + 1..]);
        let end = at + 1 + size_len + size;
        let (name_len, name_at) = read_leb128(&wasm[at + 1 + size_len..]);
        let name = at + 1 + size_len + name_at;
        if wasm[at] != 0 || wasm.get(name..name + name_len) != Some(SECTION.as_bytes()) {
            module.extend_from_slice(&wasm[at..end]);
        }
        at = end;
    }
    module
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_leb128(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return (value, index + 1);
        }
    }
    panic!("not a LEB128 number");
}

const STATE_IMPORTS: &str = r#"(import "eyot" "state_get" (func $state_get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $state_set (param i32 i32 i32 i32) (result i32)))"#;

/// A module around the body of `eyot_handle ($tp $tl $pp $pl)`; `data` are data segments.
pub fn handler(data: &str, body: &str) -> String {
    format!(
        r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  {STATE_IMPORTS}
  (import "eyot" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 6)
  {data}
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param $len i32) (result i32)
    (if (result i32) (i32.gt_u (local.get $len) (i32.const 380000)) (then (i32.const 0)) (else (i32.const 4096))))
  (func (export "eyot_handle") (param $tp i32) (param $tl i32) (param $pp i32) (param $pl i32) (result i32)
    {body}))"#
    )
}

/// Emits the payload as it came to `prefix` followed by the topic it came on. Keeps no state.
pub fn echo(prefix: &str) -> String {
    slow_echo(prefix, 0)
}

/// As [`echo`], after so many turns of a loop of eight instructions.
pub fn slow_echo(prefix: &str, turns: u32) -> String {
    let len = prefix.len();
    handler(
        &format!(r#"(data (i32.const 1024) "{prefix}")"#),
        &format!(
            "(local $turns i32) (local.set $turns (i32.const {turns}))
             (loop $turn
               (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
               (br_if $turn (i32.gt_s (local.get $turns) (i32.const 0))))
             (memory.copy (i32.const {}) (local.get $tp) (local.get $tl))
             (drop (call $emit (i32.const 1024) (i32.add (local.get $tl) (i32.const {len})) (local.get $pp) (local.get $pl)))
             (i32.const 0)",
            1024 + len
        ),
    )
    .replace(STATE_IMPORTS, "")
}

/// Counts messages in its state under `n`, and emits the count to `topic`, as 8 bytes, least significant first.
pub fn counter(topic: &str) -> String {
    handler(
        &format!(r#"(data (i32.const 16) "n") (data (i32.const 1024) "{topic}")"#),
        &format!(
            "(drop (call $state_get (i32.const 16) (i32.const 1) (i32.const 512) (i32.const 8)))
             (i64.store (i32.const 512) (i64.add (i64.load (i32.const 512)) (i64.const 1)))
             (drop (call $state_set (i32.const 16) (i32.const 1) (i32.const 512) (i32.const 8)))
             (drop (call $emit (i32.const 1024) (i32.const {}) (i32.const 512) (i32.const 8)))
             (i32.const 0)",
            topic.len()
        ),
    )
}

/// Emits to `topic` (as WebAssembly text writes bytes; `len` of them) and reports what `emit` returned to `out/code`, as
/// 4 bytes, least significant first.
pub fn probe_emit(topic: &str, len: usize) -> String {
    handler(
        &format!(r#"(data (i32.const 16) "out/code") (data (i32.const 1024) "{topic}")"#),
        &format!(
            "(i32.store (i32.const 512)
               (call $emit (i32.const 1024) (i32.const {len}) (local.get $pp) (local.get $pl)))
             (drop (call $emit (i32.const 16) (i32.const 8) (i32.const 512) (i32.const 4)))
             (i32.const 0)"
        ),
    )
}

/// Fails each message with `code`, after an emit that must not happen.
pub fn failing(code: i32) -> String {
    handler(
        r#"(data (i32.const 1024) "out/never")"#,
        &format!(
            "(drop (call $emit (i32.const 1024) (i32.const 9) (local.get $pp) (local.get $pl))) (i32.const {code})"
        ),
    )
}

/// Never returns.
pub fn spinning() -> String {
    handler("", "(loop $again (br $again)) (i32.const 0)")
}

/// Traps.
pub fn trapping() -> String {
    handler("", "unreachable")
}
