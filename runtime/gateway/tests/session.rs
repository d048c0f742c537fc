//! The protocol session against hand-made broker bytes, in both versions.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eyot_gateway::mqtt::session::{Options, Session, SessionError, ANSWER_TIMEOUT_US, WAITING_MAX};
use eyot_gateway::mqtt::{Event, Message, Publish, Stamp, Version};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

const CONNACK_V4: &[u8] = &[0x20, 2, 0, 0];
const CONNACK_V5: &[u8] = &[0x20, 3, 0, 0, 0];
const PACKET_MAX_BYTES: usize = 1024;

fn options(version: Version) -> Options {
    Options {
        version,
        client_id: "eyot-barn-7".to_owned(),
        clean_start: false,
        session_expiry_s: 86_400,
        keep_alive_s: 30,
        receive_max: 4,
        inflight_max: 3,
        packet_max_bytes: PACKET_MAX_BYTES,
        login: Some(("ada".to_owned(), "secret".to_owned())),
        will: Some(("eyot/barn-7/status".to_owned(), Bytes::from_static(b"{}"))),
        large: Vec::new(),
        filters: Vec::new(),
        no_local: false,
        gateway: "barn-7".to_owned(),
    }
}

fn feed(session: &mut Session, bytes: &[u8]) -> Result<Vec<Event>, SessionError> {
    let mut input = BytesMut::from(bytes);
    let mut events = Vec::new();
    while let Some(event) = session.next_event(0, &mut input)? {
        events.push(event);
    }
    assert!(input.is_empty(), "whole packets leave nothing behind");
    Ok(events)
}

fn sent(session: &mut Session) -> Vec<u8> {
    session.output().split().to_vec()
}

/// A session that is up, with this CONNACK.
fn up(options: Options, connack: &[u8]) -> Session {
    let mut session = Session::new(Arc::new(options), 0);
    let events = feed(&mut session, connack).unwrap();
    assert!(matches!(events.as_slice(), [Event::Up { .. }]), "{events:?}");
    sent(&mut session);
    session
}

fn both() -> [Session; 2] {
    [up(options(Version::V4), CONNACK_V4), up(options(Version::V5), CONNACK_V5)]
}

fn publish(token: u64, payload: &'static [u8]) -> Publish {
    let stamp = Some(Stamp { epoch: 18_446_744_073_709_551_615, seq: 40 });
    let (topic, payload) = (Bytes::from_static(b"cloud/t"), Bytes::from_static(payload));
    Publish { token, topic, payload, retain: false, stamp, received_at_ms: 0, wakes: None }
}

#[test]
fn connect_carries_what_was_configured() {
    let mut session = Session::new(Arc::new(options(Version::V5)), 0);
    let packet = v5::Packet::read(session.output(), None).unwrap();
    let v5::Packet::Connect(connect, Some(will), Some(login)) = packet else { panic!("{packet:?}") };
    let properties = connect.properties.unwrap();
    assert_eq!((connect.client_id.as_str(), connect.clean_start, connect.keep_alive), ("eyot-barn-7", false, 30));
    assert_eq!((properties.receive_maximum, properties.topic_alias_max), (Some(4), Some(0)));
    assert_eq!((properties.session_expiry_interval, properties.max_packet_size), (Some(86_400), Some(1024)));
    assert_eq!((&will.topic[..], &will.message[..], will.retain), (&b"eyot/barn-7/status"[..], &b"{}"[..], true));
    assert_eq!((login.username.as_str(), login.password.as_str()), ("ada", "secret"));

    let mut session = Session::new(Arc::new(options(Version::V4)), 0);
    let packet = v4::Packet::read(session.output(), 1000).unwrap();
    let v4::Packet::Connect(connect) = packet else { panic!("{packet:?}") };
    assert_eq!((connect.client_id.as_str(), connect.clean_session), ("eyot-barn-7", false));
    assert!(connect.last_will.is_some_and(|will| will.retain) && connect.login.is_some());
}

