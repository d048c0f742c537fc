//! When and which old segments are rewritten, slice by slice: when the log passes the reducer's watermark, and when it is
//! full and some outputs matter more than others.
//!
//! Every stream stands still in the segments at hand from the beginning of a rewrite to its end, and how far it is done
//! there is durable: so what the rewrite drops is the same whether the ledger learns of it at once or, after a power cut,
//! from the note in the new segment. If a stream moves all the same, the rewrite is given up.

use eyot_spool::{Commit, Lsn, RewriteStep, Rewritten, Sealed};

use super::*;
use crate::commit::STORAGE_RETRY_US;
use crate::thinning::{Decider, Purpose, Standing, Thinning, FULL_FUEL_MAX};

/// Most segments that go into one rewrite, beside the one they are merged with.
const SEGMENTS_MAX: usize = 4;
/// A slice ends when this much fuel is used, or this many frames were looked at: some tens of milliseconds.
const SLICE_FUEL: u64 = 1_000_000;
const SLICE_FRAMES: u32 = 256;
/// When nothing can be rewritten, the next look is this much later.
const LOOK_AGAIN_US: u64 = 200_000;
/// A rewrite by the reducer is worth its while if one part in so many goes of what it was shown.
const WORTH_PARTS: u64 = 16;
/// After one that was not, the reducer rests for this long, and twice as long after each further one, up to the most.
const REST_MIN_US: u64 = 1_000_000;
const REST_MAX_US: u64 = 60_000_000;

/// The rewriting side of the machine.
pub(super) struct Thinner<F> {
    under_way: Option<Thinning>,
    /// Waits until no sync of a commit is under way.
    to_sync: Option<Commit<F>>,
    syncing: Option<u64>,
    /// What the last rewrite dropped is written down when this batch is durable; none if it is.
    unpaid_until: Option<u64>,
    /// A segment too full to be merged with the next.
    full_segment: Option<u64>,
    /// The first of the segments at hand.
    first_segment: u64,
    look_again_us: u64,
    /// After a failure of the disk.
    retry_at_us: u64,
    /// The reducer rests until then, and how long the last time; 0 if its last rewrite was worth its while.
    rests_until_us: u64,
    rest_us: u64,
}

/// Whether a segment can be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Still,
    /// As soon as it is durable how far the streams are done.
    Undurable,
    /// A stream moves there.
    Moving,
}

/// What to rewrite.
enum Choice {
    Segments {
        first: u64,
        last: u64,
        mark: u64,
        /// Frames up to here are only merged.
        done_upto: Lsn,
    },
    /// There will be something.
    AfterFlush,
}

impl<F> Default for Thinner<F> {
    fn default() -> Self {
        let (under_way, to_sync, syncing, unpaid_until, full_segment) = (None, None, None, None, None);
        Self {
            under_way,
            to_sync,
            syncing,
            unpaid_until,
            full_segment,
            first_segment: 0,
            look_again_us: 0,
            retry_at_us: 0,
            rests_until_us: 0,
            rest_us: 0,
        }
    }
}

impl<F> Thinner<F> {
    /// Whether this sync is one of a rewrite.
    pub fn awaits(&self, sync: u64) -> bool {
        self.syncing == Some(sync)
    }

    /// All up to this batch is durable.
    pub fn committed(&mut self, durable: u64) {
        self.unpaid_until = self.unpaid_until.filter(|batch| *batch > durable);
    }

    /// The reducer is done with some segments.
    fn rest(&mut self, was_worth: bool, mono_us: u64) {
        self.rest_us = if was_worth { 0 } else { (2 * self.rest_us).clamp(REST_MIN_US, REST_MAX_US) };
        self.rests_until_us = mono_us + self.rest_us;
    }

    /// Only one rewrite at a time, and none before what the last one dropped is written down.
    fn is_busy(&self) -> bool {
        self.under_way.is_some() || self.syncing.is_some() || self.unpaid_until.is_some()
    }
}

