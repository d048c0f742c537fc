//! Which links there are, and the thread they run on.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use flume::Receiver;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Mqtt, UplinkAt};
use crate::metrics::{self, Ask};
use crate::mqtt::link::{Command, Events, Link};
use crate::mqtt::queue::MessageSender;
use crate::mqtt::session::Options;
use crate::mqtt::subscriptions::Subscriptions;
use crate::mqtt::transport::Endpoint;
use crate::mqtt::Version;
use crate::node::peer::{Peer, Wanted};
use crate::node::programs::Line;
use crate::node::runner::Runner;
use crate::node::Port;
use crate::outbox::LinkEnd;
use crate::uplink::batch::Limits;
use crate::uplink::runner::Uplink;
use crate::uplink::Place;
use eyot_wire::control::{self, ControlTopic};
use eyot_wire::module::PAYLOAD_MAX_BYTES;

/// Room in a link's queue beside what its window can fill.
pub const COMMANDS_SPARE: usize = 1024;
/// A message is cut here: above the largest payload with the longest topic MQTT allows, so that what was cut is still
/// seen to be over the limit.
pub const PACKET_MAX_BYTES: usize = PAYLOAD_MAX_BYTES + (68 << 10);
/// How long a broker keeps our intake's messages while we are away.
pub const SESSION_EXPIRY_S: u32 = 86_400;
/// Longest silence on a connection.
pub const KEEP_ALIVE_S: u16 = 30;
/// Publishes in flight to the local broker.
pub const LOCAL_INFLIGHT: u16 = 500;

/// A link before its subscriptions are known.
pub(crate) struct Planned {
    id: u8,
    name: String,
    kind: Kind,
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    filters: Arc<Mutex<Vec<String>>>,
    control: Vec<String>,
    /// Where it is written down what the broker keeps for us, if it does.
    kept_in: Option<PathBuf>,
    wanted: watch::Sender<Option<Wanted>>,
    /// The program it is to have, if it is a node.
    program: Line,
    reset: Arc<AtomicBool>,
}

enum Kind {
    Broker { endpoint: Endpoint, options: Box<Options>, envelope: bool },
    Store { place: Box<Place>, limits: Limits, gateway: String },
    Node { port: Port, peer: Box<Peer> },
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Planned {
    fn new(id: u8, name: &str, kind: Kind, queue: usize) -> Self {
        let commands = mpsc::channel(queue + COMMANDS_SPARE);
        Self {
            id,
            name: name.to_owned(),
            kind,
            commands,
            filters: Arc::default(),
            control: Vec::new(),
            kept_in: None,
            wanted: watch::Sender::default(),
            program: Line::default(),
            reset: Arc::default(),
        }
    }

    /// Where its program is sent, if it is a node.
    pub fn program(&self) -> Option<Line> {
        matches!(self.kind, Kind::Node { .. }).then(|| self.program.clone())
    }

    /// The core's end.
    pub fn end(&self) -> LinkEnd {
        let (filters, control) = (self.filters.clone(), self.control.clone());
        LinkEnd {
            name: self.name.clone(),
            commands: self.commands.0.clone(),
            filters,
            control,
            wanted: self.wanted.clone(),
            reset: self.reset.clone(),
        }
    }

    fn start(self, (events, down): (&Events, &MessageSender), subscriptions: &[String]) -> Running {
        let Self { id, name, kind, commands: (_, commands), filters, control, kept_in, wanted, program, reset } = self;
        let (mut events, seed) = (events.clone(), fastrand::u64(..));
        // What waits for room in the log must not keep commands waiting: readings go with what the intake hears.
        if id != eyot_core::io::LinkId::INTAKE.0 && !matches!(kind, Kind::Node { .. }) {
            events.messages = down.clone();
        }
        match kind {
            Kind::Broker { endpoint, mut options, envelope } => {
                if id == eyot_core::io::LinkId::INTAKE.0 {
                    options.filters = control.iter().chain(subscriptions).cloned().collect();
                }
                filters.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&options.filters);
                let options = Arc::from(options);
                let subscriptions = kept_in.map(Subscriptions::open);
                let link = Link {
                    name,
                    id,
                    endpoint,
                    options,
                    filters,
                    subscriptions,
                    envelope,
                    events,
                    commands,
                    reset,
                    seed,
                };
                Box::pin(link.run())
            }
            Kind::Store { place, limits, gateway } => {
                let store = place.store(&gateway, &name);
                Box::pin(Uplink { name, id, store, limits, events, commands, reset, seed }.run())
            }
            Kind::Node { port, peer } => {
                let (wanted, mut program) = (wanted.subscribe(), program.subscribe());
                // What was sent before counts.
                program.mark_changed();
                Box::pin(Runner { name, id, port, peer: *peer, events, commands, wanted, program, reset, seed }.run())
            }
        }
    }
}

/// What the intake is called at its broker.
pub(crate) fn intake_id(config: &Config) -> String {
    config.broker.client_id.clone().unwrap_or_else(|| format!("eyot-{}", config.id))
}

/// What the link to the local broker is called there.
pub(crate) fn delivery_id(config: &Config) -> String {
    format!("{}-local", intake_id(config))
}

