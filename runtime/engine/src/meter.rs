//! Fuel of one message, handed to wasmi in slices.

use crate::limits::{SLICE_FUEL, STRAIGHT_RUN_FUEL_MAX};

/// Counts fuel against a limit.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Fuel that is neither spent nor granted.
    reserve: u64,
    granted: u64,
    spent: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { reserve: limit, granted: 0, spent: 0 }
    }

    /// Fuel for the next slice, when at least `required` is needed to go on. `None`: the limit is reached.
    pub(crate) fn grant(&mut self, required: u64) -> Option<u64> {
        if required > self.reserve || required > STRAIGHT_RUN_FUEL_MAX {
            return None;
        }
        self.granted = SLICE_FUEL.max(required).min(self.reserve);
        self.reserve -= self.granted;
        Some(self.granted)
    }

    /// Ends the slice: `left` of the grant was not used.
    pub(crate) fn settle(&mut self, left: u64) {
        self.spent += self.granted.saturating_sub(left);
        self.reserve += left;
        self.granted = 0;
    }

    /// Takes `fuel` on top of the grant, for a host call that costs more than the slice has left.
    pub(crate) fn overdraw(&mut self, fuel: u64) -> bool {
        match self.reserve.checked_sub(fuel) {
            Some(reserve) => {
                self.reserve = reserve;
                self.granted += fuel;
                true
            }
            None => false,
        }
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_add_up_to_the_limit() {
        let mut meter = Meter::new(50_000);
        assert_eq!(meter.grant(0), Some(SLICE_FUEL));
        meter.settle(5_000);
        assert_eq!(meter.grant(30_000), Some(30_000));
        meter.settle(0);
        assert_eq!(meter.grant(6_000), None, "5,000 are left");
        assert_eq!(meter.grant(5_000), Some(5_000));
        assert!(!meter.overdraw(1));
        meter.settle(0);
        assert_eq!((meter.spent(), meter.grant(1)), (50_000, None));
    }

    #[test]
    fn host_calls_draw_on_the_rest_and_no_further() {
        let mut meter = Meter::new(30_000);
        meter.grant(0);
        assert!(meter.overdraw(10_000));
        assert!(!meter.overdraw(1));
        meter.settle(0);
        assert_eq!(meter.spent(), 30_000);
    }

    #[test]
    fn a_straight_run_has_a_limit() {
        let mut meter = Meter::new(u64::MAX);
        assert_eq!(meter.grant(STRAIGHT_RUN_FUEL_MAX + 1), None);
    }
}
