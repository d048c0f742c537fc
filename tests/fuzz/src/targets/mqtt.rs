//! MQTT packets: what a broker sends to a session of ours.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eyot_gateway::mqtt::session::{Options, Session};
use eyot_gateway::mqtt::{Event, Publish, Stamp, Version};

const PACKET_MAX_BYTES: usize = 2048;
/// Events that one packet may make.
const EVENTS_MAX: usize = 1000;

/// In the first byte of an input.
const V4: u8 = 1;
/// The same: the broker first answers CONNECT and SUBSCRIBE as it should.
const UP: u8 = 2;

fn options(version: Version) -> Options {
    Options {
        version,
        client_id: "c".to_owned(),
        clean_start: true,
        session_expiry_s: 0,
        keep_alive_s: 30,
        receive_max: 3,
        inflight_max: 3,
        packet_max_bytes: PACKET_MAX_BYTES,
        login: None,
        will: None,
        large: Vec::new(),
        filters: vec!["a".to_owned(), "b".to_owned()],
        no_local: false,
        gateway: "g".to_owned(),
    }
}

const CONNACK: [&[u8]; 2] =
    [b"\x20\x02\x01\x00", b"\x20\x15\x01\x00\x12\x21\x00\x02\x27\x00\x00\x04\x00\x13\x00\x05\x1f\x00\x02ok\x24\x01"];
const SUBACK: [&[u8]; 2] = [b"\x90\x04\xff\xff\x01\x80", b"\x90\x0d\xff\xff\x08\x26\x00\x01k\x00\x02vv\x01\x87"];

/// A session answers a broker's bytes with events or an error: it never panics, loops or grows.
pub fn session(bytes: &[u8]) -> bool {
    let Some((&flags, rest)) = bytes.split_first() else { return false };
    let version = if flags & V4 != 0 { Version::V4 } else { Version::V5 };
    let mut session = Session::new(Arc::new(options(version)), 0);
    let mut input = BytesMut::new();
    if flags & UP != 0 {
        let number = usize::from(version == Version::V5);
        for honest in [CONNACK, SUBACK] {
            input.extend_from_slice(honest.get(number).copied().unwrap_or_default());
        }
        while let Ok(Some(_)) = session.next_event(0, &mut input) {}
        assert!(session.is_up(), "an honest broker is understood");
    }
    let mut taken = 0;
    // The other bits: how many bytes come at once.
    for (step, piece) in (1..).zip(rest.chunks(1 + usize::from(flags >> 2) * 8)) {
        input.extend_from_slice(piece);
        let mut events = 0;
        loop {
            match session.next_event(step, &mut input) {
                Ok(Some(Event::Message(message))) => session.ack(message.packet_id),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert!(error.to_string().len() < 1024, "a reason is short: {error}");
                    return taken + events > 0;
                }
            }
            events += 1;
            assert!(events < EVENTS_MAX, "one packet makes few events");
        }
        taken += events;
        let publish = Publish {
            token: step % 3,
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from(vec![b'x'; step as usize % 7 * 300]),
            retain: false,
            stamp: (step % 2 == 0).then_some(Stamp { epoch: step << 40, seq: step }),
            received_at_ms: 0,
            wakes: None,
        };
        if session.publish(publish).is_err() || session.tick(step * 1_000_000, true).is_err() {
            return taken > 0;
        }
        assert!(input.capacity() <= 8 * PACKET_MAX_BYTES, "the input buffer stays bounded");
        assert!(session.output().len() <= 16 * EVENTS_MAX + step as usize * PACKET_MAX_BYTES);
    }
    taken > 0
}

pub fn session_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let acks: &[u8] = b"\x40\x02\x00\x01\x62\x02\x00\x09\xd0\x00\xb0\x02\x00\x01";
    let v4: &[u8] = b"\x32\x08\x00\x01a\x00\x07xyz\x34\x08\x00\x01a\x00\x09xyz\x30\x05\x00\x02a/b";
    let v5: &[u8] = b"\x32\x0e\x00\x01a\x00\x07\x06\x26\x00\x01k\x00\x00xy\x34\x0b\x00\x01a\x00\x09\x02\x01\x01xyz";
    let bye: &[u8] = b"\xe0\x08\x8e\x06\x1f\x00\x03bye";
    let all = 0xfc;
    vec![
        ("v4.bin", [&[V4 | UP | all], v4, acks, b"\xe0\0"].concat()),
        ("v5.bin", [&[UP | all], v5, acks, bye].concat()),
        ("v4-start.bin", [&[V4 | 8], CONNACK[0], SUBACK[0], v4].concat()),
        ("v5-start.bin", [&[8], CONNACK[1], SUBACK[1], v5].concat()),
    ]
}
