//! When `eyotd` is started, killed and started again, when the hardware watchdog is kicked, and when the box starts anew.
//! It sees no process and no clock: [`Supervisor::handle`] takes what happened, [`Supervisor::poll`] answers what to do.

use std::collections::VecDeque;
use std::time::Duration;

/// Pause before the second start, doubled for each one that follows, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Whoever ran for so long did not fail at the start.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// For opening a large log on a slow card.
const START_MAX: Duration = Duration::from_secs(120);
/// A daemon that runs says so every [`ALIVE_EVERY`]; silence for so long is a hang.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Failures in a row after which the box itself starts anew.
const FAILURES_MAX: u32 = 8;
/// For committing what is here; eyotd itself takes no more than 15 seconds.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How often the watchdog is kicked.
const KICK_EVERY: Duration = Duration::from_secs(4);
/// How often `eyotd` is to say that it is well.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// The exit code of `eyotd` that says that its configuration is wrong: starting anew does not help against it.
const BAD_CONFIG: i32 = 2;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// `eyotd` says that it runs.
    Ready,
    /// It says that it is well.
    Alive,
    /// It has ended; with a code unless a signal ended it.
    Exited(Option<i32>),
    /// It could not be started.
    NotStarted,
    /// The box is to stop.
    Stop(End),
}

/// How the box is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// And be off.
    PowerOff,
    /// And start anew.
    Restart,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start `eyotd`.
    Start,
    /// Ask it to end.
    Terminate,
    /// End it.
    Kill,
    /// Kick the hardware watchdog.
    Kick,
    /// Keep the last lines that it said on flash: it ended otherwise than it was told to.
    KeepLog,
    /// Unmount and stop.
    Finish(End),
    /// For the log.
    Note(Note),
}

/// What the log should say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Starts again after so long.
    StartsAgain(Duration),
    /// Its configuration is wrong; it is tried again after so long.
    BadConfig(Duration),
    /// It is silent, or did not get ready, and is killed.
    Hangs,
    /// It failed too often.
    FailsForGood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Duration },
    Starting { since: Duration },
    Running { since: Duration, alive: Duration },
    Killed,
    Stopping { since: Duration, end: End },
    Finished,
}

/// It.
#[derive(Debug)]
pub struct Supervisor {
    state: State,
    failures: u32,
    next_kick: Duration,
    effects: VecDeque<Effect>,
}

impl Supervisor {
    /// Starts `eyotd` at once.
    pub fn new(now: Duration) -> Self {
        let state = State::Waiting { until: now };
        let mut new = Self { state, failures: 0, next_kick: now, effects: VecDeque::new() };
        new.handle(now, Event::Tick);
        new
    }

