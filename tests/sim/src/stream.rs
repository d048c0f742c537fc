//! What a destination saw of one stream: one count of outputs, told from others by its epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::output::Output;

/// Of each topic's messages, by number: a bit for each part that arrived.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<u32, Vec<u8>>);

impl Parts {
    /// What arrived of a message.
    pub fn of(&self, topic: u32, number: u64) -> u8 {
        self.0.get(&topic).and_then(|parts| parts.get(number as usize)).copied().unwrap_or(0)
    }

    /// A part arrives; true if it is the first time.
    fn add(&mut self, topic: u32, number: u64, bit: u8) -> bool {
        let parts = self.0.entry(topic).or_default();
        let index = number as usize;
        if parts.len() <= index {
            parts.resize(index + 1, 0);
        }
        let is_new = parts[index] & bit == 0;
        parts[index] |= bit;
        is_new
    }

    /// What arrived elsewhere counts as well.
    pub fn merge(&mut self, other: &Self) {
        for (topic, theirs) in &other.0 {
            let ours = self.0.entry(*topic).or_default();
            ours.resize(ours.len().max(theirs.len()), 0);
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours |= theirs);
        }
    }
}

/// All that arrived of a stream.
#[derive(Debug, Default)]
pub struct Seen {
    /// By sequence number, from 1.
    outputs: Vec<Option<Output>>,
    /// Different sequence numbers that arrived.
    pub count: u64,
    /// Arrivals, repetitions included.
    pub arrivals: u64,
    highest_seq: u64,
    /// Refused for good: if the answer is lost, they come again, and may be accepted then.
    refused: BTreeSet<u64>,
    /// Topic and number of the messages they are of.
    pub refused_messages: BTreeSet<(u32, u64)>,
    /// The highest number of each topic and part.
    highest: BTreeMap<(u32, u8), u64>,
    /// Messages, and which part of them, that came after later ones of their topic.
    pub late: Vec<(u32, u64, u8)>,
    /// What arrived of messages.
    pub parts: Parts,
    /// How many changes of the version in force there had been, by the first sequence number that could be given then.
    changes: Vec<(u64, usize)>,
    /// Messages that a version was run on and failed, by the version.
    pub failed: BTreeMap<u8, u64>,
}

impl Seen {
    /// From `next_seq` on, the version is in force that came with this change.
    pub fn changed(&mut self, next_seq: u64, changes: usize) {
        self.changes.push((next_seq, changes));
    }

    /// How many changes there had been when this number was given.
    pub fn changes_at(&self, seq: u64) -> usize {
        self.changes.iter().rev().find(|(first, _)| *first <= seq).map_or(0, |(_, changes)| *changes)
    }

    /// The destination refuses an output, number `seq`.
    pub fn refuse(&mut self, seq: u64, output: Output) {
        self.refused.insert(seq);
        self.refused_messages.insert((output.topic, output.number));
    }

    /// Whether the destination refused output `seq` at some time.
    pub fn has_refused(&self, seq: u64) -> bool {
        self.refused.contains(&seq)
    }

    /// An output arrives as number `seq`; true if it is new.
    pub fn arrive(&mut self, seq: u64, output: Output) -> bool {
        self.arrivals += 1;
        let index = seq as usize;
        if self.outputs.len() <= index {
            self.outputs.resize(index + 1, None);
        }
        if let Some(earlier) = self.outputs[index] {
            assert_eq!(earlier, output, "one number, two outputs: {seq}");
            return false;
        }
        self.outputs[index] = Some(output);
        self.count += 1;
        // Whoever remembers nothing but the highest number takes it for a repetition.
        let in_order = seq > self.highest_seq || self.refused.contains(&seq);
        assert!(in_order, "order of the stream: {seq} came new after {}", self.highest_seq);
        self.highest_seq = seq.max(self.highest_seq);
        if output.has_failed {
            *self.failed.entry(output.version).or_default() += 1;
        }
        if output.part != Output::REFUSED {
            self.note_message(output);
        }
        true
    }

    fn note_message(&mut self, output: Output) {
        if !self.parts.add(output.topic, output.number, Output::bit(output.part)) {
            return;
        }
        let highest = self.highest.entry((output.topic, output.part)).or_default();
        if output.number < *highest {
            self.late.push((output.topic, output.number, output.part));
        }
        *highest = output.number.max(*highest);
    }

    /// Numbers below `next_seq` that never arrived.
    pub fn missing(&self, next_seq: u64) -> u64 {
        next_seq - 1 - self.count
    }

    /// Where part `a` or `b` of a message stands without the other beside it, though both numbers arrived.
    pub fn torn(&self) -> Option<(Output, Output)> {
        self.outputs.windows(2).find_map(|pair| {
            let (first, second) = (pair[0]?, pair[1]?);
            let torn = first.part == b'a' && second != Output { part: b'b', ..first }
                || second.part == b'b' && first != Output { part: b'a', ..second };
            torn.then_some((first, second))
        })
    }
}
