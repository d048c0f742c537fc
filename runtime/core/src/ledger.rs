//! The loss ledger: `received = delivered + pending + dropped(reason)`, at every instant, for messages as a whole and
//! for each stream of outputs. `pending` is counted on its own, so that the equation is a check and not a definition.

mod counts;
mod unrecorded;

use eyot_spool::Lsn;
use eyot_wire::code::DropReason;
use eyot_wire::record::Record;
use serde::{Deserialize, Serialize};

use crate::finished::FinishedList;
use crate::passing::{survey, Passing};
use crate::wear::Counted;
use unrecorded::UnrecordedList;

const REASONS: usize = DropReason::ALL.len();

/// One balanced account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// All that came in.
    pub received: u64,
    /// All that is done with: acknowledged by its destination.
    pub delivered: u64,
    /// In the log and not yet done with.
    pub pending: u64,
    #[serde(with = "counts")]
    dropped: [u64; REASONS],
}

impl Account {
    /// What was given up for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// What was given up for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether nothing is unaccounted for.
    pub fn is_balanced(&self) -> bool {
        self.received == self.delivered + self.pending + self.dropped_total()
    }

    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.delivered += other.delivered;
        self.pending += other.pending;
        for (sum, count) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += count;
        }
    }

    pub(crate) fn drop_new(&mut self, reason: DropReason, count: u64) {
        self.received += count;
        self.add_dropped(reason, count);
    }

    pub(crate) fn drop_pending(&mut self, reason: DropReason, count: u64) {
        let moved = count.min(self.pending);
        self.pending -= moved;
        self.add_dropped(reason, moved);
    }

    pub(crate) fn deliver_pending(&mut self, count: u64) {
        let moved = count.min(self.pending);
        self.pending -= moved;
        self.delivered += moved;
    }

    fn take_back_pending(&mut self) {
        take_back(&mut self.pending, &mut self.received, 1);
    }

    fn take_back_delivered(&mut self) {
        take_back(&mut self.delivered, &mut self.received, 1);
    }

    fn take_back_dropped(&mut self, reason: DropReason, count: u64) {
        if let Some(slot) = self.dropped.get_mut(reason as usize) {
            take_back(slot, &mut self.received, count);
        }
    }

    pub(crate) fn add_dropped(&mut self, reason: DropReason, count: u64) {
        if let Some(slot) = self.dropped.get_mut(reason as usize) {
            *slot += count;
        }
    }
}

/// So many less came in. What damage took may have been guessed to be one of these; then that stays.
fn take_back(slot: &mut u64, received: &mut u64, count: u64) {
    let moved = (*slot).min(count);
    *slot -= moved;
    *received -= moved;
}

/// The outputs of one route of an uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamAccount {
    /// Number in the log's records.
    pub stream: u8,
    /// Name of the uplink, with a slash and the route's name if it has one; `local` for the local broker.
    pub name: String,
    /// Identity of this count of outputs: drawn at random when the stream was new, below 2^53 and not 0.
    pub epoch: u64,
    /// Every record up to here is done with, for this stream.
    pub passed: Lsn,
    /// Sequence number of the first output after `passed`.
    pub resume_seq: u64,
    /// Numbers below this that the log does not hold are counted as dropped already.
    pub counted_seq: u64,
    /// Sequence number of the next output.
    pub next_seq: u64,
    /// Its outputs.
    pub outputs: Account,
    /// Bytes of the pending ones: topics and payloads.
    pub pending_bytes: u64,
    /// What streams came to that this one took the place of, under epochs of their own.
    pub earlier: Account,
}

/// Between the name of a stream and what tells a backlog from the stream that took its place: its epoch.
const BEHIND: char = '~';

impl StreamAccount {
    /// A new one that begins after `passed`.
    pub(crate) fn new(stream: u8, name: String, epoch: u64, passed: Lsn) -> Self {
        Self { stream, name, epoch, passed, resume_seq: 1, counted_seq: 1, next_seq: 1, ..Self::default() }
    }

