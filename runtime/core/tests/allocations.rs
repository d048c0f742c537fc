//! A message on its way through the machine allocates nothing once buffers have grown to what they need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use eyot_core::config::{Config, WhenFull};
use eyot_core::io::{Effect, Input, LinkId, Message, Now};
use eyot_core::{Core, Loaded};
use eyot_engine::{Function, LoadOptions};
use eyot_spool::{FileStorage, Options, Storage};
use eyot_wire::manifest::Limits;

const CELSIUS: &[u8] = include_bytes!("../../../functions/celsius/celsius.wasm");
const WARM_UP: u64 = 20_000;
const MEASURED: u64 = 20_000;
/// Messages of one read from the socket.
const BURST: u64 = 50;
const CONN: u64 = 1;

fn config() -> Config {
    Config {
        gateway_id: "barn-7".to_owned(),
        version: "0.0.0",
        uplinks: Vec::new(),
        when_full: WhenFull::DropOldest,
        reduce: None,
        commit_window_us: 10_000,
        workers: 1,
        wear_budget_day_bytes: None,
        commit_window_max_us: 1_000_000,
        receive_max: 1000,
        inflight_max: 500,
        payload_max_bytes: 256 << 10,
        ceiling: Limits::CEILING,
        status_interval_us: 1 << 60,
        ack_flush_us: 1000,
        ..Config::default()
    }
}

struct Site {
    core: Core<FileStorage>,
    storage: FileStorage,
    now: Now,
    topics: Vec<Bytes>,
    payloads: Vec<Bytes>,
    delivered: u64,
}

impl Site {
    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Sync(commit) => {
                    let result = self.storage.sync_data(&commit.file);
                    self.core.handle(self.now, Input::Synced { commit: commit.id, result });
                }
                Effect::Publish(publish) if publish.token != 0 => {
                    self.delivered += 1;
                    let (link, conn, token) = (publish.link, publish.conn, publish.token);
                    self.core.handle(self.now, Input::Published { link, conn, token, accepted: true });
                }
                _ => {}
            }
        }
    }

    /// So many messages in bursts, each of which is committed and delivered.
    fn messages(&mut self, count: u64) {
        for index in 0..count {
            let sensor = index as usize % self.topics.len();
            let (topic, payload) = (self.topics[sensor].clone(), self.payloads[sensor].clone());
            let packet_id = (index % BURST) as u16 + 1;
            let message = Message { conn: CONN, packet_id, qos: 1, dup: false, wakes: None, topic, payload };
            self.handle(Input::Message(message));
            if packet_id == BURST as u16 {
                self.now.mono_us += 20_000;
                self.now.unix_ms += 20;
                self.handle(Input::Tick);
            }
        }
    }
}

#[test]
fn no_allocation_for_each_message_once_warm() {
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(dir.path()).unwrap();
    let function = Function::load(CELSIUS, LoadOptions::default()).unwrap();
    let loaded = vec![Loaded { function: Box::new(function), sha256: [0; 32], content_sha256: [0; 32], replica: None }];
    let now = Now { mono_us: 0, unix_ms: 1_700_000_000_000 };
    let core = Core::open(config(), Options::for_quota(64 << 20), storage.clone(), loaded, now, 1).unwrap();
    let text = |sensor| format!(r#"{{"device":"s{sensor:03}","t":17.5,"rh":48.5,"ts":1700000000123}}"#);
    // In one block, as what came from a socket is.
    let mut block = BytesMut::new();
    let mut cut = |text: String| {
        block.extend_from_slice(text.as_bytes());
        block.split().freeze()
    };
    let topics = (0..100).map(|sensor| cut(format!("sensors/s{sensor:03}/raw"))).collect();
    let payloads = (0..100).map(|sensor| cut(text(sensor))).collect();
    let mut site = Site { core, storage, now, topics, payloads, delivered: 0 };
    site.handle(Input::LinkUp { link: LinkId::INTAKE, conn: CONN, inflight_max: 1000, inflight_max_bytes: 1 << 20 });
    site.handle(Input::LinkUp { link: LinkId::LOCAL, conn: CONN, inflight_max: 500, inflight_max_bytes: 1 << 20 });
    site.messages(WARM_UP);
    site.delivered = 0;
    let info = allocation_counter::measure(|| site.messages(MEASURED));
    assert_eq!(site.delivered, MEASURED);
    let each = info.count_total as f64 / MEASURED as f64;
    println!("{each:.4} allocations for each message");
    assert!(each < 0.1, "{each}");
}
