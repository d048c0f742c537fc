//! Nodes: `[[node]]`, and the gateway's end of the link without a line.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use eyot_gateway::config::{Config, ConfigError};
use eyot_gateway::node::peer::{Event, Peer, Wanted, INSTALLS_MAX};
use eyot_gateway::node::renewal::{STARTS_MAX, UNANSWERED_MAX};
use eyot_gateway::node::{Module, Port};
use eyot_wire::link::{
    encode, FromNode, Hello, Install, Ledger, Line, Reading, Status, ToNode, CHUNK_MAX_BYTES, LINE_MAX_BYTES,
};

const SHA: [u8; 32] = [9; 32];

fn parse(nodes: &str) -> Result<Config, ConfigError> {
    let text = format!("[gateway]\nid = \"g\"\n[broker]\nurl = \"mqtt://127.0.0.1:1883\"\n{nodes}");
    Config::parse(Path::new("/etc/eyot/gateway.toml"), &text)
}

#[test]
fn nodes_are_at_serial_ports_and_sockets() {
    let config = parse(
        "[[node]]\nid = \"a\"\nport = \"/dev/ttyUSB0\"\nbaud = 1_000_000\n[[node]]\nid = \"b\"\nport = \"tcp://[::1]:5555\"\n\
         [[node]]\nid = \"c\"\nport = \"/dev/serial/by-id/x\"",
    )
    .unwrap();
    let ports: Vec<_> = config.nodes.iter().map(|node| node.port.to_string()).collect();
    assert_eq!(ports, ["/dev/ttyUSB0 at 1000000 baud", "tcp://[::1]:5555", "/dev/serial/by-id/x at 115200 baud"]);
    assert!(matches!(config.nodes[1].port, Port::Tcp(_)));
}

#[test]
fn what_is_wrong_with_a_node_is_said_with_its_key() {
    for (nodes, key, needle) in [
        ("[[node]]\nport = \"/dev/x\"", "node.id", "missing"),
        ("[[node]]\nid = \"a\"", "node.port", "missing"),
        ("[[node]]\nid = \"A b\"\nport = \"/dev/x\"", "node.id", "a-z"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\n[[node]]\nid = \"a\"\nport = \"/dev/y\"", "node.id", "another node"),
        ("[[node]]\nid = \"a\"\nport = \"ttyUSB0\"", "node.port", "no line"),
        ("[[node]]\nid = \"a\"\nport = \"tcp://host\"", "node.port", "host and port"),
        ("[[node]]\nid = \"a\"\nport = \"tcp://host:5/x\"", "node.port", "host and port"),
        ("[[node]]\nid = \"a\"\nport = \"tcp://host:5\"\nbaud = 9600", "node.baud", "no effect"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nbaud = 5", "node.baud", "300 to 4000000"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nfunction = \"/no/such.wasm\"", "node.function", "/no/such.wasm"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nprogram = \"/no/such\"", "node.program", "/no/such"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nboard = \"mps3\"", "node.board", "no board"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nboard = \"rpi-5\"", "node.board", "runs no node"),
        ("[[node]]\nid = \"a\"\nport = \"/dev/x\"\nbuad = 9600", "node.buad", "baud"),
    ] {
        let error = parse(nodes).unwrap_err();
        let found = error.problems.iter().any(|p| p.key == key && p.reason.contains(needle));
        assert!(found, "{nodes}: {error}");
    }
    let many: String = (0..33).map(|n| format!("[[node]]\nid = \"n{n}\"\nport = \"/dev/x\"\n")).collect();
    assert!(parse(&many).unwrap_err().to_string().contains("at most 32"));
}

/// A peer, and what was said to it.
struct Bench {
    peer: Peer,
    line: Line,
    fresh: u32,
}

impl Bench {
    fn new(module: Option<Module>) -> Self {
        let mut peer = Peer::new("north".to_owned(), module);
        peer.connected();
        Self { peer, line: Line::default(), fresh: 100 }
    }

