//! Brokers that do nothing but answer, so that all there is to measure is the gateway: a [`Feeder`] in place of the local
//! broker, and a [`Null`] in place of the cloud's. MQTT 5, and only what the gateway needs of it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnAckProperties, ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};
use rumqttc::v5::mqttbytes::QoS;

use crate::work::Topics;

const READ_BYTES: usize = 256 << 10;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
/// Messages the gateway has not acknowledged, at most; it would take more.
const WINDOW: u64 = 1_000;
/// Messages in one write.
const BURST: u64 = 100;

/// A packet as it came: its first byte, and what follows its length.
struct Raw {
    first: u8,
    body: Bytes,
}

/// Cuts the packet at the front off; none while it is incomplete.
fn cut(input: &mut BytesMut) -> Option<(Raw, Bytes)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *input.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if input.len() < at + length {
        return None;
    }
    let whole = input.split_to(at + length).freeze();
    Some((Raw { first: whole[0], body: whole.slice(at..) }, whole))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one connection until it ends. `publish` and `acked` see the hot packets; `subscribed` is called after a SUBACK.
fn serve(
    mut stream: &TcpStream,
    mut connected: impl FnMut(),
    mut publish: impl FnMut(&Raw, &mut BytesMut),
    mut acked: impl FnMut(u64),
    mut subscribed: impl FnMut(),
) -> io::Result<()> {
    let (mut input, mut out) = (BytesMut::with_capacity(READ_BYTES), BytesMut::new());
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..count]);
        let (mut acks, mut subscription) = (0, false);
        while let Some((raw, whole)) = cut(&mut input) {
            match raw.first >> 4 {
                PUBLISH => publish(&raw, &mut out),
                PUBACK => acks += 1,
                _ => {
                    let packet = Packet::read(&mut BytesMut::from(whole), None).map_err(io::Error::other)?;
                    if matches!(packet, Packet::Connect(..)) {
                        connected();
                    }
                    subscription |= matches!(packet, Packet::Subscribe(_));
                    answer(&packet, &mut out)?;
                }
            }
        }
        stream.write_all(&out)?;
        out.clear();
        if acks > 0 {
            acked(acks);
        }
        if subscription {
            subscribed();
        }
    }
}

fn answer(packet: &Packet, out: &mut BytesMut) -> io::Result<()> {
    let answer = match packet {
        Packet::Connect(..) => {
            let properties = ConnAckProperties { receive_max: Some(u16::MAX), ..no_properties() };
            let code = ConnectReturnCode::Success;
            Packet::ConnAck(ConnAck { session_present: false, code, properties: Some(properties) })
        }
        Packet::Subscribe(subscribe) => Packet::SubAck(SubAck {
            pkid: subscribe.pkid,
            return_codes: vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()],
            properties: None,
        }),
        Packet::PingReq(_) => {
            out.put_slice(&[0xd0, 0]);
            return Ok(());
        }
        _ => return Ok(()),
    };
    answer.write(out, None).map(drop).map_err(io::Error::other)
}

const fn no_properties() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn listen(port: u16, mut accepted: impl FnMut(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).expect("a TCP option");
            accepted(stream);
        }
    });
}

/// A PUBLISH taken apart.
struct Message<'a> {
    topic: &'a [u8],
    packet_id: u16,
    /// `eyot-seq`, if it has one.
    seq: Option<u64>,
    payload: &'a [u8],
}

fn message(body: &Bytes) -> Option<Message<'_>> {
    let (topic, mut rest) = string(body)?;
    let packet_id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
    rest = rest.get(2..)?;
    // A stamp takes less than 128 bytes.
    let (&length, after) = rest.split_first().filter(|(length, _)| **length < 0x80)?;
    let (mut properties, payload) = after.split_at_checked(usize::from(length))?;
    let mut seq = None;
    while let Some((0x26, rest)) = properties.split_first() {
        let (key, rest) = string(rest)?;
        let (value, rest) = string(rest)?;
        if key == b"eyot-seq" {
            seq = Some(value.iter().fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0')));
        }
        properties = rest;
    }
    Some(Message { topic, packet_id, seq, payload })
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    bytes.get(2..)?.split_at_checked(length)
}

