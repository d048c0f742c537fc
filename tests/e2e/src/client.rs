//! An MQTT 5 client that hides nothing: no reconnects, no retries, no queue that outlives a connection.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, PubAck, PubAckReason, Publish, Subscribe,
};
use rumqttc::v5::mqttbytes::QoS;

use crate::packet::{receive, send, READ_BYTES};
use crate::stamp::Stamp;
use crate::wait::STEP;

/// Packets received and not yet looked at; beyond it the connection is left unread.
const INBOUND_PACKETS: usize = 100_000;
/// Seconds a resumable session outlives its connection.
const SESSION_EXPIRY_S: u32 = 3_600;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: Arc<Mutex<TcpStream>>,
    inbound: Receiver<Packet>,
    publishes: VecDeque<Publish>,
    next_id: u16,
    session_present: bool,
}

/// The connection is gone.
#[derive(Debug)]
pub struct Closed;

impl Client {
    /// Connects with a new session.
    ///
    /// # Panics
    /// When nobody answers.
    #[track_caller]
    pub fn connect(port: u16, id: &str) -> Self {
        Self::open(port, id, true).expect("the broker accepts the client")
    }

    /// Connects to the session of `id`, which outlives the connection.
    ///
    /// # Errors
    /// Whatever keeps the connection from being made.
    pub fn resume(port: u16, id: &str) -> io::Result<Self> {
        Self::open(port, id, false)
    }

