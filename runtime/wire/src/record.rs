//! The commit record: everything one message did, in one piece, as it stands in the log.
//!
//! Layout, each value in postcard's encoding (integers are varints unless one byte, byte strings are length-prefixed):
//!
//! | field | type | |
//! |---|---|---|
//! | version | `u8` | 1 |
//! | flags | `u8` | bit 0: a random seed follows; bit 1: a drop reason follows; bit 2: a letter of the gateway's own; bit 3: the broker said that it may have sent the message before |
//! | received_at_ms | `i64` | Unix time the message arrived |
//! | seed | `u64` | if flagged: seed of `random` for this message |
//! | dropped | `u8` | if flagged: [`DropReason`] |
//! | outputs | `u32`, then that many | `topic: str, payload: bytes, routes: u8, then that many (stream: u8, seq: u64)` |
//! | state | `u32`, then that many | `function: str, ops: u32, then that many (key: bytes, value: Option<bytes>)` |
//!
//! A value of `None` deletes the key. A letter is no message: its outputs count in their streams, and nowhere else.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::code::DropReason;

const VERSION: u8 = 1;
const HAS_SEED: u8 = 1;
const HAS_DROP: u8 = 2;
const IS_LETTER: u8 = 4;
const IS_REDELIVERED: u8 = 8;

/// Bytes that are not a commit record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a commit record of version 1")
    }
}

impl core::error::Error for Malformed {}

/// Where an output goes, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Stream (uplink).
    pub stream: u8,
    /// Sequence number in that stream, from 1.
    pub seq: u64,
}

/// Builds records one after another in buffers it keeps.
#[derive(Debug, Default)]
pub struct Builder {
    outputs: Vec<u8>,
    output_count: u32,
    state: Vec<u8>,
    state_count: u32,
    is_redelivered: bool,
    record: Vec<u8>,
}

impl Builder {
    /// Forgets the record begun, if any.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.output_count = 0;
        self.state.clear();
        self.state_count = 0;
        self.is_redelivered = false;
    }

    /// Whether no output was added since [`clear`](Self::clear).
    pub fn has_no_output(&self) -> bool {
        self.output_count == 0
    }

    /// The broker marked the message as one that it may have sent before.
    pub fn redelivered(&mut self) {
        self.is_redelivered = true;
    }

    /// Adds an output.
    pub fn output(&mut self, topic: &str, payload: &[u8], routes: &[Route]) {
        put(&mut self.outputs, &topic);
        put(&mut self.outputs, &Blob(payload));
        self.outputs.push(routes.len() as u8);
        for route in routes.iter().take(usize::from(u8::MAX)) {
            put(&mut self.outputs, route);
        }
        self.output_count += 1;
    }

    /// Adds what one function did to its state; `count` is the length of `ops`.
    pub fn state<'a>(&mut self, function: &str, count: u32, ops: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
        put(&mut self.state, &function);
        put(&mut self.state, &count);
        for (key, value) in ops {
            put(&mut self.state, &(Blob(key), value.map(Blob)));
        }
        self.state_count += 1;
    }

    /// The finished record, valid until the next call.
    pub fn finish(&mut self, received_at_ms: i64, seed: Option<u64>, dropped: Option<DropReason>) -> &[u8] {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(seed.is_some(), HAS_SEED)
            | flag(dropped.is_some(), HAS_DROP)
            | flag(self.is_redelivered, IS_REDELIVERED);
        self.write(flags, received_at_ms, seed, dropped)
    }

    /// As [`finish`](Self::finish), for outputs that no message led to; `written_at_ms` is their Unix time.
    pub fn finish_letter(&mut self, written_at_ms: i64) -> &[u8] {
        self.write(IS_LETTER, written_at_ms, None, None)
    }

    fn write(&mut self, flags: u8, received_at_ms: i64, seed: Option<u64>, dropped: Option<DropReason>) -> &[u8] {
        let record = &mut self.record;
        record.clear();
        record.push(VERSION);
        record.push(flags);
        put(record, &received_at_ms);
        if let Some(seed) = seed {
            put(record, &seed);
        }
        if let Some(reason) = dropped {
            record.push(reason as u8);
        }
        put(record, &self.output_count);
        record.extend_from_slice(&self.outputs);
        put(record, &self.state_count);
        record.extend_from_slice(&self.state);
        record
    }
}

/// Serialized as a byte string in one copy, where a slice of `u8` would go byte by byte.
struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

/// Postcard writes any of our values into a growing vector; there is nothing that can fail.
fn put<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    let taken = core::mem::take(out);
    if let Ok(grown) = postcard::to_extend(value, taken) {
        *out = grown;
    }
}

