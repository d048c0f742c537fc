//! Drops that no record stands for, of messages that are acknowledged with a batch: until that is durable they come again, and
//! a ledger that is written down before must not know of them.

use eyot_wire::code::DropReason;

/// Of messages, or of a stream's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unrecorded {
    /// None of messages.
    pub stream: Option<u8>,
    pub reason: DropReason,
    pub count: u64,
}

/// Those of the open batch, and of the one whose sync is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnrecordedList {
    open: Vec<Unrecorded>,
    flying: Vec<Unrecorded>,
}

impl UnrecordedList {
    pub(super) fn add(&mut self, more: Unrecorded) {
        let known = self.open.iter_mut().find(|known| (known.stream, known.reason) == (more.stream, more.reason));
        match known {
            Some(known) => known.count += more.count,
            None => self.open.push(more),
        }
    }

    pub(super) fn open(&self) -> &[Unrecorded] {
        &self.open
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
