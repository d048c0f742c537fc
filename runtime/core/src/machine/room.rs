//! The disk's side of the machine: commits, their failures, and the policy when there is no room.

use eyot_spool::{Lsn, KIND_GONE};

use super::*;
use crate::commit::STORAGE_RETRY_US;
use crate::recover::KIND_COMMIT;

/// While it is connected, an uplink whose quota is full gives up one part in so many of it at a time.
const AHEAD_PARTS: u64 = 16;

/// An episode of a full log ends when there was room for this long: at the quota, that comes and goes by segments.
const ROOM_LASTS_US: u64 = 10_000_000;

/// A segment that is to go and cannot be read goes unread after so many tries, a second apart.
const READ_TRIES: u32 = 3;

/// What is given up of the log for room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Eviction {
    /// The oldest segment goes when this batch is durable; none if no segment is to go.
    until: Option<u64>,
    unread: Unread,
}

/// A segment that is to go and cannot be read.
#[derive(Clone, Copy, Debug, Default)]
struct Unread {
    /// Its last frame.
    last: Lsn,
    tries: u32,
    again_us: u64,
}

impl Unread {
    fn waits(&self, last: Lsn, mono_us: u64) -> bool {
        self.last == last && mono_us < self.again_us
    }

    /// It could not be read; true if it is not to be tried again.
    fn failed(&mut self, last: Lsn, mono_us: u64) -> bool {
        let tries = if self.last == last { self.tries + 1 } else { 1 };
        *self = Self { last, tries, again_us: mono_us + STORAGE_RETRY_US };
        tries >= READ_TRIES
    }
}

/// From the first time the log is full until there is room that lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullEpisode {
    /// Messages the policy had dropped when it began.
    dropped: u64,
    room_since_us: Option<u64>,
}

impl FullEpisode {
    /// When it is over, if the room lasts.
    pub fn ends_us(&self) -> Option<u64> {
        self.room_since_us.map(|since_us| since_us + ROOM_LASTS_US)
    }
}

impl<S: Storage> Core<S> {
    pub(super) fn synced(&mut self, commit: u64, result: std::io::Result<()>) {
        self.more = true;
        match self.committer.synced(commit, result, self.now.mono_us) {
            Ok(durable) => {
                self.ledger.unrecorded.durable();
                self.succeed(durable);
                self.retire(durable);
                self.thinner.committed(durable);
                self.eviction.until = self.eviction.until.filter(|batch| *batch > durable);
                let took_us = self.now.mono_us.saturating_sub(self.sync_since_us);
                self.intake.synced(took_us);
                self.committer.sync_took(took_us);
                self.durable = durable;
                self.acknowledge();
                self.change_is_durable(durable);
                self.node_changes_are_durable(durable);
                if std::mem::take(&mut self.committer.failed) {
                    self.notices.push(Notice::StorageRecovered);
                }
            }
            Err(error) => {
                self.ledger.unrecorded.failed();
                self.storage_failed(&error);
            }
        }
    }

    /// Acknowledges what is due.
    pub(super) fn acknowledge(&mut self) {
        while let Some((conn, packet_id)) = self.intake.next_due(self.durable) {
            self.effects.push_back(Effect::Ack { link: LinkId::INTAKE, conn, packet_id });
        }
        for down in &mut self.downlinks {
            let (link, durable) = (down.link, self.durable);
            let due = std::iter::from_fn(|| down.next_due(durable));
            self.effects.extend(due.map(|(conn, packet_id)| Effect::Ack { link, conn, packet_id }));
        }
    }

    fn storage_failed(&mut self, error: &CommitError) {
        if !self.committer.failed {
            self.committer.failed = true;
            self.notices.push(Notice::StorageFailed { error: error.to_string() });
        }
    }

    pub(super) fn commit(&mut self) {
        let mono_us = self.now.mono_us;
        self.weigh();
        let in_full = self.committer.window_ends_us().is_some_and(|ends| mono_us >= ends);
        let hurry = self.draining || self.intake.is_complete(mono_us);
        match self.committer.step(mono_us, hurry, &self.ledger, || kept(&self.functions, &self.orphans, &self.deployer))
        {
            Step::Nothing => {}
            Step::Sync(commit) => {
                self.ledger.unrecorded.begun();
                self.intake.committed(mono_us, self.committer.window_us(), in_full);
                self.sync_since_us = mono_us;
                self.effects.push_back(Effect::Sync(commit));
            }
            Step::Failed(error)
                if error.is_full() && self.config.when_full == WhenFull::DropOldest && self.give_up_more() =>
            {
                self.committer.retry_now();
                self.more = true;
            }
            Step::Failed(error) if error.is_full() => {}
            Step::Failed(error) => self.storage_failed(&error),
        }
        self.make_room();
    }

    /// Counts what the flash took, and lets messages wait as long as its budget asks for.
    fn weigh(&mut self) {
        if self.wear.look(self.now, self.committer.spool.device_bytes()) {
            self.status_due_us = self.now.mono_us;
            self.notices.push(self.wear.notice());
        }
        self.ledger.wear = self.wear.counted;
        self.committer.set_window(self.wear.window_us());
        self.intake.window_is(self.wear.window_us());
    }