impl<S: Storage> Core<S> {
    /// A slice of the rewrite under way, or the beginning of one if the backlog has passed the watermark.
    pub(super) fn thin(&mut self) {
        if self.thinner.under_way.is_none() {
            let is_due = self.now.mono_us >= self.thinner.look_again_us;
            if is_due && self.is_past_watermark() && !self.thinner.is_busy() && !self.begin_thinning() {
                self.thinner.look_again_us = self.now.mono_us + LOOK_AGAIN_US;
            }
            return;
        }
        if !self.may_thin() || self.is_disturbed() {
            return self.give_up_thinning();
        }
        if self.thinner.to_sync.is_some() {
            self.sync_rewrite();
        } else if self.thinner.syncing.is_none() {
            self.slice();
        }
    }

    /// Whether a rewrite makes room, or is about to: then nothing has to be evicted.
    pub(super) fn thins_instead(&mut self) -> bool {
        self.thinner.is_busy() || self.begin_thinning()
    }

    /// When to look again for something to rewrite.
    pub(super) fn thin_due_us(&self) -> Option<u64> {
        let waits = self.may_thin() && self.is_past_watermark() && !self.thinner.is_busy();
        waits.then_some(self.thinner.look_again_us.max(self.thinner.retry_at_us))
    }

    fn may_thin(&self) -> bool {
        !self.draining && !self.committer.failed
    }

    fn is_past_watermark(&self) -> bool {
        let Some(reduce) = &self.config.reduce else { return false };
        // Of what the log takes before it is full, which is less than the quota: else it would be full before.
        let (filled_bytes, most_bytes) = self.committer.spool.filled();
        u128::from(filled_bytes) * 100 >= u128::from(most_bytes) * u128::from(reduce.at_percent)
    }

    /// What to try, in this order: less of everything, then nothing of what matters least.
    fn purposes(&self) -> Vec<Purpose> {
        let mut purposes = Vec::new();
        let rests = self.now.mono_us < self.thinner.rests_until_us;
        if self.reducer.is_some() && self.is_past_watermark() && !rests {
            purposes.push(Purpose::Reduce);
        }
        if self.room == Room::Full && self.config.when_full == WhenFull::DropOldest {
            for most in [Priority::Low, Priority::Normal] {
                let is_concerned = |stream: u8| self.streams.priority(stream) <= most;
                let streams = || self.ledger.streams.iter();
                let spares_some = streams().any(|s| !is_concerned(s.stream));
                if spares_some && streams().any(|s| is_concerned(s.stream) && s.outputs.pending > 0) {
                    purposes.push(Purpose::GiveUp(most));
                }
            }
        }
        purposes
    }

    fn begin_thinning(&mut self) -> bool {
        if !self.may_thin() || self.now.mono_us < self.thinner.retry_at_us {
            return false;
        }
        for purpose in self.purposes() {
            let (first, last, mark, done_upto) = match self.choose(purpose) {
                Some(Choice::Segments { first, last, mark, done_upto }) => (first, last, mark, done_upto),
                Some(Choice::AfterFlush) => {
                    self.await_flush();
                    return true;
                }
                None => continue,
            };
            match self.committer.spool.begin_rewrite(first, last, mark) {
                Ok(true) => {
                    let standing = |s: &crate::ledger::StreamAccount| Standing {
                        stream: s.stream,
                        passed: s.passed,
                        priority: self.streams.priority(s.stream),
                    };
                    let standings = self.ledger.streams.iter().map(standing).collect();
                    let state = self.reducer.as_ref().map(|active| eyot_engine::State::clone(active.instances.state()));
                    let number = self.ledger.rewrites + 1;
                    self.thinner.first_segment = first;
                    self.thinner.under_way = Some(Thinning::new(purpose, number, done_upto, standings, state));
                    self.more = true;
                    return true;
                }
                Ok(false) => {}
                Err(error) => {
                    self.thinning_failed(&error);
                    break;
                }
            }
        }
        false
    }

