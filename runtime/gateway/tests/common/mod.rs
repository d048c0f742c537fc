//! A real mosquitto on a free port, and links to talk to it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod certs;
pub mod function;
pub mod server;
pub mod uplink;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eyot_gateway::mqtt::link::{Command, Events, Link, LinkEvent, PublishAnswer};
use eyot_gateway::mqtt::queue::{queue as message_queue, MessageReceiver, MESSAGE_OVERHEAD_BYTES};
use eyot_gateway::mqtt::session::Options;
use eyot_gateway::mqtt::transport::Endpoint;
use eyot_gateway::mqtt::{Message, Publish, Version};
use tokio::sync::mpsc;

/// Longest wait for anything; reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Commands of a test on their way to its link. The link is on the test's own thread: waiting for room would be for good.
pub const COMMANDS_MAX: usize = 1 << 16;

/// A directory of this test, removed at the end.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("eyot-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Mosquitto {
    child: Child,
    pub port: u16,
    _dir: TempDir,
}

impl Mosquitto {
    /// With these lines in its configuration, beside the listener.
    pub fn start(port: u16, lines: &str) -> Self {
        let dir = TempDir::new();
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n{lines}\n");
        let file = dir.write("mosquitto.conf", &text);
        let mut child = Process::new("mosquitto")
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto is installed: apt-get install mosquitto");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let Some(Ok(line)) = lines.next() else { panic!("mosquitto does not run: {said}") };
            if line.contains("running") {
                break;
            }
            said.push_str(&line);
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port, _dir: dir }
    }

    pub fn any() -> Self {
        Self::start(free_port(), "")
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Publishes each line at this QoS with mosquitto's own client.
    pub fn publish_lines(&self, topic: &str, qos: u8, lines: &str) {
        let mut child = Process::new("mosquitto_pub")
            .args(["-p", &self.port.to_string(), "-t", topic, "-q", &qos.to_string(), "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed: apt-get install mosquitto-clients");
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a link tells.
#[derive(Debug)]
pub enum Next {
    Event(LinkEvent),
    Message(u64, Message),
}

/// A running link.
pub struct Client {
    control: flume::Receiver<(u8, LinkEvent)>,
    messages: MessageReceiver,
    pub commands: mpsc::Sender<Command>,
    pub reset: Arc<AtomicBool>,
    pub task: tokio::task::JoinHandle<()>,
    /// The connection last reported up.
    pub conn: u64,
    /// Answers that came with others.
    answers: VecDeque<PublishAnswer>,
}

pub fn options(version: Version, client_id: &str, filters: &[&str]) -> Options {
    Options {
        version,
        client_id: client_id.to_owned(),
        clean_start: true,
        session_expiry_s: 86_400,
        keep_alive_s: 30,
        receive_max: 100,
        inflight_max: 100,
        packet_max_bytes: 64 << 10,
        login: None,
        will: None,
        large: Vec::new(),
        filters: filters.iter().map(|f| (*f).to_owned()).collect(),
        no_local: false,
        gateway: "barn-7".to_owned(),
    }
}

pub fn plain(addr: SocketAddr) -> Endpoint {
    Endpoint { host: addr.ip().to_string(), port: addr.port(), tls: None }
}

impl Client {
    /// Starts a link whose event queue holds `queue` events.
    pub fn start(endpoint: Endpoint, options: Options, queue: usize) -> Self {
        let (control_tx, control) = flume::bounded(queue);
        let (messages_tx, messages) = message_queue(queue * MESSAGE_OVERHEAD_BYTES);
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let reset = Arc::new(AtomicBool::new(false));
        let link = Link {
            name: options.client_id.clone(),
            id: 0,
            endpoint,
            filters: Arc::new(std::sync::Mutex::new(options.filters.clone())),
            options: Arc::new(options),
            subscriptions: None,
            events: Events { control: control_tx, messages: messages_tx, wake: Arc::new(|| ()) },
            envelope: false,
            commands: commands_rx,
            reset: reset.clone(),
            seed: 1,
        };
        Self { control, messages, commands, reset, task: tokio::spawn(link.run()), conn: 0, answers: VecDeque::new() }
    }

    pub async fn next(&mut self) -> Next {
        let next = async {
            tokio::select! {
                biased;
                event = self.control.recv_async() => Next::Event(event.expect("the link runs").1),
                message = self.messages.recv() => {
                    let (_, conn, message) = message.expect("the link runs");
                    Next::Message(conn, message)
                }
            }
        };
        let next = tokio::time::timeout(PATIENCE, next).await.expect("something in time");
        if let Next::Event(LinkEvent::Up { conn, .. }) = next {
            self.conn = conn;
        }
        next
    }

    /// The next event, with messages left where they are.
    pub async fn event(&self) -> LinkEvent {
        let event = tokio::time::timeout(PATIENCE, self.control.recv_async()).await;
        event.expect("an event in time").expect("the link runs").1
    }

    pub async fn up(&mut self) {
        match self.next().await {
            Next::Event(LinkEvent::Up { .. }) => {}
            other => panic!("not up but {other:?}"),
        }
    }

    pub async fn message(&mut self) -> Message {
        match self.next().await {
            Next::Message(_, message) => message,
            other => panic!("not a message but {other:?}"),
        }
    }

    pub async fn published(&mut self) -> (u64, bool) {
        if self.answers.is_empty() {
            match self.next().await {
                Next::Event(LinkEvent::Published { answers, .. }) => self.answers.extend(answers),
                other => panic!("not an answer but {other:?}"),
            }
        }
        let PublishAnswer { token, accepted } = self.answers.pop_front().expect("an event has at least one answer");
        (token, accepted)
    }

    pub fn ack(&self, conn: u64, packet_id: u16) {
        self.commands.try_send(Command::Ack { conn, packet_ids: vec![packet_id] }).unwrap();
    }

    pub fn publish(&self, token: u64, topic: &str, payload: &str) {
        let publish = Publish {
            token,
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            retain: false,
            stamp: Some(eyot_gateway::mqtt::Stamp { epoch: 1, seq: token }),
            received_at_ms: 0,
            wakes: None,
        };
        self.commands.try_send(Command::Publish { conn: self.conn, publish }).unwrap();
    }
}
