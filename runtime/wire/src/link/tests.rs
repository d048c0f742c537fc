//! Golden bytes of version 1, and what garbage does.

use alloc::vec::Vec;

use super::*;

fn bytes(message: &impl Serialize) -> Vec<u8> {
    encode(message, &mut [0; LINE_MAX_BYTES]).unwrap().to_vec()
}

fn reading(seq: u32, payload: &[u8]) -> FromNode<'_> {
    FromNode::Reading(Reading { session: 7, seq, age_ms: 300, topic: "t/1", payload })
}

const SHA: [u8; 32] = [0xab; 32];

/// Each message with its bytes: change them only together with [`VERSION`].
#[test]
fn golden_bytes_of_version_1() {
    let hello = Hello { session: 0, first: 1, program: "n 1", module_max_bytes: 65536, function: Some(SHA) };
    let ledger = Ledger { samples: 1, outputs: 300, acked: 200, pending: 99, dropped_full: 1, ..Ledger::default() };
    let status = Status { session: 7, uptime_ms: 1000, ledger, heap_used_bytes: 5, heap_bytes: 6, fuel: 7 };
    let from: [(FromNode<'_>, &str); 8] = [
        (FromNode::Hello(hello), GOLDEN[0]),
        (reading(300, b"{}"), GOLDEN[1]),
        (FromNode::Status(status), GOLDEN[2]),
        (FromNode::Log { level: 2, text: "hi" }, GOLDEN[3]),
        (FromNode::Install(Install::Wants { sha256: SHA, offset: 512 }), GOLDEN[4]),
        (FromNode::Install(Install::Done { sha256: SHA }), GOLDEN[5]),
        (FromNode::Install(Install::Refused { sha256: SHA, reason: "no" }), GOLDEN[6]),
        (FromNode::Install(Install::Removed), GOLDEN[12]),
    ];
    let to: [(ToNode<'_>, &str); 7] = [
        (ToNode::Who, GOLDEN[7]),
        (ToNode::Welcome { session: 7, acked: 300, unix_ms: 1_700_000_000_123 }, GOLDEN[8]),
        (ToNode::Ack { session: 7, seq: 300, unix_ms: 1_700_000_000_123 }, GOLDEN[9]),
        (ToNode::Begin { sha256: SHA, bytes: 600 }, GOLDEN[10]),
        (ToNode::Chunk { sha256: SHA, offset: 512, bytes: b"\0asm" }, GOLDEN[11]),
        (ToNode::Remove, GOLDEN[13]),
        (ToNode::BeginProgram { sha256: SHA, bytes: 600 }, GOLDEN[14]),
    ];
    for (message, golden) in from {
        assert_eq!(hex::encode(bytes(&message)), golden, "{message:?}");
        let mut line = Line::default();
        let golden = hex::decode(golden).unwrap();
        assert_eq!(line.feed(&mut &golden[..]).unwrap().unwrap().message(), Ok(message));
    }
    for (message, golden) in to {
        assert_eq!(hex::encode(bytes(&message)), golden, "{message:?}");
        let mut line = Line::default();
        let golden = hex::decode(golden).unwrap();
        assert_eq!(line.feed(&mut &golden[..]).unwrap().unwrap().message(), Ok(message));
    }
}

const GOLDEN: [&str; 15] = [
    "0201012e01036e203180800401ababababababababababababababababababababababababababababababababe40883cb00",
    "13010107ac02ac0203742f31027b7d9a41894a00",
    "07010207e80701010107ac02c8016301010101080506075a09ff5f00",
    "0b010302026869fb78dd0400",
    "03010427abababababababababababababababababababababababababababababababab8004e6f7612600",
    "28010401ababababababababababababababababababababababababababababababababb8bfde1e00",
    "2b010402abababababababababababababababababababababababababababababababab026e6f7456033100",
    "020105a5efc3e200",
    "10010107ac02f6a1abfef962589257a700",
    "10010207ac02f6a1abfef962466841ff00",
    "290103ababababababababababababababababababababababababababababababababd804a95f3e8000",
    "260104abababababababababababababababababababababababababababababababab8004040861736d5081616700",
    "080104032ca3ff9800",
    "070105b9fb32d700",
    "290106ababababababababababababababababababababababababababababababababd8040691e22600",
];

#[test]
fn another_version_is_told_from_damage() {
    let mut out = [0; LINE_MAX_BYTES];
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&[9, 0]).to_le_bytes();
    let len = cobs::encode(&[&[9, 0][..], &crc].concat(), &mut out);
    let mut line = Line::default();
    let read = line.feed(&mut &out[..len + 1]).unwrap().unwrap().message::<FromNode<'_>>();
    assert_eq!(read, Err(LineError::Version(9)));
}

#[test]
fn what_follows_a_message_in_its_line_makes_it_another_message() {
    let (mut line, sent) = (Line::default(), bytes(&(ToNode::Who, 5u8)));
    assert_eq!(line.feed(&mut &sent[..]).unwrap().unwrap().message::<ToNode<'_>>(), Err(LineError::Unknown));
}

#[test]
fn the_largest_reading_and_chunk_fit_a_line_and_more_does_not() {
    let topic = core::str::from_utf8(&[b'x'; 256]).unwrap();
    let payload = [0xff; READING_MAX_BYTES - 256];
    let reading = Reading { session: u32::MAX, seq: u32::MAX, age_ms: u32::MAX, topic, payload: &payload };
    assert!(bytes(&FromNode::Reading(reading)).len() <= LINE_MAX_BYTES);
    let chunk = [0xff; CHUNK_MAX_BYTES];
    bytes(&ToNode::Chunk { sha256: SHA, offset: u32::MAX, bytes: &chunk });
    let program = core::str::from_utf8(&[b'x'; TEXT_MAX_BYTES]).unwrap();
    bytes(&FromNode::Install(Install::Refused { sha256: SHA, reason: program }));
    let much = [1; LINE_MAX_BYTES];
    assert_eq!(encode(&much.as_slice(), &mut [0; LINE_MAX_BYTES]), Err(LineError::TooLong));
}

#[test]
fn a_line_that_is_too_long_is_one_error_and_the_next_is_whole() {
    let mut line = Line::default();
    let long = [&[1; 3 * LINE_MAX_BYTES][..], &[0], &bytes(&ToNode::Who)].concat();
    let mut rest = &long[..];
    assert_eq!(line.feed(&mut rest), Some(Err(LineError::TooLong)));
    assert_eq!(line.feed(&mut rest).unwrap().unwrap().message(), Ok(ToNode::Who));
}

/// Lines in pieces of any size, between garbage, with bits turned, bytes lost, doubled or zeroed: never a panic, never a
/// message that was not sent, and every line that was not touched comes through once it has a zero before it.
#[test]
fn a_bad_line_costs_itself_at_most() {
    let seed = std_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let mut wire = Vec::new();
        let mut whole = Vec::new();
        for seq in 1..=20u32 {
            let payload: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..3)).collect();
            let mut sent = bytes(&reading(seq, &payload));
            match random.u8(..6) {
                0 => {
                    let at = random.usize(..sent.len() - 1);
                    sent[at] ^= 1 << random.u8(..8);
                }
                1 => {
                    sent.remove(random.usize(..sent.len() - 1));
                }
                2 => sent.truncate(random.usize(..sent.len() - 1)),
                3 => {
                    // Bytes that are no line, and their end.
                    wire.extend((0..random.usize(..2 * LINE_MAX_BYTES)).map(|_| random.u8(..)));
                    wire.push(0);
                    whole.push((seq, payload));
                }
                _ => whole.push((seq, payload)),
            }
            wire.extend(sent);
            wire.push(0);
        }
        let (mut line, mut got) = (Line::default(), Vec::new());
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(random.usize(1..=rest.len().min(50)));
            rest = later;
            while !piece.is_empty() {
                if let Some(Ok(body)) = line.feed(&mut piece) {
                    if let Ok(FromNode::Reading(reading)) = body.message() {
                        got.push((reading.seq, reading.payload.to_vec()));
                    }
                }
            }
        }
        assert!(got == whole, "seed {seed}, round {round}");
    }
}

/// Bytes that are whole lines, but of no message: an error, never a panic.
#[test]
fn any_body_is_read_or_refused() {
    let seed = std_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20_000 {
        let mut body: Vec<u8> = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
        body.insert(0, VERSION);
        if body.len() > 1 {
            body[1] = random.u8(..6);
        }
        body.extend(crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&body).to_le_bytes());
        let mut stuffed = [0; LINE_MAX_BYTES];
        let len = cobs::encode(&body, &mut stuffed);
        let mut line = Line::default();
        let body = line.feed(&mut &stuffed[..len + 1]).unwrap().unwrap();
        let _ = body.message::<FromNode<'_>>();
        let _ = body.message::<ToNode<'_>>();
    }
}

/// Another one in each run; a failure says which.
fn std_seed() -> u64 {
    fastrand::u64(..)
}
