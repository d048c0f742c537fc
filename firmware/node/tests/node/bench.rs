//! A board with a clock that is turned by hand, a line that can lose bytes, and the gateway's end as a test wants it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::rc::Rc;

use embedded_io::{ErrorType, Read, ReadReady, Write};
use eyot_node::{Board, Channel, Ledger, Node, NodeLimits, Options, Sample, Sensor, SensorError};
use eyot_wire::link::{encode, FromNode, Line, ToNode, LINE_MAX_BYTES};

/// Outputs the nodes of tests can hold.
pub const QUEUE: usize = 32;

#[derive(Default)]
struct Wires {
    now_ms: u64,
    alive: u64,
    to_node: VecDeque<u8>,
    from_node: Vec<u8>,
    sensor_fails: bool,
    heap_used: usize,
}

/// All of it.
pub const HEAP_BYTES: usize = 256 << 10;

/// What board, line and sensor share with the test.
#[derive(Clone, Default)]
pub struct Bench(Rc<RefCell<Wires>>);

impl Board for Bench {
    fn uptime_ms(&mut self) -> u64 {
        self.0.borrow().now_ms
    }

    fn alive(&mut self) {
        self.0.borrow_mut().alive += 1;
    }

    fn heap(&self) -> (usize, usize) {
        (self.0.borrow().heap_used, HEAP_BYTES)
    }
}

impl ErrorType for Bench {
    type Error = Infallible;
}

impl ReadReady for Bench {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.borrow().to_node.is_empty())
    }
}

impl Read for Bench {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut wires = self.0.borrow_mut();
        let len = buffer.len().min(wires.to_node.len());
        for (place, byte) in buffer.iter_mut().zip(wires.to_node.drain(..len)) {
            *place = byte;
        }
        Ok(len)
    }
}

impl Write for Bench {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().from_node.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Gives `{"n":1}`, `{"n":2}`, … unless it is told to fail.
pub struct Counter(pub Bench, pub u32);

impl Sensor for Counter {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        if self.0 .0.borrow().sensor_fails {
            return Err(SensorError::Bus);
        }
        self.1 += 1;
        Ok(write!(out, "{{\"n\":{}}}", self.1)?)
    }
}

pub fn limits() -> NodeLimits {
    NodeLimits::default()
}

/// A node over this bench.
pub fn node<'a>(bench: &Bench, limits: NodeLimits, channels: &'a mut [Channel<'a>]) -> Node<'a, Bench, Bench, QUEUE> {
    Node::new(Options { program: "test 1", limits, seed: 1 }, bench.clone(), bench.clone(), channels)
}

/// What the gateway understood, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Hello { session: u32, first: u32, function: Option<[u8; 32]> },
    Reading { session: u32, seq: u32, age_ms: u32, topic: String, payload: String },
    Status(Ledger),
    Log(u8, String),
    Wants(u32),
    Done,
    Refused(String),
    Removed,
}

impl Bench {
    pub fn wait_ms(&self, ms: u64) {
        self.0.borrow_mut().now_ms += ms;
    }

    pub fn heap_used(&self, bytes: usize) {
        self.0.borrow_mut().heap_used = bytes;
    }

    pub fn alive(&self) -> u64 {
        self.0.borrow().alive
    }

    pub fn sensor_fails(&self, fails: bool) {
        self.0.borrow_mut().sensor_fails = fails;
    }

    pub fn say(&self, message: &ToNode<'_>) {
        self.send(encode(message, &mut [0; LINE_MAX_BYTES]).unwrap());
    }

    pub fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_node.extend(bytes);
    }

    pub fn welcome(&self, session: u32, acked: u32) {
        self.say(&ToNode::Welcome { session, acked, unix_ms: 1_700_000_000_000 });
    }

    pub fn ack(&self, session: u32, seq: u32) {
        self.say(&ToNode::Ack { session, seq, unix_ms: 1_700_000_000_000 });
    }

    /// Bytes on the wire, not understood yet.
    pub fn take_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().from_node)
    }

    /// What the node said since the last time.
    pub fn heard(&self) -> Vec<Said> {
        understand(&mut Line::default(), &self.take_bytes())
    }
}

/// What these bytes say, damaged lines left out.
pub fn understand(line: &mut Line, mut bytes: &[u8]) -> Vec<Said> {
    use eyot_wire::link::Install;
    let mut said = Vec::new();
    while !bytes.is_empty() {
        let Some(Ok(body)) = line.feed(&mut bytes) else { continue };
        let Ok(message) = body.message::<FromNode<'_>>() else { continue };
        said.push(match message {
            FromNode::Hello(hello) => {
                Said::Hello { session: hello.session, first: hello.first, function: hello.function }
            }
            FromNode::Reading(reading) => Said::Reading {
                session: reading.session,
                seq: reading.seq,
                age_ms: reading.age_ms,
                topic: reading.topic.to_owned(),
                payload: String::from_utf8(reading.payload.to_vec()).unwrap(),
            },
            FromNode::Status(status) => Said::Status(status.ledger),
            FromNode::Log { level, text } => Said::Log(level, text.to_owned()),
            FromNode::Install(Install::Wants { offset, .. }) => Said::Wants(offset),
            FromNode::Install(Install::Done { .. }) => Said::Done,
            FromNode::Install(Install::Refused { reason, .. }) => Said::Refused(reason.to_owned()),
            FromNode::Install(Install::Removed) => Said::Removed,
        });
    }
    said
}

/// Numbers and payloads of the readings among these.
pub fn readings(said: &[Said]) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for said in said {
        if let Said::Reading { seq, payload, .. } = said {
            found.push((*seq, payload.clone()));
        }
    }
    found
}
