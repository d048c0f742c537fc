//! The local broker: it keeps what sensors publish at QoS 1 until the gateway acknowledges it.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use eyot_core::io::{ConnId, Message};

use crate::world::TOPICS;

/// The topic number of what comes down from the cloud.
pub const DOWN: u32 = TOPICS;

/// A message as a sensor published it: `payload` is `<topic number>:<number in that topic>`. One that comes down from the
/// cloud is an output as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which sensor.
    pub topic: u32,
    /// Its n-th message, from 1.
    pub number: u64,
    /// 0 or 1.
    pub qos: u8,
    /// It is no sensor's: topic and payload of a control message.
    pub control: Option<(String, Bytes)>,
}

impl Published {
    /// The MQTT topic.
    pub fn topic_name(&self) -> String {
        match &self.control {
            Some((topic, _)) => topic.clone(),
            None if self.topic == DOWN => "down/x".to_owned(),
            None => format!("s/{}", self.topic),
        }
    }

    /// The MQTT payload.
    pub fn payload(&self) -> Bytes {
        match &self.control {
            Some((_, payload)) => payload.clone(),
            None if self.topic == DOWN => format!("{DOWN}:{}/0d", self.number).into(),
            None => format!("{}:{}", self.topic, self.number).into(),
        }
    }
}

/// Most messages that sensors can send again.
const RECENT_MAX: usize = 1000;

/// Broker with one subscriber: the gateway.
#[derive(Debug)]
pub struct Broker {
    queue: VecDeque<(Published, bool)>,
    in_flight: VecDeque<(u16, Published)>,
    in_flight_max: usize,
    next_packet_id: u16,
    /// Acknowledgements.
    pub acks: u64,
    /// What was acknowledged: topic and number.
    pub acked: BTreeSet<(u32, u64)>,
    /// What was acknowledged last, in that order.
    recent: VecDeque<Published>,
    /// What sensors sent more than once: topic and number.
    pub repeated: BTreeSet<(u32, u64)>,
    /// Lost by the broker itself when it forgot the session.
    pub forgotten: u64,
}

impl Broker {
    /// An empty one.
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_max,
            next_packet_id: 0,
            acks: 0,
            acked: BTreeSet::new(),
            recent: VecDeque::new(),
            repeated: BTreeSet::new(),
            forgotten: 0,
        }
    }

    /// A sensor publishes.
    pub fn publish(&mut self, message: Published) {
        self.queue.push_back((message, false));
    }

    /// Messages the broker still holds.
    pub fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// Control messages among them.
    pub fn controls(&self) -> usize {
        let queued = self.queue.iter().map(|(published, _)| published);
        queued.chain(self.in_flight.iter().map(|(_, published)| published)).filter(|p| p.control.is_some()).count()
    }

    /// The quality of service of the next delivery.
    pub fn next_qos(&self) -> Option<u8> {
        self.queue.front().map(|(published, _)| published.qos)
    }

    /// The next delivery on connection `conn`, if the in-flight limit allows one.
    pub fn deliver(&mut self, conn: ConnId) -> Option<Message> {
        let (front, _) = self.queue.front()?;
        if front.qos > 0 && self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        let (published, dup) = self.queue.pop_front()?;
        let packet_id = if published.qos > 0 {
            self.next_packet_id = self.next_packet_id % 65_535 + 1;
            self.in_flight.push_back((self.next_packet_id, published.clone()));
            self.next_packet_id
        } else {
            0
        };
        Some(Message {
            conn,
            packet_id,
            qos: published.qos,
            dup,
            wakes: None,
            topic: Bytes::from(published.topic_name()),
            payload: published.payload(),
        })
    }

    /// Sensors send their last `count` messages again: the same payloads, published anew.
    pub fn repeat_last(&mut self, count: usize) {
        let last = self.recent.iter().skip(self.recent.len().saturating_sub(count)).cloned();
        let last: Vec<Published> = last.collect();
        self.repeated.extend(last.iter().map(|p| (p.topic, p.number)));
        self.queue.extend(last.into_iter().map(|published| (published, false)));
    }

    /// The gateway acknowledges.
    pub fn ack(&mut self, packet_id: u16) {
        let index = self.in_flight.iter().position(|(id, _)| *id == packet_id);
        let index = index.expect("the gateway acknowledged a packet id that this connection does not have in flight");
        assert_eq!(index, 0, "acknowledgements are not in the order of the messages [MQTT-4.6.0-2]");
        let (_, published) = self.in_flight.remove(index).expect("just found");
        if published.control.is_some() {
            return;
        }
        self.acks += 1;
        self.acked.insert((published.topic, published.number));
        self.recent.push_back(published);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// The connection is gone: what was in flight is delivered again, in order, unless the session is forgotten.
    pub fn disconnected(&mut self, forget: bool) {
        if forget {
            self.forgotten += (self.queue.len() + self.in_flight.len()) as u64;
            self.queue.clear();
            self.in_flight.clear();
        }
        while let Some((_, published)) = self.in_flight.pop_back() {
            self.queue.push_front((published, true));
        }
        self.next_packet_id = 0;
    }
}
