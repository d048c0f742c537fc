//! A gateway with one node, for tests of what is pushed to that.

use std::collections::BTreeSet;

use bytes::Bytes;
use eyot_core::config::{Config, Configured, Node};
use eyot_core::deploy::registry::Build;
use eyot_core::io::{Answer, Input, LinkId, NodeReport};
use eyot_core::task::{Authorized, Candidate, Overrides, Part, Shelf, Taken, Task, Unauthorized};
use eyot_core::Loaded;
use eyot_wire::control::{Command, NodeAct, Order, OrderReport};
use eyot_wire::manifest::Manifest;
use serde_json::Value;

use crate::bench::Bench;

/// Of the only node; there is no uplink.
const NODE: LinkId = LinkId::uplink(0);

/// The store, as far as nodes need it.
#[derive(Default)]
pub struct Modules {
    pub kept: BTreeSet<u8>,
    pub parts: Vec<Part>,
}

impl Shelf for Modules {
    fn load(&mut self, _: &[u8; 32], _: &Overrides) -> Result<Loaded, String> {
        Err("no function of the gateway itself was pushed".to_owned())
    }

    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        Vec::new()
    }

    fn audit(&mut self, _: &mut dyn Iterator<Item = &str>) {}

    fn parts(&mut self) -> Vec<Part> {
        Vec::new()
    }

    fn node_parts(&mut self, node: u8) -> Vec<Part> {
        if node == 0 {
            self.parts.clone()
        } else {
            Vec::new()
        }
    }

    fn retain(&mut self, sha256: &[[u8; 32]]) {
        // From 100 on they are the configuration's.
        self.kept.retain(|byte| *byte > 100 || sha256.contains(&[*byte; 32]));
    }
}

/// A gateway with one node, whose every word is the test's.
pub struct Field {
    pub bench: Bench,
    pub modules: Modules,
    next: u8,
    report: NodeReport,
}

pub fn build(version: &str, byte: u8) -> Build {
    Build { version: version.parse().unwrap(), sha256: [byte; 32], content_sha256: [byte; 32] }
}

impl Field {
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn with(configured: Option<Configured>) -> Self {
        let node = Node { id: "north".to_owned(), configured, ..Node::default() };
        let mut bench = Bench::with(Config { nodes: vec![node], ..Bench::config(Vec::new()) }, 64 << 20);
        let mut modules = Modules::default();
        bench.core.restore(&mut modules);
        bench.connect(LinkId::INTAKE, 1000);
        bench.connect(NODE, 1);
        let report = NodeReport { online: true, session: 1, ..NodeReport::default() };
        let mut field = Self { bench, modules, next: 1, report };
        field.says(|_| {});
        field
    }

    /// A verified module; its SHA-256 is all of one byte.
    pub fn push(&mut self, name: &str, version: &str) -> u8 {
        self.next += 1;
        self.push_again(name, version, self.next - 1)
    }

    pub fn push_again(&mut self, name: &str, version: &str, byte: u8) -> u8 {
        let manifest = Manifest::parse(&format!("name = \"{name}\"\nversion = \"{version}\"")).unwrap();
        self.modules.kept.insert(byte);
        let candidate = Candidate { manifest, content_sha256: [byte; 32], signers: vec!["ada".to_owned()] };
        self.store_says(Answer::Taken { push: [byte; 32], result: Taken::Ready(candidate) });
        self.work();
        byte
    }

    pub fn store_says(&mut self, answer: Answer) {
        let answer = Answer::Node { node: 0, answer: Box::new(answer) };
        self.bench.handle(Input::Answer(Box::new(answer)));
    }

