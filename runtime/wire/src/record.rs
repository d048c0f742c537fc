//! The commit record: everything one message did, in one piece, as it stands in the log.
//!
//! Layout, each value in postcard's encoding (integers are varints unless one byte, byte strings are length-prefixed):
//!
//! | field | type | |
//! |---|---|---|
//! | version | `u8` | 1 |
//! | flags | `u8` | bit 0: a random seed follows; bit 1: a drop reason follows; bit 2: a letter of the gateway's own; bit 3: the broker said that it may have sent the message before; bit 4: wakes follow |
//! | received_at_ms | `i64` | Unix time the message arrived |
//! | seed | `u64` | if flagged: seed of `random` for this message |
//! | dropped | `u8` | if flagged: [`DropReason`] |
//! | wakes | `u32` | if flagged: how many messages may come of this one, which came of an output |
//! | outputs | `u32`, then that many | `topic: str, payload: bytes, routes: u8, then that many (stream: u8, seq: u64)` |
//! | state | `u32`, then that many | `function: str, ops: u32, then that many (key: bytes, value: Option<bytes>)` |
//!
//! A value of `None` deletes the key. A letter is no message: its outputs count in their streams, and nowhere else.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::code::DropReason;
use crate::wakes::share;

const VERSION: u8 = 1;
const HAS_SEED: u8 = 1;
const HAS_DROP: u8 = 2;
const IS_LETTER: u8 = 4;
const IS_REDELIVERED: u8 = 8;
const HAS_WAKES: u8 = 16;

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
    wakes: Option<u32>,
    record: Vec<u8>,
}

impl Builder {
    /// Forgets the record begun, if any.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.output_count = 0;
        self.state.clear();
        self.state_count = 0;
        (self.is_redelivered, self.wakes) = (false, None);
    }

    /// Whether no output was added since [`clear`](Self::clear).
    pub fn has_no_output(&self) -> bool {
        self.output_count == 0
    }

    /// The broker marked the message as one that it may have sent before.
    pub fn redelivered(&mut self) {
        self.is_redelivered = true;
    }

    /// How many messages may come of the message, if it came of an output.
    pub fn wakes(&mut self, wakes: Option<u32>) {
        self.wakes = wakes;
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
            | flag(self.is_redelivered, IS_REDELIVERED)
            | flag(self.wakes.is_some(), HAS_WAKES);
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
        if let Some(wakes) = self.wakes.filter(|_| flags & HAS_WAKES != 0) {
            put(record, &wakes);
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
    /// How many messages may come of the message, if it came of an output.
    pub wakes: Option<u32>,
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
        if version != VERSION || flags & !(HAS_SEED | HAS_DROP | IS_LETTER | IS_REDELIVERED | HAS_WAKES) != 0 {
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
        let wakes = if flags & HAS_WAKES != 0 { Some(take(&mut rest)?) } else { None };
        let output_count = take(&mut rest)?;
        let (is_letter, is_redelivered) = (flags & IS_LETTER != 0, flags & IS_REDELIVERED != 0);
        Ok(Self { received_at_ms, seed, dropped, is_letter, is_redelivered, wakes, output_count, rest })
    }

    /// Whether it stands for a message whose fate its outputs decide.
    pub fn message_is_open(&self) -> bool {
        self.dropped.is_none() && !self.is_letter
    }

    /// How many messages may come of each output, unless that need not be [said](share).
    pub fn output_wakes(&self) -> Option<u32> {
        share(self.wakes, self.output_count)
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
mod tests;
