//! Wear: what the flash takes in a day, and a commit window that grows before that is too much.
//!
//! A budget for a day is spread over what is left of the day, as an allowance that fills up evenly and that each commit
//! draws on; it holds an hour's worth at most. While it is at least half full, the commit window is as configured. Below,
//! the window grows, up to its maximum when nothing is left: then more messages share a commit. Messages are never held
//! back for it otherwise. A batch that is full, or a broker that sends nothing more until it is answered, commits at once,
//! and if even the longest window takes too much, the budget is exceeded, and said to be: data comes before flash.
//!
//! A day is 24 hours of the clock that never steps; time switched off counts as far as wall clocks that were set tell.

use eyot_spool::wear::{TIMES_BYTES, TIMES_INTERVAL_US};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::io::{Notice, Now};
use crate::pace::CLOCK_SET_MS;
use crate::status::WearStatus;

const DAY_US: u64 = 86_400_000_000;
/// The allowance holds this part of the day's budget at most.
const ALLOWANCE_PARTS: u64 = 24;
/// The present rate is that of this long.
const RECENT_US: u64 = 600_000_000;
/// The allowance is kept in millionths of a byte, so that short times fill it as well.
const FRACTION: u64 = 1_000_000;

/// What was counted; kept in the log with the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Bytes the device took, over the life of the log.
    pub device_bytes: u64,
    /// Bytes of topics and payloads of messages taken in.
    pub payload_bytes: u64,
    /// Device bytes of this day.
    pub day_bytes: u64,
    /// How much of the day is over.
    pub day_us: u64,
    /// What is left of the allowance; none before the first day.
    pub allowance: Option<u64>,
    /// Wall clock when this was counted.
    pub at_ms: i64,
}

/// What the budget comes to at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Without a budget, or well within it.
    Ok,
    /// The commit window is longer than configured.
    Stretched,
    /// The longest window does not suffice.
    Over,
}

/// The count of the present, and the budget.
#[derive(Debug)]
pub(crate) struct Wear {
    pub counted: Counted,
    budget_bytes: Option<u64>,
    window_us: u64,
    window_max_us: u64,
    over: bool,
    seen_us: u64,
    /// Of the log's own count, what is in ours.
    seen_device_bytes: u64,
    times_due_us: u64,
    /// Bytes of the present and the last span of [`RECENT_US`], and when the present one began.
    recent: (u64, Option<u64>),
    recent_since_us: u64,
}

impl Wear {
    /// Takes up the count where the log left it.
    pub fn new(config: &Config, counted: Counted, now: Now) -> Self {
        let mut wear = Self {
            budget_bytes: config.wear_budget_day_bytes,
            window_us: config.commit_window_us,
            window_max_us: config.commit_window_max_us.max(config.commit_window_us),
            over: false,
            seen_us: now.mono_us,
            seen_device_bytes: 0,
            times_due_us: 0,
            recent: (0, None),
            recent_since_us: now.mono_us,
            counted,
        };
        // A log may say anything: a day that was longer than a day would be counted backwards from here on.
        wear.counted.day_us = wear.counted.day_us.min(DAY_US - 1);
        let left = wear.counted.allowance.unwrap_or(u64::MAX).min(wear.allowance_max());
        wear.counted.allowance = Some(left);
        if wear.counted.at_ms >= CLOCK_SET_MS && now.unix_ms > wear.counted.at_ms {
            let off_ms = now.unix_ms.abs_diff(wear.counted.at_ms);
            wear.pass(off_ms.saturating_mul(1000).min(2 * DAY_US));
        }
        wear
    }

    fn allowance_max(&self) -> u64 {
        (self.budget_bytes.unwrap_or(0) / ALLOWANCE_PARTS).saturating_mul(FRACTION)
    }

    fn allowance(&self) -> u64 {
        self.counted.allowance.unwrap_or(0)
    }

