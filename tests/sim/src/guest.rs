//! The functions of the simulation, as WebAssembly text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use eyot_core::task::Overrides;
use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::manifest::{Limits, Manifest};
use sha2::{Digest, Sha256};

use crate::scenario::Setup;
use crate::way::Way;

/// The function that sensors wake.
pub const NAME: &str = "pass";
/// Another one that they wake while it is there.
pub const EXTRA: &str = "extra";
/// Highest version: one printable character, so that it fits into every output.
pub const VERSION_MAX: u8 = b'~' - FIRST_VERSION;
/// The character of version 0.
pub const FIRST_VERSION: u8 = b'0';

/// A message costs what it takes to reset this.
const MEMORY_BYTES: u32 = 8192;
/// What costs fuel and next to no time, and how often it stands in a turn of what is to take long.
const COSTS_FUEL_ONLY: &str = "(drop (i32.const 0))";
const COSTS_PER_TURN: usize = 128;
/// Turns after which a message goes to a worker, and those of a version that wastes fuel.
const LONG_TURNS: u32 = 410;
const GREEDY_TURNS: u32 = 530;

/// How the function fails, when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failing {
    /// Never.
    Never,
    /// Now and then, at random: by a trap, by running until its fuel is gone, or by an error code; always after its
    /// first output, which must not be seen.
    AtRandom,
    /// As a mistake that the checks must find: it stops after its first output and says that all is well.
    Silently,
}

/// What of the function goes on for so long that it is done by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Long {
    /// Nothing.
    Never,
    /// Messages whose number ends in `5`.
    Sometimes,
    /// The same, and it keeps no state: several workers can be at it.
    WithoutState,
}

/// Whether a version works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nature {
    /// It does.
    Good,
    /// It fails on every message.
    Failing,
    /// It takes many times the fuel.
    Greedy,
}

/// One version of the function, before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build {
    name: &'static str,
    version: u8,
    failing: Failing,
    long: Long,
    nature: Nature,
    way: Way,
}

/// A module in a file.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file.
    pub bytes: Bytes,
    /// Of all of it.
    pub sha256: [u8; 32],
}

impl Module {
    /// Its SHA-256 as text.
    pub fn hex(&self) -> String {
        hex::encode(self.sha256)
    }

    /// The same in so many parts.
    pub fn parts(&self, count: usize) -> impl Iterator<Item = Bytes> + '_ {
        let length = self.bytes.len().div_ceil(count);
        (0..count).map(move |n| self.bytes.slice(n * length..((n + 1) * length).min(self.bytes.len())))
    }
}

impl Build {
    /// The version (1 to [`VERSION_MAX`]) that works.
    pub fn new(version: u8, setup: &Setup) -> Self {
        Self {
            name: NAME,
            version,
            failing: setup.failing,
            long: setup.long,
            nature: Nature::Good,
            way: Way::default(),
        }
    }

    /// The same by another name.
    pub fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same, but it does not work.
    pub fn of_nature(self, nature: Nature) -> Self {
        Self { nature, ..self }
    }

    /// The same, to come in force like this.
    pub fn by_way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// Its module.
    pub fn module(self) -> Module {
        static MODULES: Mutex<BTreeMap<Build, Module>> = Mutex::new(BTreeMap::new());
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        modules
            .entry(self)
            .or_insert_with(|| {
                let bytes = Bytes::from(if self.name == EXTRA { self.build_extra() } else { self.build() });
                Module { sha256: Sha256::digest(&bytes).into(), bytes }
            })
            .clone()
    }
}

impl Build {
    /// The module adds `/<version><part>` to its payload and emits it as part `a` to `cloud/a` and as part `b` to `cloud/b`,
    /// and, if the payload ends in `3`, as part `c` to `local/c`. It counts its messages in state under `n`, if it is to keep
    /// any.
    fn build(self) -> Vec<u8> {
        let Self { version, .. } = self;
        let turns = if self.long == Long::Never { 0 } else { LONG_TURNS };
        let (imports, counts) = match self.long {
            Long::WithoutState => ("", ""),
            _ => (
                r#"(import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))"#,
                "(drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))",
            ),
        };
        let fails = match (self.nature, self.failing) {
            (Nature::Failing, _) => "unreachable",
            (_, Failing::Never) => "",
            (_, Failing::AtRandom) => {
                "(drop (call $random (i32.const 64) (i32.const 1)))
            (local.set $r (i32.load8_u (i32.const 64)))
            (if (i32.lt_u (local.get $r) (i32.const 8)) (then unreachable))
            (if (i32.lt_u (local.get $r) (i32.const 10)) (then (loop $for_ever (br $for_ever))))
            (if (i32.lt_u (local.get $r) (i32.const 16)) (then (return (i32.const 7))))"
            }
            (_, Failing::Silently) => "(if (i32.eq (local.get $last) (i32.const 55)) (then (return (i32.const 0))))",
        };
        let waste_turns = if self.nature == Nature::Greedy { GREEDY_TURNS } else { 1 };
        let costs = COSTS_FUEL_ONLY.repeat(COSTS_PER_TURN);
        let manifest = self.manifest();
        let version = FIRST_VERSION + version;
        let text = format!(
            r#"(module
  (@custom "eyot.manifest" "{manifest}")
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "random" (func $random (param i32 i32) (result i32)))
  {imports}
  (memory (export "memory") {MEMORY_BYTES} (pagesize 1))
  (data (i32.const 0) "n")
  (data (i32.const 16) "cloud/a")
  (data (i32.const 32) "cloud/b")
  (data (i32.const 48) "local/c")
  (data (i32.const 80) "/\{version:02x}")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func $part (param $topic i32) (param $p i32) (param $pl i32) (param $part i32)
    (i32.store8 (i32.add (local.get $p) (i32.add (local.get $pl) (i32.const 2))) (local.get $part))
    (drop (call $emit (local.get $topic) (i32.const 7) (local.get $p) (i32.add (local.get $pl) (i32.const 3)))))
  (func $spin (param $turns i32)
    (loop $turn
      {costs}
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $turn (i32.gt_s (local.get $turns) (i32.const 0)))))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $last i32) (local $r i32)
    (local.set $last (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 1))))
    {counts}
    (call $spin (i32.const {waste_turns}))
    (if (i32.eq (local.get $last) (i32.const 53)) (then (call $spin (i32.const {turns}))))
    (i32.store16 (i32.add (local.get $p) (local.get $pl)) (i32.load16_u (i32.const 80)))
    (call $part (i32.const 16) (local.get $p) (local.get $pl) (i32.const 97))
    {fails}
    (call $part (i32.const 32) (local.get $p) (local.get $pl) (i32.const 98))
    (if (i32.eq (local.get $last) (i32.const 51))
      (then (call $part (i32.const 48) (local.get $p) (local.get $pl) (i32.const 99))))
    (i32.const 0)))"#
        );
        wat::parse_str(text).expect("the guest is valid text")
    }
}

