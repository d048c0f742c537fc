//! Readings on their way: sessions, acknowledgements, loss.

use eyot_node::Channel;
use eyot_wire::link::{Line, ToNode, SILENCE_MAX_MS, WINDOW};

use crate::bench::{readings, understand, Bench, Counter, Said};

/// A node that samples every 100 ms runs as `node`, on `bench`.
macro_rules! a_node {
    ($bench:ident, $node:ident) => {
        $crate::way::a_node!($bench, $node, $crate::bench::limits());
    };
    ($bench:ident, $node:ident, $limits:expr) => {
        let $bench = Bench::default();
        let mut counter = Counter($bench.clone(), 0);
        let mut channels = [Channel::new("sensors/1/raw", 100, &mut counter)];
        let mut $node = $crate::bench::node(&$bench, $limits, &mut channels);
    };
}
pub(crate) use a_node;

fn hello(session: u32, first: u32) -> Said {
    Said::Hello { session, first, function: None }
}

#[test]
fn a_node_that_starts_says_hello_until_it_is_welcome_and_then_what_it_has() {
    a_node!(bench, node);
    for _ in 0..25 {
        node.turn().unwrap();
        bench.wait_ms(100);
    }
    let greetings = vec![hello(0, 1); 3];
    assert_eq!(bench.heard(), greetings, "once a second, and nothing else");
    bench.welcome(7, 0);
    node.turn().unwrap();
    let said = bench.heard();
    assert!(matches!(said[0], Said::Status(ledger) if ledger.pending == 26 && ledger.balances()));
    let expected: Vec<_> = (1..=WINDOW).map(|seq| (seq, format!("{{\"n\":{seq}}}"))).collect();
    assert_eq!(readings(&said), expected, "a window full, in order");
    let Said::Reading { session, age_ms, topic, .. } = &said[1] else { panic!("{said:?}") };
    assert_eq!((*session, *age_ms, topic.as_str()), (7, 2500, "sensors/1/raw"), "as old as it is");
    bench.ack(7, 10);
    node.turn().unwrap();
    assert_eq!(readings(&bench.heard()).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (17..=26).collect::<Vec<_>>());
    assert_eq!((node.ledger().acked, node.ledger().pending), (10, 16));
}

#[test]
fn what_is_not_acknowledged_is_sent_again_ever_more_rarely() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    assert_eq!(readings(&bench.heard()).len(), 1);
    let mut at_ms = Vec::new();
    let mut now_ms = 0;
    while now_ms < 8000 {
        bench.wait_ms(50);
        now_ms += 50;
        node.turn().unwrap();
        // The gateway is there, but has no room.
        bench.ack(7, 0);
        if readings(&bench.heard()).first().is_some_and(|(seq, _)| *seq == 1) {
            at_ms.push(now_ms);
        }
    }
    assert_eq!(at_ms, [1000, 3000, 7000]);
    bench.ack(7, node.ledger().outputs);
    node.turn().unwrap();
    assert!(node.ledger().resent > 0 && node.ledger().balances());
}

#[test]
fn a_new_connection_goes_on_where_the_last_one_ended() {
    a_node!(bench, node);
    for _ in 0..5 {
        node.turn().unwrap();
        bench.wait_ms(100);
    }
    bench.welcome(7, 0);
    node.turn().unwrap();
    bench.heard();
    // The acknowledgement of the third got lost with the connection.
    bench.say(&ToNode::Who);
    node.turn().unwrap();
    assert_eq!(bench.heard(), [hello(7, 1)]);
    bench.welcome(7, 3);
    node.turn().unwrap();
    let seqs: Vec<_> = readings(&bench.heard()).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [4, 5, 6], "and what is durable is not sent again");
}

#[test]
fn a_welcome_of_another_session_and_an_acknowledgement_of_another_session_mean_nothing() {
    a_node!(bench, node);
    bench.welcome(0, 0);
    bench.ack(7, 1);
    node.turn().unwrap();
    assert!(!node.link().is_welcome());
    bench.welcome(7, 0);
    node.turn().unwrap();
    bench.welcome(8, 1);
    bench.ack(8, 1);
    node.turn().unwrap();
    assert_eq!((node.link().session(), node.ledger().acked), (7, 0));
    bench.ack(7, 5);
    node.turn().unwrap();
    assert_eq!(node.ledger().acked, 0, "five were never sent");
}