    /// Time passes, and with it perhaps the day.
    fn pass(&mut self, mut us: u64) {
        while self.counted.day_us + us >= DAY_US {
            let left_us = DAY_US - self.counted.day_us;
            self.fill(left_us);
            us -= left_us;
            self.counted.day_us = 0;
            self.counted.day_bytes = 0;
        }
        self.fill(us);
        self.counted.day_us += us;
    }

    /// What is left of the budget is spread over what is left of the day.
    fn fill(&mut self, us: u64) {
        let left_bytes = self.budget_bytes.unwrap_or(0).saturating_sub(self.counted.day_bytes);
        let left_us = DAY_US - self.counted.day_us;
        let filled = u128::from(left_bytes) * u128::from(FRACTION) * u128::from(us) / u128::from(left_us.max(1));
        let filled = u64::try_from(filled).unwrap_or(u64::MAX);
        self.counted.allowance = Some(self.allowance().saturating_add(filled).min(self.allowance_max()));
    }

    /// Brings the count up to date with the log's; true if [`state`](Self::state) became or ceased to be
    /// [`Over`](State::Over).
    pub fn look(&mut self, now: Now, log_device_bytes: u64) -> bool {
        self.pass(now.mono_us.saturating_sub(self.seen_us));
        self.seen_us = self.seen_us.max(now.mono_us);
        self.counted.at_ms = now.unix_ms;
        let recent_us = now.mono_us.saturating_sub(self.recent_since_us);
        if recent_us >= RECENT_US {
            self.recent = (0, Some(if recent_us < 2 * RECENT_US { self.recent.0 } else { 0 }));
            self.recent_since_us = now.mono_us;
        }
        let mut bytes = log_device_bytes.saturating_sub(self.seen_device_bytes);
        self.seen_device_bytes = log_device_bytes;
        if bytes > 0 && now.mono_us >= self.times_due_us {
            self.times_due_us = now.mono_us + TIMES_INTERVAL_US;
            bytes += TIMES_BYTES;
        }
        self.spend(bytes)
    }

    fn spend(&mut self, bytes: u64) -> bool {
        self.counted.device_bytes += bytes;
        self.counted.day_bytes += bytes;
        self.recent.0 += bytes;
        if self.budget_bytes.is_none() {
            return false;
        }
        let left = self.allowance().checked_sub(bytes.saturating_mul(FRACTION));
        self.counted.allowance = Some(left.unwrap_or(0));
        let was_over = self.over;
        self.over = match left {
            None => true,
            Some(left) => self.over && left < self.allowance_max() / 4,
        };
        self.over != was_over
    }

    /// A message with so many bytes was taken in.
    pub fn taken(&mut self, bytes: usize) {
        self.counted.payload_bytes += bytes as u64;
    }

    /// How long a message waits for others to share its commit.
    pub fn window_us(&self) -> u64 {
        let half = self.allowance_max() / 2;
        let missing = half.saturating_sub(self.allowance());
        if missing == 0 {
            return self.window_us;
        }
        let more = u128::from(self.window_max_us - self.window_us) * u128::from(missing) / u128::from(half);
        self.window_us + u64::try_from(more).unwrap_or(0)
    }

    pub fn state(&self) -> State {
        match () {
            () if self.over => State::Over,
            () if self.window_us() > self.window_us => State::Stretched,
            () => State::Ok,
        }
    }

    /// What there is to say when [`look`](Self::look) was true.
    pub fn notice(&self) -> Notice {
        match self.over {
            false => Notice::WearWithinBudget,
            true => Notice::WearOverBudget {
                day_bytes: self.counted.day_bytes,
                projected_bytes: self.projected_day_bytes(),
                budget_bytes: self.budget_bytes.unwrap_or(0),
            },
        }
    }

    /// For the status document.
    pub fn report(&self) -> WearStatus {
        let Counted { device_bytes, payload_bytes, day_bytes, day_us, .. } = self.counted;
        WearStatus {
            device_bytes,
            payload_bytes,
            device_bytes_per_payload_byte: (payload_bytes > 0).then(|| hundredths(device_bytes, payload_bytes)),
            day_bytes,
            day_s: day_us / 1_000_000,
            projected_day_bytes: self.projected_day_bytes(),
            budget_day_bytes: self.budget_bytes,
            commit_window_ms: self.window_us() / 1000,
            state: match self.state() {
                State::Ok => "ok",
                State::Stretched => "stretched",
                State::Over => "over",
            },
        }
    }

