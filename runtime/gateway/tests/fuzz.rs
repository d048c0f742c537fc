//! Whatever a broker sends, a session answers with events or an error: it never panics, loops or grows.
//!
//! `EYOT_FUZZ_SEED` starts from another seed, `EYOT_FUZZ_ROUNDS` runs longer.

#![allow(clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eyot_gateway::mqtt::session::{Options, Session};
use eyot_gateway::mqtt::{codec, Event, Publish, Stamp, Version};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

const ROUNDS: u64 = 20_000;
const PACKET_MAX_BYTES: usize = 2048;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One packet of each kind that a broker may send, and some it may not.
fn corpus(version: Version) -> Vec<Vec<u8>> {
    let mut packets: Vec<&[u8]> = vec![
        b"\x40\x02\x00\x01",
        b"\x62\x02\x00\x09",
        b"\xd0\x00",
        b"\xe0\x00",
        b"\xb0\x02\x00\x01",
        b"\x10\x00",
        b"\xf0\x00",
    ];
    packets.extend(match version {
        Version::V4 => [
            &b"\x20\x02\x01\x00"[..],
            b"\x90\x04\xff\xff\x01\x80",
            b"\x32\x08\x00\x01a\x00\x07xyz",
            b"\x34\x08\x00\x01a\x00\x09xyz",
            b"\x30\x05\x00\x02a/b",
        ],
        Version::V5 => [
            &b"\x20\x15\x01\x00\x12\x21\x00\x02\x27\x00\x00\x04\x00\x13\x00\x05\x1f\x00\x02ok\x24\x01"[..],
            b"\x90\x0d\xff\xff\x08\x26\x00\x01k\x00\x02vv\x01\x87",
            b"\x32\x0e\x00\x01a\x00\x07\x06\x26\x00\x01k\x00\x00xy",
            b"\x34\x0b\x00\x01a\x00\x09\x02\x01\x01xyz",
            b"\xe0\x08\x8e\x06\x1f\x00\x03bye",
        ],
    });
    packets.into_iter().map(<[u8]>::to_vec).collect()
}

fn mutate(rng: &mut fastrand::Rng, packet: &mut Vec<u8>) {
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(0..=packet.len());
        match rng.u8(0..6) {
            0 if at < packet.len() => packet[at] ^= 1 << rng.u8(0..8),
            1 if at < packet.len() => packet[at] = rng.u8(..),
            2 => packet.insert(at, rng.u8(..)),
            3 if at < packet.len() => drop(packet.remove(at)),
            4 => packet.truncate(at),
            _ => packet.extend((0..rng.usize(0..40)).map(|_| rng.u8(..))),
        }
    }
}

fn session(version: Version) -> Session {
    let options = Options {
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
    };
    Session::new(Arc::new(options), 0)
}

fn round(version: Version, rng: &mut fastrand::Rng) {
    let corpus = corpus(version);
    let mut session = session(version);
    let mut input = BytesMut::new();
    if rng.u8(0..8) > 0 {
        let honest = [&corpus[7], &corpus[8]].map(Clone::clone).concat();
        input.extend_from_slice(&honest);
        while let Ok(Some(_)) = session.next_event(0, &mut input) {}
        assert!(session.is_up(), "an honest broker is understood");
    }
    for step in 0..rng.u64(1..12) {
        let mut packet = rng.choice(&corpus).cloned().unwrap_or_default();
        mutate(rng, &mut packet);
        input.extend_from_slice(&packet);
        let mut events = 0;
        loop {
            match session.next_event(step, &mut input) {
                Ok(Some(Event::Message(message))) => session.ack(message.packet_id),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
            events += 1;
            assert!(events < 1000, "one packet makes few events");
        }
        let stamp = rng.bool().then_some(Stamp { epoch: rng.u64(..), seq: step });
        let publish = Publish {
            token: rng.u64(0..3),
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from(vec![b'x'; rng.usize(0..2000)]),
            retain: false,
            stamp,
            received_at_ms: 0,
            wakes: None,
        };
        if session.publish(publish).is_err() || session.tick(step * 9_000_000, true).is_err() {
            return;
        }
        assert!(input.capacity() <= 8 * PACKET_MAX_BYTES, "the input buffer stays bounded");
    }
}

#[test]
fn no_bytes_from_a_broker_bring_a_session_down() {
    let first = from_env("EYOT_FUZZ_SEED", 1);
    for seed in first..first + from_env("EYOT_FUZZ_ROUNDS", ROUNDS) {
        for version in [Version::V4, Version::V5] {
            let caught = std::panic::catch_unwind(|| round(version, &mut fastrand::Rng::with_seed(seed)));
            assert!(caught.is_ok(), "panic: EYOT_FUZZ_SEED={seed} EYOT_FUZZ_ROUNDS=1, {version:?}");
        }
    }
}

/// Our reader of PUBLISH and rumqttc's agree wherever rumqttc has an opinion.
#[test]
fn publishes_read_as_rumqttc_reads_them() {
    let first = from_env("EYOT_FUZZ_SEED", 1);
    let (mut both, mut neither) = (0, 0);
    for seed in first..first + from_env("EYOT_FUZZ_ROUNDS", ROUNDS) {
        let mut rng = fastrand::Rng::with_seed(seed);
        for version in [Version::V4, Version::V5] {
            let mut packet = corpus(version)[7 + rng.usize(2..4)].clone();
            mutate(&mut rng, &mut packet);
            let Ok(Some(head)) = codec::head(&packet) else { continue };
            if head.first >> 4 != 3 || head.packet_bytes != packet.len() {
                continue;
            }
            let ours = codec::read_publish(version, head, Bytes::from(packet.clone())).ok();
            let mut bytes = BytesMut::from(&packet[..]);
            let theirs = match version {
                Version::V4 => match v4::Packet::read(&mut bytes, 1 << 20) {
                    Ok(v4::Packet::Publish(p)) => Some((p.pkid, Bytes::from(p.topic), p.payload, p.dup)),
                    _ => None,
                },
                Version::V5 => match v5::Packet::read(&mut bytes, None) {
                    Ok(v5::Packet::Publish(p)) => Some((p.pkid, p.topic, p.payload, p.dup)),
                    _ => None,
                },
            };
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    // rumqttc reads on behind the end of the properties if the last one is longer than they are.
                    let same = (ours.packet_id, ours.topic, ours.dup) == (theirs.0, theirs.1, theirs.3);
                    assert!(same, "EYOT_FUZZ_SEED={seed} {version:?} {packet:02x?}");
                    assert!(ours.payload.ends_with(&theirs.2), "EYOT_FUZZ_SEED={seed} {version:?} {packet:02x?}");
                    both += 1;
                }
                // Ours is lenient where it need not look: topic text, values of properties.
                (Some(_), None) | (None, None) => neither += 1,
                (None, Some(_)) => panic!("refused: EYOT_FUZZ_SEED={seed} {version:?} {packet:02x?}"),
            }
        }
    }
    assert!(both > 100 && neither > 10, "the mutations reach both sides: {both} {neither}");
}
