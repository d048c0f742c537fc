use super::*;
use alloc::vec;

fn sample(builder: &mut Builder) -> Vec<u8> {
    builder.clear();
    builder.output("cloud/7", b"{\"t\":1}", &[Route { stream: 1, seq: 300 }, Route { stream: 2, seq: 4 }]);
    builder.output("processed/7", b"", &[Route { stream: 0, seq: 9 }]);
    let ops = [(&b"k"[..], Some(&b"v"[..])), (&b"gone"[..], None)];
    builder.state("smooth", 2, ops.into_iter());
    builder.finish(1_700_000_000_123, Some(42), Some(DropReason::DeadLetter)).to_vec()
}

#[test]
fn a_record_reads_back() {
    let mut builder = Builder::default();
    let bytes = sample(&mut builder);
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.received_at_ms, record.seed), (1_700_000_000_123, Some(42)));
    assert_eq!(record.dropped, Some(DropReason::DeadLetter));
    let outputs: Vec<_> = record.outputs().collect();
    assert_eq!((outputs[0].topic, outputs[0].payload), ("cloud/7", &b"{\"t\":1}"[..]));
    assert_eq!((outputs[0].seq_in(1), outputs[0].seq_in(2), outputs[0].seq_in(0)), (Some(300), Some(4), None));
    assert_eq!((outputs[1].topic, outputs[1].seq_in(0)), ("processed/7", Some(9)));
    let state: Vec<_> = record.state().collect();
    assert_eq!(state[0].function, "smooth");
    let ops: Vec<_> = state[0].ops().collect();
    assert_eq!(ops, vec![(&b"k"[..], Some(&b"v"[..])), (&b"gone"[..], None)]);
}

/// Format version 1, byte for byte: change it only together with the version byte.
#[test]
fn golden_bytes_of_version_1() {
    let mut expected = vec![1, 3, 0xf6, 0xa1, 0xab, 0xfe, 0xf9, 0x62, 42, 0, 2];
    expected.extend_from_slice(b"\x07cloud/7\x07{\"t\":1}\x02\x01\xac\x02\x02\x04");
    expected.extend_from_slice(b"\x0bprocessed/7\x00\x01\x00\x09");
    expected.extend_from_slice(b"\x01\x06smooth\x02\x01k\x01\x01v\x04gone\x00");
    assert_eq!(sample(&mut Builder::default()), expected);
}

#[test]
fn golden_bytes_of_a_letter() {
    let mut builder = Builder::default();
    builder.output("eyot/g/dead/cloud", b"{}", &[Route { stream: 0, seq: 9 }]);
    let bytes = builder.finish_letter(1_700_000_000_123).to_vec();
    let mut expected = vec![1, 4, 0xf6, 0xa1, 0xab, 0xfe, 0xf9, 0x62, 1];
    expected.extend_from_slice(b"\x11eyot/g/dead/cloud\x02{}\x01\x00\x09\x00");
    assert_eq!(bytes, expected);
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.is_letter, record.message_is_open(), record.dropped), (true, false, None));
    let message = sample(&mut builder);
    assert!(!Record::decode(&message).unwrap().is_letter);
}

#[test]
fn golden_bytes_of_a_message_sent_again() {
    let mut builder = Builder::default();
    builder.redelivered();
    let bytes = builder.finish(1_700_000_000_123, None, None).to_vec();
    assert_eq!(bytes, [1, 8, 0xf6, 0xa1, 0xab, 0xfe, 0xf9, 0x62, 0, 0]);
    assert!(Record::decode(&bytes).unwrap().is_redelivered);
    let message = sample(&mut builder);
    assert!(!Record::decode(&message).unwrap().is_redelivered, "of the message before");
}

#[test]
fn any_cut_or_flip_is_an_error_or_a_shorter_record_but_never_a_panic() {
    let bytes = sample(&mut Builder::default());
    let walk = |bytes: &[u8]| {
        if let Ok(record) = Record::decode(bytes) {
            record.outputs().for_each(|o| o.routes().for_each(drop));
            record.state().for_each(|s| s.ops().for_each(drop));
        }
    };
    for cut in 0..bytes.len() {
        walk(&bytes[..cut]);
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[cut] ^= 1 << bit;
            walk(&bad);
        }
    }
}

#[test]
fn golden_bytes_of_a_message_that_came_of_an_output() {
    let mut builder = Builder::default();
    builder.wakes(Some(300));
    builder.output("t", b"", &[Route { stream: 0, seq: 9 }]);
    builder.output("t", b"", &[Route { stream: 0, seq: 10 }]);
    let bytes = builder.finish(1, None, None).to_vec();
    assert_eq!(bytes, b"\x01\x10\x02\xac\x02\x02\x01t\x00\x01\x00\x09\x01t\x00\x01\x00\x0a\x00");
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.wakes, record.output_wakes(), record.outputs().count()), (Some(300), Some(149), 2));
    builder.clear();
    let next = builder.finish(1, None, None).to_vec();
    assert_eq!(Record::decode(&next).unwrap().wakes, None, "of the message before");
}