    /// The name of the stream that took its place; its own if there is none.
    pub fn base(&self) -> &str {
        self.name.split(BEHIND).next().unwrap_or_default()
    }

    /// The uplink it belongs to.
    pub fn uplink(&self) -> &str {
        self.base().split('/').next().unwrap_or_default()
    }

    /// Whether it is a backlog behind another stream.
    pub fn is_behind(&self) -> bool {
        self.name.contains(BEHIND)
    }

    /// Its outputs and those of the streams it took the place of.
    pub fn total(&self) -> Account {
        let mut total = self.outputs.clone();
        total.add(&self.earlier);
        total
    }

    pub(crate) fn enter(&mut self, bytes: u64) {
        self.outputs.received += 1;
        self.outputs.pending += 1;
        self.pending_bytes += bytes;
    }

    /// So many pending bytes are done with. Sizes of what was lost are guessed, so nothing may be left of the guess.
    pub(crate) fn shed(&mut self, bytes: u64) {
        self.pending_bytes = if self.outputs.pending == 0 { 0 } else { self.pending_bytes.saturating_sub(bytes) };
    }
}

/// Everything counted. Kept in the log: whole in checkpoints and progress frames, and brought up to date by the
/// commit records after them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Messages. One with several outputs is pending until the last of them is done with; one without is delivered
    /// when it is committed.
    pub messages: Account,
    /// Of the delivered messages, how many had no output: the functions took note and said nothing.
    pub without_output: u64,
    /// Of the received messages, how many the broker marked as possible redeliveries.
    pub redelivered: u64,
    /// One account for each stream.
    pub streams: Vec<StreamAccount>,
    /// Written behind all that, so that logs without it are read as well.
    #[serde(skip)]
    pub(crate) wear: Counted,
    /// Rewrites of the log that are accounted for. Written there as well.
    #[serde(skip)]
    pub rewrites: u64,
    /// And so are these.
    #[serde(skip)]
    pub(crate) finished: FinishedList,
    /// Refused outputs that no dead letter is kept of. Written there as well.
    #[serde(skip)]
    pub letters_dropped: u64,
    /// What is in the rest already and no record says. Not written anywhere.
    #[serde(skip)]
    pub(crate) unrecorded: UnrecordedList,
}

impl Ledger {
    /// Whether every account balances.
    pub fn is_balanced(&self) -> bool {
        self.messages.is_balanced() && self.streams.iter().all(|s| s.outputs.is_balanced())
    }

    /// The account of a stream.
    pub fn stream(&self, stream: u8) -> Option<&StreamAccount> {
        self.streams.iter().find(|s| s.stream == stream)
    }

    pub(crate) fn stream_mut(&mut self, stream: u8) -> Option<&mut StreamAccount> {
        self.streams.iter_mut().find(|s| s.stream == stream)
    }

    pub(crate) fn passed(&self, stream: u8) -> Lsn {
        self.stream(stream).map_or(0, |s| s.passed)
    }

    /// Backlogs behind the stream of this name.
    pub(crate) fn behind<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a StreamAccount> {
        self.streams.iter().filter(move |s| s.is_behind() && s.base() == name)
    }

    /// A new stream takes the name of `old`, which becomes a backlog behind it. None if there is no number left for it.
    pub(crate) fn succeed(&mut self, old: u8, epoch: u64, passed: Lsn) -> Option<u8> {
        let number = (0..STREAMS_MAX).find(|n| self.stream(*n).is_none())?;
        let account = self.stream_mut(old)?;
        let name = account.name.clone();
        account.name = format!("{name}{BEHIND}{}", account.epoch);
        let earlier = std::mem::take(&mut account.earlier);
        self.streams.push(StreamAccount { earlier, ..StreamAccount::new(number, name, epoch, passed) });
        Some(number)
    }

