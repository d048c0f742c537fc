//! Readers of `eyot-wire`: manifests, topics, commit records, captures.

use eyot_wire::capture::{Capture, Outcome};
use eyot_wire::code::{DropReason, Failure};
use eyot_wire::control::ControlTopic;
use eyot_wire::filters::{Filters, Lookup};
use eyot_wire::link::{encode, FromNode, Hello, Install, Ledger, Line, Reading, Status, ToNode, LINE_MAX_BYTES};
use eyot_wire::manifest::{is_name, Manifest, CONFIG_ENTRIES_MAX, EMIT_FILTERS_MAX, TRIGGERS_MAX};
use eyot_wire::record::{Builder, Record, Route};
use eyot_wire::topic::{covers, matches, overlaps, parse_filter, parse_topic, TOPIC_MAX_BYTES};

/// What a manifest says that is taken can be relied on.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.0.is_empty(), "an error has a reason");
            return false;
        }
    };
    assert!(is_name(&manifest.name));
    assert!(manifest.triggers.len() <= TRIGGERS_MAX && manifest.config.len() <= CONFIG_ENTRIES_MAX);
    assert!(manifest.allow.emit.len() <= EMIT_FILTERS_MAX);
    for filter in manifest.triggers.iter().map(|trigger| &trigger.mqtt).chain(&manifest.allow.emit) {
        assert_eq!(parse_filter(filter.as_bytes()), Ok(filter.as_str()));
    }
    assert!(manifest.limits.deadline_ms > 0);
    true
}

pub fn manifest_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let full = r#"name = "celsius"
version = "1.2.0-rc.1+build"
on_error = "retry(3, 100ms)"
[[trigger]]
mqtt = "sensors/+/raw"
rate = "100/s"
[[trigger]]
mqtt = "$SYS/#"
[limits]
fuel = 1_000_000
memory = "1.5MiB"
output = "64 KiB"
state = "64KiB"
deadline = "50ms"
[allow]
emit = ["processed/#", "cloud/#"]
[config]
rh_max = "95"
"#;
    vec![("full.toml", full.into()), ("least.toml", b"name = \"a\"\nversion = \"0.0.0\"\n".to_vec())]
}

/// Lines of topics compared with each other: quadratically many.
const LINES_MAX: usize = 16;

/// Each line is tried as a topic, as a filter and as a control topic; what is one agrees with all others.
pub fn topics(bytes: &[u8]) -> bool {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(LINES_MAX).collect();
    let topics: Vec<&str> = lines.iter().filter_map(|line| parse_topic(line).ok()).collect();
    let filters: Vec<&str> = lines.iter().filter_map(|line| parse_filter(line).ok()).collect();
    assert!(topics.iter().chain(&filters).all(|text| (1..=TOPIC_MAX_BYTES).contains(&text.len())));
    let (mut tree, mut lookup) = (Filters::default(), Lookup::default());
    (0..).zip(&filters).for_each(|(number, filter)| tree.insert(filter, number));
    for topic in &topics {
        assert!(parse_filter(topic.as_bytes()).is_ok(), "every topic is a filter for itself: {topic:?}");
        assert!(matches(topic, topic), "{topic:?}");
        let selected: Vec<u32> = (0..).zip(&filters).filter(|(_, f)| matches(f, topic)).map(|(n, _)| n).collect();
        assert_eq!(tree.find(topic, &mut lookup), selected, "{topic:?} {filters:?}");
        for one in filters.iter().filter(|filter| matches(filter, topic)) {
            for other in &filters {
                assert!(matches(other, topic) || !covers(other, one), "{other:?} covers {one:?}, but not {topic:?}");
                assert!(!matches(other, topic) || overlaps(one, other), "{one:?} {other:?} {topic:?}");
            }
        }
        if let Some(ControlTopic::Part { sha256, number }) = ControlTopic::parse("barn-7", topic) {
            let again = format!("eyot/barn-7/push/{}/{number}", hex(&sha256));
            let read = ControlTopic::parse("barn-7", &again);
            assert_eq!(read, Some(ControlTopic::Part { sha256, number }));
        }
        if let Some((node, ControlTopic::Part { sha256, number })) = ControlTopic::parse_for_node("barn-7", topic) {
            let again = format!("eyot/barn-7/node/{node}/push/{}/{number}", hex(&sha256));
            let read = ControlTopic::parse_for_node("barn-7", &again);
            assert_eq!(read, Some((node, ControlTopic::Part { sha256, number })));
        }
    }
    !topics.is_empty() && !filters.is_empty()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn topic_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let control =
        format!("eyot/barn-7/push\neyot/barn-7/command\neyot/barn-7/push/{}/17\neyot/+/push/+/+", "aB".repeat(32));
    let nodes = format!("eyot/barn-7/node/n/push\neyot/barn-7/node/n/push/{}/17\n#", "aB".repeat(32));
    vec![
        ("filters.txt", b"a/b/c\n$SYS/x\n/\na/+/c\n+/b/#\n#\n$SYS/#\n+/+/+\na/#\na".to_vec()),
        ("control.txt", control.into_bytes()),
        ("nodes.txt", nodes.into_bytes()),
    ]
}

