//! The circuit breaker of a function: one that fails on message after message is not run for a while, then on one message
//! for a trial.

/// Messages it fails on in a row, until it is not run any more. One sensor among many that sends nonsense does not do that.
pub const FAILURES_MAX: u32 = 10;
/// How long it is not run then, in microseconds; twice as long after each trial that fails, up to the most.
pub const BACKOFF_MIN_US: u64 = 1_000_000;
/// The most.
pub const BACKOFF_MAX_US: u64 = 60_000_000;

/// What changed with the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It failed too often and is not run for a while.
    Opened,
    /// A trial went well; so many messages were not run.
    Closed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is run on everything.
    Closed,
    /// It is not run until then.
    Open { until_us: u64 },
    /// It runs on one message.
    Trial,
}

/// One function's.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    failures_in_a_row: u32,
    backoff_us: u64,
    /// Messages it was not run on in this episode.
    held_back: u64,
}

impl Breaker {
    pub fn new() -> Self {
        Self { state: State::Closed, failures_in_a_row: 0, backoff_us: 0, held_back: 0 }
    }

    /// Whether it is run on less than everything.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether it is run on the message at hand. If so, [`begun`](Self::begun) is to follow when it is, and then
    /// [`ended`](Self::ended).
    pub fn admits(&mut self, mono_us: u64) -> bool {
        let is_run = match self.state {
            State::Closed => true,
            State::Open { until_us } => mono_us >= until_us,
            State::Trial => false,
        };
        self.held_back += u64::from(!is_run);
        is_run
    }

    /// It runs on a message that it was admitted to.
    pub fn begun(&mut self) {
        if self.is_open() {
            self.state = State::Trial;
        }
    }

    /// It did not come to run on that message after all.
    pub fn undone(&mut self, mono_us: u64) {
        if self.state == State::Trial {
            self.state = State::Open { until_us: mono_us };
        }
    }

    /// A message ended. One that began before the function failed too often may end during the trial, and is taken for it:
    /// it says as much.
    pub fn ended(&mut self, is_ok: bool, mono_us: u64) -> Option<Change> {
        match (self.state, is_ok) {
            (State::Closed, true) => self.failures_in_a_row = 0,
            (State::Closed, false) => {
                self.failures_in_a_row += 1;
                if self.failures_in_a_row >= FAILURES_MAX {
                    self.backoff_us = BACKOFF_MIN_US;
                    self.state = State::Open { until_us: mono_us + self.backoff_us };
                    return Some(Change::Opened);
                }
            }
            (State::Trial, false) => {
                self.backoff_us = (2 * self.backoff_us).min(BACKOFF_MAX_US);
                self.state = State::Open { until_us: mono_us + self.backoff_us };
            }
            (State::Trial, true) => {
                self.state = State::Closed;
                self.failures_in_a_row = 0;
                return Some(Change::Closed(std::mem::take(&mut self.held_back)));
            }
            (State::Open { .. }, _) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breaker {
        let mut breaker = Breaker::new();
        for n in 1..=FAILURES_MAX {
            assert!(breaker.admits(0));
            breaker.begun();
            let change = breaker.ended(false, 0);
            assert_eq!(change, (n == FAILURES_MAX).then_some(Change::Opened));
        }
        breaker
    }

    #[test]
    fn a_message_that_ends_well_begins_the_count_anew() {
        let mut breaker = Breaker::new();
        for n in 0..100 * FAILURES_MAX {
            assert!(breaker.admits(0));
            breaker.begun();
            assert_eq!(breaker.ended(n % FAILURES_MAX == 0, 0), None);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn it_is_tried_with_one_message_after_each_backoff_twice_as_long_up_to_the_most() {
        let mut breaker = opened();
        let (mut now_us, mut backoff_us) = (0, BACKOFF_MIN_US);
        for _ in 0..20 {
            assert!(!breaker.admits(now_us + backoff_us - 1));
            now_us += backoff_us;
            assert!(breaker.admits(now_us), "the trial");
            breaker.begun();
            breaker.undone(now_us);
            assert!(breaker.admits(now_us) && breaker.admits(now_us), "it has not begun");
            breaker.begun();
            assert!(!breaker.admits(now_us), "one message only");
            assert_eq!(breaker.ended(false, now_us), None, "the episode goes on");
            backoff_us = (2 * backoff_us).min(BACKOFF_MAX_US);
        }
        now_us += backoff_us;
        assert!(breaker.is_open() && breaker.admits(now_us));
        breaker.begun();
        assert_eq!(breaker.ended(true, now_us), Some(Change::Closed(40)));
        assert!(!breaker.is_open() && breaker.admits(now_us));
    }

    #[test]
    fn what_ends_late_neither_opens_nor_closes_it() {
        let mut breaker = opened();
        assert_eq!((breaker.ended(true, 5), breaker.ended(false, 5)), (None, None));
        assert!(breaker.is_open() && !breaker.admits(BACKOFF_MIN_US - 1));
    }
}