    fn hear(&mut self, message: &FromNode<'_>) -> Option<Event> {
        let mut buffer = [0; LINE_MAX_BYTES];
        let mut bytes = encode(message, &mut buffer).unwrap();
        self.fresh += 1;
        let event = self.peer.hear(&mut bytes, 5, self.fresh);
        assert!(bytes.is_empty());
        event
    }

    fn hello(&mut self, session: u32, first: u32, function: Option<[u8; 32]>) -> Option<Event> {
        self.hear(&FromNode::Hello(Hello { session, first, program: "p 1", module_max_bytes: 9, function }))
    }

    /// Handed on, and there was room for it.
    fn takes(&mut self, session: u32, seq: u32) -> bool {
        let reading = Reading { session, seq, age_ms: 7, topic: "t", payload: b"1" };
        match self.hear(&FromNode::Reading(reading)) {
            Some(Event::Reading { seq, age_ms, topic, payload }) => {
                assert_eq!((age_ms, &topic[..], &payload[..]), (7, &b"nodes/north/t"[..], &b"1"[..]));
                self.peer.taken(seq);
                true
            }
            None => false,
            other => panic!("{other:?}"),
        }
    }

    /// What was said to the node, one word each.
    fn said(&mut self) -> Vec<String> {
        let out = std::mem::take(self.peer.out());
        let (mut bytes, mut said) = (&out[..], Vec::new());
        while !bytes.is_empty() {
            let Some(Ok(body)) = self.line.feed(&mut bytes) else { continue };
            said.push(match body.message::<ToNode<'_>>().unwrap() {
                ToNode::Who => "who".to_owned(),
                ToNode::Welcome { session, acked, .. } => format!("welcome {session} {acked}"),
                ToNode::Ack { session, seq, .. } => format!("ack {session} {seq}"),
                ToNode::Begin { bytes, .. } => format!("begin {bytes}"),
                ToNode::Chunk { offset, bytes, .. } => format!("chunk {offset} {}", bytes.len()),
                ToNode::Remove => "remove".to_owned(),
                ToNode::BeginProgram { bytes, .. } => format!("program {bytes}"),
            });
        }
        said
    }
}

#[test]
fn readings_are_taken_in_order_and_acknowledged_as_they_become_durable() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.said(), ["who"]);
    assert_eq!(bench.hello(0, 1, None), Some(Event::Up));
    let session = bench.peer.report().session;
    assert_eq!(bench.said(), [format!("welcome {session} 0")]);
    let taken: Vec<bool> = [1, 3, 1, 2, 3, 9, 0].map(|seq| bench.takes(session, seq)).to_vec();
    assert_eq!(taken, [true, false, false, true, true, false, false]);
    assert!(!bench.takes(session + 1, 4), "of another session");
    bench.peer.acknowledge(2);
    bench.peer.acknowledge(9);
    bench.peer.beat(5);
    assert_eq!(bench.said(), [format!("ack {session} 2")], "nine was never taken");
    assert_eq!(bench.hello(session, 3, None), Some(Event::Again), "a welcome that was lost is said again");
    assert_eq!(bench.said(), [format!("welcome {session} 2")]);
    assert!(bench.takes(session, 4), "and what was taken stays taken");
}

#[test]
fn numbers_go_on_where_the_short_ones_of_acknowledgements_begin_anew() {
    let mut bench = Bench::new(None);
    bench.hello(7, 65_535, None);
    for seq in 65_535..65_540 {
        assert!(bench.takes(7, seq));
        bench.peer.acknowledge(seq as u16);
    }
    bench.peer.beat(5);
    assert_eq!(bench.said().last().unwrap(), "ack 7 65539");
}

#[test]
fn a_reading_without_room_comes_again() {
    let mut bench = Bench::new(None);
    bench.hello(7, 1, None);
    let reading = FromNode::Reading(Reading { session: 7, seq: 1, age_ms: 7, topic: "t", payload: b"1" });
    assert!(matches!(bench.hear(&reading), Some(Event::Reading { .. })));
    assert!(matches!(bench.hear(&reading), Some(Event::Reading { .. })));
}

