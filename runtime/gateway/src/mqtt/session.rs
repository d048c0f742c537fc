//! The MQTT protocol over one connection, without I/O: bytes and commands in, events and bytes out.
//!
//! A session is made for a connection and dropped with it, so that no packet id, token or acknowledgement can cross from
//! one connection to the next. The caller moves bytes: it appends what it read to a buffer, takes [`Session::next_event`]
//! until there is none, and writes [`Session::output`] out once per turn.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BytesMut};
use eyot_wire::topic::TOPIC_MAX_BYTES;

use super::codec::{self, Accepted, Head, Incoming, Malformed, Outgoing};
use super::handshake::Asked;
use super::inflight::Inflight;
pub use super::options::Options;
use super::{handshake, Event, Message, Publish};

/// How long the broker may take to answer CONNECT, SUBSCRIBE or PINGREQ.
pub const ANSWER_TIMEOUT_US: u64 = 10_000_000;
/// Publishes that wait for a place in the window before they are refused.
pub const WAITING_MAX: usize = 64;
/// Filters in one SUBSCRIBE.
pub const FILTERS_PER_SUBSCRIBE: usize = 64;

mod control;
mod error;

pub use control::LARGE_MAX_BYTES;
pub use error::SessionError;

const QUOTA_EXCEEDED: u8 = 0x97;
const PACKET_ID_IN_USE: u8 = 0x91;
const REFUSED_FROM: u8 = 0x80;

#[derive(Debug)]
enum State {
    Connecting,
    Subscribing,
    Up,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    options: std::sync::Arc<Options>,
    state: State,
    asked: Asked,
    /// What it subscribes to.
    filters: Vec<String>,
    /// What the broker may still be subscribed to for us, from earlier connections.
    stale: Vec<String>,
    out: BytesMut,
    events: VecDeque<Event>,
    inflight: Inflight,
    waiting: VecDeque<Publish>,
    /// Control publishes given up because the waiting room was full.
    dropped: u64,
    session_present: bool,
    /// [`Event::Up`] was made.
    announced: bool,
    peer_packet_max_bytes: usize,
    /// QoS 2 messages delivered; true once PUBREC is sent. Holds at most [`Options::receive_max`].
    exactly_once: HashMap<u16, bool>,
    /// Bytes of an oversized message still to be discarded.
    skip_bytes: usize,
    keep_alive_us: u64,
    last_sent_us: u64,
    last_received_us: u64,
    /// When the answer to what we asked is overdue.
    answer_due_us: Option<u64>,
    /// The same of what changes subscriptions while the connection is up.
    asked_due_us: Option<u64>,
}

impl Session {
    /// Starts with CONNECT in [`output`](Self::output).
    pub fn new(options: std::sync::Arc<Options>, now_us: u64) -> Self {
        let mut out = BytesMut::new();
        handshake::connect(&options, &mut out);
        Self {
            state: State::Connecting,
            asked: Asked::default(),
            filters: options.filters.clone(),
            stale: Vec::new(),
            out,
            events: VecDeque::new(),
            inflight: Inflight::new(options.inflight_max),
            waiting: VecDeque::new(),
            dropped: 0,
            session_present: false,
            announced: false,
            peer_packet_max_bytes: codec::REMAINING_MAX_BYTES,
            exactly_once: HashMap::new(),
            skip_bytes: 0,
            keep_alive_us: u64::from(options.keep_alive_s) * 1_000_000,
            last_sent_us: now_us,
            last_received_us: now_us,
            answer_due_us: Some(now_us + ANSWER_TIMEOUT_US),
            asked_due_us: None,
            options,
        }
    }

    /// Bytes to send; the caller removes what it sent.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Whether CONNECT and all SUBSCRIBE are answered.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Largest packet the broker takes.
    pub fn peer_packet_max_bytes(&self) -> usize {
        self.peer_packet_max_bytes
    }

