//! The disk's side of the machine: commits, their failures, and the policy when there is no room.

use eyot_spool::{Lsn, ReadError, KIND_GONE};

use super::*;
use crate::recover::KIND_COMMIT;

/// While it is connected, an uplink whose quota is full gives up one part in so many of it at a time.
const AHEAD_PARTS: u64 = 16;

/// An episode of a full log ends when there was room for this long: at the quota, that comes and goes by segments.
const ROOM_LASTS_US: u64 = 10_000_000;

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
                self.succeed(durable);
                self.retire(durable);
                self.thinner.committed(durable);
                self.evicting_until = self.evicting_until.filter(|batch| *batch > durable);
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
            Err(error) => self.storage_failed(&error),
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
        if self.evicting_until.is_some() || self.thins_instead() {
            return;
        }
        match self.condemn() {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                // With a log that cannot be read or written, the ledger comes second.
                self.evict_at_once();
                self.room = self.committer.room();
            }
        }
    }

    /// A batch found no room on the disk. Acknowledgements that have room of their own are made durable before anything goes.
    fn give_up_more(&mut self) -> bool {
        let can_note = self.committer.spool.has_acks_room();
        can_note && matches!(self.condemn(), Ok(true)) || self.evict_at_once()
    }

    /// The ledger gives up what is in the oldest segment. When that is durable the segment goes: before, a power cut would
    /// leave nobody who knows why it is not there. False if there is none to give up.
    fn condemn(&mut self) -> Result<bool, ReadError> {
        let ledger = &mut self.ledger;
        let before = ledger.messages.dropped(DropReason::SpoolFullOldest);
        let last = self.committer.spool.show_oldest(&mut |lsn, kind, body| give_up(ledger, lsn, kind, body))?;
        let Some(last) = last else { return Ok(false) };
        for account in &mut self.ledger.streams {
            account.passed = account.passed.max(last);
            self.committer.spool.ack(account.stream, account.passed);
        }
        self.evicting_until = Some(self.committer.ledger_changed_for_good(self.now.mono_us));
        self.given_up(before, last);
        Ok(true)
    }

    /// The oldest segment goes, and the ledger is written when it can be; false if there is none.
    fn evict_at_once(&mut self) -> bool {
        let ledger = &mut self.ledger;
        let before = ledger.messages.dropped(DropReason::SpoolFullOldest);
        match self.committer.spool.evict_oldest(&mut |lsn, kind, body| give_up(ledger, lsn, kind, body)) {
            Ok(true) => {
                self.committer.ledger_changed(self.now.mono_us);
                let end = self.committer.spool.usage().oldest_lsn.saturating_sub(1);
                self.given_up(before, end);
                true
            }
            Ok(false) => false,
            Err(error) => {
                self.notices.storage_failed(&error.to_string(), self.now.mono_us);
                false
            }
        }
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
