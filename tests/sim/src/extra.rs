//! The function that comes and goes: from the moment it came, it counts the same messages as the one that stays.

use eyot_core::Core;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::books::counter;
use crate::guest::{Long, EXTRA, NAME};
use crate::scenario::Scenario;

/// Messages that come in one step, at most.
const STEP_MAX: u64 = 100;

/// What the checks remember of it.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// What the other had counted before; none while it is not there.
    before: Option<u64>,
    /// Most messages that were under way while it was not: they do not wake it.
    under_way: u64,
}

impl Extra {
    /// After every step.
    pub fn counts_along<S: Storage>(&mut self, scenario: &Scenario, core: &Core<S>, is_here: bool) {
        if !scenario.setup.removes || scenario.setup.long == Long::WithoutState {
            return;
        }
        if self.before.is_none() {
            self.under_way = self.under_way.max(core.in_flight() as u64);
        }
        if !is_here {
            self.before = None;
            return;
        }
        // It keeps what it made of a message that the other failed on.
        let all = counter(core, NAME) + core.ledger().messages.dropped(DropReason::DeadLetter);
        let since = counter(core, EXTRA);
        let before = *self.before.get_or_insert(all.saturating_sub(since));
        // Nothing is left of it from the moment it is removed, which is told when it is durable.
        assert!(
            since == 0 || all.abs_diff(before + since) <= STEP_MAX + self.under_way,
            "of {all} messages the other function counted {since}, and it came when there were {before}"
        );
    }
}