    /// What the day will come to at the present rate.
    pub fn projected_day_bytes(&self) -> u64 {
        let (present, last) = self.recent;
        let span_us = self.seen_us - self.recent_since_us + if last.is_some() { RECENT_US } else { 0 };
        let bytes = u128::from(present + last.unwrap_or(0));
        let rest_us = DAY_US - self.counted.day_us;
        let rest = bytes * u128::from(rest_us) / u128::from(span_us.max(RECENT_US));
        self.counted.day_bytes.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

/// The ratio with two digits behind the point, which is more than the estimate is worth.
fn hundredths(a: u64, b: u64) -> f64 {
    (a as f64 / b as f64 * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const SET_MS: i64 = 1_700_000_000_000;
    const WINDOW_US: u64 = 50_000;
    const WINDOW_MAX_US: u64 = 1_000_000;
    const RECORD_BYTES: u64 = 300;
    const BATCH_BYTES: u64 = 64 << 10;

    fn config(budget: Option<u64>) -> Config {
        Config {
            wear_budget_day_bytes: budget,
            commit_window_us: WINDOW_US,
            commit_window_max_us: WINDOW_MAX_US,
            ..Config::default()
        }
    }

    struct Days {
        wear: Wear,
        now: Now,
        log_bytes: u64,
        changes: u32,
        longest_us: u64,
    }

    impl Days {
        fn new(budget: Option<u64>, counted: Counted, now: Now) -> Self {
            let wear = Wear::new(&config(budget), counted, now);
            Self { wear, now, log_bytes: 0, changes: 0, longest_us: 0 }
        }

        fn begin(budget: u64) -> Self {
            Self::new(Some(budget), Counted::default(), Now { mono_us: 5, unix_ms: 0 })
        }

        fn wait(&mut self, us: u64) {
            self.now.mono_us += us;
            self.now.unix_ms += (us / 1000) as i64;
        }

        /// Sensors send so many messages a second, each commit takes its blocks.
        fn run(&mut self, hours: f64, messages_per_s: u64) {
            let until_us = self.now.mono_us + (hours * 3.6e9) as u64;
            while self.now.mono_us < until_us {
                let window_us = self.wear.window_us();
                assert!((WINDOW_US..=WINDOW_MAX_US).contains(&window_us));
                self.longest_us = self.longest_us.max(window_us);
                let full_us = BATCH_BYTES * 1_000_000 / (RECORD_BYTES * messages_per_s);
                let us = window_us.min(full_us);
                self.wait(us);
                self.log_bytes += 4096 + us * messages_per_s / 1_000_000 * RECORD_BYTES;
                self.changes += u32::from(self.wear.look(self.now, self.log_bytes));
            }
        }
    }

    #[test]
    fn within_the_budget_nothing_waits() {
        let mut days = Days::begin(20 * GIB);
        days.run(24.0, 100);
        assert_eq!((days.longest_us, days.changes, days.wear.state()), (WINDOW_US, 0, State::Ok));
        let mut unlimited = Days::new(None, Counted::default(), days.now);
        unlimited.run(1.0, 100);
        assert_eq!((unlimited.longest_us, unlimited.wear.state()), (WINDOW_US, State::Ok));
    }

    #[test]
    fn the_window_grows_before_the_budget_of_any_day_is_exceeded() {
        // At the configured window this is 9 GiB a day.
        let mut days = Days::begin(4 * GIB);
        for day in 0..3 {
            days.run(23.999, 100);
            let used = days.wear.counted.day_bytes;
            assert!(used <= 4 * GIB, "day {day}: {used}");
            assert!(used > 4 * GIB / 10 * 9, "day {day}: no more than needed: {used}");
            assert_eq!(days.wear.state(), State::Stretched);
            days.run(0.001, 100);
        }
        assert_eq!(days.changes, 0, "it sufficed");
        assert!(days.longest_us < WINDOW_MAX_US / 2, "{}", days.longest_us);
    }

    #[test]
    fn a_quiet_morning_is_the_afternoons_to_spend_but_not_beyond_the_budget() {
        let mut days = Days::begin(GIB);
        days.wait(12 * 3_600_000_000);
        days.run(11.999, 50);
        assert!(days.wear.counted.day_bytes <= GIB, "{}", days.wear.counted.day_bytes);
        assert_eq!(days.changes, 0);
    }

    #[test]
    fn what_even_the_longest_window_cannot_save_is_said_once_and_is_over_when_it_is() {
        let mut days = Days::begin(2 * GIB);
        days.run(6.0, 100);
        assert_eq!((days.changes, days.wear.state(), days.wear.window_us()), (1, State::Over, WINDOW_MAX_US));
        assert!(days.wear.projected_day_bytes() > 2 * GIB);
        days.run(0.01, 1);
        days.run(17.9, 100);
        assert_eq!(days.changes, 1, "one episode");
        assert!(days.wear.counted.day_bytes > 2 * GIB);
        days.wait(12 * 3_600_000_000);
        assert!(days.wear.look(days.now, days.log_bytes), "it is over");
        assert_eq!((days.wear.state(), days.wear.window_us()), (State::Ok, WINDOW_US));
    }

    #[test]
    fn a_restart_forgets_nothing_with_or_without_a_wall_clock() {
        for clock_is_set in [false, true] {
            let mut days = Days::begin(GIB);
            days.now.unix_ms = if clock_is_set { SET_MS } else { 7000 };
            days.run(6.0, 100);
            let Counted { day_bytes, allowance, .. } = days.wear.counted;
            // The clock that never steps begins anew; five hours pass.
            let boot_ms = if clock_is_set { days.now.unix_ms + 5 * 3_600_000 } else { 9000 };
            let mut again = Days::new(Some(GIB), days.wear.counted, Now { mono_us: 0, unix_ms: boot_ms });
            assert_eq!(again.wear.counted.day_bytes, day_bytes, "the same day");
            let hours = again.wear.counted.day_us as f64 / 3.6e9;
            assert!((hours - if clock_is_set { 11.0 } else { 6.0 }).abs() < 0.01, "{hours}");
            assert_eq!(again.wear.counted.allowance > allowance, clock_is_set, "what was spent stays spent");
            again.run(0.1, 100);
            assert!(again.wear.counted.day_bytes > day_bytes);
        }
        let late = Days::new(
            Some(GIB),
            Counted { day_bytes: GIB, at_ms: SET_MS, ..Counted::default() },
            Now { mono_us: 0, unix_ms: SET_MS + 86_400_001 },
        );
        assert_eq!((late.wear.counted.day_bytes, late.wear.state()), (0, State::Ok), "a new day");
    }

    #[test]
    fn a_day_in_the_log_that_is_longer_than_a_day_ends_at_once() {
        let counted = Counted { day_us: u64::MAX, day_bytes: GIB, ..Counted::default() };
        let mut days = Days::new(Some(GIB), counted, Now::default());
        assert!(days.wear.projected_day_bytes() >= GIB);
        days.wait(1000);
        days.wear.look(days.now, days.log_bytes);
        assert_eq!((days.wear.counted.day_us, days.wear.counted.day_bytes), (999, 0));
    }

    #[test]
    fn the_projection_is_what_the_day_comes_to() {
        let mut days = Days::new(None, Counted::default(), Now::default());
        days.run(3.1, 100);
        let projected = days.wear.projected_day_bytes();
        days.run(20.899, 100);
        let came_to = days.wear.counted.day_bytes;
        assert!(projected.abs_diff(came_to) < came_to / 20, "{projected} and {came_to}");
        days.wait(3_600_000);
        days.wear.look(days.now, days.log_bytes);
        assert!(days.wear.counted.day_bytes == 0 && days.wear.counted.device_bytes >= came_to);
    }
}
