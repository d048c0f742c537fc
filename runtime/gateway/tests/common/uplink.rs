//! An uplink that is no broker, seen from the core.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_gateway::mqtt::link::{Command, Events, LinkEvent, PublishAnswer};
use eyot_gateway::mqtt::queue::queue;
use eyot_gateway::mqtt::{Publish, Stamp};
use eyot_gateway::uplink::batch::{Limits, Record};
use eyot_gateway::uplink::runner::Uplink;
use eyot_gateway::uplink::work::{Part, Work};
use eyot_gateway::uplink::Place;
use tokio::sync::mpsc;

use super::PATIENCE;

pub const EPOCH: u64 = 9;
/// 2025-11-24, a minute before noon.
pub const RECEIVED_AT_MS: i64 = 1_763_985_540_000;
pub const GATEWAY: &str = "barn-7";
pub const NAME: &str = "cloud";

/// Batches of this many records, or what there is after a moment.
pub fn limits(batch_max: u16) -> Limits {
    Limits { batch_max, batch_max_bytes: 1 << 20, linger: Duration::from_millis(20), by_day: true }
}

pub fn payload(seq: u64) -> Bytes {
    Bytes::from(format!("{{\"n\":{seq}}}"))
}

pub fn line(seq: u64) -> String {
    let head = format!("{{\"gateway\":\"{GATEWAY}\",\"epoch\":{EPOCH},\"seq\":{seq},\"topic\":\"cloud/t\"");
    format!("{head},\"payload\":{{\"n\":{seq}}}}}\n")
}

pub fn lines(seqs: RangeInclusive<u64>) -> String {
    seqs.map(line).collect()
}

/// Records as one part, for a store without a runner.
pub fn part(seqs: RangeInclusive<u64>) -> Part {
    part_of(EPOCH, seqs)
}

/// Records of another route.
pub fn part_of(epoch: u64, seqs: RangeInclusive<u64>) -> Part {
    let record = |seq| Record {
        token: seq,
        stamp: Stamp { epoch, seq },
        topic: Bytes::from_static(b"cloud/t"),
        payload: payload(seq),
        received_at_ms: RECEIVED_AT_MS,
    };
    Work::new(seqs.map(record).collect()).part().unwrap()
}

pub struct Port {
    control: flume::Receiver<(u8, LinkEvent)>,
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
    pub conn: u64,
    window: u64,
}

impl Port {
    pub fn start(place: Place, limits: Limits) -> Self {
        let (control_tx, control) = flume::bounded(100_000);
        let (messages, _) = queue(1);
        let (commands, commands_rx) = mpsc::channel(100_000);
        let uplink = Uplink {
            name: NAME.to_owned(),
            id: 2,
            store: place.store(GATEWAY, NAME),
            limits,
            events: Events { control: control_tx, messages, wake: Arc::new(|| ()) },
            commands: commands_rx,
            reset: Arc::default(),
            seed: 1,
        };
        Self { control, commands, task: tokio::spawn(uplink.run()), conn: 0, window: 0 }
    }

    pub async fn next(&mut self) -> LinkEvent {
        let event = tokio::time::timeout(PATIENCE, self.control.recv_async()).await;
        let (_, event) = event.expect("something in time").expect("the uplink runs");
        if let LinkEvent::Up { conn, inflight_max, .. } = event {
            (self.conn, self.window) = (conn, u64::from(inflight_max));
        }
        event
    }

    pub async fn up(&mut self) {
        match self.next().await {
            LinkEvent::Up { .. } => {}
            other => panic!("not up but {other:?}"),
        }
    }

    pub fn send(&self, seqs: RangeInclusive<u64>) {
        let conn = self.conn;
        let commands = seqs.map(|seq| {
            let (topic, payload) = (Bytes::from_static(b"cloud/t"), payload(seq));
            let stamp = Some(Stamp { epoch: EPOCH, seq });
            let received_at_ms = RECEIVED_AT_MS;
            Command::Publish {
                conn,
                publish: Publish { token: seq, topic, payload, retain: false, stamp, received_at_ms, wakes: None },
            }
        });
        self.commands.try_send(Command::Batch(commands.collect())).unwrap();
    }

    /// Like the core: sends as much as the window allows, waits for the answer to each record in order, and sends all
    /// that have none again when the link comes back. Returns the refused.
    pub async fn deliver(&mut self, seqs: RangeInclusive<u64>) -> Vec<u64> {
        let (mut next, last) = seqs.into_inner();
        let (mut sent, mut refused) = (next, Vec::new());
        let started = Instant::now();
        while next <= last {
            assert!(started.elapsed() < PATIENCE, "{next} is not answered in time");
            let end = (next + self.window - 1).min(last);
            if sent <= end {
                self.send(sent..=end);
                sent = end + 1;
            }
            match self.next().await {
                LinkEvent::Published { conn, answers } if conn == self.conn => {
                    for PublishAnswer { token, accepted } in answers {
                        assert_eq!(token, next, "answers come in order");
                        refused.extend((!accepted).then_some(token));
                        next += 1;
                    }
                }
                LinkEvent::Up { .. } => sent = next,
                _ => {}
            }
        }
        refused
    }

    pub fn is_quiet(&self) -> bool {
        self.control.is_empty()
    }

    pub async fn finish(self) {
        self.commands.try_send(Command::Finish).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").unwrap();
    }
}
