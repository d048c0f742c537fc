//! What arrived, stream by stream. Memory grows with disorder, not with the length of the dump.

use std::collections::HashMap;

use super::fingerprints::{Fingerprints, Repetition};
use super::ranges::Ranges;
use super::record::Record;

/// Most streams (gateway, epoch and uplink) in one dump.
pub const STREAMS_MAX: usize = 1 << 16;
/// Most ranges of sequence numbers, all streams together; some 40 bytes each.
pub const RANGES_MAX: usize = 1 << 20;
/// Most conflicts of one stream that are named; all are counted.
pub const CONFLICTS_NAMED_MAX: usize = 20;

/// Records that share one count of sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub gateway: String,
    pub epoch: u64,
    /// If the dump names it.
    pub uplink: Option<String>,
}

/// Two different records under one number.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    pub seq: u64,
    /// Where the later one stands.
    pub line: u64,
}

/// What arrived of one stream.
#[derive(Debug)]
pub struct Stream {
    pub key: Key,
    /// Distinct sequence numbers.
    pub arrived: Ranges,
    pub records: u64,
    /// Records under a number that had come before.
    pub duplicates: u64,
    /// Records under a new number that came after a higher one.
    pub out_of_order: u64,
    /// Of the duplicates, those with another topic or payload.
    pub conflicts: u64,
    /// The first of them.
    pub named: Vec<Conflict>,
    /// Of the duplicates, those the dump gives no payload to compare of.
    pub without_payload: u64,
    /// Of the duplicates, those too far behind the first record under their number to be compared.
    pub forgotten: u64,
}

impl Stream {
    /// One of which nothing arrived.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            arrived: Ranges::default(),
            records: 0,
            duplicates: 0,
            out_of_order: 0,
            conflicts: 0,
            named: Vec::new(),
            without_payload: 0,
            forgotten: 0,
        }
    }

    fn repeated(&mut self, seq: u64, line: u64, repetition: Repetition) {
        self.duplicates += 1;
        match repetition {
            Repetition::Same => {}
            Repetition::NoPayload => self.without_payload += 1,
            Repetition::Forgotten => self.forgotten += 1,
            Repetition::Differs => {
                self.conflicts += 1;
                if self.named.len() < CONFLICTS_NAMED_MAX {
                    self.named.push(Conflict { seq, line });
                }
            }
        }
    }
}

/// The dump needs more memory than is given to it.
#[derive(Debug, PartialEq, Eq)]
pub enum Full {
    Streams,
    Ranges,
}

/// The audit of a dump, as far as it has been read.
#[derive(Default)]
pub struct Audit {
    streams: Vec<Stream>,
    by_key: HashMap<Key, usize>,
    /// Stream of the last record: the next one is most often of the same.
    recent: usize,
    ranges: usize,
    fingerprints: Fingerprints,
}

impl Audit {
    /// Takes the record on line `line`.
    ///
    /// # Errors
    /// One stream or range more than there may be.
    pub fn add(&mut self, record: Record, line: u64) -> Result<(), Full> {
        let (seq, hash) = (record.stamp.seq, record.hash);
        let index = self.stream(record)?;
        let Some(stream) = self.streams.get_mut(index) else { return Err(Full::Streams) };
        self.recent = index;
        stream.records += 1;
        let highest = stream.arrived.last();
        let ranges = stream.arrived.len();
        // There are at most STREAMS_MAX.
        let number = index as u32;
        if !stream.arrived.insert(seq) {
            stream.repeated(seq, line, self.fingerprints.compare(number, seq, hash));
            return Ok(());
        }
        self.fingerprints.note(number, seq, hash);
        stream.out_of_order += u64::from(highest.is_some_and(|highest| seq < highest));
        self.ranges = self.ranges + stream.arrived.len() - ranges;
        if self.ranges > RANGES_MAX {
            return Err(Full::Ranges);
        }
        Ok(())
    }

    fn stream(&mut self, record: Record) -> Result<usize, Full> {
        let key = Key { gateway: record.stamp.gateway, epoch: record.stamp.epoch, uplink: record.uplink };
        if self.streams.get(self.recent).is_some_and(|stream| stream.key == key) {
            return Ok(self.recent);
        }
        if let Some(index) = self.by_key.get(&key) {
            return Ok(*index);
        }
        if self.streams.len() >= STREAMS_MAX {
            return Err(Full::Streams);
        }
        self.by_key.insert(key.clone(), self.streams.len());
        self.streams.push(Stream::new(key));
        Ok(self.streams.len() - 1)
    }

    /// What arrived, by gateway, epoch and uplink.
    pub fn finish(mut self) -> Vec<Stream> {
        self.streams.sort_by(|a, b| a.key.cmp(&b.key));
        self.streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::Stamp;

    fn record(gateway: &str, seq: u64, hash: Option<u64>) -> Record {
        Record { stamp: Stamp { gateway: gateway.to_owned(), epoch: 1, seq }, uplink: None, hash }
    }

    #[test]
    fn disorder_has_a_limit() {
        let mut audit = Audit::default();
        for n in 0..RANGES_MAX as u64 {
            audit.add(record("g", 2 * n + 1, None), n).unwrap();
        }
        audit.add(record("g", 2, None), 0).expect("joins two ranges");
        audit.add(record("h", 5, None), 0).expect("there is room for one");
        assert_eq!(audit.add(record("h", 9, None), 0), Err(Full::Ranges));
    }

    #[test]
    fn streams_have_a_limit() {
        let mut audit = Audit::default();
        for n in 0..STREAMS_MAX {
            audit.add(record(&n.to_string(), 1, None), 1).unwrap();
        }
        audit.add(record("0", 2, None), 1).expect("a known stream");
        assert_eq!(audit.add(record("x", 1, None), 1), Err(Full::Streams));
    }

    #[test]
    fn conflicts_are_all_counted_and_the_first_ones_named() {
        let mut audit = Audit::default();
        for line in 0..50 {
            audit.add(record("g", 7, Some(line << 40)), line).unwrap();
        }
        let streams = audit.finish();
        assert_eq!((streams[0].conflicts, streams[0].named.len()), (49, CONFLICTS_NAMED_MAX));
        assert_eq!(streams[0].named[0], Conflict { seq: 7, line: 1 });
    }
}
