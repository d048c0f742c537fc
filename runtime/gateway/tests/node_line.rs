//! A line to a node on which something talks without end: what the gateway hears of it stays little.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::node::NodeReport;
use eyot_gateway::mqtt::link::{Command, Events, LinkEvent};
use eyot_gateway::mqtt::queue::{queue, MessageReceiver};
use eyot_gateway::mqtt::transport::Endpoint;
use eyot_gateway::node::allowance::READ_PER_S_MAX_BYTES;
use eyot_gateway::node::peer::Peer;
use eyot_gateway::node::runner::Runner;
use eyot_gateway::node::Port;
use eyot_wire::link::{encode, FromNode, Hello, Status, LINE_MAX_BYTES};
use flume::Receiver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(30);
/// Many times what is let through.
const MANY: u32 = 2000;

/// The gateway's end of a line, and the node's socket.
struct Site {
    listener: TcpListener,
    events: Receiver<(u8, LinkEvent)>,
    // Held: without them the line ends.
    _messages: MessageReceiver,
    _commands: mpsc::Sender<Command>,
    _told: (watch::Sender<Option<eyot_gateway::node::peer::Wanted>>, watch::Sender<Option<eyot_gateway::node::Module>>),
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint =
            Endpoint { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port(), tls: None };
        let (control, events) = flume::bounded(1000);
        let (messages, receiver) = queue(1 << 16);
        let (sender, commands) = mpsc::channel(8);
        let (wanted, program) = (watch::Sender::new(None), watch::Sender::new(None));
        let runner = Runner {
            name: "north".to_owned(),
            id: 3,
            port: Port::Tcp(endpoint),
            peer: Peer::new("north".to_owned(), None),
            events: Events { control, messages, wake: Arc::new(|| {}) },
            commands,
            wanted: wanted.subscribe(),
            program: program.subscribe(),
            reset: Arc::default(),
            seed: 1,
        };
        tokio::spawn(runner.run());
        Self { listener, events, _messages: receiver, _commands: sender, _told: (wanted, program) }
    }

    async fn accept(&self) -> TcpStream {
        tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap().0
    }

    async fn event(&self) -> LinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv_async()).await.unwrap().unwrap().1
    }

    /// Until `is_it`; how many came before.
    async fn await_event(&self, is_it: impl Fn(&LinkEvent) -> bool) -> usize {
        let mut before = 0;
        while !is_it(&self.event().await) {
            before += 1;
        }
        before
    }
}

fn line(message: &FromNode<'_>) -> Vec<u8> {
    encode(message, &mut [0; LINE_MAX_BYTES]).unwrap().to_vec()
}

fn hello(session: u32) -> Vec<u8> {
    line(&FromNode::Hello(Hello { session, first: 1, program: "p", module_max_bytes: 9, function: None }))
}

async fn closed(mut node: TcpStream) {
    while node.read(&mut [0; 1024]).await.is_ok_and(|len| len > 0) {}
}

fn is_up(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Up { .. })
}

#[tokio::test]
async fn a_node_that_says_who_it_is_without_end_is_cut_off_and_taken_when_it_stops() {
    for is_another in [true, false] {
        let site = Site::start().await;
        let mut node = site.accept().await;
        let greetings: Vec<u8> = (1..=MANY).flat_map(|n| hello(if is_another { n } else { 7 })).collect();
        // Fails where the line is closed before it is read.
        let _ = node.write_all(&greetings).await;
        site.await_event(is_up).await;
        let is_away = |event: &LinkEvent| matches!(event, LinkEvent::Node { report } if !report.online);
        let events = site.await_event(is_away).await;
        assert!(events < 100, "{events} events of {MANY} greetings");
        closed(node).await;
        loop {
            let mut node = site.accept().await;
            node.write_all(&hello(7)).await.unwrap();
            // At first it is too soon.
            tokio::select! {
                _ = site.await_event(is_up) => break,
                () = closed(node) => {}
            }
        }
    }
}

#[tokio::test]
async fn reports_without_end_are_passed_on_now_and_then_and_the_last_one_is() {
    let site = Site::start().await;
    let mut node = site.accept().await;
    let status = |uptime_ms| line(&FromNode::Status(Status { session: 7, uptime_ms, ..Status::default() }));
    let all: Vec<u8> = hello(7).into_iter().chain((1..=u64::from(MANY)).flat_map(status)).collect();
    node.write_all(&all).await.unwrap();
    let is_last = |report: &NodeReport| report.online && report.uptime_ms == u64::from(MANY);
    let before = site.await_event(|event| matches!(event, LinkEvent::Node { report } if is_last(report))).await;
    assert!(before < 50, "{before} events of {MANY} reports");
}

#[tokio::test]
async fn a_line_is_read_no_faster_than_any_serial_port_is() {
    let site = Site::start().await;
    let mut node = site.accept().await;
    let begun = Instant::now();
    node.write_all(&vec![0; 2 * READ_PER_S_MAX_BYTES]).await.unwrap();
    node.write_all(&hello(7)).await.unwrap();
    site.await_event(is_up).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
}