#[test]
fn a_connection_that_breaks_gives_back_what_is_not_durable() {
    let mut bench = Bench::new(None);
    bench.hello(7, 1, None);
    assert!(bench.takes(7, 1) && bench.takes(7, 2));
    bench.peer.acknowledge(1);
    bench.peer.disconnected();
    assert!(!bench.peer.report().online);
    bench.peer.connected();
    assert!(!bench.takes(7, 2), "it has not said who it is");
    assert_eq!(bench.hello(7, 1, None), Some(Event::Up));
    assert_eq!(bench.said(), ["who", "welcome 7 1"], "what is durable need not come again");
    assert!(bench.takes(7, 2));
}

#[test]
fn a_node_that_starts_anew_has_another_session_and_what_is_lost_is_counted() {
    let mut bench = Bench::new(None);
    bench.hello(0, 1, None);
    let before = bench.peer.report().session;
    assert_eq!(bench.hello(0, 1, None), Some(Event::Again), "asked twice before anything came: the same");
    for seq in 1..=3 {
        assert!(bench.takes(before, seq));
    }
    bench.peer.acknowledge(3);
    let ledger = Ledger { outputs: 10, acked: 3, pending: 6, dropped_full: 1, ..Ledger::default() };
    bench.hear(&FromNode::Status(Status { session: before, ledger, ..Status::default() }));
    assert_eq!(bench.hello(0, 1, None), Some(Event::Up));
    let report = bench.peer.report();
    assert!(report.session != before && report.online);
    assert_eq!((report.restarts, report.lost, report.ledger), (1, 6, Ledger::default()));
    let session = report.session;
    assert!(bench.takes(session, 1));
    bench.peer.acknowledge(1);
    bench.peer.beat(5);
    assert_eq!(bench.said().last().unwrap(), &format!("ack {session} 1"));
}

#[test]
fn a_gateway_that_starts_anew_takes_the_node_as_it_is() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.hello(7, 41, Some(SHA)), Some(Event::Up));
    let report = bench.peer.report();
    assert_eq!((report.session, report.restarts, report.function.as_deref()), (7, 0, Some(&*"09".repeat(32))));
    assert_eq!(bench.said().last().unwrap(), "welcome 7 40");
    assert!(bench.takes(7, 41));
}

fn module() -> Module {
    Module { bytes: vec![1; CHUNK_MAX_BYTES + 10].into(), sha256: SHA }
}

#[test]
fn a_module_is_sent_as_the_node_asks_for_it() {
    let mut bench = Bench::new(Some(module()));
    bench.hello(7, 1, None);
    assert_eq!(bench.said().last().unwrap(), &format!("begin {}", CHUNK_MAX_BYTES + 10));
    bench.peer.install();
    assert_eq!(bench.said().len(), 1, "asked again until there is an answer");
    let wants = |sha256, offset| FromNode::Install(Install::Wants { sha256, offset });
    bench.hear(&wants(SHA, 0));
    bench.hear(&wants(SHA, CHUNK_MAX_BYTES as u32));
    bench.hear(&wants(SHA, u32::MAX));
    bench.hear(&wants([0; 32], 0));
    assert_eq!(bench.said(), [format!("chunk 0 {CHUNK_MAX_BYTES}"), format!("chunk {CHUNK_MAX_BYTES} 10")]);
    assert_eq!(bench.hear(&FromNode::Install(Install::Done { sha256: SHA })), Some(Event::Report));
    bench.peer.install();
    assert_eq!(bench.said(), [""; 0]);
    let mut other = Bench::new(Some(module()));
    other.hello(7, 1, Some(SHA));
    assert_eq!(other.said().last().unwrap(), "welcome 7 0", "it runs already");
}