    /// Adds the backlogs that are done with, of those that `may_go`, to the streams that took their place. Returns their
    /// numbers.
    pub(crate) fn retire(&mut self, may_go: impl Fn(u8) -> bool) -> Vec<u8> {
        let is_done = |s: &StreamAccount| s.is_behind() && s.outputs.pending == 0 && may_go(s.stream);
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.streams).into_iter().partition(is_done);
        self.streams = stay;
        for old in &gone {
            if let Some(base) = self.streams.iter_mut().find(|s| s.name == old.base()) {
                base.earlier.add(&old.outputs);
            }
            self.keep_finished(old);
        }
        gone.iter().map(|s| s.stream).collect()
    }

    /// A message enters with its outputs. `mask` has a bit for each stream it has outputs in.
    pub(crate) fn enter(&mut self, mask: u32, dropped: Option<DropReason>, redelivered: bool) {
        self.redelivered += u64::from(redelivered);
        match dropped {
            Some(reason) => self.messages.drop_new(reason, 1),
            None if mask == 0 => {
                self.messages.received += 1;
                self.messages.delivered += 1;
                self.without_output += 1;
            }
            None => {
                self.messages.received += 1;
                self.messages.pending += 1;
            }
        }
    }

    /// The next sequence number of `stream`, for an output of so many `bytes` that enters it.
    pub(crate) fn enter_output(&mut self, stream: u8, bytes: u64) -> u64 {
        let Some(account) = self.stream_mut(stream) else { return 0 };
        account.enter(bytes);
        let seq = account.next_seq;
        account.next_seq += 1;
        seq
    }

    /// The sequence number of the first output after what `stream` passed.
    pub(crate) fn resume_seq(&self, stream: u8) -> u64 {
        self.stream(stream).map_or(1, |s| s.resume_seq)
    }

    /// The outputs of `stream` with numbers from `expected` and below `found` cannot be read back from the log. Their
    /// messages are taken for one each. What was found missing before is not counted again.
    pub(crate) fn lose(&mut self, stream: u8, expected: u64, found: u64) {
        let Some(account) = self.stream_mut(stream) else { return };
        let outputs = found.saturating_sub(expected.max(account.counted_seq));
        if outputs > 0 {
            account.counted_seq = found;
            let mean_bytes = account.pending_bytes / account.outputs.pending.max(1);
            account.outputs.drop_pending(DropReason::Corrupt, outputs);
            account.shed(mean_bytes.saturating_mul(outputs));
            self.messages.drop_pending(DropReason::Corrupt, outputs);
        }
    }

    /// The log gives up the record at `lsn`: whatever streams are not done with it drop its outputs.
    pub(crate) fn evict(&mut self, lsn: Lsn, body: &[u8]) {
        let streams: Vec<u8> = self.streams.iter().filter(|s| s.passed < lsn).map(|s| s.stream).collect();
        for stream in streams {
            match survey(lsn, body, stream) {
                Some(passing) if passing.outputs > 0 => {
                    // A segment before this one may have gone unread.
                    self.lose(stream, self.resume_seq(stream), passing.first_seq);
                    self.pass(stream, &passing, passing.outputs, DropReason::SpoolFullOldest);
                }
                _ => {}
            }
        }
    }

    /// The newest record found no place in the log: its outputs are counted as dropped and their numbers freed.
    pub(crate) fn withdraw(&mut self, record: &Record<'_>) {
        self.leave(record);
        for route in record.outputs().flat_map(|output| output.routes()) {
            self.drop_unrecorded(Some(route.stream), DropReason::Malformed);
        }
        if !record.is_letter {
            self.drop_unrecorded(None, record.dropped.unwrap_or(DropReason::Malformed));
        }
    }

    /// Takes back what a record that is not durable yet brought with it: as if it had not entered.
    pub(crate) fn leave(&mut self, record: &Record<'_>) {
        let mut mask = 0;
        for output in record.outputs() {
            for route in output.routes() {
                mask |= bit(route.stream);
                let Some(account) = self.stream_mut(route.stream) else { continue };
                account.outputs.take_back_pending();
                account.shed(output.bytes());
                account.next_seq = account.next_seq.min(route.seq);
            }
        }
        if record.is_letter {
            return;
        }
        self.redelivered = self.redelivered.saturating_sub(u64::from(record.is_redelivered));
        match record.dropped {
            Some(reason) => self.messages.take_back_dropped(reason, 1),
            None if mask == 0 => {
                self.messages.take_back_delivered();
                self.without_output = self.without_output.saturating_sub(1);
            }
            None => self.messages.take_back_pending(),
        }
    }

    /// The stream is done with the record at `lsn`, of which `given_up` outputs were dropped for `reason`.
    pub(crate) fn pass(&mut self, stream: u8, record: &Passing, given_up: u64, reason: DropReason) {
        let others_done = self
            .streams
            .iter()
            .all(|s| s.stream == stream || record.mask & bit(s.stream) == 0 || s.passed >= record.lsn);
        let Some(account) = self.stream_mut(stream) else { return };
        if account.passed >= record.lsn {
            return;
        }
        account.passed = record.lsn;
        account.resume_seq = account.resume_seq.max(record.end_seq);
        account.outputs.deliver_pending(record.outputs.saturating_sub(given_up));
        account.outputs.drop_pending(reason, given_up.min(record.outputs));
        account.shed(record.bytes);
        if record.message_is_open && others_done {
            if given_up > 0 {
                self.messages.drop_pending(reason, 1);
            } else {
                self.messages.deliver_pending(1);
            }
        }
    }
}

