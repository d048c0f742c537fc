//! Outputs gather into batches.

use std::collections::VecDeque;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;

use crate::mqtt::inflight::WINDOW_MAX;
use crate::mqtt::Stamp;

/// Counted for each record beside topic and payload: about what its envelope takes.
pub const RECORD_OVERHEAD_BYTES: usize = 96;
/// Most records in a batch: a window of two batches stays within any link's.
pub const BATCH_MAX: u16 = WINDOW_MAX / 2;

/// When a batch is complete: at whichever of the three comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records, at most [`BATCH_MAX`].
    pub batch_max: u16,
    /// Most bytes of topics, payloads and [`RECORD_OVERHEAD_BYTES`]. A record larger than that goes alone.
    pub batch_max_bytes: usize,
    /// Longest wait of a record for others.
    pub linger: Duration,
    /// Records of different days (UTC) do not share a batch.
    pub by_day: bool,
}

impl Limits {
    /// Most outputs in flight: one batch on its way, one gathering.
    pub fn window(&self) -> u16 {
        self.batch_max.clamp(1, BATCH_MAX) * 2
    }

    /// Most bytes in flight: as many, so that a batch can always be filled.
    pub fn window_bytes(&self) -> u64 {
        self.batch_max_bytes as u64 * 2
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the core knows it by.
    pub token: u64,
    /// What the world knows it by.
    pub stamp: Stamp,
    /// Topic the function emitted to.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// Unix time in milliseconds at which the gateway received what it was made of.
    pub received_at_ms: i64,
}

/// The last millisecond that has a date of four digits.
const LAST_MS: u64 = 253_402_300_799_999;

impl Record {
    /// The day (UTC) it was received, as `YYYY-MM-DD`.
    pub fn date(&self) -> String {
        let since_epoch = Duration::from_millis(u64::try_from(self.received_at_ms).unwrap_or(0).min(LAST_MS));
        let mut text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string();
        text.truncate("YYYY-MM-DD".len());
        text
    }

    fn day(&self) -> i64 {
        self.received_at_ms.div_euclid(86_400_000)
    }

    /// Bytes it counts for, and about what its envelope takes.
    pub(super) fn cost(&self) -> usize {
        self.topic.len() + self.payload.len() + RECORD_OVERHEAD_BYTES
    }
}

/// Records that wait to become a batch, at most [`Limits::window`] because the core sends no more. A batch holds records
/// of one epoch, which is one route's: its numbers are a range, and an alarm does not queue behind telemetry.
#[derive(Debug)]
pub struct Gather {
    limits: Limits,
    /// None of them empty.
    queues: Vec<Queue>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Queue {
    epoch: u64,
    records: VecDeque<(Instant, Record)>,
    bytes: usize,
}

impl Queue {
    fn due(&self, limits: &Limits) -> Option<Instant> {
        let (arrived, _) = self.records.front()?;
        let full = self.records.len() >= usize::from(limits.batch_max) || self.bytes >= limits.batch_max_bytes;
        Some(if full { *arrived } else { *arrived + limits.linger })
    }

    fn take(&mut self, limits: &Limits) -> Vec<Record> {
        let (mut batch, mut bytes): (Vec<Record>, usize) = (Vec::new(), 0);
        while let Some((_, record)) = self.records.front() {
            let cost = record.cost();
            if let Some(last) = batch.last() {
                let full = batch.len() >= usize::from(limits.batch_max) || bytes + cost > limits.batch_max_bytes;
                if full || limits.by_day && last.day() != record.day() {
                    break;
                }
            }
            bytes += cost;
            self.bytes = self.bytes.saturating_sub(cost);
            batch.extend(self.records.pop_front().map(|(_, record)| record));
        }
        batch
    }
}

impl Gather {
    /// Empty.
    pub fn new(limits: Limits) -> Self {
        Self { limits, queues: Vec::new(), waiting: 0 }
    }

    /// Adds a record that arrived now. False if it is beyond the window, and not taken.
    pub fn push(&mut self, now: Instant, record: Record) -> bool {
        if self.waiting >= usize::from(self.limits.window()) {
            return false;
        }
        self.waiting += 1;
        let epoch = record.stamp.epoch;
        if !self.queues.iter().any(|queue| queue.epoch == epoch) {
            self.queues.push(Queue { epoch, ..Queue::default() });
        }
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.epoch == epoch) {
            queue.bytes += record.cost();
            queue.records.push_back((now, record));
        }
        true
    }

    /// When the next batch is complete.
    pub fn due(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| queue.due(&self.limits)).min()
    }

    /// The next batch, if one is complete.
    pub fn take(&mut self, now: Instant) -> Option<Vec<Record>> {
        let due = self.due().filter(|due| *due <= now)?;
        let index = self.queues.iter().position(|queue| queue.due(&self.limits) == Some(due))?;
        let batch = self.queues.get_mut(index)?.take(&self.limits);
        self.queues.retain(|queue| !queue.records.is_empty());
        self.waiting -= batch.len();
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, payload_bytes: usize) -> Record {
        let payload = Bytes::from(vec![b'x'; payload_bytes]);
        let (stamp, topic) = (Stamp { epoch: 1, seq }, Bytes::from_static(b"t"));
        Record { token: seq, stamp, topic, payload, received_at_ms: 0 }
    }

