//! What backlogs came to that are delivered and gone: receivers still hold what has their epochs.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ledger::{Account, Ledger, StreamAccount};

/// Most of them that are kept, of all streams together; the oldest is forgotten first.
pub const FINISHED_MAX: usize = 8;

/// The last account of a backlog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Name of the stream it was behind, and its epoch.
    pub name: String,
    /// Of its outputs' stamps.
    pub epoch: u64,
    /// One more than its last sequence number; the first is 1.
    pub next_seq: u64,
    /// Its outputs; none is pending.
    pub outputs: Account,
}

/// The oldest first.
pub(crate) type FinishedList = VecDeque<Finished>;

impl Ledger {
    /// Backlogs that are done with and gone, the oldest first: [`FINISHED_MAX`] at most.
    pub fn finished(&self) -> impl Iterator<Item = &Finished> {
        self.finished.iter()
    }

    pub(crate) fn keep_finished(&mut self, account: &StreamAccount) {
        while self.finished.len() >= FINISHED_MAX {
            self.finished.pop_front();
        }
        let (name, outputs) = (account.name.clone(), account.outputs.clone());
        self.finished.push_back(Finished { name, epoch: account.epoch, next_seq: account.next_seq, outputs });
    }
}
