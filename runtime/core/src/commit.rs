//! Commit: records gather in a batch, one sync makes the batch durable, and only then is anything acknowledged.

use eyot_spool::{AppendError, Commit, CommitError, Lsn, Spool, Storage};
use eyot_wire::record::Record;

use crate::ledger::Ledger;
use crate::recover::{encode_checkpoint, encode_ledger, Kept, KIND_AUDIT, KIND_COMMIT, KIND_DEPLOYED, KIND_LEDGER};

/// A batch of this size is committed without waiting for the window.
pub const BATCH_BYTES: usize = 64 << 10;
/// How long acknowledgements stay unwritten while more outputs wait than are in flight.
pub const BACKLOG_FLUSH_US: u64 = 100_000;
/// Of the commit window, one part in so many at most is left to the sync.
const SYNC_PARTS: u64 = 10;
/// How long a failed disk is left alone before the next try.
pub const STORAGE_RETRY_US: u64 = 1_000_000;

/// Whether the log takes another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Yes,
    /// Quota or disk is exhausted.
    Full,
    /// The disk fails, or is behind.
    No,
}

/// What a step of the committer came to.
pub(crate) enum Step<F> {
    Nothing,
    Sync(Commit<F>),
    Failed(CommitError),
}

/// The append side of the spool.
pub(crate) struct Committer<S: Storage> {
    pub spool: Spool<S>,
    window_us: u64,
    /// What the last sync took.
    sync_us: u64,
    ack_flush_us: u64,
    /// Start of the open batch; none while it holds no record.
    batch_since_us: Option<u64>,
    /// When the ledger is written at the latest; none while it is what the log holds of it.
    flush_due_us: Option<u64>,
    in_flight: bool,
    open_batch: u64,
    retry_at_us: Option<u64>,
    /// When a sync failed last.
    sync_failed_us: Option<u64>,
    scratch: Vec<u8>,
    pub commits: u64,
    pub failed: bool,
    /// A sync that is not of a commit is under way: one at a time.
    pub held: bool,
    /// The ledger is written even if the log is full.
    urgent: bool,
    /// The open batch found no room to be written to.
    full: bool,
    /// When to look again whether the disk has room; none while there is.
    look_at_us: Option<u64>,
}

impl<S: Storage> Committer<S> {
    pub fn new(spool: Spool<S>, window_us: u64, ack_flush_us: u64) -> Self {
        Self {
            spool,
            window_us,
            sync_us: 0,
            ack_flush_us,
            batch_since_us: None,
            flush_due_us: None,
            in_flight: false,
            open_batch: 1,
            retry_at_us: None,
            sync_failed_us: None,
            scratch: Vec::new(),
            commits: 0,
            failed: false,
            held: false,
            urgent: false,
            full: false,
            look_at_us: None,
        }
    }

    pub fn room(&self) -> Room {
        if self.failed {
            Room::No
        } else if self.full || self.spool.is_full() {
            // Also with a batch that is full: it stays so until the policy makes room.
            Room::Full
        } else if !self.spool.batch_has_room() {
            Room::No
        } else {
            Room::Yes
        }
    }

    /// Whether the batch takes a letter. Also while the disk fails: what the letter is about is not there for another try.
    pub fn takes_letters(&self) -> bool {
        !self.full && !self.spool.is_full() && self.spool.batch_has_room()
    }

    /// While the log is full: finds out now and then whether the disk has space again. Commits do, but without a message
    /// or an acknowledgement there is none. And while it fails: if that took the reserve, and the log is full besides, no commit
    /// succeeds before the reserve is there again.
    pub fn look_for_room(&mut self, mono_us: u64) {
        if !self.failed && self.room() != Room::Full {
            self.look_at_us = None;
        } else if mono_us >= *self.look_at_us.get_or_insert(mono_us + STORAGE_RETRY_US) {
            self.look_at_us = Some(mono_us + STORAGE_RETRY_US);
            self.spool.refresh_spare();
        }
    }

