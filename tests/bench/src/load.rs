//! One publisher and one collector, on one thread and two connections.
//!
//! It uses the packet codec alone and moves packets in batches, so that its own cost stays far below a gateway's.
//! It speaks MQTT 5 in every run, so that the stamps of Eyot's results are carried all the way, and paid for.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Filter, Packet, PubAck, Publish, Subscribe};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout, Instant};

use crate::work::{index_of, is_dropped, write_payload, Topics};

const BUFFER_BYTES: usize = 256 << 10;
/// Bytes written ahead of the socket at most.
const AHEAD_BYTES: usize = 64 << 10;
/// Silence after which what has not come out is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Patience with a gateway that starts.
const START_WITHIN: Duration = Duration::from_secs(30);
/// Time between messages to a gateway that starts: the resolution of the time to the first result.
const PROBE_EVERY: Duration = Duration::from_millis(1);

/// How messages are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as results come back, with so many messages between publisher and collector.
    InFlight(u64),
    /// So many messages each second, whatever comes back.
    PerSecond(u64),
}

/// What came out of one run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Messages sent, those included that must be dropped.
    pub sent: u64,
    /// From the first send to the last result.
    pub elapsed: Duration,
    /// Results that never came.
    pub lost: u64,
    /// Results that came again, or of messages that must be dropped.
    pub surplus: u64,
    /// Results that came after a later one of the same sensor.
    pub disordered: u64,
    /// From send to result, ascending, in microseconds.
    pub latencies_us: Vec<u32>,
}

impl Outcome {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `percent` of the results do not exceed, in milliseconds.
    pub fn latency_ms(&self, percent: usize) -> f64 {
        let at = (self.latencies_us.len() * percent / 100).min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

/// Publisher and collector, connected.
#[derive(Debug)]
pub struct Load {
    publisher: Connection,
    collector: Connection,
    qos: QoS,
    topics: Topics,
    /// Nobody drops anything between the two.
    direct: bool,
    next_index: u64,
}

impl Load {
    /// Connects to the broker on `port`; the collector subscribes to `processed/#`. If `direct`, the publisher sends
    /// there itself: the broker alone is measured.
    ///
    /// # Errors
    /// The broker cannot be used.
    pub async fn connect(port: u16, qos: u8, direct: bool) -> io::Result<Self> {
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let publisher = Connection::open(port, "load-publisher").await?;
        let mut collector = Connection::open(port, "load-collector").await?;
        let filters = vec![Filter::new("processed/#", qos)];
        let subscribe = Subscribe { pkid: 1, filters, properties: None };
        collector.put(&Packet::Subscribe(subscribe));
        collector.flush().await?;
        while !matches!(collector.packet().await?, Packet::SubAck(_)) {}
        let topics = if direct { Topics::processed() } else { Topics::raw() };
        Ok(Self { publisher, collector, qos, topics, direct, next_index: 0 })
    }

    /// Sends a message every millisecond until a result comes; returns when it came.
    ///
    /// # Errors
    /// The broker is gone, or no result comes.
    pub async fn first_result(&mut self) -> io::Result<std::time::Instant> {
        let give_up = Instant::now() + START_WITHIN;
        loop {
            self.send_one();
            self.publisher.flush().await?;
            let at = Instant::now();
            if self.collect_for(PROBE_EVERY).await? > 0 {
                let came = at.into_std() + at.elapsed();
                while self.collect_for(Duration::from_millis(100)).await? > 0 {}
                return Ok(came);
            }
            if at > give_up {
                return Err(io::Error::other(format!("no result within {START_WITHIN:?}")));
            }
        }
    }

    /// Sends `messages` at `pace` and collects what becomes of them.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn run(&mut self, messages: u64, pace: Pace) -> io::Result<Outcome> {
        let mut run = Run::new(self.next_index, messages, !self.direct);
        let start = Instant::now();
        loop {
            let due = match pace {
                Pace::InFlight(most) => {
                    while run.sent < messages && run.outstanding() < most && self.publisher.out.len() < AHEAD_BYTES {
                        run.note_sent(self.next_index, start);
                        self.send_one();
                    }
                    None
                }
                Pace::PerSecond(rate) => {
                    let due = start + Duration::from_nanos(1_000_000_000 / rate * run.sent);
                    if run.sent < messages && due <= Instant::now() {
                        run.note_sent(self.next_index, start);
                        self.send_one();
                        continue;
                    }
                    (run.sent < messages).then_some(due)
                }
            };
            if run.sent == messages && run.results == run.expected && self.publisher.out.is_empty() {
                break;
            }
            match timeout(LOST_AFTER, self.step(due)).await {
                Ok(step) => step?,
                Err(_) if run.sent == messages => break,
                Err(_) => run.write_off(),
            }
            self.drain(|index| run.note_result(index, start))?;
        }
        Ok(run.outcome(messages))
    }

    /// Moves bytes until one side made progress, or `due`.
    async fn step(&mut self, due: Option<Instant>) -> io::Result<()> {
        let Self { publisher, collector, .. } = self;
        tokio::select! {
            moved = publisher.advance() => moved,
            moved = collector.advance() => moved,
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => Ok(()),
        }
    }

    fn send_one(&mut self) {
        let index = self.next_index;
        self.next_index += 1;
        let mut payload = BytesMut::with_capacity(80);
        write_payload(index, &mut payload);
        let topic = self.topics.of(index);
        let pkid = if self.qos == QoS::AtMostOnce { 0 } else { (index % 65_535) as u16 + 1 };
        let payload = payload.freeze();
        let publish = Publish { dup: false, qos: self.qos, retain: false, topic, pkid, payload, properties: None };
        self.publisher.put(&Packet::Publish(publish));
    }

    /// Takes what arrived apart; acknowledgements go out with the next step.
    fn drain(&mut self, mut note: impl FnMut(u64)) -> io::Result<()> {
        while self.publisher.parsed()?.is_some() {}
        while let Some(packet) = self.collector.parsed()? {
            if let Packet::Publish(publish) = packet {
                if let Some(index) = index_of(&publish.payload) {
                    note(index);
                }
                if publish.pkid != 0 {
                    self.collector.put(&Packet::PubAck(PubAck::new(publish.pkid, None)));
                }
            }
        }
        Ok(())
    }

    /// Collects for `time`, and says how many results came.
    async fn collect_for(&mut self, time: Duration) -> io::Result<u64> {
        let until = Instant::now() + time;
        let mut results = 0;
        while results == 0 && Instant::now() < until {
            self.step(Some(until)).await?;
            self.drain(|_| results += 1)?;
        }
        Ok(results)
    }
}

/// What is known about the messages of one run.
struct Run {
    first: u64,
    with_drops: bool,
    sent: u64,
    expected: u64,
    results: u64,
    written_off: u64,
    surplus: u64,
    disordered: u64,
    sent_us: Vec<u32>,
    seen: Vec<bool>,
    last_of_sensor: Vec<u64>,
    latencies_us: Vec<u32>,
    last_result_us: u32,
}

impl Run {
    fn new(first: u64, messages: u64, with_drops: bool) -> Self {
        let dropped = (first..first + messages).filter(|index| with_drops && is_dropped(*index)).count() as u64;
        let expected = messages - dropped;
        Self {
            first,
            with_drops,
            sent: 0,
            expected,
            results: 0,
            written_off: 0,
            surplus: 0,
            disordered: 0,
            sent_us: Vec::with_capacity(messages as usize),
            seen: vec![false; messages as usize],
            last_of_sensor: vec![0; crate::work::SENSORS as usize],
            latencies_us: Vec::with_capacity(expected as usize),
            last_result_us: 0,
        }
    }

