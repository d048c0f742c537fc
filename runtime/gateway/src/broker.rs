//! A broker in this process, for `embedded://` and for demonstrations: rumqttd 0.20, both protocol versions on one port.
//!
//! What it is not, so that nobody relies on it: it acknowledges a publish before any subscriber has it, and keeps at most
//! [`LOG_MAX_BYTES`] for each subscribed filter, so a subscriber that falls further behind loses messages without
//! a word; it forgets everything when the process ends, all of a sudden; it has no access control; it refuses clients with
//! keep alive 0.
//! Where sensors must not lose data, run a real broker beside the gateway and give its `mqtt://` URL.
//!
//! A message that nobody subscribes to is acknowledged and gone. So the session of whoever must not miss any stands before
//! the port opens: see [`Session`]. Before an end in good order, it gives that client what it holds: see `handover`.
//!
//! rumqttd panics, and the process with it, on some of what clients send; `guard` stands before it.

mod guard;
mod handover;
mod session;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;

use rumqttd::local::LinkBuilder;
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings};

use guard::Guard;
use handover::Handover;
pub use handover::HANDOVER_TIMEOUT;
pub use session::Session;

/// Ports that are tried when any will do.
const PORTS_TRIED_MAX: usize = 5;
/// Clients connected at the same time.
pub const CONNECTIONS_MAX: usize = 256;
/// Largest packet: a function module and its head.
pub const PACKET_MAX_BYTES: usize = eyot_wire::module::MODULE_MAX_BYTES + (64 << 10);
/// Topics and payloads kept for each subscribed filter; each message costs about 700 bytes on top.
pub const LOG_MAX_BYTES: usize = SEGMENT_BYTES * SEGMENTS;
const SEGMENT_BYTES: usize = 512 << 10;
const SEGMENTS: usize = 8;
/// Packets of one client handled at a time.
const BATCH_MAX: usize = 200;
/// Time a client has to send CONNECT.
const CONNECT_TIMEOUT_MS: u16 = 5_000;

/// A running broker; stops when dropped.
pub struct Embedded {
    /// Where it listens.
    pub local_addr: SocketAddr,
    handover: Arc<Handover>,
    stop: Option<flume::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Listens on `addr`; port 0 takes any that is free. Fails if the port is taken. What is published is kept for
    /// `session` from the first message on.
    pub fn start(addr: SocketAddr, session: Option<Session>) -> io::Result<Self> {
        for _ in 1..PORTS_TRIED_MAX {
            match Self::listen(addr, session.clone()) {
                // Someone took the port that was free a moment ago.
                Err(error) if addr.port() == 0 && error.to_string().contains("in use") => {}
                started => return started,
            }
        }
        Self::listen(addr, session)
    }

    fn listen(addr: SocketAddr, session: Option<Session>) -> io::Result<Self> {
        let local_addr = free(addr)?;
        let (stop, stopped) = flume::bounded(0);
        let (ready, started) = flume::bounded(1);
        let handover = Arc::new(Handover::new(session.as_ref()));
        let guard = Guard::new(handover.clone());
        let thread = std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || serve(local_addr, session, guard, &ready, &stopped))?;
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the broker's thread ended")))?;
        Ok(Self { local_addr, handover, stop: Some(stop), thread: Some(thread) })
    }

    /// Acknowledges nothing more of what clients publish, so that they keep it, and waits until the client of the session
    /// has acknowledged all that the broker holds for it; at most [`HANDOVER_TIMEOUT`]. False if it has not: what is left is
    /// lost with [`stop`](Self::stop).
    pub fn hand_over(&self) -> bool {
        self.handover.close()
    }

    /// Closes the port and all connections, and forgets the sessions. rumqttd's router cannot be told to end: its thread
    /// stays, asleep, with what it holds (bounded as above), until the process ends.
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// `addr`, with a port that is free in place of port 0: rumqttd binds by itself and does not tell to which. Fails if the
/// port is taken.
pub fn free(addr: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(addr)?.local_addr()
}

fn serve(
    addr: SocketAddr,
    session: Option<Session>,
    guard: Guard,
    ready: &flume::Sender<io::Result<()>>,
    stopped: &flume::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let router = Router::new(0, router_config()).spawn();
    let mut server = Server::new(server_settings(addr), router.clone(), guard);
    runtime.block_on(async {
        if let Some(Session { client_id, filters, .. }) = session {
            let id = guard::plain(&client_id);
            if let Err(error) = session::establish(LinkBuilder::new(&id, router), filters).await {
                return drop(ready.send(Err(io::Error::other(error))));
            }
        }
        let mut serving = std::pin::pin!(server.start(LinkType::Remote));
        // The first poll binds; what is pending after it listens.
        let first = std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
        let bound = match first {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => Err(io::Error::other(ended.err().map_or_else(String::new, |e| e.to_string()))),
        };
        let failed = bound.is_err();
        let _ = ready.send(bound);
        if !failed {
            tokio::select! {
                _ = serving => {}
                _ = stopped.recv_async() => {}
            }
        }
    });
}

fn router_config() -> RouterConfig {
    RouterConfig {
        max_connections: CONNECTIONS_MAX,
        max_outgoing_packet_count: BATCH_MAX as u64,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    }
}

fn server_settings(listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: "embedded".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: CONNECT_TIMEOUT_MS,
            max_payload_size: PACKET_MAX_BYTES,
            max_inflight_count: BATCH_MAX,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    }
}