    /// Writes the ledger down before anything else is rewritten.
    fn await_flush(&mut self) {
        self.thinner.unpaid_until = Some(self.committer.ledger_changed_for_good(self.now.mono_us));
        self.thinner.look_again_us = self.now.mono_us;
        self.more = true;
    }

    /// The oldest segments this was not done to and nobody moves in, with a small one in front that it was done to.
    fn choose(&self, purpose: Purpose) -> Option<Choice> {
        let sealed: Vec<Sealed> = self.committer.spool.sealed().collect();
        let done = purpose.mark();
        let wanting = sealed.iter().enumerate().filter(|(_, s)| s.mark & done != done);
        let (start, stand) = wanting.map(|(index, s)| (index, self.stand(s))).find(|(_, s)| *s != Stand::Moving)?;
        if stand == Stand::Undurable {
            return Some(Choice::AfterFlush);
        }
        let oldest = sealed.get(start)?;
        let mark = oldest.mark | done;
        let alike = |s: &&Sealed| s.mark == oldest.mark && self.stand(s) == Stand::Still;
        let last = sealed.iter().skip(start).take(SEGMENTS_MAX).take_while(alike).last()?;
        let merged = start.checked_sub(1).and_then(|before| sealed.get(before)).filter(|s| {
            let is_small = s.bytes.saturating_mul(2) <= oldest.bytes && self.thinner.full_segment != Some(s.id);
            s.mark == mark && is_small && self.stand(s) == Stand::Still
        });
        let done_upto = merged.map_or(0, |s| s.last_lsn);
        Some(Choice::Segments { first: merged.unwrap_or(oldest).id, last: last.id, mark, done_upto })
    }

    /// The streams that may go on at any time, and the frame they have reached.
    fn moving(&self, stream: u8) -> Option<Lsn> {
        self.lanes.iter().find_map(|lane| {
            let forwarder = lane.forwarders().find(|f| f.stream == stream)?;
            let moves = lane.traffic.conn.is_some() || lane.link.is_none() || forwarder.moves_alone();
            moves.then(|| forwarder.reached())
        })
    }

    /// Whether a stream moves in the segment, and how far it is done there is durable.
    fn stand(&self, segment: &Sealed) -> Stand {
        let mut stand = Stand::Still;
        for account in &self.ledger.streams {
            let durable = self.committer.spool.acked_durably(account.stream);
            if durable >= segment.last_lsn {
                continue;
            }
            let is_done = account.passed >= segment.last_lsn;
            let reached = self.moving(account.stream).filter(|_| !is_done);
            if reached.is_some_and(|reached| reached + 1 >= segment.first_lsn) {
                return Stand::Moving;
            }
            if account.passed >= segment.first_lsn && durable < account.passed {
                stand = Stand::Undurable;
            }
        }
        stand
    }

    /// Whether a stream moved in the segments at hand, or the log gave up the rewrite by itself.
    fn is_disturbed(&self) -> bool {
        let (Some(thinning), Some(range)) = (&self.thinner.under_way, self.committer.spool.rewriting()) else {
            return true;
        };
        thinning.standings.iter().filter(|s| s.passed < *range.end()).any(|standing| {
            let passed = self.ledger.passed(standing.stream);
            let has_passed = passed != standing.passed && passed >= *range.start();
            has_passed || self.moving(standing.stream).is_some_and(|reached| reached >= *range.start())
        })
    }