/// What is read of a line of the link to a node, from either end, can be written, and then reads the same. The bytes are tried
/// as what is on the wire, and as what a whole line holds.
pub fn line(bytes: &[u8]) -> bool {
    lines(bytes);
    let frame = [bytes, &crc32c::crc32c(bytes).to_le_bytes()].concat();
    let mut line = cobs::encode_vec(&frame);
    line.push(0);
    lines(&line)
}

/// Whether any of these lines says something.
fn lines(mut bytes: &[u8]) -> bool {
    let (mut line, mut buffer, mut taken) = (Line::default(), [0; LINE_MAX_BYTES], false);
    while !bytes.is_empty() {
        let Some(Ok(body)) = line.feed(&mut bytes) else { continue };
        if let Ok(message) = body.message::<FromNode<'_>>() {
            let again = encode(&message, &mut buffer).unwrap_or_default();
            let read = Line::default().feed(&mut &again[..]).map(|body| body.map(|body| body.message() == Ok(message)));
            assert_eq!(read, Some(Ok(true)));
            taken = true;
        }
        if let Ok(message) = body.message::<ToNode<'_>>() {
            let again = encode(&message, &mut buffer).unwrap_or_default();
            let read = Line::default().feed(&mut &again[..]).map(|body| body.map(|body| body.message() == Ok(message)));
            assert_eq!(read, Some(Ok(true)));
            taken = true;
        }
    }
    taken
}

/// The frames of the lines, without their checksums.
pub fn line_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let ledger = Ledger { samples: 9, outputs: 300, acked: 200, pending: 99, dropped_full: 1, ..Ledger::default() };
    let (session, sha256) = (7, [0xab; 32]);
    let hello = Hello { session, first: 1, program: "n 1", module_max_bytes: 65536, function: Some(sha256) };
    let status = Status { session, uptime_ms: 1000, ledger, heap_used_bytes: 5, heap_bytes: 6, fuel: 7 };
    let reading = Reading { session, seq: 300, age_ms: 300, topic: "t/1", payload: b"{}" };
    let from = [
        ("hello.bin", FromNode::Hello(hello)),
        ("reading.bin", FromNode::Reading(reading)),
        ("status.bin", FromNode::Status(status)),
        ("log.bin", FromNode::Log { level: 2, text: "hi" }),
        ("refused.bin", FromNode::Install(Install::Refused { sha256, reason: "no" })),
        ("removed.bin", FromNode::Install(Install::Removed)),
    ];
    let to = [
        ("welcome.bin", ToNode::Welcome { session, acked: 300, unix_ms: 1_700_000_000_123 }),
        ("chunk.bin", ToNode::Chunk { sha256, offset: 512, bytes: b"\0asm" }),
        ("remove.bin", ToNode::Remove),
    ];
    let mut buffer = [0; LINE_MAX_BYTES];
    let mut seeds = Vec::new();
    for (name, message) in &from {
        seeds.push((*name, frame(encode(message, &mut buffer).unwrap_or_default())));
    }
    for (name, message) in &to {
        seeds.push((*name, frame(encode(message, &mut buffer).unwrap_or_default())));
    }
    seeds
}

fn frame(line: &[u8]) -> Vec<u8> {
    let stuffed = line.split_last().map_or(&[][..], |(_, stuffed)| stuffed);
    let mut frame = cobs::decode_vec(stuffed).unwrap_or_default();
    frame.truncate(frame.len().saturating_sub(4));
    frame
}

