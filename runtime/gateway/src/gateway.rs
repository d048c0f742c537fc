//! A whole gateway: its threads, and how they start and end.
//!
//! Three threads: `links` moves bytes of all connections, `core` runs the functions and the log, `sync` waits for a slow disk.
//! Functions that take long run on `worker` threads, which start when there is one. Each bus with sensors has one that waits
//! for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use eyot_core::config::Node;
use eyot_core::{Core, OpenError};
use eyot_spool::FileStorage;
use eyot_wire::control;
use eyot_wire::manifest::Limits;
use eyot_wire::module::PAYLOAD_MAX_BYTES;
use flume::{Receiver, Sender};
use tracing::warn;

use crate::broker::{self, Embedded, Session};
use crate::config::{BrokerAt, Config, Problem, Reduce};
use crate::driver::{Clock, Driver, Help, Inbox, Orders};
use crate::functions;
use crate::links::{self, Planned};
use crate::metrics::{self, Ask};
use crate::mqtt::inflight::WINDOW_MAX;
use crate::mqtt::link::Events;
use crate::mqtt::queue::queue;
use crate::mqtt::transport::Endpoint;
use crate::node;
use crate::node::programs::{Line, Programs};
use crate::outbox::Outbox;
use crate::sensor::{self, Sensor};
use crate::store::Store;
use crate::update::Updates;