#[test]
fn a_module_that_is_refused_or_too_much_is_not_sent_for_ever() {
    let mut bench = Bench::new(Some(module()));
    bench.hello(7, 1, None);
    let refused = FromNode::Install(Install::Refused { sha256: SHA, reason: "no room" });
    assert_eq!(bench.hear(&refused), Some(Event::Report));
    assert_eq!(bench.peer.report().refused, Some((SHA, "no room".to_owned())));
    bench.said();
    bench.hello(7, 1, None);
    assert_eq!(bench.said(), ["welcome 7 0"]);

    let mut bench = Bench::new(Some(module()));
    for start in 0..=INSTALLS_MAX {
        bench.peer.connected();
        bench.hello(0, 1, None);
        let begins = bench.said().iter().filter(|said| said.starts_with("begin")).count();
        assert_eq!(begins, usize::from(start < INSTALLS_MAX), "start {start}");
        let session = bench.peer.report().session;
        assert!(bench.takes(session, 1));
    }
    assert!(bench.peer.report().refused.as_ref().unwrap().1.contains("started anew"));
}

#[test]
fn a_function_that_gave_way_to_one_that_is_refused_is_sent_again() {
    let good = Module { bytes: vec![2; 9].into(), sha256: [8; 32] };
    let mut bench = Bench::new(Some(good.clone()));
    bench.hello(7, 1, Some([8; 32]));
    bench.peer.run(Wanted::Module(module()));
    for answer in [Install::Removed, Install::Refused { sha256: SHA, reason: "no room" }] {
        assert_eq!(bench.hear(&FromNode::Install(answer)), Some(Event::Report));
    }
    assert_eq!(bench.peer.report().function, None);
    bench.said();
    bench.peer.run(Wanted::Module(good));
    assert_eq!(bench.said(), ["begin 9"]);
}

#[test]
fn what_a_node_is_to_run_can_change_and_what_was_refused_before_is_forgotten() {
    let mut bench = Bench::new(Some(module()));
    bench.hello(7, 1, None);
    bench.hear(&FromNode::Install(Install::Refused { sha256: SHA, reason: "no room" }));
    bench.said();
    let other = Module { bytes: vec![2; 9].into(), sha256: [8; 32] };
    bench.peer.run(Wanted::Module(other.clone()));
    assert_eq!((bench.said(), &bench.peer.report().refused), (vec!["begin 9".to_owned()], &None));
    bench.hear(&FromNode::Install(Install::Done { sha256: SHA }));
    assert_eq!(bench.peer.report().function, None, "of the one before");
    bench.hear(&FromNode::Install(Install::Done { sha256: [8; 32] }));
    bench.hear(&FromNode::Log { level: 0, text: "the function failed on t: trap" });
    assert_eq!(bench.peer.report().last_failure.as_deref(), Some("on t: trap"));
    bench.peer.run(Wanted::Module(other));
    assert_eq!(bench.said(), [""; 0], "the same");
    bench.peer.run(Wanted::Nothing);
    assert_eq!(bench.said(), ["remove"]);
    assert_eq!(bench.hear(&FromNode::Install(Install::Removed)), Some(Event::Report));
    assert_eq!(bench.peer.report().function, None);
    bench.peer.install();
    assert_eq!(bench.said(), [""; 0], "it is done");
    // While it is away it is told nothing, and when it is back what holds then.
    bench.peer.disconnected();
    bench.peer.run(Wanted::Module(module()));
    assert_eq!(bench.said(), [""; 0]);
    bench.peer.connected();
    bench.hello(7, 1, None);
    assert_eq!(bench.said().last().unwrap(), &format!("begin {}", CHUNK_MAX_BYTES + 10));
}

/// How the node's own program does: the state's word, and the reason.
fn update(bench: &Bench) -> (String, String) {
    let update = bench.peer.report().update.clone().unwrap();
    let state = serde_json::to_value(update.state).unwrap();
    (state.as_str().unwrap().to_owned(), update.reason.unwrap_or_default())
}

