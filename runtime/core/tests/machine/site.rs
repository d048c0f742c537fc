//! A gateway with a store of modules, for tests of what is pushed to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use eyot_core::config::Config;
use eyot_core::io::{Answer, Input, LinkId};
use eyot_core::task::{Authorized, Candidate, Fresh, Overrides, Part, Shelf, Taken, Task, Unauthorized};
use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::control::{Command, Order, OrderReport};
use eyot_wire::manifest::Manifest;
use eyot_wire::shadow::ShadowReport;
use serde_json::Value;

use crate::bench::{Bench, PASS};

/// Adds the first byte of each payload to what it remembers, and emits the sum.
pub const SUM: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (data (i32.const 0) "n")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.load8_u (local.get $p))))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
    (call $emit (i32.add (local.get $t) (i32.const 3)) (i32.sub (local.get $tl) (i32.const 3))
                (i32.const 8) (i32.const 4))))"#;

/// Modules by their SHA-256.
#[derive(Default)]
pub struct Modules(pub BTreeMap<[u8; 32], (Manifest, String)>);

impl Modules {
    pub fn make(&self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        let (manifest, wat) = self.0.get(sha256).ok_or("it is not here")?;
        let (manifest, module, overrides) = (manifest.clone(), wat::parse_str(wat).unwrap(), overrides.clone());
        let load = move || {
            let config: Vec<_> = overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let options = LoadOptions { manifest: Some(manifest.clone()), config: &config, ..LoadOptions::default() };
            Function::load(&module, options).ok()
        };
        let function = load().ok_or("it does not load")?;
        Ok(Loaded {
            function: Box::new(function),
            sha256: *sha256,
            content_sha256: *sha256,
            replica: Some(Arc::new(load)),
        })
    }
}

impl Shelf for Modules {
    fn load(&mut self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        self.make(sha256, overrides)
    }

    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        Vec::new()
    }

    fn audit(&mut self, _: &mut dyn Iterator<Item = &str>) {}

    fn parts(&mut self) -> Vec<Part> {
        Vec::new()
    }

    fn retain(&mut self, sha256: &[[u8; 32]]) {
        self.0.retain(|known, _| sha256.contains(known));
    }
}

/// A gateway with a store of modules.
pub struct Site {
    pub bench: Bench,
    pub modules: Modules,
    /// Of which byte the SHA-256 of the next module is.
    pub next: u8,
}

impl Site {
    pub fn new() -> Self {
        Self::with(Bench::config(Vec::new()))
    }

    pub fn with(config: Config) -> Self {
        let mut bench = Bench::with(config, 64 << 20);
        bench.connect(LinkId::INTAKE, 1000);
        bench.connect(LinkId::LOCAL, 1000);
        // What the bench comes with.
        let text = "name = \"pass\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"in/#\"\n[allow]\nemit = [\"#\"]";
        let first = (Manifest::parse(text).unwrap(), PASS.to_owned());
        Self { bench, modules: Modules(BTreeMap::from([([0; 32], first)])), next: 1 }
    }

    /// Pushes a version; `lines` of its manifest. Its SHA-256 is all of one byte.
    pub fn push(&mut self, name: &str, version: &str, lines: &str, wat: &str) -> u8 {
        let byte = self.arrive(name, version, lines, wat);
        self.work();
        byte
    }

    /// The same, as far as to where an instance is being made.
    pub fn arrive(&mut self, name: &str, version: &str, lines: &str, wat: &str) -> u8 {
        let text = format!(
            "name = \"{name}\"\nversion = \"{version}\"\n[[trigger]]\nmqtt = \"in/{}\"\n[allow]\nemit = [\"#\"]\n{lines}",
            if name == "pass" { "#" } else { "sum/#" }
        );
        let manifest = Manifest::parse(&text).unwrap();
        let byte = self.next;
        self.next += 1;
        self.modules.0.insert([byte; 32], (manifest.clone(), wat.to_owned()));
        let candidate = Candidate { manifest, content_sha256: [byte; 32], signers: vec!["ada".to_owned()] };
        let answer = Answer::Taken { push: [byte; 32], result: Taken::Ready(candidate) };
        self.bench.handle(Input::Answer(Box::new(answer)));
        byte
    }

    /// Does what the store is asked for, until nothing is.
    pub fn work(&mut self) {
        loop {
            let tasks = std::mem::take(&mut self.bench.tasks);
            let mut is_idle = true;
            for task in tasks {
                match task {
                    Task::Load { sha256, overrides, .. } => {
                        let result = self.modules.make(&sha256, &overrides).map(Fresh);
                        self.bench.handle(Input::Answer(Box::new(Answer::Loaded { sha256, result })));
                        is_idle = false;
                    }
                    Task::Discard { sha256 } => drop(self.modules.0.remove(&sha256)),
                    _ => {}
                }
            }
            self.bench.wait_ms(20);
            if is_idle && self.bench.tasks.is_empty() {
                return;
            }
        }
    }

    pub fn order(&mut self, nonce: &str, command: Command) -> OrderReport {
        let order = Order { gateway: "bench".to_owned(), nonce: nonce.to_owned(), expires: 1_800_000_000, command };
        let result = Ok(Authorized { order, signer: "ada".to_owned() });
        self.bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result })));
        self.work();
        let topic = format!("eyot/bench/command/{nonce}");
        let told = self.bench.told.iter().find(|publish| publish.topic == topic).unwrap();
        serde_json::from_slice(&told.payload).unwrap()
    }

    pub fn message(&mut self, topic: &str, payload: impl Into<String>) {
        assert!(self.bench.message(topic, payload.into().into_bytes()));
        self.work();
    }

    /// What the function's topic says: its state and version, and the version in force.
    pub fn topic(&self, name: &str) -> (String, String, String) {
        let document = self.retained(&format!("function/{name}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&document["state"]), text(&document["version"]), self.active(name))
    }

    pub fn retained(&self, topic: &str) -> Value {
        serde_json::from_slice(&self.bench.retained[&format!("eyot/bench/{topic}")]).unwrap()
    }

    /// The version in force, by the status.
    pub fn active(&self, name: &str) -> String {
        let status: Value = serde_json::from_slice(&self.bench.core.status_json()).unwrap();
        let functions = status["functions"].as_array().unwrap();
        let found = functions.iter().find(|function| function["name"] == name);
        found.map(|function| function["version"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// The report, as of now.
    pub fn report(&mut self, name: &str) -> ShadowReport {
        self.bench.wait_ms(60_000);
        serde_json::from_value(self.retained(&format!("function/{name}/shadow"))).unwrap()
    }

    /// The power fails, and comes back.
    pub fn restart(&mut self) {
        self.bench.restart();
        self.bench.core.restore(&mut self.modules);
        self.bench.connect(LinkId::INTAKE, 1000);
        self.bench.connect(LinkId::LOCAL, 1000);
        self.work();
    }

    /// Everything that came out, as text.
    pub fn outputs(&mut self) -> Vec<String> {
        self.bench.drain()
    }
}