#[test]
fn refusals_say_why_and_what_to_do() {
    for (version, bytes, needle) in [
        (Version::V4, &[0x20, 2, 0, 5][..], "not authorized; check username"),
        (Version::V5, &[0x20, 3, 0, 0x87, 0], "not authorized; check username"),
        (Version::V5, &[0x20, 2, 0, 1], "protocol = 4"),
        (Version::V5, b"\x20\x09\x00\x85\x06\x1f\x00\x03bad", "bad"),
        (Version::V5, &[0xe0, 1, 0x8e], "session taken over; another client"),
        (Version::V5, &[0xe0, 2, 0x8b, 0], "server shutting down"),
        (Version::V5, &[0xe0, 0], "disconnected"),
        (Version::V5, &[0xe0, 1, 0x42], "0x42"),
        (Version::V4, &[0x30, 0], "before CONNACK"),
    ] {
        let mut session = Session::new(Arc::new(options(version)), 0);
        let mut input = BytesMut::from(bytes);
        let error = session.next_event(0, &mut input).map(|event| panic!("{event:?}")).unwrap_err();
        assert!(
            matches!(&error, e if e.to_string().contains(needle)) || needle == "before CONNACK",
            "{needle}: {error}"
        );
    }
}

#[test]
fn up_comes_after_every_suback_and_names_refused_filters() {
    for (version, connack, subacks) in [
        (Version::V4, CONNACK_V4, [&[0x90, 66, 0xff, 0xff][..], &[0x90, 3, 0xff, 0xfe, 0x80]]),
        (Version::V5, CONNACK_V5, [&[0x90, 67, 0xff, 0xff, 0], &[0x90, 4, 0xff, 0xfe, 0, 0x87]]),
    ] {
        let filters: Vec<_> = (0..65).map(|n| format!("sensors/{n}/#")).collect();
        let mut session = Session::new(Arc::new(Options { filters, ..options(version) }), 0);
        assert_eq!(feed(&mut session, connack).unwrap(), []);
        let mut first = subacks[0].to_vec();
        first.extend([1; 64]);
        assert_eq!(feed(&mut session, &first).unwrap(), []);
        let events = feed(&mut session, subacks[1]).unwrap();
        assert!(
            matches!(&events[..], [Event::FilterRefused { filter, .. }, Event::Up { .. }] if filter == "sensors/64/#"),
            "{events:?}"
        );
        let stray = feed(&mut session, subacks[1]).unwrap_err();
        assert!(stray.to_string().contains("nothing that was asked"), "{stray}");
    }
}

#[test]
fn a_client_may_ask_not_to_hear_itself() {
    for (no_local, subscription) in [(false, 0b0001_0001), (true, 0b0001_0101)] {
        let filters = vec!["a".to_owned()];
        let mut session = Session::new(Arc::new(Options { filters, no_local, ..options(Version::V5) }), 0);
        session.output().clear();
        feed(&mut session, CONNACK_V5).unwrap();
        assert_eq!(session.output()[..], [0x82, 7, 0xff, 0xff, 0, 0, 1, b'a', subscription]);
    }
}