    fn seqs(batch: Option<Vec<Record>>) -> Option<Vec<u64>> {
        batch.map(|batch| batch.iter().map(|record| record.stamp.seq).collect())
    }

    fn gather() -> Gather {
        Gather::new(Limits { batch_max: 3, batch_max_bytes: 1000, linger: Duration::from_secs(1), by_day: false })
    }

    #[test]
    fn a_batch_is_complete_by_number_or_by_time() {
        let (mut gather, start) = (gather(), Instant::now());
        assert_eq!(gather.due(), None);
        for seq in 1..=4 {
            assert!(gather.push(start, record(seq, 1)));
        }
        assert_eq!(seqs(gather.take(start)), Some(vec![1, 2, 3]));
        assert_eq!(seqs(gather.take(start)), None, "one alone waits for others");
        assert_eq!(gather.due(), Some(start + Duration::from_secs(1)));
        assert_eq!(seqs(gather.take(start + Duration::from_secs(1))), Some(vec![4]));
    }

    #[test]
    fn a_batch_is_complete_by_size_and_what_is_too_large_goes_alone() {
        let (mut gather, now) = (gather(), Instant::now());
        for (seq, bytes) in [(1, 700), (2, 5000), (3, 1)] {
            gather.push(now, record(seq, bytes));
        }
        assert_eq!(seqs(gather.take(now)), Some(vec![1]));
        assert_eq!(seqs(gather.take(now)), Some(vec![2]));
        assert_eq!(seqs(gather.take(now)), None);
    }

    #[test]
    fn routes_do_not_mix_and_none_waits_for_another() {
        let (mut gather, start) = (gather(), Instant::now());
        let other = |seq| Record { stamp: Stamp { epoch: 2, seq }, ..record(seq, 1) };
        for seq in 1..=2 {
            gather.push(start, record(seq, 1));
        }
        for seq in 1..=3 {
            gather.push(start + Duration::from_millis(10), other(seq));
        }
        let now = start + Duration::from_millis(20);
        let batch = gather.take(now).unwrap();
        assert!(batch.len() == 3 && batch.iter().all(|record| record.stamp.epoch == 2), "{batch:?}");
        assert_eq!((gather.take(now), gather.due()), (None, Some(start + Duration::from_secs(1))));
        assert_eq!(seqs(gather.take(start + Duration::from_secs(1))), Some(vec![1, 2]));
        assert_eq!(gather.due(), None);
    }

    #[test]
    fn days_do_not_mix_where_they_part_places() {
        let limits = Limits { batch_max: 4, batch_max_bytes: 1 << 20, linger: Duration::ZERO, by_day: true };
        let (mut gather, now) = (Gather::new(limits), Instant::now());
        let noon = 1_764_028_800_000 - 12 * 3_600_000;
        for (seq, received_at_ms) in [(1, noon), (2, noon + 12 * 3_600_000 - 1), (3, noon + 12 * 3_600_000), (4, -1)] {
            gather.push(now, Record { received_at_ms, ..record(seq, 1) });
        }
        let batches: Vec<_> = std::iter::from_fn(|| gather.take(now)).collect();
        let dates: Vec<_> = batches.iter().map(|batch| batch[0].date()).collect();
        assert_eq!(
            batches.into_iter().map(|batch| seqs(Some(batch)).unwrap()).collect::<Vec<_>>(),
            [vec![1, 2], vec![3], vec![4]]
        );
        assert_eq!(dates, ["2025-11-24", "2025-11-25", "1970-01-01"]);
        assert_eq!(Record { received_at_ms: i64::MAX, ..record(1, 1) }.date(), "9999-12-31");
    }

    #[test]
    fn what_is_beyond_the_window_is_not_taken() {
        let (mut gather, now) = (gather(), Instant::now());
        let taken = (1..=9).filter(|seq| gather.push(now, record(*seq, 1))).count();
        assert_eq!(taken, 6);
        let most = Limits { batch_max: u16::MAX, batch_max_bytes: 1, linger: Duration::ZERO, by_day: false };
        assert_eq!(most.window(), WINDOW_MAX);
    }

    #[test]
    fn what_may_be_in_flight_fills_a_batch_beside_the_one_on_its_way() {
        let (mut gather, now) = (gather(), Instant::now());
        let window_bytes = gather.limits.window_bytes();
        // As the core counts: topic and payload, up to the first that is over.
        let sent = (1..).map(|seq| record(seq, 399)).scan(0, |bytes, record| {
            let fits = *bytes < window_bytes;
            *bytes += (record.topic.len() + record.payload.len()) as u64;
            fits.then_some(record)
        });
        assert!(sent.fuse().all(|record| gather.push(now, record)));
        assert_eq!(seqs(gather.take(now)), Some(vec![1, 2]));
        assert_eq!(seqs(gather.take(now)), Some(vec![3, 4]), "complete without waiting for others");
    }
}