    fn must_drop(&self, index: u64) -> bool {
        self.with_drops && is_dropped(index)
    }

    fn outstanding(&self) -> u64 {
        let wanted = self.sent - self.written_off;
        wanted.saturating_sub(self.results)
    }

    fn note_sent(&mut self, index: u64, start: Instant) {
        self.sent_us.push(start.elapsed().as_micros() as u32);
        self.sent += 1;
        // It will never come out, so it holds no place.
        self.written_off += u64::from(self.must_drop(index));
    }

    /// Nothing comes out any more: the places of what is lost are given to others.
    fn write_off(&mut self) {
        self.written_off += self.outstanding();
    }

    fn note_result(&mut self, index: u64, start: Instant) {
        let Some(at) = index.checked_sub(self.first).map(|at| at as usize).filter(|at| *at < self.sent_us.len()) else {
            return;
        };
        if self.seen[at] || self.must_drop(index) {
            self.surplus += 1;
            return;
        }
        self.seen[at] = true;
        self.results += 1;
        let now_us = start.elapsed().as_micros() as u32;
        self.last_result_us = now_us;
        self.latencies_us.push(now_us.saturating_sub(self.sent_us[at]));
        let last = &mut self.last_of_sensor[(index % crate::work::SENSORS) as usize];
        self.disordered += u64::from(index < *last);
        *last = index.max(*last);
    }

    fn outcome(mut self, messages: u64) -> Outcome {
        self.latencies_us.sort_unstable();
        Outcome {
            sent: messages,
            elapsed: Duration::from_micros(u64::from(self.last_result_us)),
            lost: self.expected - self.results,
            surplus: self.surplus,
            disordered: self.disordered,
            latencies_us: self.latencies_us,
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: BytesMut,
    out: BytesMut,
}

impl Connection {
    async fn open(port: u16, id: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (input, out) = (BytesMut::with_capacity(BUFFER_BYTES), BytesMut::with_capacity(BUFFER_BYTES));
        let mut connection = Self { stream, input, out };
        let properties = ConnectProperties { receive_maximum: Some(u16::MAX), ..ConnectProperties::new() };
        let client_id = id.to_owned();
        let connect = Connect { keep_alive: 600, client_id, clean_start: true, properties: Some(properties) };
        connection.put(&Packet::Connect(connect, None, None));
        connection.flush().await?;
        while !matches!(connection.packet().await?, Packet::ConnAck(_)) {}
        Ok(connection)
    }

    fn put(&mut self, packet: &Packet) {
        packet.write(&mut self.out, None).expect("packets of the load are small");
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.out).await
    }

    /// Reads, and writes if there is something to write; whichever is possible first.
    async fn advance(&mut self) -> io::Result<()> {
        let Self { stream, input, out } = self;
        let (mut reader, mut writer) = stream.split();
        input.reserve(BUFFER_BYTES / 4);
        let moved = tokio::select! {
            moved = writer.write_buf(out), if !out.is_empty() => moved?,
            moved = reader.read_buf(input) => moved?,
        };
        if moved == 0 {
            return Err(io::Error::other("the broker closed the connection"));
        }
        Ok(())
    }

    fn parsed(&mut self) -> io::Result<Option<Packet>> {
        match Packet::read(&mut self.input, None) {
            Ok(packet) => Ok(Some(packet)),
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn packet(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.parsed()? {
                return Ok(packet);
            }
            self.advance().await?;
        }
    }
}
