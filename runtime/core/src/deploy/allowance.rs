//! What senders nobody vouches for may write to the flash in a day.

/// Microseconds in 24 hours of running time.
const DAY_US: u64 = 86_400_000_000;
/// The least that a file takes of the flash beside its own bytes: what the file system writes down of it, twice.
const FILE_BYTES: u64 = 16 << 10;
/// What is written of a file is whole blocks.
const BLOCK_BYTES: u64 = 4 << 10;

/// Bytes that may be written, which grow back over a day; all of them when the process starts.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_day: u64,
    left: u64,
    seen_us: u64,
}

impl Allowance {
    pub fn new(per_day: u64) -> Self {
        Self { per_day, left: per_day, seen_us: 0 }
    }

    /// What a file of so many bytes takes.
    pub fn cost(bytes: u64) -> u64 {
        bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES).saturating_add(FILE_BYTES)
    }

    /// Takes the cost of a file of so many bytes, if there is so much left.
    pub fn spend(&mut self, bytes: u64, mono_us: u64) -> bool {
        let grown = u128::from(self.per_day) * u128::from(mono_us.saturating_sub(self.seen_us)) / u128::from(DAY_US);
        if grown > 0 {
            self.left = self.left.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX)).min(self.per_day);
            self.seen_us = mono_us;
        }
        let left = self.left.checked_sub(Self::cost(bytes));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Somebody vouches for what this was spent on.
    pub fn give_back(&mut self, cost: u64) {
        self.left = self.left.saturating_add(cost).min(self.per_day);
    }

    /// In a day.
    pub fn per_day(&self) -> u64 {
        self.per_day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_written_in_a_day_than_may_be_however_it_comes() {
        for bytes in [1, 4096, 100_000] {
            let mut allowance = Allowance::new(10 << 20);
            let mut spent = 0;
            for second in 0..2 * 86_400_u64 {
                for _ in 0..3 {
                    spent += if allowance.spend(bytes, second * 1_000_000) { Allowance::cost(bytes) } else { 0 };
                }
            }
            // What was there, and what has grown in two days.
            assert!((29 << 20..=30 << 20).contains(&spent), "{spent} for {bytes}");
        }
    }

    #[test]
    fn what_somebody_vouches_for_is_as_if_it_had_not_been() {
        let mut allowance = Allowance::new(100_000);
        for _ in 0..100 {
            assert!(allowance.spend(60_000, 0) && !allowance.spend(60_000, 0));
            allowance.give_back(Allowance::cost(60_000));
        }
    }
}