/// All links in the order of their ids: intake, local, uplinks, nodes.
pub(crate) fn plan(config: &Config, local: &Endpoint) -> Vec<Planned> {
    let broker = &config.broker;
    let will = offline(config);
    let options = |version: Version, client_id: String, login: &Option<(String, String)>, inflight_max: u16| Options {
        version,
        client_id,
        clean_start: true,
        session_expiry_s: SESSION_EXPIRY_S,
        keep_alive_s: KEEP_ALIVE_S,
        receive_max: broker.receive_max,
        inflight_max,
        packet_max_bytes: PACKET_MAX_BYTES,
        login: login.clone(),
        will: Some(will.clone()),
        filters: Vec::new(),
        large: Vec::new(),
        no_local: false,
        gateway: config.id.clone(),
    };
    let to_broker = |endpoint: &Endpoint, options: Options, envelope| Kind::Broker {
        endpoint: endpoint.clone(),
        options: Box::new(options),
        envelope,
    };

    let (control, large) = control(config);
    let intake = Options {
        clean_start: false,
        large: large.clone(),
        ..options(broker.version, intake_id(config), &broker.login, 100)
    };
    // MQTT 3.1.1 has no receive maximum: as many acknowledgements as there are packet ids may come at once.
    let intake = Planned::new(0, "intake", to_broker(local, intake, false), usize::from(u16::MAX));
    let kept_in = |name: &str| Some(config.data_dir.join(format!("subscriptions-{name}.txt")));
    let mut out = vec![Planned { control: control.clone(), kept_in: kept_in("intake"), ..intake }];
    // The intake speaks for both of its connections.
    let delivery =
        Options { will: None, ..options(broker.version, delivery_id(config), &broker.login, LOCAL_INFLIGHT) };
    out.push(Planned::new(1, "local", to_broker(local, delivery, false), usize::from(LOCAL_INFLIGHT)));
    for (id, uplink) in (2..).zip(&config.uplinks) {
        let mut is_kept = false;
        let (kind, queue) = match &uplink.at {
            UplinkAt::Mqtt(Mqtt { endpoint, version, client_id, login, inflight, envelope }) => {
                let named = || format!("eyot-{}-{}", config.id, uplink.name);
                let mut options = options(*version, client_id.clone().unwrap_or_else(named), login, *inflight);
                let mut queue = usize::from(*inflight);
                let from_there = if uplink.delivery.control { control.as_slice() } else { &[] };
                if !uplink.delivery.down.is_empty() || !from_there.is_empty() {
                    // What comes down while we are away is to wait for us.
                    (options.clean_start, options.no_local) = (false, true);
                    options.filters = from_there.iter().chain(&uplink.delivery.down).cloned().collect();
                    options.large.clone_from(&large);
                    is_kept = true;
                    queue += usize::from(u16::MAX);
                }
                (to_broker(endpoint, options, *envelope), queue)
            }
            UplinkAt::Store(place, limits) => {
                let (place, gateway) = (Box::new(place.clone()), config.id.clone());
                (Kind::Store { place, limits: *limits, gateway }, usize::from(limits.window()))
            }
        };
        let planned = Planned::new(id, &uplink.name, kind, queue);
        let kept_in = kept_in(&format!("uplink-{}", uplink.name)).filter(|_| is_kept);
        out.push(Planned { kept_in, ..planned });
    }
    out.into_iter().chain(nodes(config)).collect()
}

/// A link for each node, behind those of the uplinks.
fn nodes(config: &Config) -> impl Iterator<Item = Planned> + '_ {
    (2 + config.uplinks.len() as u8..).zip(&config.nodes).map(|(id, node)| {
        let module = node.module.as_ref().map(|(module, _)| module.clone());
        let mut peer = Box::new(Peer::new(node.id.clone(), module));
        peer.renew(node.program.clone());
        Planned::new(id, &node.id, Kind::Node { port: node.port.clone(), peer }, 0)
    })
}

/// The filters of this gateway's control topics and those of its groups, and the topics of modules.
fn control(config: &Config) -> (Vec<String>, Vec<String>) {
    let ids = control::ids(&config.id, &config.groups);
    let mut filters: Vec<String> = ids.iter().flat_map(|id| ControlTopic::filters(id)).collect();
    let mut large: Vec<String> = ids.iter().map(|id| format!("eyot/{id}/push")).collect();
    if config.system.is_some() || !config.nodes.is_empty() {
        filters.push(ControlTopic::update_filter(&config.id));
    }
    if !config.nodes.is_empty() {
        filters.extend(ids.iter().flat_map(|id| ControlTopic::node_filters(id)));
    }
    for node in &config.nodes {
        large.extend(ids.iter().map(|id| format!("eyot/{id}/node/{}/push", node.id)));
    }
    (filters, large)
}

/// Topic and document of the will: the status of a gateway that is not there.
fn offline(Config { id, groups, .. }: &Config) -> (String, Bytes) {
    let version = env!("CARGO_PKG_VERSION");
    let document = match groups.as_slice() {
        [] => serde_json::json!({"gateway": id, "online": false, "version": version}),
        groups => serde_json::json!({"gateway": id, "groups": groups, "online": false, "version": version}),
    };
    (format!("eyot/{id}/status"), Bytes::from(document.to_string()))
}

/// Runs the links on a thread until all have ended or `dead` is closed. Messages of the intake go where events do, those of
/// other links to the second of the pair.
pub(crate) fn run(
    links: Vec<Planned>,
    events: (&Events, &MessageSender),
    subscriptions: &[String],
    metrics: Option<(TcpListener, Ask)>,
    dead: Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let links: Vec<_> = links.into_iter().map(|planned| planned.start(events, subscriptions)).collect();
    thread::Builder::new().name("links".to_owned()).spawn(move || {
        runtime.block_on(async {
            if let Some((listener, ask)) = metrics {
                tokio::spawn(metrics::serve(listener, ask));
            }
            let running: Vec<_> = links.into_iter().map(tokio::spawn).collect();
            let all = async {
                for link in running {
                    let _ = link.await;
                }
            };
            tokio::select! {
                () = all => {}
                _ = dead.recv_async() => {}
            }
        });
        // A name lookup under way must not hold up the end.
        runtime.shutdown_background();
    })
}
