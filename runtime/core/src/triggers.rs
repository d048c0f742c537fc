//! Triggers: which functions a topic wakes.

use eyot_wire::filters::{Filters, Lookup};

use crate::active::Active;

/// The triggers of all functions.
#[derive(Default)]
pub(crate) struct Triggers {
    filters: Filters,
    lookup: Lookup,
}

impl Triggers {
    /// Those of these functions.
    pub fn of(active: &[Active]) -> Self {
        let mut triggers = Self::default();
        for (place, active) in (0..).zip(active).filter(|(_, active)| !active.is_gone) {
            active.manifest.triggers.iter().for_each(|trigger| triggers.filters.insert(&trigger.mqtt, place));
        }
        triggers
    }

    /// The places of the functions that `topic` wakes, ascending.
    pub fn woken(&mut self, topic: &str) -> impl Iterator<Item = usize> + '_ {
        self.filters.find(topic, &mut self.lookup).iter().map(|place| *place as usize)
    }
}