    /// Takes what happened at `now`, on a clock that never steps.
    pub fn handle(&mut self, now: Duration, event: Event) {
        match (event, self.state) {
            (Event::Ready, State::Starting { since }) => self.state = State::Running { since, alive: now },
            (Event::Alive, State::Running { since, .. }) => self.state = State::Running { since, alive: now },
            (Event::Stop(end), State::Waiting { .. }) => self.finish(end),
            (Event::Stop(end), State::Starting { .. } | State::Running { .. } | State::Killed) => {
                self.state = State::Stopping { since: now, end };
                self.effects.push_back(Effect::Terminate);
            }
            (Event::Exited(_) | Event::NotStarted, State::Stopping { end, .. }) => self.finish(end),
            (Event::Exited(code), State::Running { since, .. } | State::Starting { since }) => {
                if now.saturating_sub(since) >= STABLE_AFTER {
                    self.failures = 0;
                }
                self.failed(now, code);
            }
            (Event::Exited(code), State::Killed) => self.failed(now, code),
            (Event::NotStarted, State::Starting { .. }) => self.failed(now, None),
            _ => {}
        }
        self.look_at_clock(now);
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Duration {
        let due = match self.state {
            State::Waiting { until } => until,
            State::Starting { since } => since + START_MAX,
            State::Running { alive, .. } => alive + SILENCE_MAX,
            State::Stopping { since, .. } => since + STOP_MAX,
            State::Killed | State::Finished => self.next_kick,
        };
        due.min(self.next_kick)
    }

    fn look_at_clock(&mut self, now: Duration) {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Starting { since: now };
                self.effects.push_back(Effect::Start);
            }
            State::Starting { since } if now >= since + START_MAX => self.kill(),
            State::Running { alive, .. } if now >= alive + SILENCE_MAX => self.kill(),
            // It may be beyond signals: what must be on flash is there by then, or was not acknowledged.
            State::Stopping { since, end } if now >= since + STOP_MAX => {
                self.effects.push_back(Effect::Kill);
                self.finish(end);
            }
            _ => {}
        }
        if self.next_kick <= now {
            self.next_kick = now + KICK_EVERY;
            if self.is_well() {
                self.effects.push_back(Effect::Kick);
            }
        }
    }

    /// Whether the watchdog may be kicked. A process that was killed and does not end is beyond our help, not beyond the
    /// watchdog's.
    fn is_well(&self) -> bool {
        match self.state {
            State::Waiting { .. } | State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => true,
            State::Killed | State::Finished => false,
        }
    }

    fn kill(&mut self) {
        self.state = State::Killed;
        self.effects.extend([Effect::Note(Note::Hangs), Effect::Kill]);
    }

    fn failed(&mut self, now: Duration, code: Option<i32>) {
        self.effects.push_back(Effect::KeepLog);
        if code == Some(BAD_CONFIG) {
            self.state = State::Waiting { until: now + PAUSE_MAX };
            self.effects.push_back(Effect::Note(Note::BadConfig(PAUSE_MAX)));
            return;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.effects.push_back(Effect::Note(Note::FailsForGood));
            return self.finish(End::Restart);
        }
        self.state = State::Waiting { until: now + pause };
        self.effects.push_back(Effect::Note(Note::StartsAgain(pause)));
    }

    fn finish(&mut self, end: End) {
        self.state = State::Finished;
        self.effects.push_back(Effect::Finish(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is to be done, but for kicks.
    fn todo(supervisor: &mut Supervisor) -> Vec<Effect> {
        std::iter::from_fn(|| supervisor.poll()).filter(|effect| *effect != Effect::Kick).collect()
    }

    /// Lets time pass from `now` until it is `until`; how often the watchdog was kicked, and what else was to be done.
    fn pass(supervisor: &mut Supervisor, until: Duration) -> (usize, Vec<Effect>) {
        let mut all = Vec::new();
        while supervisor.deadline() <= until {
            supervisor.handle(supervisor.deadline(), Event::Tick);
            all.extend(std::iter::from_fn(|| supervisor.poll()));
        }
        let kicks = all.iter().filter(|effect| **effect == Effect::Kick).count();
        (kicks, all.into_iter().filter(|effect| *effect != Effect::Kick).collect())
    }

    fn running() -> Supervisor {
        let mut supervisor = Supervisor::new(s(0));
        assert_eq!(todo(&mut supervisor), [Effect::Start]);
        supervisor.handle(s(1), Event::Ready);
        supervisor
    }

    #[test]
    fn the_watchdog_is_kicked_while_the_daemon_says_that_it_is_well() {
        let mut supervisor = running();
        for second in 1..100 {
            if second % 5 == 0 {
                supervisor.handle(s(second), Event::Alive);
            }
            assert_eq!(pass(&mut supervisor, s(second)).1, []);
        }
        assert!(pass(&mut supervisor, s(110)).0 >= 2);
    }

    #[test]
    fn silence_is_killed_and_not_covered_by_kicks() {
        let mut supervisor = running();
        let (_, effects) = pass(&mut supervisor, s(21));
        assert_eq!(effects, [Effect::Note(Note::Hangs), Effect::Kill]);
        assert_eq!(pass(&mut supervisor, s(100)), (0, vec![]), "what kill does not end, the watchdog does");
        supervisor.handle(s(101), Event::Exited(None));
        assert_eq!(todo(&mut supervisor), [Effect::KeepLog, Effect::Note(Note::StartsAgain(s(1)))]);
        assert_eq!(pass(&mut supervisor, s(102)).1, [Effect::Start]);
    }

    #[test]
    fn a_daemon_that_does_not_get_ready_is_killed() {
        let mut supervisor = Supervisor::new(s(0));
        todo(&mut supervisor);
        assert_eq!(pass(&mut supervisor, s(119)).1, []);
        assert_eq!(pass(&mut supervisor, s(120)).1, [Effect::Note(Note::Hangs), Effect::Kill]);
    }

    #[test]
    fn pauses_grow_and_then_the_box_starts_anew() {
        let mut supervisor = running();
        let (mut now, mut pauses) = (s(2), Vec::new());
        let end = loop {
            supervisor.handle(now, Event::Exited(Some(1)));
            let effects = todo(&mut supervisor);
            match effects[..] {
                [Effect::KeepLog, Effect::Note(Note::StartsAgain(pause))] => pauses.push(pause.as_secs()),
                _ => break effects,
            }
            now += s(pauses[pauses.len() - 1]);
            assert_eq!(pass(&mut supervisor, now).1, [Effect::Start]);
            assert!(pauses.len() < 20);
        };
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(end, [Effect::KeepLog, Effect::Note(Note::FailsForGood), Effect::Finish(End::Restart)]);
    }

    #[test]
    fn a_minute_without_a_failure_forgives_all() {
        let mut supervisor = running();
        let mut now = s(2);
        for _ in 0..20 {
            supervisor.handle(now, Event::Exited(Some(1)));
            let effects = todo(&mut supervisor);
            assert_eq!(effects, [Effect::KeepLog, Effect::Note(Note::StartsAgain(s(1)))]);
            now += s(1);
            supervisor.handle(now, Event::Tick);
            supervisor.handle(now, Event::Ready);
            for _ in 0..13 {
                now += s(5);
                supervisor.handle(now, Event::Alive);
            }
            todo(&mut supervisor);
        }
    }

    #[test]
    fn a_bad_configuration_never_restarts_the_box() {
        let mut supervisor = Supervisor::new(s(0));
        let mut now = s(0);
        for _ in 0..50 {
            assert_eq!(todo(&mut supervisor), [Effect::Start]);
            supervisor.handle(now, Event::Exited(Some(2)));
            assert_eq!(todo(&mut supervisor), [Effect::KeepLog, Effect::Note(Note::BadConfig(s(60)))]);
            now += s(60);
            while supervisor.deadline() < now {
                supervisor.handle(supervisor.deadline(), Event::Tick);
                assert_eq!(todo(&mut supervisor), []);
            }
            supervisor.handle(now, Event::Tick);
        }
    }

    #[test]
    fn stopping_waits_for_the_daemon_but_not_for_ever() {
        let mut supervisor = running();
        supervisor.handle(s(2), Event::Stop(End::PowerOff));
        assert_eq!(todo(&mut supervisor), [Effect::Terminate]);
        supervisor.handle(s(3), Event::Exited(Some(0)));
        assert_eq!(todo(&mut supervisor), [Effect::Finish(End::PowerOff)]);
        let mut supervisor = running();
        supervisor.handle(s(2), Event::Stop(End::Restart));
        todo(&mut supervisor);
        let (kicks, effects) = pass(&mut supervisor, s(22));
        assert!(kicks >= 4);
        assert_eq!(effects, [Effect::Kill, Effect::Finish(End::Restart)]);
    }
}
