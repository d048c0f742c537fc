//! Live first: when a link comes back to a stream with a backlog, what comes from then on goes to a new stream that is
//! sent before it. The old one keeps its numbers and its epoch, and gets no more outputs; when it is empty it goes.

use super::*;

/// Most backlogs behind one stream. If there are so many, a link that comes back finds the stream as it was.
const BEHIND_MAX: usize = 4;

/// A new stream in place of another one. It takes outputs when recovery will know it: the batch is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Succession {
    old: u8,
    new: u8,
    batch: u64,
}

/// A backlog that is delivered. It goes when that is durable: what it no longer holds back may go with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retirement {
    stream: u8,
    batch: u64,
}

impl<S: Storage> Core<S> {
    /// A link is up, and nothing is in flight on it.
    pub(super) fn begin_live(&mut self, link: LinkId, window: usize) {
        let candidates: Vec<u8> = self.streams.live_first(link).collect();
        for old in candidates {
            let Some(account) = self.ledger.stream(old) else { continue };
            let behind = self.ledger.behind(&account.name).count();
            let under_way = self.successions.iter().any(|s| s.old == old);
            if account.outputs.pending <= window as u64 || behind >= BEHIND_MAX || under_way {
                continue;
            }
            let end = self.committer.spool.next_lsn().saturating_sub(1);
            let Some(new) = self.ledger.succeed(old, self.rng.u64(EPOCHS), end) else { continue };
            let batch = self.committer.ledger_changed_now(self.now.mono_us);
            self.successions.push(Succession { old, new, batch });
        }
    }

    /// All batches up to `durable` are on disk.
    pub(super) fn succeed(&mut self, durable: u64) {
        let (due, later) = std::mem::take(&mut self.successions).into_iter().partition(|s| s.batch <= durable);
        self.successions = later;
        let due: Vec<Succession> = due;
        for Succession { old, new, .. } in due {
            let Some(stream) = self.streams.succeed(old, new) else { continue };
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.link == stream.link) else { continue };
            self.committer.spool.ack(new, self.ledger.passed(new));
            lane.succeed(old, Forwarder::new(stream, &self.ledger, &self.committer.spool));
            self.streams_changed();
        }
    }

    /// A backlog has nothing more to deliver: it is to go.
    pub(super) fn begin_to_retire(&mut self, stream: u8) {
        if self.retirements.iter().any(|r| r.stream == stream) {
            return;
        }
        self.committer.ledger_changed(self.now.mono_us);
        self.retirements.push(Retirement { stream, batch: self.committer.open_batch() });
    }

    /// Backlogs whose delivery is on disk go; what they came to is counted with the stream that came after them.
    pub(super) fn retire(&mut self, durable: u64) {
        if self.retirements.is_empty() {
            return;
        }
        let (due, later) = std::mem::take(&mut self.retirements).into_iter().partition(|r| r.batch <= durable);
        self.retirements = later;
        let due: Vec<Retirement> = due;
        let gone = self.ledger.retire(|stream| due.iter().any(|r| r.stream == stream));
        if gone.is_empty() {
            return;
        }
        self.status_due_us = self.now.mono_us;
        self.streams.remove(&gone);
        for lane in &mut self.lanes {
            lane.remove(&gone);
        }
        self.streams_changed();
        self.committer.ledger_changed(self.now.mono_us);
    }

    fn streams_changed(&mut self) {
        self.committer.spool.set_streams(&self.ledger.streams.iter().map(|s| s.stream).collect::<Vec<_>>());
        self.quotas.follow(&self.streams);
    }
}
