//! The function that comes and goes: while it is there, it counts the same messages as the one that stays.

use eyot_core::Core;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::books::counter;
use crate::guest::{Long, EXTRA, NAME};
use crate::world::World;

/// What the checks remember of it.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Messages that the other has counted and it has not; none until nothing is in flight, as what was before it came does
    /// not wake it.
    missed: Option<u64>,
    /// The same in the gateway's life before: what is not durable when that ends comes again, and then it counts that too.
    missed_max: Option<u64>,
}

impl Extra {
    fn counts_along<S: Storage>(&mut self, core: &Core<S>) {
        if core.in_flight() > 0 {
            return;
        }
        // It keeps what it made of a message that the other failed on.
        let all = counter(core, NAME) + core.ledger().messages.dropped(DropReason::DeadLetter);
        let since = counter(core, EXTRA);
        let missed = all.checked_sub(since);
        let before = *self.missed.get_or_insert(missed.unwrap_or(0));
        assert!(
            missed == Some(before) && self.missed_max.is_none_or(|most| before <= most),
            "of {all} messages the other function counted {since}, and it came after {before}, {self:?}"
        );
    }

    /// The gateway starts.
    pub fn booted(&mut self) {
        self.missed_max = self.missed.take().or(self.missed_max);
    }
}

impl World {
    /// After every step.
    pub(crate) fn counts_along(&mut self) {
        let setup = &self.scenario.setup;
        if !setup.removes || setup.long == Long::WithoutState {
            return;
        }
        let Some(gateway) = &self.gateway else { return };
        // What comes while it leaves does not wake it; that it is gone is told when it is durable.
        match self.checks.force.has_extra() && !self.operator.asked().removal {
            true => self.checks.extra.counts_along(&gateway.core),
            false => self.checks.extra = Extra::default(),
        }
    }
}
