//! Nodes: their readings are messages, and outputs where no function wants them; acknowledged when they are durable.

use bytes::Bytes;
use eyot_core::config::{Config, Node, Uplink};
use eyot_core::io::{Input, LinkId, Message, NodeReport};

use crate::bench::{Bench, CLOUD};

/// Of the only uplink, then of the only node.
const NODE: LinkId = LinkId::uplink(1);

fn bench() -> Bench {
    let uplink = Uplink { name: "cloud".to_owned(), topics: vec!["nodes/#".to_owned()], ..Uplink::default() };
    let north = Node { id: "north".to_owned(), ..Node::default() };
    let config = Config { nodes: vec![north], ..Bench::config(vec![uplink]) };
    let mut bench = Bench::with(config, 64 << 20);
    bench.connect(LinkId::INTAKE, 10);
    bench.connect(NODE, 1);
    bench
}

fn reading(bench: &mut Bench, packet_id: u16, topic: &'static str, payload: &'static str) {
    let (topic, payload) = (Bytes::from_static(topic.as_bytes()), Bytes::from_static(payload.as_bytes()));
    let message = Message { conn: bench.conn(NODE), packet_id, qos: 1, dup: false, wakes: None, topic, payload };
    bench.handle(Input::Reading { link: NODE, age_ms: 1500, message });
}

#[test]
fn a_reading_that_no_function_wants_goes_where_its_topic_says_and_survives() {
    let mut bench = bench();
    reading(&mut bench, 1, "nodes/north/t", "21");
    assert!(bench.acked.is_empty(), "not durable yet");
    bench.wait_ms(20);
    assert_eq!(bench.acked, [(NODE, bench.conn(NODE), 1)]);
    bench.restart();
    bench.connect(CLOUD, 10);
    let publish = bench.take().expect("it was durable");
    assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"nodes/north/t"[..], &b"21"[..]));
    assert_eq!(publish.received_at_ms, 1_700_000_000_000 - 1500, "when the sample was taken");
    let messages = &bench.core.ledger().messages;
    assert_eq!((messages.received, messages.delivered), (1, 1));
}

#[test]
fn a_reading_that_no_uplink_takes_goes_to_the_local_broker() {
    let mut bench = bench();
    reading(&mut bench, 1, "elsewhere/north/t", "21");
    bench.wait_ms(20);
    assert_eq!((bench.stream("local").outputs.pending, bench.stream("cloud").outputs.received), (1, 0));
}

#[test]
fn a_reading_wakes_functions_as_a_message_does_and_then_it_is_theirs() {
    let mut bench = bench();
    reading(&mut bench, 1, "in/nodes/x", "21");
    reading(&mut bench, 2, "in/nodes/x", "!21");
    bench.wait_ms(20);
    assert_eq!(bench.stream("cloud").outputs.received, 1, "what the function made of it");
    assert_eq!(bench.stream("local").outputs.received, 1, "a dead letter");
    assert_eq!(bench.acked.len(), 2);
}

#[test]
fn readings_whose_function_takes_long_are_acknowledged_in_order_and_not_after_a_new_connection() {
    let mut bench = bench();
    bench.jobs = Some(Vec::new());
    reading(&mut bench, 1, "in/nodes/x", "~21");
    reading(&mut bench, 2, "nodes/north/t", "22");
    bench.wait_ms(20);
    assert!(bench.acked.is_empty(), "the second is durable, but the first is not");
    for job in bench.jobs.take().unwrap() {
        bench.handle(Input::Ran(job.into()));
    }
    bench.wait_ms(50);
    let conn = bench.conn(NODE);
    assert_eq!(bench.acked, [(NODE, conn, 1), (NODE, conn, 2)]);
    reading(&mut bench, 3, "nodes/north/t", "23");
    bench.disconnect(NODE);
    bench.connect(NODE, 1);
    bench.wait_ms(20);
    assert_eq!(bench.acked.len(), 2, "what was handed over on another connection is not acknowledged on this one");
    assert_eq!(bench.core.ledger().messages.received, 3, "though it was taken");
}

#[test]
fn how_a_node_is_can_be_read_on_its_topic_and_in_the_status() {
    let mut bench = bench();
    let report = NodeReport { online: true, session: 7, program: "p 1".to_owned(), ..NodeReport::default() };
    bench.handle(Input::Node { link: NODE, report: Box::new(report.clone()) });
    let told = |bench: &Bench| -> serde_json::Value {
        serde_json::from_slice(&bench.retained["eyot/bench/node/north"]).unwrap()
    };
    assert_eq!((&told(&bench)["node"], &told(&bench)["session"]), (&"north".into(), &7.into()));
    let quiet = NodeReport { uptime_ms: 9, ..report.clone() };
    bench.handle(Input::Node { link: NODE, report: Box::new(quiet) });
    assert_eq!(told(&bench)["uptime_ms"], 0, "no news");
    let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    assert_eq!(status["nodes"][0]["uptime_ms"], 9);
    bench.handle(Input::Node { link: NODE, report: Box::new(NodeReport { online: false, ..report }) });
    assert_eq!(told(&bench)["online"], false);
    assert!(bench.retained.keys().all(|topic| !topic.contains("function/north")));
}

#[test]
fn a_node_gets_no_control_documents() {
    let bench = bench();
    assert!(bench.told.iter().all(|publish| publish.link != NODE) && bench.sent.is_empty());
}
