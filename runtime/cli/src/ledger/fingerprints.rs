//! What each record held, in four bytes, to tell a repetition from another record under the same number.

use std::collections::{HashMap, VecDeque};

/// Numbers that share one block of memory.
const BLOCK_SEQS: usize = 256;
/// Most blocks kept, 1 KiB each; the oldest makes room. That is 16,777,216 records in 64 MiB if they are dense.
const BLOCKS_MAX: usize = 1 << 16;

/// Nothing was noted under this number.
const ABSENT: u32 = 0;
/// A record without payload was.
const NO_PAYLOAD: u32 = 1;

/// How a record compares to the first one under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Topic and payload are the same; wrong once in four billion.
    Same,
    /// They are not.
    Differs,
    /// One of the two has no payload.
    NoPayload,
    /// The first one was too long ago: its block made room for others.
    Forgotten,
}

/// Fingerprints of the records of all streams, the oldest forgotten first.
pub struct Fingerprints {
    blocks: HashMap<(u32, u64), Box<[u32; BLOCK_SEQS]>>,
    /// Keys of `blocks` in the order they were made.
    order: VecDeque<(u32, u64)>,
    blocks_max: usize,
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self { blocks: HashMap::new(), order: VecDeque::new(), blocks_max: BLOCKS_MAX }
    }
}

impl Fingerprints {
    /// Notes the first record under `seq` of a stream; `hash` is none without payload.
    pub fn note(&mut self, stream: u32, seq: u64, hash: Option<u64>) {
        let (key, place) = place(stream, seq);
        if !self.blocks.contains_key(&key) {
            if self.order.len() >= self.blocks_max {
                if let Some(oldest) = self.order.pop_front() {
                    self.blocks.remove(&oldest);
                }
            }
            self.order.push_back(key);
        }
        let block = self.blocks.entry(key).or_insert_with(|| Box::new([ABSENT; BLOCK_SEQS]));
        if let Some(slot) = block.get_mut(place) {
            *slot = short(hash);
        }
    }

    /// Compares a record to the first one under the same `seq`.
    pub fn compare(&self, stream: u32, seq: u64, hash: Option<u64>) -> Repetition {
        let (key, place) = place(stream, seq);
        match self.blocks.get(&key).and_then(|block| block.get(place)) {
            None | Some(&ABSENT) => Repetition::Forgotten,
            _ if hash.is_none() => Repetition::NoPayload,
            Some(&NO_PAYLOAD) => Repetition::NoPayload,
            Some(first) if *first == short(hash) => Repetition::Same,
            Some(_) => Repetition::Differs,
        }
    }
}

fn place(stream: u32, seq: u64) -> ((u32, u64), usize) {
    let size = BLOCK_SEQS as u64;
    ((stream, seq / size), (seq % size) as usize)
}

fn short(hash: Option<u64>) -> u32 {
    hash.map_or(NO_PAYLOAD, |hash| ((hash >> 32) as u32).max(NO_PAYLOAD + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<u64> = Some(7 << 32);
    const B: Option<u64> = Some(8 << 32);

    #[test]
    fn a_repetition_is_told_from_another_record() {
        let mut prints = Fingerprints::default();
        prints.note(0, 5, A);
        prints.note(0, u64::MAX, None);
        assert_eq!(prints.compare(0, 5, A), Repetition::Same);
        assert_eq!(prints.compare(0, 5, B), Repetition::Differs);
        assert_eq!(prints.compare(0, 5, None), Repetition::NoPayload);
        assert_eq!(prints.compare(0, u64::MAX, A), Repetition::NoPayload);
        assert_eq!(prints.compare(1, 5, A), Repetition::Forgotten);
    }

    #[test]
    fn small_hashes_are_hashes() {
        let mut prints = Fingerprints::default();
        prints.note(0, 1, Some(0));
        assert_eq!(prints.compare(0, 1, Some(0)), Repetition::Same);
        assert_eq!(prints.compare(0, 1, A), Repetition::Differs);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut prints = Fingerprints { blocks_max: 2, ..Fingerprints::default() };
        for seq in [1, 1000, 2000] {
            prints.note(0, seq, A);
        }
        assert_eq!((prints.blocks.len(), prints.order.len()), (2, 2));
        assert_eq!(prints.compare(0, 1, A), Repetition::Forgotten);
        assert_eq!(prints.compare(0, 1000, A), Repetition::Same);
        prints.note(0, 2, A);
        assert_eq!(prints.compare(0, 1, A), Repetition::Forgotten, "its block came back without it");
    }
}
