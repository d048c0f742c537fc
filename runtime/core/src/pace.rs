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

/// Ages are looked at in steps of half a second, or of one part in so many of the limit if that is less.
const STEP_MAX_MS: u64 = 500;
const STEP_PARTS: u64 = 16;

/// What was given up before the next output, and is to be durable before that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Nothing.
    None,
    /// It waits for those before it, or for a disk that has no room for it.
    Waits,
    /// The commit under way makes it durable.
    Closes,
}

/// How old the outputs of a stream may become.
///
/// Ages are looked at in steps, and not from when a gap closes until a step after it has closed: in a stream that is too
/// slow for what enters it, each output would else become too old while it waits for the gap in front of it. So nothing is
/// sent that was too old by more than two steps and a sync, which takes longer by `STORAGE_RETRY_US` each time the disk fails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Age {
    /// In milliseconds; for ever if none.
    ttl_ms: Option<u64>,
    /// The wall clock when ages were last looked at.
    as_of_ms: i64,
    look_again_us: u64,
    /// The gap that was there was about to be closed.
    closes: bool,
}

impl Age {
    pub fn new(ttl_ms: Option<u64>) -> Self {
        Self { ttl_ms, ..Self::default() }
    }

    pub fn is_limited(&self) -> bool {
        self.ttl_ms.is_some()
    }

    /// Time has passed, and there is this gap.
    pub fn look(&mut self, now: Now, gap: Gap) {
        let Some(ttl_ms) = self.ttl_ms else { return };
        let has_closed = std::mem::replace(&mut self.closes, gap == Gap::Closes) && gap == Gap::None;
        if has_closed {
            self.look_again_us = now.mono_us + step_us(ttl_ms);
        } else if gap != Gap::Closes && now.mono_us >= self.look_again_us {
            self.as_of_ms = now.unix_ms;
            self.look_again_us = now.mono_us + step_us(ttl_ms);
        }
    }

    /// Whether what came at `received_at_ms` is of no use any more. What came, or is looked at, before the clock was set
    /// has no age.
    pub fn is_expired(&self, received_at_ms: i64) -> bool {
        let Some(ttl_ms) = self.ttl_ms else { return false };
        let clocks_are_set = received_at_ms >= CLOCK_SET_MS && self.as_of_ms >= CLOCK_SET_MS;
        let age_ms = u64::try_from(self.as_of_ms.saturating_sub(received_at_ms)).unwrap_or(0);
        clocks_are_set && age_ms > ttl_ms
    }
}

fn step_us(ttl_ms: u64) -> u64 {
    1000 * STEP_MAX_MS.min(ttl_ms / STEP_PARTS)
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

    /// An age limit of a second, as it is when it is looked at.
    fn age_at(unix_ms: i64) -> Age {
        let mut age = Age::new(Some(1000));
        age.look(Now { mono_us: 0, unix_ms }, Gap::None);
        age
    }

    #[test]
    fn age_needs_a_clock() {
        let age = age_at(SET_MS);
        assert!(age.is_expired(SET_MS - 1001));
        assert!(!age.is_expired(SET_MS - 1000));
        assert!(!age.is_expired(SET_MS + 5000), "the clock stepped back");
        assert!(!age.is_expired(5000), "received before the clock was set");
        assert!(!age_at(5000).is_expired(SET_MS), "the clock is not set now");
        assert!(!Age::new(None).is_expired(SET_MS - 1_000_000_000));
    }

    #[test]
    fn ages_are_looked_at_in_steps_and_not_while_a_gap_closes() {
        let at = |ms: u64| Now { mono_us: ms * 1000, unix_ms: SET_MS + ms as i64 };
        let mut age = age_at(SET_MS);
        age.look(at(61), Gap::None);
        assert!(!age.is_expired(SET_MS - 1000), "a sixteenth of a second has not passed");
        age.look(at(62), Gap::None);
        assert!(age.is_expired(SET_MS - 1000));
        age.look(at(500), Gap::Closes);
        assert!(!age.is_expired(SET_MS - 900), "the gap is about to be closed");
        age.look(at(501), Gap::None);
        age.look(at(562), Gap::None);
        assert!(!age.is_expired(SET_MS - 900), "what waited for it has a step's time to be sent");
        age.look(at(563), Gap::None);
        assert!(age.is_expired(SET_MS - 900));
    }

    /// On a full disk a gap stays for as long as that is full: what stood behind it was sent, however old, when it closed.
    #[test]
    fn ages_are_looked_at_while_a_gap_has_to_wait() {
        let at = |ms: u64| Now { mono_us: ms * 1000, unix_ms: SET_MS + ms as i64 };
        let mut age = age_at(SET_MS);
        for ms in (0..60_000).step_by(100) {
            age.look(at(ms), Gap::Waits);
        }
        age.look(at(60_000), Gap::Closes);
        age.look(at(60_010), Gap::None);
        assert!(age.is_expired(SET_MS + 58_800));
    }
}