/// What a [`Null`] has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// When the gateway's CONNECT came.
    pub connected: Option<Instant>,
    /// When the first output came.
    pub first: Option<Instant>,
    /// When the last output came that was new.
    pub last: Option<Instant>,
    /// The last status document.
    pub status: Vec<u8>,
    /// The first output that was not the next of its sequence, with the message that belongs to it.
    pub breach: Option<String>,
}

impl Seen {
    /// From the first output to the last.
    pub fn took(&self) -> Duration {
        self.first.zip(self.last).map(|(first, last)| last - first).unwrap_or_default()
    }
}

/// An uplink's broker that acknowledges at once and keeps nothing, but for a check: output n is of message n - 1.
#[derive(Debug)]
pub struct Null {
    port: u16,
    outputs: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
}

impl Null {
    /// Listens on `port`.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn listen(port: u16) -> Self {
        let (outputs, seen) = <(Arc<AtomicU64>, Arc<Mutex<Seen>>)>::default();
        let (counter, notes) = (Arc::clone(&outputs), Arc::clone(&seen));
        listen(port, move |stream| {
            let (counter, notes) = (Arc::clone(&counter), Arc::clone(&notes));
            thread::spawn(move || {
                let publish = |raw: &Raw, out: &mut BytesMut| take(raw, out, &counter, &notes);
                let connected = || lock(&notes).connected = Some(Instant::now());
                // However it ends, there is nobody to tell: what is missing will be missed.
                let _ = serve(&stream, connected, publish, |_| {}, || {});
            });
        });
        Self { port, outputs, seen }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Outputs so far, each counted once.
    pub fn outputs(&self) -> u64 {
        self.outputs.load(Ordering::Relaxed)
    }

    /// The rest of what it has seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn take(raw: &Raw, out: &mut BytesMut, outputs: &AtomicU64, seen: &Mutex<Seen>) {
    let Some(message) = message(&raw.body) else {
        lock(seen).breach.get_or_insert_with(|| "a packet that is no PUBLISH".to_owned());
        return;
    };
    out.put_slice(&[0x40, 2]);
    out.put_u16(message.packet_id);
    let Some(seq) = message.seq else {
        if message.topic.ends_with(b"/status") {
            lock(seen).status = message.payload.to_vec();
        }
        return;
    };
    let before = outputs.load(Ordering::Relaxed);
    let index = message.payload.get(..8).map(|mut bytes| bytes.get_u64_le());
    if seq != before + 1 || index != Some(before) {
        let breach = format!("output {seq} of message {index:?} came after output {before}");
        lock(seen).breach.get_or_insert(breach);
    }
    outputs.store(before + 1, Ordering::Relaxed);
    let now = Instant::now();
    let mut seen = lock(seen);
    seen.first.get_or_insert(now);
    seen.last = Some(now);
}

/// How far a [`Feeder`] is.
#[derive(Debug, Default)]
struct Fed {
    sent: u64,
    acknowledged: u64,
}

/// A local broker with sensors that publish as fast as the gateway acknowledges, on the connection that subscribes.
#[derive(Debug)]
pub struct Feeder {
    port: u16,
    progress: Arc<(Mutex<Fed>, Condvar)>,
    enough: Arc<AtomicBool>,
}

impl Feeder {
    /// Listens on `port`; each message has a payload of `payload_bytes`, and its number in the first eight.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn listen(port: u16, payload_bytes: usize) -> Self {
        let progress = Arc::<(Mutex<Fed>, Condvar)>::default();
        let enough = Arc::<AtomicBool>::default();
        let (shared, over) = (Arc::clone(&progress), Arc::clone(&enough));
        listen(port, move |stream| {
            let (shared, over) = (Arc::clone(&shared), Arc::clone(&over));
            thread::spawn(move || {
                let acked = |count| {
                    lock(&shared.0).acknowledged += count;
                    shared.1.notify_all();
                };
                let subscribed = || {
                    let (shared, over) = (Arc::clone(&shared), Arc::clone(&over));
                    let stream = stream.try_clone().expect("a descriptor is left");
                    thread::spawn(move || feed(&stream, payload_bytes, &shared, &over));
                };
                let publish = |raw: &Raw, out: &mut BytesMut| {
                    if let Some(message) = message(&raw.body) {
                        out.put_slice(&[0x40, 2]);
                        out.put_u16(message.packet_id);
                    }
                };
                let _ = serve(&stream, || {}, publish, acked, subscribed);
            });
        });
        Self { port, progress, enough }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops feeding, and waits until all is acknowledged; answers how many messages that were.
    pub fn finish(&self) -> u64 {
        self.enough.store(true, Ordering::Relaxed);
        let (fed, changed) = &*self.progress;
        // The feeding thread may be about to send what it has counted already.
        let fed = changed.wait_while(lock(fed), |fed| fed.acknowledged < fed.sent);
        fed.unwrap_or_else(PoisonError::into_inner).sent
    }
}