#[test]
fn a_program_is_sent_beside_a_function_and_ends_as_the_node_says() {
    let program = Module { bytes: vec![3; CHUNK_MAX_BYTES + 1].into(), sha256: [7; 32] };
    let mut bench = Bench::new(Some(module()));
    bench.peer.renew(Some(program.clone()));
    bench.hello(7, 1, None);
    let begins = [format!("program {}", CHUNK_MAX_BYTES + 1), format!("begin {}", CHUNK_MAX_BYTES + 10)];
    assert_eq!(bench.said()[2..], begins);
    let wants = |sha256, offset| FromNode::Install(Install::Wants { sha256, offset });
    for (sha256, offset) in [([7; 32], 512), (SHA, 512), ([7; 32], 513), ([7; 32], u32::MAX)] {
        assert_eq!(bench.hear(&wants(sha256, offset)), None);
    }
    assert_eq!(bench.said(), ["chunk 512 1", "chunk 512 10", "chunk 513 0"]);
    assert_eq!(bench.hear(&FromNode::Install(Install::Done { sha256: SHA })), Some(Event::Report));
    assert_eq!(update(&bench), ("receiving".to_owned(), String::new()));
    // It starts anew with it, and says that it keeps it.
    bench.hello(0, 1, Some(SHA));
    assert_eq!(bench.said()[1..], begins[..1]);
    assert_eq!(bench.hear(&FromNode::Install(Install::Done { sha256: [7; 32] })), Some(Event::Report));
    assert_eq!(update(&bench), ("confirmed".to_owned(), String::new()));
    bench.peer.install();
    assert_eq!(bench.said(), [""; 0], "it is done");
    bench.peer.renew(Some(program));
    assert_eq!(bench.said(), begins[..1], "another command for the same");
    bench.hear(&FromNode::Install(Install::Refused { sha256: [7; 32], reason: "no room" }));
    assert_eq!(update(&bench), ("rejected".to_owned(), "no room".to_owned()));
    bench.peer.install();
    assert_eq!(bench.said(), [""; 0], "not again");
}

#[test]
fn a_node_that_cannot_take_a_program_is_left_alone_with_it() {
    let program = || Some(Module { bytes: vec![3; 9].into(), sha256: [7; 32] });
    let mut bench = Bench::new(None);
    bench.peer.renew(program());
    bench.hello(7, 1, None);
    for _ in 0..2 * UNANSWERED_MAX {
        bench.peer.install();
    }
    assert_eq!(bench.said().iter().filter(|said| *said == "program 9").count(), UNANSWERED_MAX as usize);
    assert!(update(&bench).1.contains("use a probe"));

    // An answer now and then is enough.
    let mut bench = Bench::new(None);
    bench.peer.renew(program());
    bench.hello(7, 1, None);
    for _ in 0..2 {
        for _ in 1..UNANSWERED_MAX {
            bench.peer.install();
        }
        bench.hear(&FromNode::Install(Install::Wants { sha256: [7; 32], offset: 0 }));
    }
    assert_eq!(update(&bench), ("receiving".to_owned(), String::new()));

    let mut bench = Bench::new(None);
    bench.peer.renew(program());
    for start in 0..=STARTS_MAX + 1 {
        bench.peer.connected();
        bench.hello(0, 1, None);
        let begins = bench.said().iter().filter(|said| *said == "program 9").count();
        assert_eq!(begins, usize::from(start <= STARTS_MAX), "start {start}");
        let session = bench.peer.report().session;
        assert!(bench.takes(session, 1));
    }
    assert!(update(&bench).1.contains("again and again"));
}

#[test]
fn garbage_is_counted_and_nothing_comes_of_it() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new(Some(module()));
    bench.hello(7, 1, None);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..random.usize(..900)).map(|_| random.u8(..)).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            assert_eq!(bench.peer.hear(&mut rest, 5, 1), None, "seed {seed}");
        }
    }
    assert!(bench.peer.report().bad_lines > 1000);
    let mut zero = &[0][..];
    bench.peer.hear(&mut zero, 5, 1);
    assert!(bench.takes(7, 1));
}