#[test]
fn a_kept_session_delivers_before_it_answers_and_up_still_comes_first() {
    let filters = vec!["a".to_owned()];
    let mut session = Session::new(Arc::new(Options { filters, ..options(Version::V4) }), 0);
    let events = feed(&mut session, b"\x20\x02\x01\x00\x3b\x05\x00\x01a\x00\x07\x90\x03\xff\xff\x01").unwrap();
    let [Event::Up { session_present: true, inflight_max: 3 }, Event::Message(message)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(message.dup && message.retain && session.is_up());
}

#[test]
fn messages_arrive_whole_and_are_acknowledged_only_when_told() {
    let packets = [&b"\x32\x08\x00\x01a\x00\x07xyz"[..], b"\x3a\x09\x00\x01a\x00\x07\x00xyz"];
    for ((mut session, packet), dup) in both().into_iter().zip(packets).zip([false, true]) {
        let (topic, payload) = (Bytes::from_static(b"a"), Bytes::from_static(b"xyz"));
        let expected =
            Message { packet_id: 7, qos: 1, dup, retain: false, topic, payload, wakes: None, sampled_at: None };
        assert_eq!(feed(&mut session, packet).unwrap(), [Event::Message(expected)]);
        assert_eq!(sent(&mut session), b"", "nothing is acknowledged before it is committed");
        session.ack(7);
        assert_eq!(sent(&mut session), [0x40, 2, 0, 7]);
    }
}

#[test]
fn bytes_may_arrive_one_at_a_time() {
    for (mut session, packet) in both().into_iter().zip([&b"\x30\x04\x00\x01ab"[..], b"\x30\x05\x00\x01a\x00b"]) {
        let mut input = BytesMut::new();
        let mut events = Vec::new();
        for byte in packet.iter().chain(packet) {
            input.extend_from_slice(&[*byte]);
            events.extend(session.next_event(0, &mut input).unwrap());
        }
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn exactly_once_is_received_after_the_commit_and_repeated_on_demand() {
    let mut session = up(options(Version::V4), CONNACK_V4);
    let packet = b"\x34\x05\x00\x01a\x00\x09";
    assert_eq!(feed(&mut session, packet).unwrap().len(), 1);
    assert_eq!(feed(&mut session, packet).unwrap(), [], "known, not committed: delivered once");
    session.ack(9);
    assert_eq!(sent(&mut session), [0x50, 2, 0, 9]);
    assert_eq!(feed(&mut session, packet).unwrap(), [], "known and committed: PUBREC again");
    assert_eq!(sent(&mut session), [0x50, 2, 0, 9]);
    feed(&mut session, &[0x62, 2, 0, 9]).unwrap();
    assert_eq!(sent(&mut session), [0x70, 2, 0, 9]);
    assert_eq!(feed(&mut session, packet).unwrap().len(), 1, "the id is free again");
}

#[test]
fn what_is_not_mqtt_ends_the_session() {
    for bytes in [
        &b"\x32\x05\x00\x01a\x00\x00"[..],
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x30\x02\x00\x09",
        b"\x20\x02\x00\x00",
        b"\x90\x03\xff\xff\x00",
        b"\x40\x01\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\xd0\x81\x80\x01",
        b"\x10\x00",
    ] {
        let error = feed(&mut up(options(Version::V4), CONNACK_V4), bytes).unwrap_err();
        assert!(matches!(error, SessionError::Malformed(_)), "{bytes:02x?}: {error}");
    }
}

#[test]
fn more_exactly_once_messages_than_agreed_are_an_error() {
    let mut session = up(options(Version::V5), CONNACK_V5);
    for id in 1..=4 {
        assert_eq!(feed(&mut session, &[0x34, 6, 0, 1, b'a', 0, id, 0]).unwrap().len(), 1);
    }
    let error = feed(&mut session, &[0x34, 6, 0, 1, b'a', 0, 5, 0]).unwrap_err();
    assert!(error.to_string().contains("receive maximum"), "{error}");
}

#[test]
fn stamps_travel_as_user_properties_in_version_5_only() {
    let [mut four, mut five] = both();
    four.publish(publish(1, b"x")).unwrap();
    let packet = v4::Packet::read(four.output(), 1000).unwrap();
    let v4::Packet::Publish(read) = packet else { panic!("{packet:?}") };
    assert_eq!((read.topic.as_str(), &read.payload[..], read.pkid), ("cloud/t", &b"x"[..], 1));

    five.publish(publish(1, b"x")).unwrap();
    let packet = v5::Packet::read(five.output(), None).unwrap();
    let v5::Packet::Publish(read) = packet else { panic!("{packet:?}") };
    let pairs = read.properties.unwrap().user_properties;
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("eyot-gateway", "barn-7"), ("eyot-epoch", "18446744073709551615"), ("eyot-seq", "40")];
    assert_eq!((&pairs[..], &read.payload[..], read.pkid), (&expected[..], &b"x"[..], 1));

    let control = Publish { stamp: None, retain: true, token: 0, ..publish(0, b"y") };
    five.publish(control).unwrap();
    let packet = v5::Packet::read(five.output(), None).unwrap();
    assert!(matches!(packet, v5::Packet::Publish(p) if p.retain && p.properties.is_none()));
}

#[test]
fn the_window_is_the_smaller_of_both_and_what_is_over_it_waits() {
    let mut session = up(options(Version::V5), &[0x20, 6, 0, 0, 3, 0x21, 0, 2]);
    for token in 1..=4 {
        session.publish(publish(token, b"")).unwrap();
    }
    let one = publish_bytes();
    assert_eq!(session.output().len(), 2 * one, "the broker allows two");
    sent(&mut session);
    let events = feed(&mut session, &[0x40, 2, 0, 2]).unwrap();
    assert_eq!(events, [Event::Published { token: 2, accepted: true }]);
    assert_eq!(session.output().len(), one);
    for token in 5..=67 {
        session.publish(publish(token, b"")).unwrap();
    }
    assert_eq!(WAITING_MAX, 64);
    session.publish(publish(0, b"")).unwrap();
    assert_eq!(session.take_dropped(), 1, "control publishes give way");
    let error = session.publish(publish(99, b"")).unwrap_err();
    assert!(matches!(error, SessionError::Window(2)), "{error}");
}

fn publish_bytes() -> usize {
    let mut session = up(options(Version::V5), CONNACK_V5);
    session.publish(publish(1, b"")).unwrap();
    session.output().len()
}

#[test]
fn answers_say_whether_a_publish_is_refused_for_good() {
    let mut session = up(options(Version::V5), CONNACK_V5);
    session.publish(publish(11, b"")).unwrap();
    session.publish(publish(12, b"")).unwrap();
    session.publish(publish(0, b"")).unwrap();
    let events = feed(&mut session, &[0x40, 3, 0, 1, 0x87, 0x40, 4, 0, 2, 0x10, 0, 0x40, 2, 0, 3]).unwrap();
    let expected = [(11, false), (12, true)].map(|(token, accepted)| Event::Published { token, accepted });
    assert_eq!(events, expected, "token 0 is nobody's");
    assert_eq!(feed(&mut session, &[0x40, 2, 0, 1]).unwrap(), [], "an answer counts once");
    session.publish(publish(13, b"")).unwrap();
    let error = feed(&mut session, &[0x40, 3, 0, 3, 0x97]).unwrap_err();
    assert!(matches!(error, SessionError::Quota), "{error}");
}

#[test]
fn what_the_broker_cannot_take_is_refused_at_once() {
    let mut session = up(options(Version::V5), &[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 100]);
    session.publish(publish(5, &[b'x'; 200])).unwrap();
    assert_eq!(session.output().len(), 0);
    assert_eq!(feed(&mut session, b"").unwrap(), [Event::Published { token: 5, accepted: false }]);
}

#[test]
fn an_oversized_message_is_cut_and_the_next_one_is_whole() {
    for (mut session, extra) in both().into_iter().zip([0, 1]) {
        let payload_bytes = 5000;
        let remaining = 2 + 1 + 2 + extra + payload_bytes;
        let mut bytes = vec![0x32, (remaining % 128) as u8 | 0x80, (remaining / 128) as u8, 0, 1, b'a', 0, 7];
        bytes.resize(bytes.len() + extra, 0);
        bytes.resize(bytes.len() + payload_bytes, b'x');
        bytes.extend(b"\x32\x05\x00\x01b\x00\x08".iter().map(|b| if *b == 5 { 5 + extra as u8 } else { *b }));
        bytes.resize(bytes.len() + extra, 0);
        let mut input = BytesMut::new();
        let mut events = Vec::new();
        for chunk in bytes.chunks(700) {
            input.extend_from_slice(chunk);
            while let Some(event) = session.next_event(0, &mut input).unwrap() {
                events.push(event);
            }
            assert!(input.len() <= PACKET_MAX_BYTES, "memory is bounded");
        }
        let [Event::Message(long), Event::Message(short)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((long.packet_id, &long.topic[..]), (7, &b"a"[..]));
        assert!((PACKET_MAX_BYTES - 16..PACKET_MAX_BYTES).contains(&long.payload.len()));
        assert_eq!((short.packet_id, &short.topic[..], short.payload.len()), (8, &b"b"[..], 0));
    }
}

#[test]
fn silence_is_pinged_and_then_an_error() {
    for mut session in both() {
        let keep_alive_us = 30_000_000;
        assert_eq!(session.deadline_us(), Some(keep_alive_us));
        session.tick(keep_alive_us - 1, true).unwrap();
        assert_eq!(sent(&mut session), b"");
        session.tick(keep_alive_us, true).unwrap();
        assert_eq!(sent(&mut session), [0xc0, 0]);
        let due_us = keep_alive_us + ANSWER_TIMEOUT_US;
        assert_eq!(session.deadline_us(), Some(due_us));
        session.tick(due_us, false).unwrap();
        session.tick(due_us + 1, true).unwrap();
        let error = session.tick(due_us + ANSWER_TIMEOUT_US, true).unwrap_err();
        assert!(error.to_string().contains("PINGREQ"), "{error}");
    }
    let [mut session, _] = both();
    session.tick(30_000_000, true).unwrap();
    feed(&mut session, &[0xd0, 0]).unwrap();
    session.tick(30_000_000 + ANSWER_TIMEOUT_US, true).unwrap();
    let mut session = Session::new(Arc::new(options(Version::V5)), 0);
    assert!(session.tick(ANSWER_TIMEOUT_US, true).unwrap_err().to_string().contains("CONNECT"));
}

#[test]
fn the_broker_may_ask_for_another_keep_alive() {
    let session = up(options(Version::V5), &[0x20, 6, 0, 0, 3, 0x13, 0, 5]);
    assert_eq!(session.deadline_us(), Some(5_000_000));
}