#[test]
fn a_gateway_that_falls_silent_is_gone() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    bench.heard();
    bench.wait_ms(u64::from(SILENCE_MAX_MS));
    node.turn().unwrap();
    assert!(node.link().is_welcome());
    bench.wait_ms(1);
    node.turn().unwrap();
    assert!(bench.heard().contains(&hello(7, 1)));
}

#[test]
fn the_time_comes_from_the_gateway_and_until_then_from_the_start() {
    a_node!(bench, node);
    bench.wait_ms(500);
    node.turn().unwrap();
    assert_eq!(node.link().unix_ms(500), 500);
    bench.welcome(7, 0);
    node.turn().unwrap();
    assert_eq!(node.link().unix_ms(600), 1_700_000_000_100);
}

#[test]
fn a_sensor_that_fails_is_counted_each_time_and_told_once() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    bench.sensor_fails(true);
    // The third time after twice the wait.
    for wait_ms in [100, 200, 400] {
        node.turn().unwrap();
        bench.wait_ms(wait_ms);
    }
    bench.sensor_fails(false);
    node.turn().unwrap();
    let said = bench.heard();
    let told = said.iter().filter(|said| matches!(said, Said::Log(1, text) if text.contains("wiring"))).count();
    assert_eq!((told, node.ledger().sensor_errors, node.ledger().samples), (1, 3, 1));
}

/// Bytes are lost, doubled and turned in both directions, connections begin anew: what the gateway takes has no gap, and in
/// the end it has everything.
#[test]
fn a_bad_line_loses_and_invents_nothing() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    a_node!(bench, node);
    let (mut line, mut taken, mut last, mut wire) = (Line::default(), 0, 0, Vec::new());
    for round in 0..6000 {
        bench.wait_ms(50);
        node.turn().unwrap();
        let is_bad = round < 5000;
        wire.extend(damaged(&bench.take_bytes(), is_bad, &mut random));
        let arrives = random.usize(..=wire.len());
        let arrived: Vec<u8> = wire.drain(..arrives).collect();
        for said in understand(&mut line, &arrived) {
            match said {
                Said::Hello { .. } => {
                    say(&bench, &ToNode::Welcome { session: 7, acked: taken, unix_ms: 5 }, is_bad, &mut random)
                }
                Said::Reading { seq, payload, .. } if seq == taken + 1 => {
                    assert!(last < number(&payload), "in order: seed {seed}");
                    (taken, last) = (seq, number(&payload));
                }
                Said::Reading { seq, .. } => assert!(seq <= taken + WINDOW, "seed {seed}"),
                _ => {}
            }
        }
        match random.u8(..40) {
            0 if is_bad => say(&bench, &ToNode::Who, true, &mut random),
            1..20 => say(&bench, &ToNode::Ack { session: 7, seq: taken, unix_ms: 5 }, is_bad, &mut random),
            _ => {}
        }
        assert!(node.ledger().balances(), "seed {seed}");
    }
    let ledger = node.ledger();
    assert!(ledger.bad_lines > 0 && ledger.resent > 0, "the line was not bad: seed {seed}");
    // What the queue had no room for while the line was bad was never given a number.
    assert!(
        ledger.acked + ledger.pending - taken <= 2,
        "the rest of the line was good: seed {seed}, {ledger:?}, {taken}"
    );
}

fn say(bench: &Bench, message: &ToNode<'_>, is_bad: bool, random: &mut fastrand::Rng) {
    let mut buffer = [0; eyot_wire::link::LINE_MAX_BYTES];
    let bytes = eyot_wire::link::encode(message, &mut buffer).unwrap();
    bench.send(&damaged(bytes, is_bad, random));
}

fn damaged(bytes: &[u8], is_bad: bool, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match random.u16(..600) {
            0 if is_bad => {}
            1 if is_bad => out.extend([*byte, *byte]),
            2 if is_bad => out.push(byte ^ 1 << random.u8(..8)),
            _ => out.push(*byte),
        }
    }
    out
}

fn number(payload: &str) -> u32 {
    payload.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap()
}