/// Most streams of one gateway, present and past.
pub const STREAMS_MAX: u8 = 32;

/// The bit of `stream` in a mask of streams.
pub(crate) const fn bit(stream: u8) -> u32 {
    if stream < STREAMS_MAX {
        1 << stream
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_streams() -> Ledger {
        let stream = |stream| StreamAccount { stream, next_seq: 1, resume_seq: 1, ..StreamAccount::default() };
        Ledger { streams: vec![stream(0), stream(1)], ..Ledger::default() }
    }

    #[test]
    fn a_message_is_pending_until_its_last_output_is_done_with() {
        let mut ledger = two_streams();
        ledger.enter(0b11, None, false);
        assert_eq!((ledger.enter_output(0, 10), ledger.enter_output(1, 10), ledger.enter_output(1, 10)), (1, 1, 2));
        let record = Passing { lsn: 7, mask: 0b11, outputs: 2, message_is_open: true, ..Passing::default() };
        ledger.pass(1, &record, 0, DropReason::Refused);
        assert_eq!((ledger.messages.pending, ledger.messages.delivered), (1, 0));
        ledger.pass(0, &Passing { outputs: 1, ..record }, 0, DropReason::Refused);
        assert_eq!((ledger.messages.pending, ledger.messages.delivered), (0, 1));
        ledger.pass(0, &Passing { outputs: 1, ..record }, 0, DropReason::Refused);
        assert_eq!(ledger.messages.delivered, 1, "a record passes once");
        assert!(ledger.is_balanced());
    }

    #[test]
    fn drops_and_silence_balance() {
        let mut ledger = two_streams();
        ledger.enter(0, None, true);
        ledger.enter(1, Some(DropReason::DeadLetter), false);
        ledger.enter_output(0, 10);
        ledger.messages.drop_new(DropReason::IntakeFull, 5);
        let record = Passing { lsn: 2, mask: 1, outputs: 1, ..Passing::default() };
        ledger.pass(0, &record, 1, DropReason::Refused);
        assert_eq!((ledger.messages.received, ledger.messages.dropped_total(), ledger.without_output), (7, 6, 1));
        assert_eq!(ledger.streams[0].outputs.dropped(DropReason::Refused), 1);
        assert!(ledger.is_balanced());
    }
}