/// A record read back, borrowed from the log's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unix time the message arrived, in milliseconds.
    pub received_at_ms: i64,
    /// Seed of `random`, if the function used it.
    pub seed: Option<u64>,
    /// Set if the message itself counts as dropped; its outputs, such as a dead letter, are delivered all the same.
    pub dropped: Option<DropReason>,
    /// Set if no message led to it.
    pub is_letter: bool,
    /// Set if the broker marked the message as one that it may have sent before.
    pub is_redelivered: bool,
    output_count: u32,
    rest: &'a [u8],
}

/// An output of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    routes: &'a [u8],
}

impl<'a> Output<'a> {
    /// Where it goes.
    pub fn routes(&self) -> impl Iterator<Item = Route> + 'a {
        let mut rest = self.routes;
        core::iter::from_fn(move || if rest.is_empty() { None } else { take(&mut rest).ok() })
    }

    /// Bytes of topic and payload.
    pub fn bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64
    }

    /// Its number in `stream`, if it goes there.
    pub fn seq_in(&self, stream: u8) -> Option<u64> {
        self.routes().find(|r| r.stream == stream).map(|r| r.seq)
    }
}

/// What one function did to its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBlock<'a> {
    /// The function's name.
    pub function: &'a str,
    ops: &'a [u8],
}

impl<'a> StateBlock<'a> {
    /// Keys with their new values; `None` deletes.
    pub fn ops(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a {
        let mut rest = self.ops;
        core::iter::from_fn(move || if rest.is_empty() { None } else { take(&mut rest).ok() })
    }
}

fn take<'a, T: Deserialize<'a>>(rest: &mut &'a [u8]) -> Result<T, Malformed> {
    let (value, left) = postcard::take_from_bytes(rest).map_err(|_| Malformed)?;
    *rest = left;
    Ok(value)
}

impl<'a> Record<'a> {
    /// Reads the head; outputs and state are read as they are iterated.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let (version, flags): (u8, u8) = take(&mut rest)?;
        if version != VERSION || flags & !(HAS_SEED | HAS_DROP | IS_LETTER | IS_REDELIVERED) != 0 {
            return Err(Malformed);
        }
        let received_at_ms = take(&mut rest)?;
        let seed = if flags & HAS_SEED != 0 { Some(take(&mut rest)?) } else { None };
        let dropped = if flags & HAS_DROP != 0 {
            let number: u8 = take(&mut rest)?;
            Some(DropReason::from_number(number).ok_or(Malformed)?)
        } else {
            None
        };
        let output_count = take(&mut rest)?;
        let (is_letter, is_redelivered) = (flags & IS_LETTER != 0, flags & IS_REDELIVERED != 0);
        Ok(Self { received_at_ms, seed, dropped, is_letter, is_redelivered, output_count, rest })
    }

    /// Whether it stands for a message whose fate its outputs decide.
    pub fn message_is_open(&self) -> bool {
        self.dropped.is_none() && !self.is_letter
    }

    /// The outputs, in the order they were emitted. Ends early if the bytes are not a record.
    pub fn outputs(&self) -> Outputs<'a> {
        Outputs { left: self.output_count, rest: self.rest }
    }

    /// The changes of state, by function.
    pub fn state(&self) -> impl Iterator<Item = StateBlock<'a>> + 'a {
        let mut outputs = self.outputs();
        for _ in outputs.by_ref() {}
        let mut rest = outputs.rest;
        let mut left: u32 = take(&mut rest).unwrap_or(0);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            state_block(&mut rest).ok()
        })
    }
}

fn state_block<'a>(rest: &mut &'a [u8]) -> Result<StateBlock<'a>, Malformed> {
    let function = take(rest)?;
    let count: u32 = take(rest)?;
    let start = *rest;
    for _ in 0..count {
        let _: (&[u8], Option<&[u8]>) = take(rest)?;
    }
    let ops = start.get(..start.len() - rest.len()).ok_or(Malformed)?;
    Ok(StateBlock { function, ops })
}

/// Iterator of [`Record::outputs`].
#[derive(Clone, Debug)]
pub struct Outputs<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Outputs<'a> {
    fn read(&mut self) -> Result<Output<'a>, Malformed> {
        let (topic, payload, routes): (&str, &[u8], u8) = take(&mut self.rest)?;
        let start = self.rest;
        for _ in 0..routes {
            let _: Route = take(&mut self.rest)?;
        }
        let routes = start.get(..start.len() - self.rest.len()).ok_or(Malformed)?;
        Ok(Output { topic, payload, routes })
    }
}

impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    fn next(&mut self) -> Option<Output<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.read().ok()
    }
}

#[cfg(test)]
mod tests {
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
}
