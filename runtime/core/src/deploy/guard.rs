//! Probation: a version that has just come in force is compared with the one before, and goes when it does worse. So is a
//! canary with the one in force, for as long as it is one.

use serde::{Deserialize, Serialize};

/// How long a version is on probation, in microseconds.
pub const PROBATION_US: u64 = 600_000_000;
/// Failures before anything is decided: one message that nobody can make sense of is no verdict.
const FAILURES_MIN: u64 = 3;
/// So many times as often as the version before it may fail.
const FAILURES_FACTOR: u64 = 4;
/// Messages before fuel is compared.
const FUEL_MESSAGES_MIN: u64 = 20;
/// So many times as much fuel as the version before it may use for a message.
const FUEL_FACTOR: u64 = 8;
/// Fuel for a message that is never too much.
const FUEL_FREE: u64 = 20_000;

/// How a version did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Messages.
    pub messages: u64,
    /// Of these, those it failed on.
    pub failures: u64,
    /// Fuel for all of them.
    pub fuel: u64,
}

/// One version on probation.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    baseline: Baseline,
    so_far: Baseline,
    until_us: u64,
}

impl Guard {
    pub fn new(baseline: Baseline, mono_us: u64) -> Self {
        Self { baseline, so_far: Baseline::default(), until_us: mono_us.saturating_add(PROBATION_US) }
    }

    /// Of a version that was to go and could not: with the next failure it is to go again.
    pub fn again(baseline: Baseline, mono_us: u64) -> Self {
        let so_far = Baseline { messages: FAILURES_MIN - 1, failures: FAILURES_MIN - 1, fuel: 0 };
        Self { so_far, ..Self::new(baseline, mono_us) }
    }

    /// For as long as the version is not in force.
    pub fn of_canary() -> Self {
        Self { baseline: Baseline::default(), so_far: Baseline::default(), until_us: u64::MAX }
    }

    /// The other version has come to this since.
    pub fn compare_with(&mut self, baseline: Baseline) {
        self.baseline = baseline;
    }

    /// Whether it is over.
    pub fn is_over(&self, mono_us: u64) -> bool {
        mono_us >= self.until_us
    }

    /// A message ended; the reason for taking the version back, if this was too much. `failure` is one word.
    pub fn note(&mut self, failure: Option<&'static str>, fuel: u64) -> Option<String> {
        let so_far = &mut self.so_far;
        so_far.messages += 1;
        so_far.failures += u64::from(failure.is_some());
        so_far.fuel = so_far.fuel.saturating_add(fuel);
        self.verdict(failure)
    }

    /// So many more messages ended, all told of at once; without their fuel. `failure` is the last.
    pub fn note_all(&mut self, messages: u64, failures: u64, failure: &str) -> Option<String> {
        self.so_far.messages = self.so_far.messages.saturating_add(messages);
        self.so_far.failures = self.so_far.failures.saturating_add(failures);
        self.verdict(Some(failure).filter(|_| failures > 0))
    }

    fn verdict(&self, failure: Option<&str>) -> Option<String> {
        let Self { baseline, so_far, .. } = self;
        if let Some(word) = failure.filter(|_| so_far.failures >= FAILURES_MIN) {
            // As many as the version before would have had on so many messages, rounded up.
            let expected = (u128::from(baseline.failures) * u128::from(so_far.messages))
                .div_ceil(u128::from(baseline.messages.max(1)));
            if u128::from(so_far.failures) > u128::from(FAILURES_FACTOR) * expected {
                return Some(format!(
                    "failed on {} of its first {} messages, last: {word}; the version before it failed on {} of {}",
                    so_far.failures, so_far.messages, baseline.failures, baseline.messages
                ));
            }
        }
        let mean = |of: &Baseline| of.fuel / of.messages.max(1);
        if so_far.messages >= FUEL_MESSAGES_MIN && baseline.messages > 0 {
            let (was, is) = (mean(baseline), mean(so_far));
            if is > FUEL_FREE && is > was.saturating_mul(FUEL_FACTOR) {
                return Some(format!("uses {is} fuel for a message; the version before it uses {was}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which message, failing on every `n`-th and using `fuel`, it is taken back.
    fn taken_back(baseline: Baseline, n: u64, fuel: u64) -> Option<u64> {
        let mut guard = Guard::new(baseline, 0);
        (1..=10_000).find(|number| guard.note((number % n == 0).then_some("trap"), fuel).is_some())
    }

    #[test]
    fn a_version_that_traps_on_one_in_twenty_is_out_within_a_hundred_messages() {
        let good = Baseline { messages: 5000, failures: 0, fuel: 5_000_000 };
        assert_eq!(taken_back(good, 20, 1000), Some(60));
        assert_eq!(taken_back(good, 1, 1000), Some(3));
        assert_eq!(taken_back(Baseline::default(), 20, 1000), Some(60), "the one before had no messages");
    }

    #[test]
    fn a_version_that_does_no_worse_stays() {
        let failing = Baseline { messages: 1000, failures: 50, fuel: 1_000_000 };
        assert_eq!(taken_back(failing, 20, 1000), None);
        assert_eq!(taken_back(failing, 3, 1000), Some(15), "but not one that fails on a third");
    }

    #[test]
    fn fuel_tells_as_well() {
        let good = Baseline { messages: 5000, failures: 0, fuel: 25_000_000 };
        assert_eq!(taken_back(good, u64::MAX, 30_000), None, "six times as much");
        assert_eq!(taken_back(good, u64::MAX, 50_000), Some(20), "ten times as much");
    }
}