    fn slice(&mut self) {
        let Some(mut thinning) = self.thinner.under_way.take() else { return };
        thinning.fuel = 0;
        let mut step = Ok(RewriteStep::More);
        for _ in 0..SLICE_FRAMES {
            let mut decider = Decider {
                thinning: &mut thinning,
                reducer: self.reducer.as_mut(),
                streams: &self.streams,
                notices: &mut self.notices,
                mono_us: self.now.mono_us,
            };
            step = self.committer.spool.step_rewrite(&mut decider);
            if !matches!(step, Ok(RewriteStep::More)) || thinning.fuel >= SLICE_FUEL {
                break;
            }
        }
        let wait = self.room == Room::Full && self.config.when_full == WhenFull::DropOldest;
        let takes_too_long = wait && thinning.kept_waiting();
        self.thinner.under_way = Some(thinning);
        self.more = true;
        match step {
            Ok(RewriteStep::More) if takes_too_long => self.give_up_reducing(),
            Ok(RewriteStep::More) => {}
            Ok(RewriteStep::Sync(commit)) => {
                self.thinner.to_sync = Some(commit);
                self.sync_rewrite();
            }
            Ok(RewriteStep::TooLong) => {
                self.thinner.full_segment = Some(self.thinner.first_segment);
                self.give_up_thinning();
            }
            Err(error) => {
                self.thinning_failed(&error);
                self.give_up_thinning();
            }
        }
    }

    fn thinning_failed(&mut self, error: &CommitError) {
        self.thinner.retry_at_us = self.now.mono_us + STORAGE_RETRY_US;
        if !error.is_full() {
            self.notices.storage_failed(&error.to_string(), self.now.mono_us);
        }
    }

    /// One sync at a time: a commit's goes first.
    fn sync_rewrite(&mut self) {
        if self.committer.is_syncing() {
            return;
        }
        if let Some(commit) = self.thinner.to_sync.take() {
            self.thinner.syncing = Some(commit.id);
            self.committer.held = true;
            self.effects.push_back(Effect::Sync(commit));
        }
    }

    pub(super) fn rewrite_synced(&mut self, sync: u64, result: std::io::Result<()>) {
        self.thinner.syncing = None;
        self.committer.held = false;
        self.more = true;
        if self.is_disturbed() {
            return self.give_up_thinning();
        }
        match self.committer.spool.end_rewrite_sync(sync, result) {
            Ok(Some(rewritten)) => self.rewritten(rewritten),
            Ok(None) => {}
            Err(error) => {
                self.thinning_failed(&error);
                self.give_up_thinning();
            }
        }
    }

    /// The new segment is in place: the ledger pays for it.
    fn rewritten(&mut self, rewritten: Rewritten) {
        let Some(thinning) = self.thinner.under_way.take() else { return };
        let (purpose, shown_bytes) = (thinning.purpose, thinning.shown_bytes);
        let (toll, state) = thinning.into_outcome(rewritten.last_lsn);
        if purpose == Purpose::Reduce {
            let was_worth = toll.bytes_total() >= shown_bytes / WORTH_PARTS && toll.bytes_total() > 0;
            self.thinner.rest(was_worth, self.now.mono_us);
        }
        self.set_reducer_state(state);
        self.ledger.pay(&toll);
        if toll.outputs_total() > 0 {
            self.notices.dropped(toll.reason, b"", toll.outputs_total(), self.now.mono_us);
        }
        // What they had taken up may be gone.
        for lane in self.lanes.iter_mut().filter(|lane| lane.traffic.conn.is_none()) {
            lane.rewind(&self.ledger, &self.committer.spool);
        }
        self.await_flush();
    }

    fn give_up_reducing(&mut self) {
        self.thinner.rest(false, self.now.mono_us);
        if let Some(active) = &self.reducer {
            let failure = format!("it used {FULL_FUEL_MAX} fuel while the log was full, and rests");
            self.notices.reducer_failed(&active.name, &failure, self.now.mono_us);
        }
        self.give_up_thinning();
    }

    fn give_up_thinning(&mut self) {
        self.committer.spool.cancel_rewrite();
        self.thinner.to_sync = None;
        let state = self.thinner.under_way.take().and_then(Thinning::into_state_before);
        self.set_reducer_state(state);
        self.more = true;
    }

    fn set_reducer_state(&mut self, state: Option<eyot_engine::State>) {
        if let (Some(active), Some(state)) = (&mut self.reducer, state) {
            active.instances.set_state(state);
        }
    }
}