    /// Applies the policy at the quota and notes begin and end of the episode.
    fn make_room(&mut self) {
        self.committer.look_for_room(self.now.mono_us);
        self.room = self.committer.room();
        if self.room == Room::Full && self.committer.spool.awaits_checkpoint() {
            // Left by a larger quota, or one very large record.
            self.committer.ledger_changed_for_good(self.now.mono_us);
        } else if self.room == Room::Full && self.config.when_full == WhenFull::DropOldest {
            self.give_up_oldest();
        }
        let dropped = self.ledger.messages.dropped(DropReason::SpoolFullNewest)
            + self.ledger.messages.dropped(DropReason::SpoolFullOldest);
        match (self.room, &mut self.full) {
            (Room::Full, Some(episode)) => episode.room_since_us = None,
            (Room::Full, None) => {
                self.status_due_us = self.now.mono_us;
                self.full = Some(FullEpisode { dropped, room_since_us: None });
                self.notices.push(Notice::SpoolFull);
            }
            (Room::Yes, Some(episode)) => {
                episode.room_since_us.get_or_insert(self.now.mono_us);
                if episode.ends_us().is_some_and(|ends_us| self.now.mono_us >= ends_us) {
                    self.notices.push(Notice::SpoolHasRoom { dropped: dropped - episode.dropped });
                    self.status_due_us = self.now.mono_us;
                    self.full = None;
                }
            }
            _ => {}
        }
    }

    /// Messages that leave no record of their own.
    pub(super) fn drop_unseen(&mut self, reason: DropReason, messages: u64, topic: &[u8]) {
        self.ledger.messages.drop_new(reason, messages);
        self.committer.ledger_changed(self.now.mono_us);
        self.notices.dropped(reason, topic, messages, self.now.mono_us);
    }

    /// Applies the policies of uplinks that have too much of a backlog.
    pub(super) fn keep_quotas(&mut self) {
        for quota in self.quotas.iter_mut() {
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.link == Some(quota.link)) else { continue };
            let excess_bytes = quota.excess_bytes(&self.ledger, lane.doomed_bytes());
            if quota.when_full == WhenFull::DropOldest && excess_bytes > 0 {
                // Each gap in what is sent is a commit: on a link that is too slow there is not to be one for each message.
                let ahead_bytes = if lane.traffic.conn.is_some() { quota.max_bytes / AHEAD_PARTS } else { 0 };
                match lane.doom(&mut self.committer.spool, excess_bytes + ahead_bytes, &self.ledger) {
                    Ok(more) => self.more |= more,
                    Err(error) => {
                        self.notices.storage_failed(&format!("the log cannot be read: {error}"), self.now.mono_us);
                    }
                }
            }
            if let Some(notice) = quota.look(&self.ledger) {
                self.status_due_us = self.now.mono_us;
                self.notices.push(notice);
            }
        }
    }

    /// One segment at a time, if nothing can be made less of.
    fn give_up_oldest(&mut self) {
        if self.eviction.until.is_some() || self.thins_instead() || self.condemn() {
            return;
        }
        if self.committer.spool.awaits_acks() {
            self.eviction.until = Some(self.committer.ledger_changed_for_good(self.now.mono_us));
        }
    }

    /// A batch found no room on the disk: true if the next try may find more. Nothing more is given up before what was is
    /// durable; without the room for that, it waits.
    fn give_up_more(&mut self) -> bool {
        let spool = &self.committer.spool;
        spool.has_acks_room() && !spool.acks_make_room() && self.condemn()
    }

    /// The ledger gives up what is in the oldest segment. When that is durable the segment goes: before, a power cut would
    /// leave nobody who knows why it is not there. False if there is none to give up.
    fn condemn(&mut self) -> bool {
        let mono_us = self.now.mono_us;
        let last = self.committer.spool.oldest_to_go().map(|lsns| *lsns.end());
        let Some(last) = last.filter(|last| !self.eviction.unread.waits(*last, mono_us)) else { return false };
        let ledger = &mut self.ledger;
        let before = ledger.messages.dropped(DropReason::SpoolFullOldest);
        let mut reached = 0;
        let shown = self.committer.spool.show_oldest(&mut |lsn, kind, body| {
            reached = lsn;
            give_up(ledger, lsn, kind, body);
        });
        if let Err(error) = shown {
            self.notices.storage_failed(&format!("the log cannot be read: {error}"), mono_us);
            if !self.eviction.unread.failed(last, mono_us) {
                self.committer.ledger_changed(mono_us);
                self.given_up(before, reached);
                return false;
            }
        }
        // What could not be read is missed when the next that can is given up, or sent.
        for account in &mut self.ledger.streams {
            account.passed = account.passed.max(last);
            self.committer.spool.ack(account.stream, account.passed);
        }
        self.eviction.until = Some(self.committer.ledger_changed_for_good(mono_us));
        self.given_up(before, last);
        true
    }

    /// All frames up to `end` were given up; `before`, so many messages were.
    fn given_up(&mut self, before: u64, end: Lsn) {
        let count = self.ledger.messages.dropped(DropReason::SpoolFullOldest) - before;
        if count > 0 {
            self.notices.dropped(DropReason::SpoolFullOldest, b"", count, self.now.mono_us);
        }
        for forwarder in self.lanes.iter_mut().flat_map(Lane::forwarders_mut) {
            forwarder.evicted(end, &self.ledger, &self.committer.spool);
        }
    }
}

fn give_up(ledger: &mut Ledger, lsn: Lsn, kind: u8, body: &[u8]) {
    match kind {
        KIND_COMMIT => ledger.evict(lsn, body),
        KIND_GONE => ledger.evict_gone(lsn, body),
        _ => {}
    }
}