/// Most time for committing and syncing what is here, when asked to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages between the intake and the core, with their topics and overhead, and as much between uplinks and the core. What arrives beyond is dropped and counted
/// if it is QoS 0, and waits in the socket otherwise.
pub const MESSAGES_MAX_BYTES: usize = 4 << 20;
/// Answers and link events on their way to the core; when it is full, links wait.
pub const CONTROL_MAX: usize = 1024;
/// Requests for the status document that wait.
pub const QUESTIONS_MAX: usize = metrics::CONNECTIONS_MAX;
/// How long acknowledgements of an otherwise idle uplink stay unwritten.
pub const ACK_FLUSH: Duration = Duration::from_secs(2);

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded broker cannot listen.
    #[error("cannot listen on {addr} for [broker] url: {error}; stop what uses the port, or choose another")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The metrics cannot be served.
    #[error("cannot listen on {addr} for [metrics] listen: {error}; stop what uses the port, or choose another")]
    Metrics {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The data directory is not usable.
    #[error("cannot use [gateway] data_dir: {0}; check that it exists, is writable by this user, and is not full")]
    DataDir(io::Error),
    /// Another process has the data directory.
    #[error("cannot use [gateway] data_dir: {0}")]
    InUse(io::Error),
    /// The log does not open.
    #[error("cannot open the log in [gateway] data_dir: {0}")]
    Open(#[from] OpenError),
    /// Functions do not load.
    #[error("{}", problems(.0))]
    Functions(Vec<Problem>),
    /// The system has no thread or no file descriptor left.
    #[error("cannot start a thread: {0}; the system is out of resources")]
    Threads(io::Error),
}

fn problems(list: &[Problem]) -> String {
    let lines: Vec<_> = list.iter().map(|p| p.reason.as_str()).collect();
    format!("cannot load functions: {}", lines.join("\n"))
}

/// A running gateway. Dropping it kills it.
pub struct Gateway {
    broker: Option<Embedded>,
    orders: Orders,
    waker: Thread,
    core: Option<JoinHandle<()>>,
    links: Option<JoinHandle<()>>,
    /// Dropped to end the links' thread at once.
    alive: Option<Sender<()>>,
    /// Closed when the core's thread has ended.
    core_ended: Receiver<()>,
    questions: Sender<Sender<Vec<u8>>>,
    metrics_addr: Option<SocketAddr>,
}

impl Gateway {
    /// Starts everything, and returns when functions are loaded and the log is open. Brokers need not be there yet.
    ///
    /// # Errors
    /// What of [`StartError`] is wrong; nothing is left running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let (embedded, endpoint) = local_broker(&config)?;
        let metrics = config.metrics.map(listen).transpose()?;
        let (client_id, delivery_id) = (links::intake_id(&config), links::delivery_id(&config));
        let metrics_addr = metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let links = links::plan(&config, &endpoint);
        let sensors = config.sensors.clone();
        let (control, control_rx) = flume::bounded(CONTROL_MAX);
        let (messages, messages_rx) = queue(MESSAGES_MAX_BYTES);
        let (down, down_rx) = queue(MESSAGES_MAX_BYTES);
        let (questions, questions_rx) = flume::bounded(QUESTIONS_MAX);
        let inbox = Inbox { control: control_rx, messages: messages_rx, down: down_rx, questions: questions_rx };
        let lines = links.iter().filter_map(Planned::program).collect();
        let outbox = Outbox::new(links.iter().map(Planned::end).collect());

        let orders = Orders::default();
        let (started_tx, started) = flume::bounded(1);
        let (ended, core_ended) = flume::bounded(0);
        let core_orders = orders.clone();
        let core = functions::spawn("core", move || {
            // Held to the end of the thread.
            let _ended: Sender<()> = ended;
            match open(&config, core_orders, inbox, outbox, lines) {
                Ok((driver, subscriptions)) => {
                    let _ = started_tx.send(Ok(subscriptions));
                    driver.run();
                }
                Err(error) => drop(started_tx.send(Err(error))),
            }
        })
        .map_err(StartError::Threads)?;
        let waker = core.thread().clone();
        let mut gateway = Self {
            broker: None,
            orders,
            waker: waker.clone(),
            core: Some(core),
            links: None,
            alive: None,
            core_ended,
            questions: questions.clone(),
            metrics_addr,
        };

        let gone = || StartError::Threads(io::Error::other("the core's thread ended"));
        let subscriptions = started.recv().map_err(|_| gone())??;
        if let Some(addr) = embedded {
            // Sensors may be quicker than our intake: its session is there before them.
            let session = Session { client_id, delivery_id, filters: subscriptions.clone() };
            let started = Embedded::start(addr, Some(session));
            gateway.broker = Some(started.map_err(|error| StartError::Listen { addr, error })?);
        }
        let wake = Arc::new(move || waker.unpark());
        let metrics = metrics.map(|listener| (listener, Ask { questions, wake: wake.clone() }));
        let events = Events { control, messages, wake };
        let (alive, dead) = flume::bounded(0);
        gateway.alive = Some(alive);
        sensor::start(sensors, &events, &dead).map_err(StartError::Threads)?;
        gateway.links =
            Some(links::run(links, (&events, &down), &subscriptions, metrics, dead).map_err(StartError::Threads)?);
        Ok(gateway)
    }

    /// Where the embedded broker listens, if there is one.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(|broker| broker.local_addr)
    }

    /// Where metrics are served, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// The status document as of now; none if the gateway has ended.
    pub fn status(&self) -> Option<String> {
        let (answer, answered) = flume::bounded(1);
        self.questions.send(answer).ok()?;
        self.waker.unpark();
        String::from_utf8(answered.recv().ok()?).ok()
    }

    /// Waits until the core's thread answers with the status document; none if it has ended. A supervisor that hears nothing of
    /// it may take the gateway for hung.
    pub async fn answer(&self) -> Option<Vec<u8>> {
        let (answer, answered) = flume::bounded(1);
        self.questions.send_async(answer).await.ok()?;
        self.waker.unpark();
        answered.recv_async().await.ok()
    }

    /// Takes what the embedded broker holds, if there is one, commits what is here, acknowledges it, says goodbye to the brokers, and ends; messages whose functions take longer
    /// than two seconds are given up, and come again at the next start unless they are QoS 0. True if all was done in
    /// [`DRAIN_TIMEOUT`]; otherwise the rest comes again as well.
    pub fn stop(mut self) -> bool {
        let is_empty = self.broker.as_ref().is_none_or(Embedded::hand_over);
        if !is_empty {
            warn!("the embedded broker holds messages that functions did not take in time; they are lost");
        }
        self.orders.drain();
        self.waker.unpark();
        let drained = matches!(self.core_ended.recv_timeout(DRAIN_TIMEOUT), Err(flume::RecvTimeoutError::Disconnected));
        if drained {
            // Links say goodbye within a time of their own.
            join(&mut self.links);
        }
        drained
    }

    /// Ends at once: nothing is drained, synced, acknowledged or said, as if the process had been killed.
    pub fn kill(self) {
        drop(self);
    }

    /// Blocks until the gateway has ended by itself, which happens only if one of its threads fails.
    pub fn wait(&self) {
        let _ = self.core_ended.recv();
    }

    /// Like [`wait`](Self::wait), for async code.
    pub async fn ended(&self) {
        let _ = self.core_ended.recv_async().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // First the links, so that nothing the core still does is heard outside.
        self.alive = None;
        join(&mut self.links);
        self.orders.die();
        self.waker.unpark();
        join(&mut self.core);
        self.broker = None;
    }
}

fn join(thread: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = thread.take() {
        let _ = thread.join();
    }
}

