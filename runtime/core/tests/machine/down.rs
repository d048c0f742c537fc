//! Downlink: from an uplink's broker to the local one, durable, counted, and never back up.

use bytes::Bytes;
use eyot_core::config::Uplink;
use eyot_core::io::{Input, LinkId, Message};
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

fn cloud() -> Uplink {
    let (topics, down) = (vec!["up/#".to_owned()], vec!["do/#".to_owned()]);
    Uplink { name: "cloud".to_owned(), topics, down, ..Uplink::default() }
}

fn message(conn: u64, packet_id: u16, topic: &'static str) -> Message {
    let payload = Bytes::from_static(b"open");
    Message { conn, packet_id, qos: 1, dup: false, wakes: None, topic: Bytes::from_static(topic.as_bytes()), payload }
}

fn down(bench: &mut Bench, packet_id: u16, topic: &'static str) {
    let message = message(bench.conn(CLOUD), packet_id, topic);
    bench.handle(Input::Down { link: CLOUD, message });
}

#[test]
fn what_comes_down_goes_to_the_local_broker_as_it_is_and_is_acknowledged_when_it_is_durable() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.connect(CLOUD, 10);
    down(&mut bench, 7, "do/valve");
    assert_eq!((bench.acked.len(), bench.stream("local").outputs.pending), (0, 1), "not committed yet");
    bench.wait_ms(20);
    assert_eq!(bench.acked, [(CLOUD, bench.conn(CLOUD), 7)]);
    bench.restart();
    bench.connect(LinkId::LOCAL, 10);
    let publish = bench.take().expect("it was durable");
    assert_eq!(
        (publish.link, &publish.topic[..], &publish.payload[..]),
        (LinkId::LOCAL, &b"do/valve"[..], &b"open"[..])
    );
    assert!(!publish.retain);
    let messages = &bench.core.ledger().messages;
    assert_eq!((messages.received, messages.delivered), (1, 1));
    assert_eq!(bench.stream("cloud").outputs.received, 0, "nothing goes back up");
}

#[test]
fn no_function_sees_what_comes_down_and_a_topic_that_goes_up_stays_here() {
    let odd = Uplink { down: vec!["in/#".to_owned(), "up/#".to_owned()], ..cloud() };
    let mut bench = Bench::new(vec![odd]);
    bench.connect(CLOUD, 10);
    down(&mut bench, 1, "in/up/x");
    down(&mut bench, 2, "up/x");
    bench.wait_ms(20);
    assert_eq!((bench.stream("local").outputs.received, bench.stream("cloud").outputs.received), (2, 0));
}

#[test]
fn what_nobody_asked_to_come_down_is_dropped_counted_and_acknowledged() {
    let mut bench = Bench::new(vec![cloud(), Uplink { name: "other".to_owned(), ..cloud() }]);
    bench.connect(CLOUD, 10);
    for (packet_id, topic) in [(1, "else/x"), (2, "eyot/bench/command"), (3, "do/+")] {
        down(&mut bench, packet_id, topic);
    }
    bench.wait_ms(20);
    let messages = &bench.core.ledger().messages;
    assert_eq!((messages.dropped(DropReason::NoFunction), messages.dropped(DropReason::Malformed)), (2, 1));
    assert_eq!((bench.acked.len(), bench.stream("local").outputs.received), (3, 0));
    let mut all = Bench::new(vec![Uplink { down: vec!["#".to_owned()], ..cloud() }]);
    all.connect(CLOUD, 10);
    down(&mut all, 1, "eyot/bench/status");
    assert_eq!(all.stream("local").outputs.received, 0, "control topics never");
}

#[test]
fn an_acknowledgement_belongs_to_its_connection() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.connect(CLOUD, 10);
    down(&mut bench, 7, "do/valve");
    bench.disconnect(CLOUD);
    bench.connect(CLOUD, 10);
    bench.wait_ms(20);
    assert_eq!(bench.acked, [], "the broker sends it again");
    down(&mut bench, 7, "do/valve");
    bench.wait_ms(20);
    assert_eq!(bench.acked, [(CLOUD, bench.conn(CLOUD), 7)]);
    assert_eq!(bench.stream("local").outputs.received, 2, "at least once");
}