    fn open(port: u16, id: &str, clean_start: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP))?;
        let properties = ConnectProperties {
            session_expiry_interval: (!clean_start).then_some(SESSION_EXPIRY_S),
            receive_maximum: Some(u16::MAX),
            ..ConnectProperties::new()
        };
        let connect =
            Connect { keep_alive: u16::MAX, client_id: id.to_owned(), clean_start, properties: Some(properties) };
        send(&stream, &Packet::Connect(connect, None::<LastWill>, None))?;
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let Packet::ConnAck(ack) = receive(&stream, &mut buffer)? else {
            return Err(io::Error::other("the broker's first packet is not CONNACK"));
        };
        if ack.code != ConnectReturnCode::Success {
            return Err(io::Error::other(format!("the broker refused the connection: {:?}", ack.code)));
        }
        stream.set_read_timeout(None)?;
        let (to_test, inbound) = mpsc::sync_channel(INBOUND_PACKETS);
        let reading = stream.try_clone()?;
        let stream = Arc::new(Mutex::new(stream));
        let acknowledging = Arc::clone(&stream);
        thread::spawn(move || read_all(&reading, &acknowledging, buffer, &to_test));
        Ok(Self { stream, inbound, publishes: VecDeque::new(), next_id: 0, session_present: ack.session_present })
    }

    /// Whether the broker still had the session.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Subscribes at QoS 1 and waits until the broker has done it.
    ///
    /// # Panics
    /// When the broker does not answer.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str) {
        let pkid = self.packet_id();
        let filter = Filter::new(filter, QoS::AtLeastOnce);
        let subscribe = Subscribe { pkid, filters: vec![filter], properties: None };
        self.write(&Packet::Subscribe(subscribe)).expect("the subscription is sent");
        self.await_packet("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if ack.pkid == pkid).then_some(()));
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    ///
    /// # Panics
    /// When the broker does not answer, or refuses.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) {
        self.publish_heard(topic, payload);
    }

    /// The same; says whether anybody is subscribed to it.
    ///
    /// # Panics
    /// When the broker does not answer, or refuses.
    #[track_caller]
    pub fn publish_heard(&mut self, topic: &str, payload: impl Into<Bytes>) -> bool {
        let pkid = self.send(topic, payload.into(), 1, false).expect("the publish is sent");
        let reason = self.await_packet("PUBACK", |packet| match packet {
            Packet::PubAck(ack) if ack.pkid == pkid => Some(ack.reason),
            _ => None,
        });
        match reason {
            PubAckReason::Success => true,
            PubAckReason::NoMatchingSubscribers => false,
            refusal => panic!("{topic} was refused: {refusal:?}"),
        }
    }

    /// Sends a publish and waits for nothing; returns its packet id, 0 at QoS 0.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, topic: &str, payload: Bytes, qos: u8, retain: bool) -> Result<u16, Closed> {
        let (qos, pkid) = match qos {
            0 => (QoS::AtMostOnce, 0),
            1 => (QoS::AtLeastOnce, self.packet_id()),
            _ => panic!("this client sends at QoS 0 and 1 only"),
        };
        let topic = Bytes::copy_from_slice(topic.as_bytes());
        let publish = Publish { dup: false, qos, retain, topic, pkid, payload, properties: None };
        self.write(&Packet::Publish(publish)).map_err(|_| Closed)?;
        Ok(pkid)
    }

    /// The next acknowledgement of a publish.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn next_ack(&mut self, within: Duration) -> Result<Option<PubAck>, Closed> {
        let deadline = Instant::now() + within;
        loop {
            match self.inbound.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Packet::PubAck(ack)) => return Ok(Some(ack)),
                Ok(Packet::Publish(publish)) => self.publishes.push_back(publish),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(Closed),
            }
        }
    }

    /// The next message that arrives.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn next(&mut self, within: Duration) -> Result<Option<Publish>, Closed> {
        if let Some(publish) = self.publishes.pop_front() {
            return Ok(Some(publish));
        }
        let deadline = Instant::now() + within;
        loop {
            match self.inbound.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Packet::Publish(publish)) => return Ok(Some(publish)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(Closed),
            }
        }
    }

    /// The first message for which `pick` yields a value; others are thrown away.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn await_message<T>(&mut self, what: &str, mut pick: impl FnMut(&Publish) -> Option<T>) -> T {
        let deadline = Instant::now() + STEP;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(publish)) => {
                    if let Some(value) = pick(&publish) {
                        return value;
                    }
                }
                Ok(None) => panic!("waited {STEP:?} for {what}, in vain"),
                Err(Closed) => panic!("the broker closed the connection while {what} was awaited"),
            }
        }
    }

    /// The payload of the next message on `topic`.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn await_topic(&mut self, topic: &str) -> Bytes {
        self.await_message(topic, |publish| (publish.topic == topic.as_bytes()).then(|| publish.payload.clone()))
    }

    /// The payload of the next message on `topic` that was not seen before: what the gateway's uplink sent again, under
    /// the same stamp, is thrown away, as the guarantee tells receivers to.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn await_new(&mut self, topic: &str, seen: &mut HashSet<Stamp>) -> Bytes {
        self.await_message(topic, |publish| {
            let is_new = publish.topic == topic.as_bytes() && Stamp::of(publish).is_none_or(|stamp| seen.insert(stamp));
            is_new.then(|| publish.payload.clone())
        })
    }

    #[track_caller]
    fn await_packet<T>(&mut self, what: &str, pick: impl Fn(&Packet) -> Option<T>) -> T {
        let deadline = Instant::now() + STEP;
        loop {
            match self.inbound.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(packet) => {
                    if let Some(value) = pick(&packet) {
                        return value;
                    }
                    if let Packet::Publish(publish) = packet {
                        self.publishes.push_back(publish);
                    }
                }
                Err(error) => panic!("no {what} from the broker: {error}"),
            }
        }
    }

    fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    fn write(&self, packet: &Packet) -> io::Result<()> {
        send(&self.stream.lock().expect("no writer panicked"), packet)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(stream) = self.stream.lock() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Hands packets to the test until either side ends, and acknowledges what was handed over.
fn read_all(stream: &TcpStream, acknowledging: &Mutex<TcpStream>, mut buffer: BytesMut, to_test: &SyncSender<Packet>) {
    while let Ok(packet) = receive(stream, &mut buffer) {
        let ack = match &packet {
            Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce => {
                Some(Packet::PubAck(PubAck::new(publish.pkid, None)))
            }
            _ => None,
        };
        if to_test.send(packet).is_err() {
            return;
        }
        if let Some(ack) = ack {
            let Ok(stream) = acknowledging.lock() else { return };
            if send(&stream, &ack).is_err() {
                return;
            }
        }
    }
}