    /// Must precede every change of ledger or state that a record will stand for: the checkpoint of a new segment
    /// describes what was before its first record.
    pub fn prepare<'k>(&mut self, ledger: &Ledger, kept: impl FnOnce() -> Kept<'k>) {
        if self.spool.wants_checkpoint() {
            let kept = kept();
            encode_checkpoint(ledger, &kept, &mut self.scratch);
            self.spool.checkpoint(&self.scratch);
            for line in kept.audits.lines() {
                // Without room the line is in the segment before, and in the audit log soon.
                let _ = self.spool.note(KIND_AUDIT, line.as_bytes());
            }
        }
    }

    /// Adds a message's record to the batch.
    pub fn append(&mut self, record: &[u8], mono_us: u64) -> Result<Lsn, AppendError> {
        let lsn = self.spool.append(KIND_COMMIT, record)?;
        self.batch_since_us.get_or_insert(mono_us);
        Ok(lsn)
    }

    /// Adds what a deployment did to the batch, with its line for the audit log, and writes that at once. Returns the number
    /// of the batch.
    pub fn append_deployed(&mut self, deployed: &[u8], audit: &str, mono_us: u64) -> Result<u64, AppendError> {
        self.spool.note(KIND_DEPLOYED, deployed)?;
        // Without room the audit log gets it all the same, unless the power fails first.
        let _ = self.spool.note(KIND_AUDIT, audit.as_bytes());
        Ok(self.ledger_changed_for_good(mono_us))
    }

    /// Number of the open batch: when [`synced`](Self::synced) reports this or a higher one, the batch is durable.
    pub fn open_batch(&self) -> u64 {
        self.open_batch
    }

    /// A message was dropped without a record; it may be acknowledged when the ledger says so durably.
    pub fn append_drop(&mut self, mono_us: u64) {
        self.batch_since_us.get_or_insert(mono_us);
        self.ledger_changed(mono_us);
    }

    /// The ledger changed by something that has no record.
    pub fn ledger_changed(&mut self, mono_us: u64) {
        self.flush_by(mono_us.saturating_add(self.ack_flush_us.max(self.window_us)));
    }

    /// As [`ledger_changed`](Self::ledger_changed), to be written at once; returns the number of the batch it goes with.
    pub fn ledger_changed_now(&mut self, mono_us: u64) -> u64 {
        self.flush_by(mono_us);
        self.open_batch
    }

    /// As [`ledger_changed`](Self::ledger_changed), with a backlog under way: who is killed often must get on all the same.
    pub fn backlog_shrank(&mut self, mono_us: u64) {
        let flush_us = self.ack_flush_us.min(BACKLOG_FLUSH_US).max(self.window_us);
        self.flush_by(mono_us.saturating_add(flush_us));
    }

    /// How long a record waits for others from now on, the sync included as far as it is a small part of that.
    pub fn set_window(&mut self, window_us: u64) {
        self.window_us = window_us - self.sync_us.min(window_us / SYNC_PARTS);
    }

    /// A sync took this long.
    pub fn sync_took(&mut self, sync_us: u64) {
        self.sync_us = sync_us;
    }

    pub fn window_us(&self) -> u64 {
        self.window_us
    }

    /// The ledger changed by something that must not happen twice before it is written down. Returns the batch that does.
    pub fn ledger_changed_for_good(&mut self, mono_us: u64) -> u64 {
        self.urgent = true;
        self.flush_by(mono_us);
        self.open_batch
    }

    /// Something waits for what the ledger has: if that is not written yet, it is at once.
    pub fn hurry_ledger(&mut self, mono_us: u64) {
        if self.flush_due_us.is_some() {
            self.flush_by(mono_us);
        }
    }

    fn flush_by(&mut self, due_us: u64) {
        self.flush_due_us = Some(self.flush_due_us.map_or(due_us, |due| due.min(due_us)));
    }

    pub fn window_ends_us(&self) -> Option<u64> {
        self.batch_since_us.map(|since| since.saturating_add(self.window_us))
    }

    /// When the next step is due; none while a sync is under way.
    pub fn deadline_us(&self) -> Option<u64> {
        if self.in_flight || self.held {
            return None;
        }
        if self.retry_at_us.is_some() {
            return self.retry_at_us;
        }
        // Without room, only acknowledgements are worth the reserve: they make room.
        let worth_it = || self.urgent || self.spool.has_unwritten_acks() || !(self.full || self.spool.is_full());
        let flush = self.flush_due_us.filter(|_| worth_it());
        [self.window_ends_us(), flush, self.look_at_us].into_iter().flatten().min()
    }

    /// A commit's sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.in_flight
    }

    /// Nothing waits to be written or synced.
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.batch_since_us.is_none() && self.flush_due_us.is_none()
    }

    /// Starts a commit if one is due. `hurry` makes it due now.
    pub fn step<'k>(
        &mut self,
        mono_us: u64,
        hurry: bool,
        ledger: &Ledger,
        kept: impl FnOnce() -> Kept<'k>,
    ) -> Step<S::File> {
        if self.in_flight || self.held || self.is_idle() {
            return Step::Nothing;
        }
        let due = match self.retry_at_us {
            Some(at) => mono_us >= at,
            None => {
                let big = self.spool.batch_bytes() >= BATCH_BYTES;
                hurry || big || self.deadline_us().is_some_and(|at| mono_us >= at)
            }
        };
        if !due {
            return Step::Nothing;
        }
        let begun = match self.begin(ledger, kept) {
            Err(error) if error.is_full() => self.begin_after_acks(ledger, error),
            begun => begun,
        };
        match begun {
            Ok(Some(commit)) => {
                self.in_flight = true;
                self.open_batch += 1;
                self.full = false;
                self.batch_since_us = None;
                self.flush_due_us = None;
                Step::Sync(commit)
            }
            Ok(None) => {
                self.batch_since_us = None;
                self.flush_due_us = None;
                Step::Nothing
            }
            Err(error) => {
                self.retry_at_us = Some(mono_us + STORAGE_RETRY_US);
                self.full = error.is_full();
                Step::Failed(error)
            }
        }
    }

    /// Ends the batch with the ledger if that is not what the records say. With every try: it may have changed.
    fn begin<'k>(
        &mut self,
        ledger: &Ledger,
        kept: impl FnOnce() -> Kept<'k>,
    ) -> Result<Option<Commit<S::File>>, CommitError> {
        if self.flush_due_us.is_none() {
            return self.spool.begin_commit();
        }
        self.prepare(ledger, kept);
        self.begin_with(ledger)
    }

    fn begin_with(&mut self, ledger: &Ledger) -> Result<Option<Commit<S::File>>, CommitError> {
        encode_ledger(ledger, &mut self.scratch);
        self.spool.begin_commit_with(KIND_LEDGER, &self.scratch)
    }

    /// A batch found no room on the disk: tries again if what was delivered makes it, once that is durable. What is in the batch
    /// is not, so the ledger that is written down for that must not know of it yet. Of a letter it has what that is about, which
    /// is refused and done with: until the batch is durable, the letter counts as dropped.
    fn begin_after_acks(
        &mut self,
        ledger: &Ledger,
        error: CommitError,
    ) -> Result<Option<Commit<S::File>>, CommitError> {
        if !self.spool.has_acks_room() {
            return Err(error);
        }
        let mut before = ledger.clone();
        self.spool.show_batch(&mut |_, kind, body| {
            if let Some(record) = Record::decode(body).ok().filter(|_| kind == KIND_COMMIT) {
                before.leave(&record);
                before.letters_dropped += u64::from(record.is_letter);
            }
        });
        before.leave_unrecorded();
        // A stream that is new begins behind what waits; what comes in its place after a power cut is for it.
        let durable = self.spool.durable();
        before.streams.iter_mut().for_each(|account| account.passed = account.passed.min(durable));
        encode_ledger(&before, &mut self.scratch);
        match self.spool.commit_acks(KIND_LEDGER, &self.scratch)? {
            true => self.begin_with(ledger),
            false => Err(error),
        }
    }

    /// Try again without waiting: room was made.
    pub fn retry_now(&mut self) {
        if self.retry_at_us.is_some() {
            self.retry_at_us = Some(0);
        }
    }

    /// The sync ended; returns the number of the batch that is durable with all before it. After a failure the batch is written anew elsewhere.
    pub fn synced(&mut self, id: u64, result: std::io::Result<()>, mono_us: u64) -> Result<u64, CommitError> {
        self.in_flight = false;
        match self.spool.end_commit(id, result) {
            Ok(_) => {
                self.commits += 1;
                self.urgent &= self.flush_due_us.is_some();
                self.retry_at_us = None;
                Ok(self.open_batch - 1)
            }
            Err(error) => {
                self.batch_since_us.get_or_insert(mono_us);
                // The ledger's note went with the batch.
                self.flush_by(mono_us);
                // At once, but not where syncs fail again and again: each try writes the batch anew.
                let before = self.sync_failed_us.replace(mono_us);
                let is_again = before.is_some_and(|before| mono_us < before + 2 * STORAGE_RETRY_US);
                self.retry_at_us = Some(if is_again { mono_us + STORAGE_RETRY_US } else { mono_us });
                Err(error)
            }
        }
    }
}
