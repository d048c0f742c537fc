//! A broker, sensors and a cloud in one, who know at which event of the disk they were acknowledged.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eyot_test_e2e::packet::{receive, send};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::QoS;

use crate::messages::{Messages, INPUTS};
use crate::tape::Clock;
use crate::Error;

/// Patience with a healthy daemon on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the peer goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Messages to the daemon that it has not acknowledged, at most.
    pub window: usize,
    /// Acknowledgements that the cloud owes while there are messages for the daemon.
    pub owed: usize,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    messages: Messages,
    manner: Manner,
    owed: VecDeque<(Arc<TcpStream>, u16)>,
    /// Events before the daemon first asked for messages.
    open_at: Option<usize>,
    breach: Option<String>,
    is_closing: bool,
}

/// One connection of the daemon.
struct Connection {
    stream: Arc<TcpStream>,
    /// Inputs to be sent on it.
    queue: VecDeque<usize>,
    /// By packet id.
    sent: HashMap<u16, usize>,
    next_id: u16,
}

impl Peer {
    /// Begins to listen.
    pub fn start(messages: Messages, clock: &Clock, manner: Manner) -> Result<Self, Error> {
        let failed = Error::io(Path::new("a listener on the loopback interface"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(&failed)?;
        let address = listener.local_addr().map_err(&failed)?;
        let state = State { messages, manner, owed: VecDeque::new(), open_at: None, breach: None, is_closing: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), clock: clock.clone() });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepting.state().is_closing {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // It ends with its connection.
                thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where the daemon finds it.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Waits until the daemon has acknowledged so many messages, or as many as there are.
    pub fn await_acknowledged(&self, count: usize) -> Result<(), Error> {
        self.wait("acknowledgements", |messages| messages.acknowledged() >= count.min(messages.inputs()))
    }

    /// Waits until each message is acknowledged, and the last of each topic is at the cloud: so must the rest be.
    pub fn await_end(&self) -> Result<(), Error> {
        self.wait("the last messages to arrive", Messages::has_ended)
    }

    /// What was sent and what arrived until now.
    pub fn result_so_far(&self) -> Messages {
        self.shared.state().messages.clone()
    }

    /// What was sent and what arrived; and how many events the disk had seen when the daemon was open.
    pub fn result(&self) -> Result<(Messages, usize), Error> {
        let state = self.shared.state();
        match (&state.breach, state.open_at) {
            (Some(breach), _) => Err(Error::Breach(breach.clone())),
            (None, None) => Err(Error::Breach("eyotd never asked for messages".to_owned())),
            (None, Some(open_at)) => Ok((state.messages.clone(), open_at)),
        }
    }

    fn wait(&self, what: &str, is_there: impl Fn(&Messages) -> bool) -> Result<(), Error> {
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), PATIENCE, |state| {
                state.breach.is_none() && !is_there(&state.messages)
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &state.breach {
            Some(breach) => Err(Error::Breach(breach.clone())),
            None if waited.timed_out() => {
                Err(Error::Breach(format!("waited {PATIENCE:?} for {what}: {}", state.messages.summary())))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.state().is_closing = true;
        // It looks up when somebody comes.
        let is_told = TcpStream::connect(self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| is_told) {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let mut connection =
            Connection { stream: Arc::clone(&stream), queue: VecDeque::new(), sent: HashMap::new(), next_id: 0 };
        let mut buffer = BytesMut::new();
        while let Ok(packet) = receive(&stream, &mut buffer) {
            let now = self.clock.now();
            let mut state = self.state();
            let handled = state.handle(&mut connection, packet, now);
            drop(state);
            self.changed.notify_all();
            if handled.is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl State {
    /// `now`: events before this moment, at which the packet had been here for a while.
    fn handle(&mut self, connection: &mut Connection, packet: Packet, now: usize) -> io::Result<()> {
        match packet {
            Packet::Connect(..) => connection.send(&Packet::ConnAck(ConnAck {
                session_present: false,
                code: ConnectReturnCode::Success,
                properties: None,
            })),
            Packet::Subscribe(subscribe) => {
                let granted =
                    subscribe.filters.iter().map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce)).collect();
                let ack = SubAck { pkid: subscribe.pkid, return_codes: granted, properties: None };
                connection.send(&Packet::SubAck(ack))?;
                if subscribe.filters.iter().any(|filter| filter.path == INPUTS) {
                    self.open_at.get_or_insert(now);
                    connection.queue = self.messages.unacknowledged().collect();
                    connection.fill(&self.messages, self.manner.window)?;
                }
                Ok(())
            }
            Packet::PubAck(ack) => {
                if let Some(index) = connection.sent.remove(&ack.pkid) {
                    self.messages.acknowledge(index, now);
                }
                connection.fill(&self.messages, self.manner.window)?;
                self.pay()
            }
            Packet::Publish(publish) => {
                // The acknowledgement has not left yet: the disk cannot know of it before.
                if let Err(breach) = self.messages.arrived(&publish, now) {
                    self.breach.get_or_insert(breach);
                }
                if publish.qos == QoS::AtLeastOnce {
                    self.owed.push_back((Arc::clone(&connection.stream), publish.pkid));
                }
                self.pay()
            }
            Packet::PingReq(_) => connection.send(&Packet::PingResp(PingResp)),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Sends the acknowledgements that are due.
    fn pay(&mut self) -> io::Result<()> {
        let is_busy = self.messages.acknowledged() < self.messages.inputs();
        let owed = if is_busy { self.manner.owed } else { 0 };
        while self.owed.len() > owed {
            let Some((stream, pkid)) = self.owed.pop_front() else { break };
            // The connection may be gone: then the daemon sends again.
            let _ = send(&stream, &Packet::PubAck(PubAck::new(pkid, None)));
        }
        Ok(())
    }
}

impl Connection {
    fn send(&self, packet: &Packet) -> io::Result<()> {
        send(&self.stream, packet)
    }

    /// Sends messages until the window is full.
    fn fill(&mut self, messages: &Messages, window: usize) -> io::Result<()> {
        while self.sent.len() < window {
            let Some(index) = self.queue.pop_front() else { break };
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            self.sent.insert(self.next_id, index);
            let publish = Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: Bytes::from(messages.topic(index)),
                pkid: self.next_id,
                payload: Bytes::from(messages.payload(index)),
                properties: None,
            };
            self.send(&Packet::Publish(publish))?;
        }
        Ok(())
    }
}