fn feed(mut stream: &TcpStream, payload_bytes: usize, progress: &(Mutex<Fed>, Condvar), enough: &AtomicBool) {
    let topics = Topics::raw();
    let mut out = BytesMut::new();
    while !enough.load(Ordering::Relaxed) {
        let numbers = {
            let (fed, changed) = progress;
            let full = |fed: &mut Fed| fed.sent - fed.acknowledged + BURST > WINDOW;
            let mut fed = changed.wait_while(lock(fed), full).unwrap_or_else(PoisonError::into_inner);
            let first = fed.sent;
            fed.sent += BURST;
            first..fed.sent
        };
        for number in numbers {
            let topic = topics.of(number);
            let length = 2 + topic.len() + 2 + 1 + payload_bytes;
            out.put_u8(0x32);
            // Two bytes are enough up to 16 KiB, and right below 128 as well.
            out.put_slice(&[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
            out.put_u16(topic.len() as u16);
            out.put_slice(&topic);
            out.put_u16((number % u64::from(u16::MAX)) as u16 + 1);
            out.put_u8(0);
            out.put_u64_le(number);
            out.put_bytes(b'.', payload_bytes - 8);
        }
        if stream.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

    use super::*;

    #[test]
    fn packets_are_cut_where_they_end_and_outputs_are_known_by_their_stamp() {
        let stamp = [("eyot-gateway", "g"), ("eyot-epoch", "7"), ("eyot-seq", "120")];
        let user_properties = stamp.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let properties = PublishProperties { user_properties, ..PublishProperties::default() };
        let payload = Bytes::from(vec![b'.'; 200]);
        let mut publish = Publish::new("cloud/x", QoS::AtLeastOnce, payload, Some(properties));
        publish.pkid = 9;
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).write(&mut bytes, None).unwrap();
        let mut input = BytesMut::new();
        for byte in &bytes {
            assert!(cut(&mut input).is_none());
            input.put_u8(*byte);
        }
        let (raw, whole) = cut(&mut input).unwrap();
        assert!(input.is_empty() && whole == bytes && raw.first == 0x32);
        let message = message(&raw.body).unwrap();
        assert_eq!((message.topic, message.packet_id, message.seq), (&b"cloud/x"[..], 9, Some(120)));
        assert_eq!(message.payload.len(), 200);
    }

    #[test]
    fn an_output_out_of_turn_is_told() {
        let output = |seq: u64, index: u64| {
            let mut body = BytesMut::new();
            body.put_slice(b"\0\x01a\0\x05");
            let text = seq.to_string();
            body.put_u8(5 + 8 + text.len() as u8);
            body.put_slice(b"\x26\0\x08eyot-seq\0");
            body.put_u8(text.len() as u8);
            body.put_slice(text.as_bytes());
            body.put_u64_le(index);
            Raw { first: 0x32, body: body.freeze() }
        };
        let (outputs, seen) = <(AtomicU64, Mutex<Seen>)>::default();
        let mut acks = BytesMut::new();
        for seq in 1..=3 {
            take(&output(seq, seq - 1), &mut acks, &outputs, &seen);
        }
        assert_eq!((acks.len(), outputs.load(Ordering::Relaxed)), (12, 3));
        assert_eq!(lock(&seen).breach, None);
        take(&output(5, 4), &mut acks, &outputs, &seen);
        let breach = lock(&seen).breach.take();
        assert_eq!(breach.as_deref(), Some("output 5 of message Some(4) came after output 3"));
    }
}
