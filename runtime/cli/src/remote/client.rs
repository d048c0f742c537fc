//! One connection to a broker, kept up: the gateway's own MQTT session, which knows TLS, both protocol versions and what
//! brokers do wrong.
//!
//! Whatever is published stays here until the broker has acknowledged it, and is sent again on the next connection. What
//! comes in is acknowledged at once; sessions are clean, so that none is left behind at the broker.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use eyot_gateway::mqtt::session::{Options, Session};
use eyot_gateway::mqtt::transport::{send, Endpoint, Io};
use eyot_gateway::mqtt::{self, Publish};
use eyot_wire::module::MODULE_MAX_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use crate::error::Error;
use crate::output;
use crate::remote::options::{Connection, Settings};

/// Largest packet taken in: above the largest capture and the largest status document.
const PACKET_MAX_BYTES: usize = MODULE_MAX_BYTES + (1 << 20);
/// Room made for each read.
const READ_BYTES: usize = 32 << 10;
/// Publishes on their way at one time.
const INFLIGHT_MAX: u16 = 16;
/// Unwritten bytes beyond which nothing more is begun: what is written last is to be known of first.
const OUT_MAX_BYTES: usize = 64 << 10;
/// Longest silence on the connection, in seconds.
const KEEP_ALIVE_S: u16 = 20;
/// First and longest wait before the next attempt.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// Connected and subscribed.
    Up,
    /// The connection is gone, or could not be made; why.
    Down(String),
    /// A message.
    Message(Message),
    /// A publish was answered.
    Published { accepted: bool },
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// The broker had it when we subscribed.
    pub retained: bool,
}

struct Outgoing {
    token: u64,
    topic: String,
    payload: Bytes,
    retain: bool,
    sent: bool,
}

/// A connection that is being made.
type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>>>>;

enum State {
    Waiting(Pin<Box<tokio::time::Sleep>>),
    Connecting(Connecting),
    Open(Box<Open>),
}

struct Open {
    session: Session,
    input: BytesMut,
    reader: ReadHalf<Box<dyn Io>>,
    writer: WriteHalf<Box<dyn Io>>,
    unflushed: bool,
    start: Instant,
    /// Publishes the broker takes at one time; 0 before it is up.
    window: usize,
}

/// The client.
pub struct Client {
    /// For messages.
    pub url: String,
    /// Between looking for the broker and being subscribed, the last time.
    pub round_trip: Duration,
    endpoint: Endpoint,
    options: Arc<Options>,
    state: State,
    began: Instant,
    outgoing: VecDeque<Outgoing>,
    next_token: u64,
    attempts: u32,
    refused: BTreeSet<String>,
}

impl Client {
    /// Connects and subscribes to `filters`.
    ///
    /// # Errors
    /// The settings are wrong, or the broker cannot be reached or refuses us.
    pub async fn connect(connection: &Connection, filters: Vec<String>) -> Result<Self, Error> {
        let mut client = Self::new(connection.settings()?, filters);
        match timeout(connection.timeout, client.next()).await {
            Ok(Event::Down(reason)) => Err(client.unreachable(&reason)),
            Ok(_) => Ok(client),
            Err(_) => Err(client.unreachable("no answer in time")),
        }
    }

    fn new(settings: Settings, filters: Vec<String>) -> Self {
        let Settings { url, endpoint, login, client_id, version } = settings;
        let options = Options {
            version,
            client_id,
            clean_start: true,
            session_expiry_s: 0,
            keep_alive_s: KEEP_ALIVE_S,
            receive_max: u16::MAX,
            inflight_max: INFLIGHT_MAX,
            packet_max_bytes: PACKET_MAX_BYTES,
            login,
            will: None,
            filters,
            large: Vec::new(),
            no_local: true,
            gateway: String::new(),
        };
        Self {
            url,
            round_trip: Duration::ZERO,
            state: connecting(&endpoint),
            endpoint,
            options: Arc::new(options),
            began: Instant::now(),
            outgoing: VecDeque::new(),
            next_token: 1,
            attempts: 0,
            refused: BTreeSet::new(),
        }
    }

    /// The error for a broker that cannot be reached.
    pub fn unreachable(&self, reason: &str) -> Error {
        Error::failed(&self.url, reason, "check that this is the broker the gateway uses, and --broker and its options")
    }

    /// Publishes at QoS 1, as soon as there is a connection and room in its window.
    pub fn publish(&mut self, topic: String, payload: Bytes, retain: bool) {
        let token = self.next_token;
        self.next_token += 1;
        self.outgoing.push_back(Outgoing { token, topic, payload, retain, sent: false });
    }

    /// Subscribes to `filters` from now on, and to nothing else.
    pub fn subscribe(&mut self, filters: Vec<String>) {
        if let State::Open(open) = &mut self.state {
            open.session.subscribe(&filters);
        }
        Arc::make_mut(&mut self.options).filters = filters;
    }

    /// Whether the broker refuses this subscription.
    pub fn is_refused(&self, filter: &str) -> bool {
        self.refused.contains(filter)
    }

    /// Forgets what was to be published and has not left: something newer takes its place.
    pub fn drop_unsent(&mut self) {
        self.outgoing.retain(|out| out.sent);
    }

