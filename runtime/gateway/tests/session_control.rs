//! What deployment asks of a session: subscriptions that change, and pushes as large as a module.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use common::TempDir;
use eyot_gateway::mqtt::session::{Options, Session, ANSWER_TIMEOUT_US, LARGE_MAX_BYTES};
use eyot_gateway::mqtt::subscriptions::Subscriptions;
use eyot_gateway::mqtt::{Event, Version};
use eyot_wire::module::MODULE_MAX_BYTES;
use rumqttc::v5::mqttbytes::v5;

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const PACKET_MAX_BYTES: usize = 1024;

fn options(filters: &[&str]) -> Arc<Options> {
    Arc::new(Options {
        version: Version::V5,
        client_id: "eyot-barn-7".to_owned(),
        clean_start: false,
        session_expiry_s: 86_400,
        keep_alive_s: 30,
        receive_max: 4,
        inflight_max: 3,
        packet_max_bytes: PACKET_MAX_BYTES,
        login: None,
        will: None,
        filters: list(filters),
        large: vec!["eyot/barn-7/push".to_owned()],
        no_local: false,
        gateway: "barn-7".to_owned(),
    })
}

fn list(filters: &[&str]) -> Vec<String> {
    filters.iter().map(|filter| (*filter).to_owned()).collect()
}

fn feed(session: &mut Session, bytes: &[u8]) -> Vec<Event> {
    let mut input = BytesMut::from(bytes);
    let mut events = Vec::new();
    while let Some(event) = session.next_event(0, &mut input).unwrap() {
        events.push(event);
    }
    assert!(input.is_empty(), "whole packets leave nothing behind");
    events
}

/// Filters with the ids of the packets that have them.
type Filters = Vec<(u16, String)>;

/// Filters asked for, and given up, in the packets to be sent.
fn asked(session: &mut Session) -> (Filters, Filters) {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    while !session.output().is_empty() {
        match v5::Packet::read(session.output(), None).unwrap() {
            v5::Packet::Subscribe(s) => on.extend(s.filters.iter().map(|filter| (s.pkid, filter.path.clone()))),
            v5::Packet::Unsubscribe(u) => off.extend(u.filters.iter().map(|filter| (u.pkid, filter.clone()))),
            other => panic!("{other:?}"),
        }
    }
    (on, off)
}

fn up(filters: &[&str]) -> Session {
    let mut session = Session::new(options(filters), 0);
    session.output().clear();
    feed(&mut session, CONNACK);
    let on = asked(&mut session).0;
    if let Some((packet_id, _)) = on.first() {
        let [high, low] = packet_id.to_be_bytes();
        let mut answer = vec![0x90, 3 + on.len() as u8, high, low, 0];
        answer.resize(answer.len() + on.len(), 1);
        feed(&mut session, &answer);
    }
    assert!(session.is_up());
    session
}

/// A PUBLISH at QoS 1.
fn publish(topic: &str, payload_bytes: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u8(0x32);
    let mut remaining = 2 + topic.len() + 2 + 1 + payload_bytes;
    while remaining > 0x7f {
        out.put_u8((remaining & 0x7f) as u8 | 0x80);
        remaining >>= 7;
    }
    out.put_u8(remaining as u8);
    out.put_u16(topic.len() as u16);
    out.put_slice(topic.as_bytes());
    out.put_u16(7);
    out.put_u8(0);
    out.put_bytes(b'x', payload_bytes);
    out.to_vec()
}

fn payload_bytes(session: &mut Session, topic: &str, sent_bytes: usize) -> usize {
    let events = feed(session, &publish(topic, sent_bytes));
    let [Event::Message(message)] = &events[..] else { panic!("{} events", events.len()) };
    session.ack(7);
    session.output().clear();
    message.payload.len()
}

#[test]
fn only_what_changes_is_subscribed_and_unsubscribed() {
    let mut session = up(&["control", "a", "b"]);
    session.subscribe(&list(&["control", "b", "c"]));
    let (on, off) = asked(&mut session);
    assert_eq!((on.len(), on[0].1.as_str(), off.len(), off[0].1.as_str()), (1, "c", 1, "a"));
    assert_ne!(on[0].0, off[0].0, "each has a packet id of its own");
    session.subscribe(&list(&["control", "b", "c"]));
    assert!(session.output().is_empty(), "nothing has changed");

    let ([high, low], [off_high, off_low]) = (on[0].0.to_be_bytes(), off[0].0.to_be_bytes());
    let events = feed(&mut session, &[0x90, 4, high, low, 0, 0x87]);
    assert!(matches!(&events[..], [Event::FilterRefused { filter, .. }] if filter == "c"), "{events:?}");
    assert_eq!(feed(&mut session, &[0xb0, 4, off_high, off_low, 0, 0]), [], "the end of one says nothing");
    session.subscribe(&list(&["control", "b"]));
    let [off_high, off_low] = asked(&mut session).1[0].0.to_be_bytes();
    assert_eq!(feed(&mut session, &[0xb0, 2, off_high, off_low]), [], "nor in the form of 3.1.1");
}

