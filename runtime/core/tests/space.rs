//! A disk that something else fills: what the machine does when nothing of its own happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use eyot_core::config::{Config, Uplink, WhenFull};
use eyot_core::io::{Effect, Input, LinkId, Message, Now};
use eyot_core::{Core, Loaded};
use eyot_engine::{Function, LoadOptions};
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};
use eyot_wire::manifest::Manifest;

const PAYLOAD_BYTES: usize = 16 << 10;
/// Most inputs a machine may need to get somewhere.
const TURNS_MAX: u32 = 10_000;

/// Passes its payload on to `cloud/x`.
const PASS: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "cloud/x")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (call $emit (i32.const 16) (i32.const 7) (local.get $p) (local.get $pl))))"#;

fn message(packet_id: u16) -> Message {
    let payload = Bytes::from(vec![b'.'; PAYLOAD_BYTES]);
    Message { conn: 1, packet_id, qos: 1, dup: false, wakes: None, topic: Bytes::from_static(b"in/x"), payload }
}

struct Machine {
    core: Core<MemoryStorage>,
    storage: MemoryStorage,
    now: Now,
    acked: u32,
}

impl Machine {
    fn open(storage: MemoryStorage, when_full: WhenFull) -> Self {
        let manifest =
            "name = \"pass\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"in/#\"\n[allow]\nemit = [\"cloud/#\"]";
        let options = LoadOptions { manifest: Some(Manifest::parse(manifest).unwrap()), ..LoadOptions::default() };
        let function = Function::load(&wat::parse_str(PASS).unwrap(), options).unwrap();
        let config = Config {
            uplinks: vec![Uplink { name: "cloud".to_owned(), topics: vec!["cloud/#".to_owned()], ..Uplink::default() }],
            when_full,
            status_interval_us: u64::MAX >> 1,
            ..Config::default()
        };
        let loaded =
            vec![Loaded { function: Box::new(function), sha256: [0; 32], content_sha256: [0; 32], replica: None }];
        let now = Now { mono_us: 1, unix_ms: 1_700_000_000_000 };
        let core = Core::open(config, Options::for_quota(64 << 20), storage.clone(), loaded, now, 7).unwrap();
        let mut machine = Self { core, storage, now, acked: 0 };
        machine.handle(Input::LinkUp { link: LinkId::INTAKE, conn: 1, inflight_max: 100, inflight_max_bytes: 1 << 20 });
        machine
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Ack { .. } => self.acked += 1,
                Effect::Sync(commit) => {
                    let result = self.storage.sync_data(&commit.file);
                    self.core.handle(self.now, Input::Synced { commit: commit.id, result });
                }
                _ => {}
            }
        }
    }

    /// Sleeps as the machine asks to, until `done` or until it would sleep for longer than any timer of the disk.
    fn sleep_until(&mut self, mut done: impl FnMut(&Self) -> bool) -> bool {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return true;
            }
            let Some(due_us) = self.core.deadline_us().filter(|due_us| *due_us < self.now.mono_us + 30_000_000) else {
                return false;
            };
            self.now.mono_us = self.now.mono_us.max(due_us);
            self.handle(Input::Tick);
        }
        panic!("the machine turns and turns");
    }

    /// One message, and its commit. False if it is not acknowledged.
    fn message(&mut self, packet_id: u16) -> bool {
        let before = self.acked;
        self.handle(Input::Message(message(packet_id)));
        self.sleep_until(|machine| machine.acked > before)
    }
}

/// Slow sensors leave no batch half done at the moment the disk is found full: no commit is tried again, and nothing but
/// the machine itself can find out that there is space again.
#[test]
fn a_full_disk_is_looked_at_again_although_nothing_waits_for_a_commit() {
    let storage = MemoryStorage::new(1);
    let mut machine = Machine::open(storage.clone(), WhenFull::Block);
    assert!(machine.message(1));
    storage.set_capacity(Some(storage.used_bytes()));
    let mut id = 1;
    while machine.core.accepts_messages() {
        id += 1;
        assert!(machine.message(id), "an accepted message {id} is acknowledged");
    }
    storage.set_capacity(None);
    assert!(machine.sleep_until(|machine| machine.core.accepts_messages()), "nobody looked whether there is space");
    assert!(machine.message(id + 1));
}

/// The first batch of a new log fills up before it is written: that is a full disk, not a busy one.
#[test]
fn a_batch_that_fills_up_on_a_full_disk_is_subject_to_the_policy() {
    let storage = MemoryStorage::new(1);
    storage.set_capacity(Some(0));
    let mut machine = Machine::open(storage.clone(), WhenFull::Block);
    let mut taken = 0;
    // In one turn, as a burst comes.
    while machine.core.accepts_messages() {
        taken += 1;
        machine.core.handle(machine.now, Input::Message(message(taken)));
    }
    machine.handle(Input::Tick);
    assert_eq!(machine.acked, 0);
    let status = String::from_utf8(machine.core.status_json()).unwrap();
    assert!(status.contains(r#""state":"full""#), "{status}");
    storage.set_capacity(None);
    assert!(machine.sleep_until(|machine| machine.acked == u32::from(taken)));
    assert!(machine.core.accepts_messages());
}