    /// Publishes that are not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.outgoing.len()
    }

    /// Bytes of payloads that have not left yet.
    pub fn unsent_bytes(&mut self) -> usize {
        let waiting: usize = self.outgoing.iter().filter(|out| !out.sent).map(|out| out.payload.len()).sum();
        waiting
            + match &mut self.state {
                State::Open(open) => open.session.output().len(),
                _ => 0,
            }
    }

    /// Largest packet the broker takes, as far as it says; none while there is no connection.
    pub fn packet_max_bytes(&self) -> Option<usize> {
        match &self.state {
            State::Open(open) => Some(open.session.peer_packet_max_bytes()),
            _ => None,
        }
    }

    /// The next event before `deadline`. Cancelling it loses nothing.
    pub async fn next_before(&mut self, deadline: Instant) -> Option<Event> {
        timeout_at(deadline.into(), self.next()).await.ok()
    }

    /// The next event; there is always one more. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            match self.turn().await {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(reason) => {
                    let wait = RETRY.start().saturating_mul(1 << self.attempts.min(8)).min(*RETRY.end());
                    self.attempts += 1;
                    self.state = State::Waiting(Box::pin(sleep(wait)));
                    self.outgoing.iter_mut().for_each(|out| out.sent = false);
                    return Event::Down(reason);
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<Option<Event>, String> {
        match &mut self.state {
            State::Waiting(until) => {
                until.as_mut().await;
                self.began = Instant::now();
                self.state = connecting(&self.endpoint);
            }
            State::Connecting(connecting) => {
                let io = connecting.as_mut().await.map_err(|e| e.to_string())?;
                self.state = State::Open(Box::new(Open::new(io, Arc::clone(&self.options))));
            }
            State::Open(open) => {
                if let Some(event) = open.event()? {
                    return Ok(self.translate(event));
                }
                open.feed(&mut self.outgoing)?;
                open.wait().await?;
            }
        }
        Ok(None)
    }

    fn translate(&mut self, event: mqtt::Event) -> Option<Event> {
        let State::Open(open) = &mut self.state else { return None };
        match event {
            mqtt::Event::Up { inflight_max, .. } => {
                open.window = usize::from(inflight_max.min(INFLIGHT_MAX));
                self.round_trip = self.began.elapsed();
                self.attempts = 0;
                Some(Event::Up)
            }
            mqtt::Event::FilterRefused { filter, reason } => {
                if self.refused.insert(filter.clone()) {
                    let remedy = "allow this client to read it; what is published there is not seen here";
                    output::warning(&format!("the broker refuses a subscription to {filter}: {reason}; {remedy}"));
                }
                None
            }
            mqtt::Event::Message(message) => {
                if message.qos > 0 {
                    open.session.ack(message.packet_id);
                }
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                Some(Event::Message(Message { topic, payload: message.payload, retained: message.retain }))
            }
            mqtt::Event::Published { token, accepted } => {
                let before = self.outgoing.len();
                self.outgoing.retain(|out| out.token != token);
                (self.outgoing.len() < before).then_some(Event::Published { accepted })
            }
        }
    }

    /// Says goodbye; whoever does not take it finds the connection closed.
    pub async fn close(mut self) {
        if let State::Open(open) = &mut self.state {
            open.session.disconnect();
            let Open { session, writer, .. } = &mut **open;
            let goodbye = async {
                writer.write_all_buf(session.output()).await?;
                writer.shutdown().await
            };
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }
}

fn connecting(endpoint: &Endpoint) -> State {
    let endpoint = endpoint.clone();
    State::Connecting(Box::pin(async move { endpoint.connect().await }))
}

impl Open {
    fn new(io: Box<dyn Io>, options: Arc<Options>) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let session = Session::new(options, 0);
        let (input, start) = (BytesMut::new(), Instant::now());
        Self { session, input, reader, writer, unflushed: false, start, window: 0 }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn event(&mut self) -> Result<Option<mqtt::Event>, String> {
        let now_us = self.now_us();
        let event = self.session.next_event(now_us, &mut self.input).map_err(|e| e.to_string())?;
        self.session.tick(now_us, true).map_err(|e| e.to_string())?;
        Ok(event)
    }

    /// Begins what there is room for.
    fn feed(&mut self, outgoing: &mut VecDeque<Outgoing>) -> Result<(), String> {
        for out in outgoing.iter_mut().take(self.window).filter(|out| !out.sent) {
            if self.session.output().len() >= OUT_MAX_BYTES {
                break;
            }
            let publish = Publish {
                token: out.token,
                topic: Bytes::copy_from_slice(out.topic.as_bytes()),
                payload: out.payload.clone(),
                retain: out.retain,
                stamp: None,
                received_at_ms: 0,
                wakes: None,
            };
            self.session.publish(publish).map_err(|e| e.to_string())?;
            out.sent = true;
        }
        Ok(())
    }

    /// Moves bytes once, or waits for the session's alarm.
    async fn wait(&mut self) -> Result<(), String> {
        self.input.reserve(READ_BYTES);
        // A session that waits for nothing has nothing to do before the keep alive time.
        let quiet_us = u64::from(KEEP_ALIVE_S) * 1_000_000;
        let deadline_us = self.session.deadline_us().unwrap_or_else(|| self.now_us() + quiet_us);
        let alarm = sleep_until((self.start + Duration::from_micros(deadline_us)).into());
        let now_us = self.now_us();
        let Self { session, reader, writer, input, unflushed, .. } = self;
        let is_connecting = session.is_connecting();
        let out = session.output();
        let pending = !out.is_empty();
        tokio::select! {
            written = send(writer, out), if pending || *unflushed => {
                written.map_err(|e| e.to_string())?;
                *unflushed = pending;
                if pending {
                    session.sent(now_us);
                }
            }
            read = reader.read_buf(input) => match read {
                Ok(0) if is_connecting => return Err("it closes the connection before it answers CONNECT".to_owned()),
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(_) => {}
                Err(e) => return Err(e.to_string()),
            },
            () = alarm => {}
        }
        Ok(())
    }
}