    /// Does what the store is asked for, until nothing is.
    pub fn work(&mut self) {
        loop {
            self.bench.wait_ms(20);
            let tasks = std::mem::take(&mut self.bench.tasks);
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                match task {
                    Task::Node { node: 0, task } => {
                        if let Task::Fetch { sha256 } = *task {
                            assert!(self.modules.kept.contains(&sha256[0]), "{sha256:?} is gone");
                            self.store_says(Answer::Fetched { sha256, result: Ok(Bytes::from_static(b"module")) });
                        }
                    }
                    Task::Discard { sha256 } => drop(self.modules.kept.remove(&sha256[0])),
                    _ => {}
                }
            }
        }
    }

    /// The node says how it is.
    pub fn says(&mut self, change: impl FnOnce(&mut NodeReport)) {
        change(&mut self.report);
        self.bench.handle(Input::Node { link: NODE, report: Box::new(self.report.clone()) });
        self.work();
    }

    pub fn runs(&mut self, byte: u8) {
        self.says(|report| (report.function, report.refused) = (Some(hex::encode([byte; 32])), None));
    }

    /// It did well so many times, and failed so many.
    pub fn does(&mut self, invoked: u32, failed: u32) {
        self.says(|report| {
            report.ledger.invoked += invoked;
            report.ledger.failed += failed;
        });
    }

    pub fn restart(&mut self) {
        self.bench.installs.clear();
        self.bench.restart();
        self.bench.core.restore(&mut self.modules);
        self.bench.connect(LinkId::INTAKE, 1000);
        self.bench.connect(NODE, 1);
        self.work();
        self.says(|_| {});
    }

    pub fn order(&mut self, nonce: &str, function: &str, act: NodeAct) -> OrderReport {
        self.order_for("north", nonce, function, act)
    }

    pub fn order_for(&mut self, node: &str, nonce: &str, function: &str, act: NodeAct) -> OrderReport {
        let command = Command::Node { node: node.to_owned(), function: function.to_owned(), act, to: None };
        let order = Order { gateway: "bench".to_owned(), nonce: nonce.to_owned(), expires: 1_800_000_000, command };
        let result = Ok(Authorized { order, signer: "ada".to_owned() });
        self.bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result })));
        self.work();
        let topic = format!("eyot/bench/command/{nonce}");
        let told = self.bench.told.iter().rev().find(|publish| publish.topic == topic).unwrap();
        serde_json::from_slice(&told.payload).unwrap()
    }

    /// What the node was last to run.
    pub fn installed(&self) -> Option<Option<u8>> {
        self.bench.installs.last().map(|(link, sha256)| {
            assert_eq!(*link, NODE);
            sha256.map(|sha256| sha256[0])
        })
    }

    /// The node's topic: state and version, the version in force, and the reason.
    fn topic(&mut self) -> [String; 4] {
        self.bench.wait_ms(200);
        let document: Value = serde_json::from_slice(&self.bench.retained["eyot/bench/node/north"]).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        [&document["state"], &document["version"], &document["active"]["version"], &document["reason"]].map(text)
    }

    /// What the node's topic has of this: name and version of a build, if it is there.
    pub fn told(&mut self, of: &str) -> Option<(String, String)> {
        self.bench.wait_ms(200);
        let document: Value = serde_json::from_slice(&self.bench.retained["eyot/bench/node/north"]).unwrap();
        let build = document.get(of)?;
        let [name, version] = ["name", "version"].map(|key| build[key].as_str().unwrap().to_owned());
        assert!(build["sha256"].is_string());
        Some((name, version))
    }

    #[track_caller]
    pub fn stands(&mut self, state: &str, version: &str, active: &str, reason: &str) {
        let [is_state, is_version, is_active, is_reason] = self.topic();
        assert_eq!([&is_state, &is_version, &is_active], [state, version, active], "{is_reason}");
        assert!(is_reason.contains(reason) && is_reason.is_empty() == reason.is_empty(), "{is_reason}");
    }

    /// What was said of a push, and why.
    pub fn pushed(&self, byte: u8) -> Vec<(String, String)> {
        let topic = format!("eyot/bench/node/north/push/{}", hex::encode([byte; 32]));
        let told = self.bench.told.iter().filter(|publish| publish.topic == topic.as_str());
        let report = |publish: &eyot_core::io::Publish| {
            let report: Value = serde_json::from_slice(&publish.payload).unwrap();
            assert_eq!(report["node"], "north");
            let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
            (text("state"), text("reason"))
        };
        told.map(report).collect()
    }

    #[track_caller]
    pub fn is_refused(&self, byte: u8, reason: &str) {
        let pushed = self.pushed(byte);
        let (state, why) = pushed.last().unwrap();
        assert!(state == "rejected" && why.contains(reason), "{pushed:?}");
    }
}