    /// Whether CONNECT is not answered yet.
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    /// Control publishes given up since the last call, because the broker did not answer earlier ones.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Takes the next event out of the bytes received so far; none when more bytes are needed.
    pub fn next_event(&mut self, now_us: u64, input: &mut BytesMut) -> Result<Option<Event>, SessionError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.skip_bytes > 0 {
                let skipped = self.skip_bytes.min(input.len());
                input.advance(skipped);
                self.skip_bytes -= skipped;
            }
            let Some(head) = codec::head(input)? else { return Ok(None) };
            let Some(packet) = self.cut(head, input)? else { return Ok(None) };
            self.last_received_us = now_us;
            if let Some(event) = self.packet(now_us, packet)? {
                return Ok(Some(event));
            }
        }
    }

    /// Cuts one packet off the input, if it is there.
    fn cut(&mut self, head: Head, input: &mut BytesMut) -> Result<Option<Incoming>, SessionError> {
        let Some(most) = self.packet_max_bytes(head, input) else {
            // Until the topic is here, which is at its front.
            input.reserve(TOPIC_MAX_BYTES);
            return Ok(None);
        };
        if head.packet_bytes <= most {
            if input.len() < head.packet_bytes {
                input.reserve(head.packet_bytes - input.len());
                return Ok(None);
            }
            return Ok(Some(codec::read(self.options.version, head, input)?));
        }
        if head.first >> 4 != 3 {
            return Err(Malformed(format!("a control packet of {} bytes", head.packet_bytes)).into());
        }
        if input.len() < most {
            input.reserve(most - input.len());
            return Ok(None);
        }
        // To refuse it by closing would make the broker deliver it again for ever.
        let message = codec::read_publish(self.options.version, head, input.split_to(most).freeze())?;
        self.skip_bytes = head.packet_bytes - most;
        Ok(Some(Incoming::Publish(message)))
    }

    fn packet(&mut self, now_us: u64, packet: Incoming) -> Result<Option<Event>, SessionError> {
        match (packet, &mut self.state) {
            (Incoming::Refused(reason), State::Connecting) => Err(SessionError::Refused(reason)),
            (Incoming::ConnAck(accepted), State::Connecting) => Ok(self.accepted(now_us, &accepted)),
            (Incoming::Disconnect { reason, blames }, _) => Err(SessionError::Closed { reason, blames }),
            (_, State::Connecting) => Err(Malformed("a packet before CONNACK".to_owned()).into()),
            (Incoming::SubAck { packet_id, refusals }, State::Subscribing | State::Up) => {
                self.subscribed(packet_id, refusals)
            }
            (Incoming::Publish(message), _) => self.message(message),
            (Incoming::PubAck { packet_id, code }, _) => self.published(packet_id, code),
            (Incoming::PubRel { packet_id }, _) => {
                self.exactly_once.remove(&packet_id);
                codec::put_ack(&mut self.out, 0x70, packet_id);
                Ok(None)
            }
            (Incoming::UnsubAck { packet_id }, State::Subscribing | State::Up) => self.unsubscribed(packet_id),
            (Incoming::PingResp, State::Up) => {
                self.answer_due_us = None;
                Ok(None)
            }
            (Incoming::PingResp, _) => Ok(None),
            _ => Err(Malformed("an answer to nothing that was asked".to_owned()).into()),
        }
    }

    fn accepted(&mut self, now_us: u64, accepted: &Accepted) -> Option<Event> {
        self.session_present = accepted.session_present;
        self.peer_packet_max_bytes = accepted.packet_max_bytes;
        self.inflight = Inflight::new(self.options.inflight_max.min(accepted.receive_max));
        if let Some(seconds) = accepted.keep_alive_s {
            self.keep_alive_us = u64::from(seconds) * 1_000_000;
        }
        handshake::subscribe(&self.options, &self.filters, &mut self.asked, &mut self.out);
        if accepted.session_present {
            handshake::unsubscribe(&self.options, &self.stale, &mut self.asked, &mut self.out);
        }
        self.state = State::Subscribing;
        self.answer_due_us = Some(now_us + ANSWER_TIMEOUT_US);
        self.up_if_subscribed()
    }

    fn up_if_subscribed(&mut self) -> Option<Event> {
        if !matches!(self.state, State::Subscribing) || !self.asked.is_empty() {
            return None;
        }
        self.state = State::Up;
        self.answer_due_us = None;
        self.announce()
    }

    fn announce(&mut self) -> Option<Event> {
        let first = !std::mem::replace(&mut self.announced, true);
        let (session_present, inflight_max) = (self.session_present, self.inflight.window());
        first.then_some(Event::Up { session_present, inflight_max })
    }

    fn subscribed(&mut self, packet_id: u16, refusals: Vec<Option<String>>) -> Result<Option<Event>, SessionError> {
        self.asked_due_us = None;
        let asked = self.asked.take(packet_id).unwrap_or_default();
        if asked.is_empty() || asked.len() != refusals.len() {
            return Err(Malformed("an answer to nothing that was asked".to_owned()).into());
        }
        for (filter, refusal) in asked.iter().zip(refusals) {
            if let Some(reason) = refusal {
                self.events.push_back(Event::FilterRefused { filter: filter.clone(), reason });
            }
        }
        let up = self.up_if_subscribed();
        self.events.extend(up);
        Ok(self.events.pop_front())
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, SessionError> {
        if message.qos == 2 {
            match self.exactly_once.get(&message.packet_id) {
                // The broker did not get our PUBREC.
                Some(true) => {
                    codec::put_ack(&mut self.out, 0x50, message.packet_id);
                    return Ok(None);
                }
                Some(false) => return Ok(None),
                None if self.exactly_once.len() >= usize::from(self.options.receive_max) => {
                    return Err(Malformed("more QoS 2 messages than our receive maximum".to_owned()).into());
                }
                None => drop(self.exactly_once.insert(message.packet_id, false)),
            }
        }
        match self.announce() {
            None => Ok(Some(Event::Message(message))),
            up => {
                self.events.push_back(Event::Message(message));
                Ok(up)
            }
        }
    }

    /// Acknowledges a message of this connection.
    pub fn ack(&mut self, packet_id: u16) {
        match self.exactly_once.get_mut(&packet_id) {
            Some(received) => {
                *received = true;
                codec::put_ack(&mut self.out, 0x50, packet_id);
            }
            None => codec::put_ack(&mut self.out, 0x40, packet_id),
        }
    }

    fn published(&mut self, packet_id: u16, code: u8) -> Result<Option<Event>, SessionError> {
        if matches!(code, QUOTA_EXCEEDED | PACKET_ID_IN_USE) {
            return Err(SessionError::Quota);
        }
        let token = self.inflight.remove(packet_id);
        while let Some(publish) = self.waiting.pop_front() {
            if !self.send(&publish) {
                self.waiting.push_front(publish);
                break;
            }
        }
        Ok(token.filter(|t| *t != 0).map(|token| Event::Published { token, accepted: code < REFUSED_FROM }))
    }

    /// Sends a publish at QoS 1, or keeps it until there is a place in the window.
    pub fn publish(&mut self, publish: Publish) -> Result<(), SessionError> {
        if self.waiting.is_empty() && self.send(&publish) {
            return Ok(());
        }
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(publish);
            return Ok(());
        }
        if publish.token == 0 {
            self.dropped += 1;
            return Ok(());
        }
        Err(SessionError::Window(self.inflight.window()))
    }

    /// False if the window is full. What MQTT or this broker cannot carry is answered as refused.
    fn send(&mut self, publish: &Publish) -> bool {
        let outgoing = Outgoing::new(self.options.version, publish, self.options.gateway.as_bytes());
        if outgoing.packet_bytes().is_none_or(|bytes| bytes > self.peer_packet_max_bytes) {
            match publish.token {
                0 => self.dropped += 1,
                token => self.events.push_back(Event::Published { token, accepted: false }),
            }
            return true;
        }
        let Some(packet_id) = self.inflight.insert(publish.token) else { return false };
        outgoing.write(packet_id, &mut self.out);
        true
    }

    /// Whether everything published is answered.
    pub fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.waiting.is_empty()
    }

    /// Appends DISCONNECT; the will is not published.
    pub fn disconnect(&mut self) {
        self.out.extend_from_slice(&codec::DISCONNECT);
    }

    /// Tells that bytes were sent.
    pub fn sent(&mut self, now_us: u64) {
        self.last_sent_us = now_us;
    }

    /// Pings and timeouts. `reading` is false while the caller leaves received bytes alone: then a missing answer is not
    /// the broker's fault.
    pub fn tick(&mut self, now_us: u64, reading: bool) -> Result<(), SessionError> {
        self.tick_asked(now_us, reading)?;
        if let Some(due_us) = self.answer_due_us {
            if !reading {
                self.answer_due_us = Some(now_us + ANSWER_TIMEOUT_US);
            } else if now_us >= due_us {
                return Err(SessionError::Timeout(match self.state {
                    State::Connecting => "CONNECT",
                    State::Subscribing => "SUBSCRIBE",
                    State::Up => "PINGREQ",
                }));
            }
        }
        if self.ping_due_us().is_some_and(|due_us| now_us >= due_us) {
            self.out.extend_from_slice(&codec::PING);
            (self.last_sent_us, self.last_received_us) = (now_us, now_us);
            self.answer_due_us.get_or_insert(now_us + ANSWER_TIMEOUT_US);
        }
        Ok(())
    }

    /// A ping goes out when nothing was sent for the keep alive time, which the broker demands, or nothing received,
    /// which tells a dead link from a quiet one.
    fn ping_due_us(&self) -> Option<u64> {
        let quiet_since_us = self.last_sent_us.min(self.last_received_us);
        (self.is_up() && self.keep_alive_us > 0).then(|| quiet_since_us + self.keep_alive_us)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline_us(&self) -> Option<u64> {
        self.answer_due_us.into_iter().chain(self.asked_due_us).chain(self.ping_due_us()).min()
    }
}