#[test]
fn a_change_that_is_not_answered_ends_the_connection() {
    let mut session = up(&["a"]);
    session.tick(0, true).unwrap();
    session.subscribe(&list(&["b"]));
    let (on, off) = asked(&mut session);
    session.tick(1, true).unwrap();
    assert!(session.deadline_us().is_some_and(|due_us| due_us <= 1 + ANSWER_TIMEOUT_US));
    let ([high, low], [off_high, off_low]) = (on[0].0.to_be_bytes(), off[0].0.to_be_bytes());
    feed(&mut session, &[0x90, 4, high, low, 0, 1]);
    // The other answer has its own time, which does not pass while nothing is read.
    session.tick(ANSWER_TIMEOUT_US, true).unwrap();
    session.tick(ANSWER_TIMEOUT_US + 9, false).unwrap();
    session.tick(2 * ANSWER_TIMEOUT_US + 8, true).unwrap();
    let error = session.tick(2 * ANSWER_TIMEOUT_US + 9, true).unwrap_err();
    assert!(error.to_string().contains("UNSUBSCRIBE"), "{error}");
    feed(&mut session, &[0xb0, 4, off_high, off_low, 0, 0]);
    session.tick(2 * ANSWER_TIMEOUT_US + 10, true).unwrap();
}

#[test]
fn what_is_left_of_an_earlier_connection_is_ended_before_this_one_begins() {
    for session_present in [1, 0] {
        let mut session = Session::new(options(&["a"]), 0);
        session.forget(list(&["old"]));
        session.output().clear();
        feed(&mut session, &[0x20, 3, session_present, 0, 0]);
        let (on, off) = asked(&mut session);
        assert_eq!(off.len(), usize::from(session_present));
        let [high, low] = on[0].0.to_be_bytes();
        let events = feed(&mut session, &[0x90, 4, high, low, 0, 1]);
        assert_eq!((events.len(), session.is_up()), (1 - off.len(), off.is_empty()));
        for (packet_id, filter) in off {
            assert_eq!(filter, "old");
            let [high, low] = packet_id.to_be_bytes();
            assert!(matches!(&feed(&mut session, &[0xb0, 4, high, low, 0, 0])[..], [Event::Up { .. }]));
        }
    }
}

#[test]
fn what_the_broker_may_know_is_remembered_over_a_restart() {
    let dir = TempDir::new();
    let open = || Subscriptions::open(dir.0.join("subscriptions-intake.txt"));
    assert!(open().begin(&list(&["a", "b"])).is_empty());
    // Whether the connection came about is not known.
    assert_eq!(open().begin(&list(&["b", "c"])), ["a"]);
    let mut last = open();
    assert_eq!(last.begin(&list(&["c"])), ["a", "b"]);
    last.settle(&list(&["c"]));
    assert_eq!(open().begin(&list(&["d"])), ["c"]);
}

#[test]
fn what_changes_before_the_broker_answers_is_asked_for_once() {
    let mut session = Session::new(options(&["a"]), 0);
    session.subscribe(&list(&["b"]));
    session.output().clear();
    feed(&mut session, CONNACK);
    let (on, off) = asked(&mut session);
    assert_eq!((on.len(), on[0].1.as_str(), off), (1, "b", Vec::new()));
}

#[test]
fn a_push_may_be_as_large_as_a_module_whole_or_a_part_and_nothing_else() {
    let mut session = up(&["eyot/barn-7/push"]);
    let part = format!("eyot/barn-7/push/{}/0", "ab".repeat(32));
    for topic in ["eyot/barn-7/push", part.as_str()] {
        assert_eq!(payload_bytes(&mut session, topic, MODULE_MAX_BYTES), MODULE_MAX_BYTES, "{topic}");
        let cut = payload_bytes(&mut session, topic, LARGE_MAX_BYTES + 1);
        assert!(cut > MODULE_MAX_BYTES && cut < LARGE_MAX_BYTES, "{topic}: still seen to be over the limit");
    }
    for topic in ["eyot/barn-77/push", "eyot/barn-7/pushes/x", "eyot/barn-7/command", "sensors/1"] {
        assert!(payload_bytes(&mut session, topic, 1 << 20) < PACKET_MAX_BYTES, "{topic}");
    }
    assert_eq!(payload_bytes(&mut session, "sensors/1", 10), 10, "what follows is read as ever");
}

#[test]
fn a_large_push_may_come_a_byte_at_a_time() {
    let mut session = up(&[]);
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for byte in publish("eyot/barn-7/push", 3000) {
        input.put_u8(byte);
        events.extend(session.next_event(0, &mut input).unwrap());
    }
    let [Event::Message(message)] = &events[..] else { panic!("{} events", events.len()) };
    assert_eq!(message.payload.len(), 3000);
}
