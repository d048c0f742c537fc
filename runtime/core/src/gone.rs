//! What a rewrite of the log leaves in place of outputs, and what it has to tell the ledger.

use eyot_spool::Lsn;
use eyot_wire::code::DropReason;
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, STREAMS_MAX};

/// Sequence numbers of one stream that are gone, from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hole {
    pub stream: u8,
    pub first: u64,
    pub end: u64,
}

/// Holes in the order of the log, joined where they touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holes(Vec<Hole>);

impl Holes {
    pub fn add(&mut self, hole: Hole) {
        match self.0.iter_mut().rev().find(|h| h.stream == hole.stream) {
            Some(last) if last.end == hole.first => last.end = hole.end,
            _ => self.0.push(hole),
        }
    }

    /// Forgets those of a stream that goes on behind them.
    pub fn forget(&mut self, stream: u8) {
        self.0.retain(|hole| hole.stream != stream);
    }

    /// Moves those of a stream to the end of `to`.
    pub fn move_stream_to(&mut self, stream: u8, to: &mut Self) {
        self.0.iter().filter(|hole| hole.stream == stream).for_each(|hole| to.add(*hole));
        self.forget(stream);
    }

    /// Moves all of them to the end of `to`.
    pub fn move_to(&mut self, to: &mut Self) {
        for hole in self.0.drain(..) {
            to.add(hole);
        }
    }

    /// Appends them to `out`, which stays empty if there are none, and forgets them.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        if let Ok(written) = postcard::to_extend(&self.0, std::mem::take(out)) {
            *out = written;
        }
        self.0.clear();
    }

    /// Reads what [`write`](Self::write) wrote.
    pub fn read(bytes: &[u8]) -> Vec<Hole> {
        postcard::from_bytes(bytes).unwrap_or_default()
    }
}

/// What one rewrite dropped. It stands in the head of the segment it made, so that a ledger that was not written down
/// after it can catch up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Toll {
    /// Counts the rewrites of a log.
    pub number: u64,
    pub reason: DropReason,
    /// Messages with nothing left in the log.
    pub messages: u64,
    /// By stream.
    pub streams: Vec<StreamToll>,
}

/// What a stream has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamToll {
    pub stream: u8,
    pub outputs: u32,
    /// Topics and payloads, with what others became shorter.
    pub bytes: u32,
}

impl Toll {
    pub fn new(number: u64, reason: DropReason) -> Self {
        Self { number, reason, messages: 0, streams: Vec::new() }
    }

    pub fn add(&mut self, stream: u8, outputs: u32, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(toll) = self.streams.iter_mut().find(|toll| toll.stream == stream) {
            toll.outputs += outputs;
            toll.bytes = toll.bytes.saturating_add(bytes);
        } else if self.streams.len() < usize::from(STREAMS_MAX) {
            self.streams.push(StreamToll { stream, outputs, bytes });
        }
    }

    pub fn outputs_total(&self) -> u64 {
        self.streams.iter().map(|toll| u64::from(toll.outputs)).sum()
    }

    pub fn bytes_total(&self) -> u64 {
        self.streams.iter().map(|toll| u64::from(toll.bytes)).sum()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        if let Ok(written) = postcard::to_extend(self, std::mem::take(out)) {
            *out = written;
        }
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl Ledger {
    /// The log gives up what stood for outputs that are accounted for: streams go on behind them.
    pub(crate) fn evict_gone(&mut self, lsn: Lsn, body: &[u8]) {
        for hole in Holes::read(body) {
            if self.passed(hole.stream) > lsn {
                continue;
            }
            self.lose(hole.stream, self.resume_seq(hole.stream), hole.first);
            if let Some(account) = self.stream_mut(hole.stream) {
                account.resume_seq = account.resume_seq.max(hole.end);
            }
        }
    }

    /// A rewrite of the log dropped outputs. Counts once, whether it is told by the rewrite itself or by what recovery
    /// finds of it.
    pub(crate) fn pay(&mut self, toll: &Toll) {
        if toll.number <= self.rewrites {
            return;
        }
        self.rewrites = toll.number;
        for lost in &toll.streams {
            if let Some(account) = self.stream_mut(lost.stream) {
                account.outputs.drop_pending(toll.reason, u64::from(lost.outputs));
                account.shed(u64::from(lost.bytes));
            }
        }
        self.messages.drop_pending(toll.reason, toll.messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(stream: u8, first: u64, end: u64) -> Hole {
        Hole { stream, first, end }
    }

    #[test]
    fn holes_join_where_they_touch_and_read_back() {
        let mut holes = Holes::default();
        for one in [hole(0, 5, 6), hole(1, 9, 10), hole(0, 6, 7), hole(0, 9, 10)] {
            holes.add(one);
        }
        let mut bytes = Vec::new();
        holes.write(&mut bytes);
        assert_eq!(Holes::read(&bytes), [hole(0, 5, 7), hole(1, 9, 10), hole(0, 9, 10)]);
        bytes.clear();
        holes.write(&mut bytes);
        assert!(bytes.is_empty(), "nothing is written of none");
    }

    /// The head of a segment has 416 bytes for it.
    #[test]
    fn the_largest_toll_fits_and_reads_back() {
        let stream = |stream| StreamToll { stream, outputs: u32::MAX, bytes: u32::MAX };
        let streams = (0..STREAMS_MAX).map(stream).collect();
        let toll = Toll { number: u64::MAX, reason: DropReason::Reduced, messages: u64::MAX, streams };
        let mut bytes = Vec::new();
        toll.write(&mut bytes);
        assert!(bytes.len() <= 416, "{}", bytes.len());
        assert_eq!(Toll::read(&bytes), Some(toll));
    }
}
