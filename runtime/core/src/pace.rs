//! Pace: how fast an uplink may be sent to, and how old what is sent may be.

use crate::io::Now;

/// A pause is made up for by this much at most.
const CATCH_UP_US: u64 = 100_000;
/// Wall clocks below this (2020-01-01) were never set: the board has no battery for its clock and no network yet.
pub(crate) const CLOCK_SET_MS: i64 = 1_577_836_800_000;

/// How fast one link may be sent to, and where it stands.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    interval_ns: u64,
    /// When the next publish would be due at an even pace.
    due_ns: u64,
}

impl Pace {
    /// No limit if `rate_max_per_s` is none.
    pub fn new(rate_max_per_s: Option<u32>) -> Self {
        Self { interval_ns: rate_max_per_s.map_or(0, |rate| 1_000_000_000 / u64::from(rate.max(1))), due_ns: 0 }
    }

    /// When the next publish may be sent; none if at once.
    pub fn waits_until_us(&self, now: Now) -> Option<u64> {
        let at_us = (self.due_ns / 1000).saturating_sub(CATCH_UP_US);
        (self.interval_ns > 0 && at_us > now.mono_us).then_some(at_us)
    }

    /// A publish is sent.
    pub fn sent(&mut self, now: Now) {
        self.due_ns = self.due_ns.max(now.mono_us.saturating_mul(1000)).saturating_add(self.interval_ns);
    }
}

/// How old the outputs of a stream may become, in milliseconds; for ever if none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ttl(pub Option<u64>);

impl Ttl {
    /// Whether what came at `received_at_ms` is of no use any more. What came, or is looked at, before the clock was set
    /// has no age.
    pub fn is_expired(self, now: Now, received_at_ms: i64) -> bool {
        let Some(ttl_ms) = self.0 else { return false };
        let clocks_are_set = received_at_ms >= CLOCK_SET_MS && now.unix_ms >= CLOCK_SET_MS;
        let age_ms = u64::try_from(now.unix_ms.saturating_sub(received_at_ms)).unwrap_or(0);
        clocks_are_set && age_ms > ttl_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET_MS: i64 = 1_700_000_000_000;

    fn at(mono_us: u64) -> Now {
        Now { mono_us, unix_ms: SET_MS }
    }

    #[test]
    fn a_pause_is_made_up_for_a_little_and_then_the_pace_is_even() {
        let mut pace = Pace::new(Some(100));
        let (mut sent, mut now_us) = (0, 5_000_000);
        while now_us < 6_000_000 {
            match pace.waits_until_us(at(now_us)) {
                Some(until_us) => now_us = until_us,
                None => {
                    pace.sent(at(now_us));
                    sent += 1;
                }
            }
        }
        assert!((109..=112).contains(&sent), "{sent} in a second at 100/s, with 100 ms to make up for");
        assert_eq!(Pace::new(None).waits_until_us(at(0)), None);
    }

    #[test]
    fn age_needs_a_clock() {
        let ttl = Ttl(Some(1000));
        assert!(ttl.is_expired(at(0), SET_MS - 1001));
        assert!(!ttl.is_expired(at(0), SET_MS - 1000));
        assert!(!ttl.is_expired(at(0), SET_MS + 5000), "the clock stepped back");
        assert!(!ttl.is_expired(at(0), 5000), "received before the clock was set");
        assert!(!ttl.is_expired(Now { mono_us: 0, unix_ms: 5000 }, SET_MS), "the clock is not set now");
        assert!(!Ttl(None).is_expired(at(0), SET_MS - 1_000_000_000));
    }
}
