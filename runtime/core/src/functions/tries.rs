//! Messages that functions failed on, and are to run on again.

use eyot_engine::Effects;

use super::*;
use crate::flight::Flight;

/// A message that a function failed on, and is to run on again.
pub(crate) struct Try {
    /// How often it failed on it.
    pub failed: u32,
    /// The last time by this,
    pub failure: Failure,
    /// and in this build: another may be in force when that is told.
    pub maker: Arc<Maker>,
}

impl Functions {
    /// A function that is to run on a message again, and that message's ticket.
    pub fn next_retry(&mut self, mono_us: u64) -> Option<(usize, u64)> {
        let (_, ticket, place) = self.retries.first().copied().filter(|(at_us, ..)| *at_us <= mono_us)?;
        self.retries.pop_first();
        Some((place, ticket))
    }

    /// When the first is due.
    pub fn retry_due_us(&self) -> Option<u64> {
        self.retries.first().map(|(at_us, ..)| *at_us)
    }

    /// Begins with that; if it cannot yet, it waits before all others.
    pub fn begin_again(
        &mut self,
        place: usize,
        ticket: u64,
        parcel: &Parcel,
        may_leave: bool,
        shop: &mut Shop<'_>,
    ) -> Progress {
        let progress = self.start_parked(place, ticket, parcel, may_leave, shop);
        if let (None, Some(active)) = (&progress, self.active.get_mut(place)) {
            active.waiting.push_front(ticket);
        }
        progress.unwrap_or(Progress::Waiting)
    }

    /// The oldest message that could land if its functions did not want to run on it again.
    pub fn oldest_try(&self, flight: &Flight) -> Option<u64> {
        let tried = self.active.iter().flat_map(|active| active.tries.keys().copied());
        tried.filter(|ticket| flight.could_land(*ticket, |place| self.is_tried(place, *ticket))).min()
    }

    fn is_tried(&self, place: usize, ticket: u64) -> bool {
        self.active.get(place).is_some_and(|active| active.tries.contains_key(&ticket))
    }

    /// A function does not run on a message again: that ends as it did the last time. Also by which build.
    pub fn give_up_try(
        &mut self,
        place: usize,
        ticket: u64,
        topic: &str,
        shop: &mut Shop<'_>,
    ) -> Option<(Progress, Arc<Maker>)> {
        self.retries.retain(|(_, number, at)| (*number, *at) != (ticket, place));
        let active = self.active.get_mut(place)?;
        active.waiting.retain(|number| *number != ticket);
        let by = active.by(topic);
        let Try { failure, maker, .. } = active.with(by, |version| version.give_up_try(ticket, shop))?;
        let effects = Some(Box::<Effects>::default());
        Some((Progress::Done(Ran { by, result: Err(failure), effects, run_ns: None, is_cut: true }), maker))
    }
}

impl Active {
    /// It failed on this message: milliseconds until it is to be run again. A trial is run once.
    pub fn backoff_ms(&mut self, ticket: u64, failure: &Failure) -> Option<u64> {
        let failed = self.tries.get(&ticket).map_or(1, |last| last.failed + 1);
        let backoff_ms = self.manifest.on_error.backoff_ms(failed).filter(|_| !self.breaker.is_open())?;
        let (failure, maker) = (failure.clone(), Arc::new(self.maker()));
        self.tries.insert(ticket, Try { failed, failure, maker });
        Some(backoff_ms)
    }

    fn give_up_try(&mut self, ticket: u64, shop: &mut Shop<'_>) -> Option<Try> {
        let last = self.tries.remove(&ticket)?;
        self.retries_cut += 1;
        self.over(ticket, Some(&last.failure), shop);
        self.instances.hold();
        Some(last)
    }
}
