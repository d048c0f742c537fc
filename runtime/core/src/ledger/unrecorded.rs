//! Drops that no record stands for, of messages that are acknowledged with a batch: until that is durable they come again, and
//! a ledger that is written down before must not know of them.

use eyot_wire::code::DropReason;

use super::{Account, Ledger};

/// Of messages, or of a stream's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unrecorded {
    /// None of messages.
    stream: Option<u8>,
    reason: DropReason,
    count: u64,
}

/// Those of the open batch, and of the one whose sync is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnrecordedList {
    open: Vec<Unrecorded>,
    flying: Vec<Unrecorded>,
}

impl UnrecordedList {
    fn add(&mut self, more: Unrecorded) {
        let known = self.open.iter_mut().find(|known| (known.stream, known.reason) == (more.stream, more.reason));
        match known {
            Some(known) => known.count += more.count,
            None => self.open.push(more),
        }
    }

    /// The open batch is on its way.
    pub fn begun(&mut self) {
        std::mem::swap(&mut self.open, &mut self.flying);
    }

    /// It is durable.
    pub fn durable(&mut self) {
        self.flying.clear();
    }

    /// Its sync failed: it is open again.
    pub fn failed(&mut self) {
        for back in std::mem::take(&mut self.flying) {
            self.add(back);
        }
    }
}

impl Ledger {
    /// An output that `stream` has no room for; it gets no number.
    pub(crate) fn refuse_output(&mut self, stream: u8) {
        self.drop_unrecorded(Some(stream), DropReason::UplinkFull);
    }

    /// A message, or an output of a stream, is dropped that no record in the open batch stands for.
    pub(crate) fn drop_unrecorded(&mut self, stream: Option<u8>, reason: DropReason) {
        if let Some(account) = self.account_mut(stream) {
            account.drop_new(reason, 1);
            self.unrecorded.add(Unrecorded { stream, reason, count: 1 });
        }
    }

    fn account_mut(&mut self, stream: Option<u8>) -> Option<&mut Account> {
        match stream {
            Some(stream) => self.stream_mut(stream).map(|account| &mut account.outputs),
            None => Some(&mut self.messages),
        }
    }

    /// Takes back what is dropped in the open batch and has no record there: as if it had not entered.
    pub(crate) fn leave_unrecorded(&mut self) {
        for Unrecorded { stream, reason, count } in std::mem::take(&mut self.unrecorded).open {
            if let Some(account) = self.account_mut(stream) {
                account.take_back_dropped(reason, count);
            }
        }
    }
}