/// Where the embedded broker is to listen, if it is wanted, and where links find theirs.
fn local_broker(config: &Config) -> Result<(Option<SocketAddr>, Endpoint), StartError> {
    match &config.broker.at {
        BrokerAt::Remote(endpoint) => Ok((None, endpoint.clone())),
        BrokerAt::Embedded(addr) => {
            let addr = broker::free(*addr).map_err(|error| StartError::Listen { addr: *addr, error })?;
            let host = match addr.ip() {
                ip if !ip.is_unspecified() => ip,
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            let endpoint = Endpoint { host: host.to_string(), port: addr.port(), tls: None };
            Ok((Some(addr), endpoint))
        }
    }
}

fn listen(addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).map_err(|error| StartError::Metrics { addr, error })
}

type Opened = (Driver<FileStorage>, Vec<String>);

/// Loads the functions and opens the log, on the core's thread.
fn open(config: &Config, orders: Orders, inbox: Inbox, outbox: Outbox, lines: Vec<Line>) -> Result<Opened, StartError> {
    let loaded = functions::load(&config.functions, &config.spool, config.run).map_err(StartError::Functions)?;
    let storage = FileStorage::open(&config.data_dir).map_err(not_usable)?;
    let clock = Clock::start();
    let spool = eyot_spool::Options::for_quota(config.spool.max_bytes);
    let ids = control::ids(&config.id, &config.groups);
    let configured = loaded.iter().zip(&config.functions).map(|(loaded, file)| (loaded.sha256, file.path.clone()));
    let on_nodes = config.nodes.iter().filter_map(|node| node.module.as_ref());
    let configured = configured.chain(on_nodes.map(|(module, path)| (module.sha256, path.clone())));
    let nodes = config.nodes.iter().map(|node| (node.id.as_str(), node.board.as_ref().map(|(_, budget)| *budget)));
    let store = Store::open(&config.data_dir, config.trust.clone(), ids, configured.collect());
    let updates = Updates::new(config.system.clone());
    let programs = Programs::open(&config.data_dir, &config.nodes, lines);
    let store = store.map(|store| store.with_updates(updates, programs));
    let mut store = store.and_then(|store| store.with_nodes(nodes)).map_err(StartError::DataDir)?;
    let mut core = Core::open(core_config(config), spool, storage.clone(), loaded, clock.now(), fastrand::u64(..))?;
    core.restore(&mut store);
    let subscriptions = core.subscriptions();
    let help = Help { workers: config.run.workers, store };
    let driver = Driver::new(core, storage, clock, orders, inbox, outbox, help).map_err(StartError::Threads)?;
    Ok((driver, subscriptions))
}

fn not_usable(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::WouldBlock => StartError::InUse(error),
        _ => StartError::DataDir(error),
    }
}

fn core_config(config: &Config) -> eyot_core::config::Config {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    eyot_core::config::Config {
        gateway_id: config.id.clone(),
        groups: config.groups.clone(),
        staging_max_bytes: config.deploy.staging_max_bytes,
        parts_ttl_us: micros(config.deploy.parts_ttl),
        vain_day_bytes: config.deploy.vain_day_bytes,
        is_flashed: config.system.is_some(),
        rollout: config.deploy.rollout,
        fuel_budget_per_s: config.run.fuel_budget_per_s,
        version: env!("CARGO_PKG_VERSION"),
        uplinks: config.uplinks.iter().map(|u| u.delivery.clone()).collect(),
        nodes: config.nodes.iter().map(node).collect(),
        sensors: config.sensors.iter().map(Sensor::report).collect(),
        when_full: config.spool.when_full,
        reduce: config.spool.reduce.as_ref().map(reduce),
        commit_window_us: micros(config.spool.commit_window),
        wear_budget_day_bytes: config.spool.wear_budget_day_bytes,
        commit_window_max_us: micros(config.spool.commit_window_max),
        receive_max: config.broker.receive_max,
        // Each link announces its own window, which is never more.
        inflight_max: WINDOW_MAX,
        payload_max_bytes: PAYLOAD_MAX_BYTES,
        workers: config.run.workers,
        ceiling: Limits::CEILING,
        status_interval_us: micros(config.status_interval),
        ack_flush_us: micros(ACK_FLUSH),
    }
}

fn node(node: &node::Node) -> Node {
    let board = node.board.as_ref().map(|(id, _)| id.clone());
    Node { id: node.id.clone(), board, configured: node.configured() }
}

fn reduce(reduce: &Reduce) -> eyot_core::config::Reduce {
    eyot_core::config::Reduce { at_percent: reduce.at_percent, function: reduce.function.clone() }
}
