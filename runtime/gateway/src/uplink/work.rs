//! One batch on its way, and the memory of those that arrived.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::batch::Record;
use super::Verdict;
use crate::mqtt::Stamp;

/// Refused outputs remembered, to answer the same if the core sends them again.
pub const REFUSED_KEPT_MAX: usize = 1024;
/// Epochs remembered: more than one uplink has routes.
pub const EPOCHS_MAX: usize = 64;

/// Records that are stored together: a batch, or what halving left of it. Never empty.
#[derive(Clone, Debug)]
pub struct Part {
    records: Arc<[Record]>,
    range: Range<usize>,
}

impl Part {
    /// The records, in order.
    pub fn records(&self) -> &[Record] {
        self.records.get(self.range.clone()).unwrap_or_default()
    }

    /// Stamp of the first record, and number of the last: with the uplink's name they tell this part from any other, and
    /// are the same however often it is tried.
    pub fn span(&self) -> (Stamp, u64) {
        let nothing = Stamp { epoch: 0, seq: 0 };
        let first = self.records().first().map_or(nothing, |record| record.stamp);
        (first, self.records().last().map_or(0, |record| record.stamp.seq))
    }
}

/// A batch until each of its records is stored or refused. It outlives connections: what is tried again is the same.
#[derive(Debug)]
pub struct Work {
    records: Arc<[Record]>,
    /// What is not answered yet, the next last.
    parts: Vec<Range<usize>>,
    /// Indices of refused records, in order.
    refused: Vec<usize>,
}

impl Work {
    /// Begins with all of it.
    pub fn new(batch: Vec<Record>) -> Self {
        let whole = 0..batch.len();
        let parts = if batch.is_empty() { Vec::new() } else { vec![whole] };
        Self { records: batch.into(), parts, refused: Vec::new() }
    }

    /// What to store next; none when all is answered.
    pub fn part(&self) -> Option<Part> {
        self.parts.last().map(|range| Part { records: self.records.clone(), range: range.clone() })
    }

    /// The answer to [`part`](Self::part). What is refused is halved until the records at fault stand alone; true if
    /// one was found.
    pub fn answered(&mut self, verdict: &Verdict) -> bool {
        let Some(Range { start, end }) = self.parts.pop() else { return false };
        match verdict {
            Verdict::Stored => false,
            Verdict::Refused(_) if end - start <= 1 => {
                self.refused.push(start);
                true
            }
            Verdict::Refused(_) => {
                let middle = start + (end - start) / 2;
                self.parts.push(middle..end);
                self.parts.push(start..middle);
                false
            }
        }
    }

    /// Each record in order, and whether it was accepted.
    pub fn answers(&self) -> impl Iterator<Item = (&Record, bool)> {
        self.records.iter().enumerate().map(|(index, record)| (record, self.refused.binary_search(&index).is_err()))
    }
}

/// What was answered, for outputs the core sends again because a connection ended in between: they are answered as
/// before, and not stored twice. Bounded by [`EPOCHS_MAX`] and, for each, [`REFUSED_KEPT_MAX`].
#[derive(Debug, Default)]
pub struct Memory {
    /// The latest last.
    answered: VecDeque<Answered>,
}

/// What was answered of one epoch, which is one route's.
#[derive(Debug)]
struct Answered {
    last: Stamp,
    refused: VecDeque<u64>,
}

impl Memory {
    /// Remembers a batch all of which is answered.
    pub fn keep(&mut self, work: &Work) {
        for (record, accepted) in work.answers() {
            self.touch(record.stamp);
            let Some(answered) = self.answered.back_mut() else { continue };
            answered.last = record.stamp;
            if !accepted {
                if answered.refused.len() >= REFUSED_KEPT_MAX {
                    answered.refused.pop_front();
                }
                answered.refused.push_back(record.stamp.seq);
            }
        }
    }

    /// Moves what is known of an epoch to the end, and makes room for one that is new.
    fn touch(&mut self, stamp: Stamp) {
        if self.answered.back().is_some_and(|answered| answered.last.epoch == stamp.epoch) {
            return;
        }
        let known = self.answered.iter().position(|answered| answered.last.epoch == stamp.epoch);
        let known = known.and_then(|index| self.answered.remove(index));
        if self.answered.len() >= EPOCHS_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(known.unwrap_or(Answered { last: stamp, refused: VecDeque::new() }));
    }

    /// The answer given before, if there was one.
    pub fn answer(&self, stamp: Stamp) -> Option<bool> {
        let answered = self.answered.iter().find(|answered| answered.last.epoch == stamp.epoch)?;
        (stamp.seq <= answered.last.seq).then(|| !answered.refused.contains(&stamp.seq))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn work(seqs: Range<u64>) -> Work {
        let record = |seq| Record {
            token: seq,
            stamp: Stamp { epoch: 1, seq },
            topic: Bytes::from_static(b"t"),
            payload: Bytes::new(),
            received_at_ms: 0,
        };
        Work::new(seqs.map(record).collect())
    }

    /// Runs `work` against an end that refuses whatever holds one of `bad`; returns the spans tried and refused.
    fn run(work: &mut Work, bad: &[u64]) -> (Vec<(u64, u64)>, Vec<u64>) {
        let mut tried = Vec::new();
        while let Some(part) = work.part() {
            let (first, last) = part.span();
            tried.push((first.seq, last));
            let refuse = part.records().iter().any(|record| bad.contains(&record.stamp.seq));
            let verdict = if refuse { Verdict::Refused(String::new()) } else { Verdict::Stored };
            work.answered(&verdict);
        }
        let refused = work.answers().filter(|(_, accepted)| !accepted).map(|(record, _)| record.stamp.seq);
        (tried, refused.collect())
    }

    #[test]
    fn the_record_at_fault_is_found_and_the_others_are_stored_in_order() {
        let (tried, refused) = run(&mut work(1..9), &[3]);
        assert_eq!(tried, [(1, 8), (1, 4), (1, 2), (3, 4), (3, 3), (4, 4), (5, 8)]);
        assert_eq!(refused, [3]);
        assert_eq!(run(&mut work(1..4), &[1, 2, 3]).1, [1, 2, 3]);
        assert_eq!(run(&mut work(1..4), &[]), (vec![(1, 3)], vec![]));
        assert_eq!(run(&mut work(1..1), &[]).0, []);
    }

    #[test]
    fn what_was_answered_is_answered_the_same_again() {
        let mut memory = Memory::default();
        let stamp = |epoch, seq| Stamp { epoch, seq };
        assert_eq!(memory.answer(stamp(1, 1)), None);
        let mut done = work(1..9);
        run(&mut done, &[3]);
        memory.keep(&done);
        assert_eq!([1, 3, 8].map(|seq| memory.answer(stamp(1, seq))), [Some(true), Some(false), Some(true)]);
        assert_eq!(memory.answer(stamp(1, 9)), None);
        assert_eq!(memory.answer(stamp(2, 1)), None, "another route counts on its own");
        let other = |epoch| {
            let record = Record { stamp: stamp(epoch, 5), ..done.records[0].clone() };
            Work::new(vec![record])
        };
        memory.keep(&other(2));
        assert_eq!([stamp(2, 5), stamp(1, 8)].map(|stamp| memory.answer(stamp)), [Some(true); 2]);
        assert_eq!(memory.answer(stamp(1, 3)), Some(false));
        (3..100).for_each(|epoch| memory.keep(&other(epoch)));
        assert_eq!([2, 99].map(|epoch| memory.answer(stamp(epoch, 5))), [None, Some(true)]);
        assert_eq!(memory.answered.len(), EPOCHS_MAX);
    }
}
