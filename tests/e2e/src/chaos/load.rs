//! The sensors, and the collector at the cloud.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish};

use crate::checker::Arrival;
use crate::client::{Client, Closed};
use crate::stamp::Stamp;

/// Topics the messages are spread over.
const TOPICS: u64 = 20;
const PAYLOAD_BYTES: usize = 1 << 10;
/// Messages the broker has not acknowledged; beyond it sensors wait.
const UNACKNOWLEDGED_MAX: usize = 1_000;
/// How long a broker may be away: longer than any fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the sensors did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Messages the broker acknowledged: all there were.
    pub messages: u64,
    /// Publishes sent again, because the broker stopped before it acknowledged them.
    pub again: u64,
}

/// Publishes numbered messages, in order, as steadily as the broker lets it.
pub struct Sensors<'a> {
    port: u16,
    rate_per_s: u32,
    enough: &'a AtomicBool,
    stop: &'a AtomicBool,
    unacknowledged: VecDeque<(u16, u64)>,
    next: u64,
    again: u64,
}

impl<'a> Sensors<'a> {
    /// To the broker on `port`, until there is `enough` and all of it acknowledged, or until `stop`.
    pub fn new(port: u16, rate_per_s: u32, enough: &'a AtomicBool, stop: &'a AtomicBool) -> Self {
        Self { port, rate_per_s, enough, stop, unacknowledged: VecDeque::new(), next: 0, again: 0 }
    }

    /// Does it.
    ///
    /// # Panics
    /// When the broker stays away, or has no session of the gateway to hand the messages to.
    pub fn publish(mut self) -> Sent {
        let mut seen = Instant::now();
        while !self.is_done() {
            assert!(seen.elapsed() < PATIENCE, "the local broker stays away");
            let Ok(mut client) = Client::resume(self.port, "sensors") else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let _ = self.on_connection(&mut client);
            seen = Instant::now();
        }
        Sent { messages: self.next, again: self.again }
    }

    fn has_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.has_enough() && self.unacknowledged.is_empty() || self.stop.load(Ordering::Relaxed)
    }

    fn on_connection(&mut self, client: &mut Client) -> Result<(), Closed> {
        for (packet_id, number) in &mut self.unacknowledged {
            *packet_id = send(client, *number)?;
            self.again += 1;
        }
        let (began, first) = (Instant::now(), self.next);
        while !self.is_done() {
            let due = first + (began.elapsed().as_secs_f64() * f64::from(self.rate_per_s)) as u64;
            while self.next < due && self.unacknowledged.len() < UNACKNOWLEDGED_MAX && !self.has_enough() {
                let packet_id = send(client, self.next)?;
                self.unacknowledged.push_back((packet_id, self.next));
                self.next += 1;
            }
            if let Some(ack) = client.next_ack(Duration::from_millis(5))? {
                assert_eq!(ack.reason, PubAckReason::Success, "the gateway's session with its broker is gone");
                self.unacknowledged.retain(|(packet_id, _)| *packet_id != ack.pkid);
            }
        }
        Ok(())
    }
}

fn send(client: &mut Client, number: u64) -> Result<u16, Closed> {
    let mut payload = vec![b'.'; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    client.send(&format!("in/s{}", number % TOPICS), payload.into(), 1, false)
}

/// One message that came to the collector.
#[derive(Debug)]
pub struct Came {
    arrival: Arrival,
    /// The cloud's broker says that it delivered it before.
    dup: bool,
}

/// Collects at the cloud, over as many connections as that takes.
pub fn collect(port: u16, stop: &AtomicBool, to_test: Sender<Came>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::resume(port, "collector") else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        assert!(client.session_present(), "the cloud has lost the collector's session");
        while let (Ok(publish), false) = (client.next(Duration::from_millis(100)), stop.load(Ordering::Relaxed)) {
            if publish.is_some_and(|publish| to_test.send(came(&publish)).is_err()) {
                return;
            }
        }
    }
}

fn came(publish: &Publish) -> Came {
    let stamp = Stamp::of(publish).unwrap_or_else(|| panic!("an output without a stamp: {publish:?}"));
    let topic = String::from_utf8(publish.topic.to_vec()).expect("our topics are UTF-8");
    let number = publish.payload[..8].try_into().expect("a payload has a number");
    let index = u64::from_le_bytes(number);
    assert_eq!(topic, format!("cloud/in/s{}", index % TOPICS));
    assert_eq!(publish.payload.len(), PAYLOAD_BYTES);
    // What tells payloads apart; the rest would fill memory.
    let payload = Bytes::copy_from_slice(&publish.payload[..8]);
    Came { arrival: Arrival { topic, index, stamp, payload }, dup: publish.dup }
}

/// All that came to the collector.
#[derive(Debug, Default)]
pub struct Collected {
    /// In the order it came.
    pub arrivals: Vec<Arrival>,
    /// Of these, what came again and the cloud's broker said so: its collector had not acknowledged it.
    pub by_broker: u64,
    indexes: HashSet<u64>,
    seqs: HashSet<u64>,
}

impl Collected {
    /// Takes what is there, and waits `time` for more.
    pub fn take(&mut self, arrivals: &Receiver<Came>, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(Came { arrival, dup }) = arrivals.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.indexes.insert(arrival.index);
            if !self.seqs.insert(arrival.stamp.seq) && dup {
                self.by_broker += 1;
            }
            self.arrivals.push(arrival);
        }
    }

    /// Messages of which something came.
    pub fn distinct(&self) -> u64 {
        self.indexes.len() as u64
    }

    /// Outputs that came, each counted once.
    pub fn outputs(&self) -> u64 {
        self.seqs.len() as u64
    }
}