/// What is read of a record can be written, and then reads the same.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode(bytes) else { return false };
    let mut builder = Builder::default();
    let outputs: Vec<(String, Vec<u8>, Vec<Route>)> =
        record.outputs().map(|o| (o.topic.to_owned(), o.payload.to_vec(), o.routes().collect())).collect();
    let state: Vec<(String, Vec<_>)> = record.state().map(|s| (s.function.to_owned(), s.ops().collect())).collect();
    outputs.iter().for_each(|(topic, payload, routes)| builder.output(topic, payload, routes));
    for (function, ops) in &state {
        builder.state(function, ops.len() as u32, ops.iter().copied());
    }
    let written = match record.is_letter {
        true if record.seed.is_none() && record.dropped.is_none() => builder.finish_letter(record.received_at_ms),
        _ => builder.finish(record.received_at_ms, record.seed, record.dropped),
    };
    let again = Record::decode(written).unwrap_or_else(|error| panic!("what we write is a record: {error}"));
    let head = |r: &Record<'_>| (r.received_at_ms, r.seed, r.dropped);
    assert_eq!(head(&again), head(&record));
    let read: Vec<_> = again.outputs().map(|o| (o.topic, o.payload, o.routes().collect::<Vec<_>>())).collect();
    assert_eq!(read.len(), outputs.len());
    for ((topic, payload, routes), (old_topic, old_payload, old_routes)) in read.iter().zip(&outputs) {
        assert!((*topic, *payload, routes) == (old_topic, old_payload, old_routes));
    }
    let read: Vec<(String, Vec<_>)> = again.state().map(|s| (s.function.to_owned(), s.ops().collect())).collect();
    assert_eq!(read, state);
    true
}

pub fn record_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut builder = Builder::default();
    builder.output("cloud/7", b"{\"t\":1}", &[Route { stream: 1, seq: 300 }, Route { stream: 2, seq: 4 }]);
    builder.output("processed/7", b"", &[Route { stream: 0, seq: 9 }]);
    builder.state("smooth", 2, [(&b"k"[..], Some(&b"v"[..])), (b"gone", None)].into_iter());
    let full = builder.finish(1_700_000_000_123, Some(42), Some(DropReason::DeadLetter)).to_vec();
    builder.clear();
    builder.output("eyot/g/dead/cloud", b"{}", &[Route { stream: 0, seq: u64::MAX }]);
    let letter = builder.finish_letter(-1).to_vec();
    builder.clear();
    let empty = builder.finish(0, None, None).to_vec();
    vec![("full.bin", full), ("letter.bin", letter), ("empty.bin", empty)]
}

/// What is read of a file of captures can be written, and then reads the same.
pub fn capture(bytes: &[u8]) -> bool {
    let (mut rest, mut found) = (bytes, 0);
    while let Ok((capture, more)) = Capture::decode(rest) {
        assert!(more.len() < rest.len(), "each capture takes up bytes");
        if let Some(written) = capture.encode() {
            let again = Capture::decode(&written);
            assert!(again.as_ref().is_ok_and(|(again, more)| *again == capture && more.is_empty()), "{again:?}");
        }
        (rest, found) = (more, found + 1);
    }
    found > 0
}

pub fn capture_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let capture = |result, state| Capture {
        function: "smooth".to_owned(),
        version: "1.2.0".to_owned(),
        sha256: [7; 32],
        topic: "in/7".to_owned(),
        payload: b"{}".to_vec(),
        now_ms: 1_700_000_000_123,
        seed: 300,
        state,
        config: vec![("unit".to_owned(), "celsius".to_owned())],
        outcome: Outcome {
            result,
            emits: vec![("out/7".to_owned(), b"21.5".to_vec())],
            state: vec![(b"k".to_vec(), Some(b"v".to_vec())), (b"gone".to_vec(), None)],
            logs: vec![(2, "line".to_owned())],
            emits_refused: 1,
        },
    };
    let good = capture(Ok(()), Some(vec![(b"k".to_vec(), b"old".to_vec())])).encode().unwrap_or_default();
    let failed = capture(Err(Failure::Trap("unreachable".to_owned())), None).encode().unwrap_or_default();
    vec![("good.cap", good.clone()), ("two.cap", [good, failed].concat())]
}