impl Build {
    /// As it stands in the text of the module.
    fn manifest(self) -> String {
        let Self { name, version, .. } = self;
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1.{version}.0\"\n[[trigger]]\nmqtt = \"s/+\"\n[limits]\nfuel = 100_000\n\
             {}[allow]\nemit = [\"cloud/#\", \"local/#\"]\n{}",
            // Small, so that the smallest quota has room for two functions.
            if name == EXTRA { "state = \"4KiB\"\n" } else { "" },
            self.way.rollout()
        );
        manifest.replace('"', "\\22").replace('\n', "\\0a")
    }

    /// The other function counts its messages as well, and if the payload ends in `7`, it emits it with `/<version>e` as part
    /// `e` to `local/e`.
    fn build_extra(self) -> Vec<u8> {
        let (manifest, version) = (self.manifest(), FIRST_VERSION + self.version);
        let text = format!(
            r#"(module
  (@custom "eyot.manifest" "{manifest}")
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {MEMORY_BYTES} (pagesize 1))
  (data (i32.const 0) "n")
  (data (i32.const 48) "local/e")
  (data (i32.const 80) "/\{version:02x}")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $p) (local.get $pl)))
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))
    (if (i32.eq (i32.load8_u (i32.sub (local.get $end) (i32.const 1))) (i32.const 55))
      (then
        (i32.store16 (local.get $end) (i32.load16_u (i32.const 80)))
        (i32.store8 (i32.add (local.get $end) (i32.const 2)) (i32.const 101))
        (drop (call $emit (i32.const 48) (i32.const 7) (local.get $p) (i32.add (local.get $pl) (i32.const 3))))))
    (i32.const 0)))"#
        );
        wat::parse_str(text).expect("the guest is valid text")
    }
}

/// Whether a message with this number has a part `c`.
pub fn has_local_part(number: u64) -> bool {
    number % 10 == 3
}

/// The manifest of a module.
pub fn manifest(module: &[u8]) -> Manifest {
    let function = Function::load(module, LoadOptions::default()).expect("the guest loads");
    function.manifest().as_ref().clone()
}

/// Makes an instance.
pub fn load(module: &Module, overrides: &Overrides) -> Loaded {
    let (bytes, overrides) = (module.bytes.clone(), overrides.clone());
    let load = move || {
        let config: Vec<(&str, &str)> = overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Function::load(&bytes, LoadOptions { config: &config, ..LoadOptions::default() }).expect("the guest loads")
    };
    Loaded {
        function: Box::new(load()),
        sha256: module.sha256,
        content_sha256: module.sha256,
        replica: Some(Arc::new(move || Some(load()))),
    }
}

/// Name of the reducer.
pub const REDUCER: &str = "thin";

/// Whether the reducer takes the outputs of a message with this number.
pub fn is_reduced(number: u64) -> bool {
    number % 2 == 1
}

/// The reducer: keeps outputs of even numbers, if it `keeps` any, and dead letters.
pub fn reducer(keeps: bool) -> Loaded {
    static KEEPING: OnceLock<Vec<u8>> = OnceLock::new();
    static TAKING: OnceLock<Vec<u8>> = OnceLock::new();
    let manifest = format!("name = \"{REDUCER}\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"#\"]");
    let manifest = Some(Manifest::parse(&manifest).expect("the manifest is valid"));
    let module = if keeps { &KEEPING } else { &TAKING }.get_or_init(|| build_reducer(keeps));
    let options = LoadOptions { manifest, ceiling: Limits::CEILING, ..LoadOptions::default() };
    let function = Function::load(module, options).expect("the reducer loads");
    Loaded { function: Box::new(function), sha256: [0; 32], content_sha256: [0; 32], replica: None }
}

fn build_reducer(keeps: bool) -> Vec<u8> {
    // It is shown dead letters too.
    const TEXT: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16384 (pagesize 1))
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (if (i32.and (i32.ne (i32.load8_u (local.get $p)) (i32.const 123))
                 (i32.and (i32.const 1) (i32.load8_u (i32.sub (i32.add (local.get $p) (local.get $pl)) (i32.const 4)))))
      (then (return (i32.const 0))))
    (drop (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl)))
    (i32.const 0)))"#;
    let text = if keeps { TEXT.to_owned() } else { TEXT.replace("(i32.and (i32.const 1)", "(i32.or (i32.const 1)") };
    wat::parse_str(text).expect("the reducer is valid text")
}
