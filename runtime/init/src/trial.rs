//! Which of the two systems on the card is started, and whether a new one stays. No I/O.
//!
//! A new system lies in the slot that is not in use. It is started once: if it does not say in time that it is well, or ends, or
//! loses power before, the one before is started again.

use std::time::Duration;

use eyot_card::SLOTS;

/// A new system that is not well by then never will be.
const WELL_WITHIN: Duration = Duration::from_secs(300);
/// For so long it must be connected.
const WELL_FOR: Duration = Duration::from_secs(10);
/// Why a system went that the power left, or that hung.
const UNWELL: &str = "it was started, and did not come as far as being well";
/// Most bytes of the record.
pub const RECORD_MAX_BYTES: u64 = 1024;

/// A system that came as an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Where it is.
    pub slot: u8,
    /// What it calls itself.
    pub version: String,
    /// Of what was written, in hexadecimal digits.
    pub sha256: String,
    /// How far it is.
    pub state: State,
}

/// How far an update is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in its slot, and starts next.
    Written,
    /// It was started.
    Started,
    /// It was well: it stays.
    Confirmed,
    /// It was not; why.
    Returned(String),
}

/// What is to happen at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Run,
    /// What runs is on trial.
    Try,
    /// This slot is to be started, now.
    Switch(u8),
}

/// The other slot.
pub fn other(slot: u8) -> u8 {
    match SLOTS {
        [first, second] if slot == first => second,
        [first, _] => first,
    }
}

impl Update {
    /// What is to happen, now that the system in `started` runs; `is_tried_once`: the boot loader starts a new system once,
    /// and the one before after that. The record is to be kept, durably, before that.
    pub fn begin(&mut self, started: u8, is_tried_once: bool) -> Step {
        let is_it = started == self.slot;
        let returned = |reason: &str| State::Returned(reason.to_owned());
        match (&self.state, is_it) {
            (State::Written, true) => {
                self.state = State::Started;
                Step::Try
            }
            (State::Written, false) if is_tried_once => {
                self.state = returned("it did not come as far as its first process");
                Step::Run
            }
            (State::Written, false) => Step::Switch(self.slot),
            // It was well, and is started from now on; power was lost before that was kept.
            (State::Started, true) if is_tried_once => {
                self.state = State::Confirmed;
                Step::Run
            }
            (State::Started, true) => {
                self.state = returned(UNWELL);
                Step::Switch(other(self.slot))
            }
            (State::Started, false) => {
                self.state = returned(if is_tried_once { UNWELL } else { "the one before was started instead" });
                Step::Run
            }
            (State::Returned(_), true) => Step::Switch(other(self.slot)),
            (State::Confirmed, _) | (State::Returned(_), false) => Step::Run,
        }
    }

    /// The record: a line for each field.
    pub fn text(&self) -> String {
        let (state, reason) = self.words();
        let Self { slot, version, sha256, .. } = self;
        format!("slot {slot}\nversion {version}\nsha256 {sha256}\nstate {state}\nreason {reason}\n")
    }

    /// Reads a record; none if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name)).map(|(_, value)| value)
        };
        let state = match field("state")? {
            "written" => State::Written,
            "started" => State::Started,
            "confirmed" => State::Confirmed,
            "returned" => State::Returned(field("reason")?.to_owned()),
            _ => return None,
        };
        let slot = field("slot")?.parse().ok().filter(|slot| SLOTS.contains(slot))?;
        Some(Self { slot, version: field("version")?.to_owned(), sha256: field("sha256")?.to_owned(), state })
    }

    /// The state in a word, and a reason.
    pub fn words(&self) -> (&'static str, &str) {
        match &self.state {
            State::Written => ("written", ""),
            State::Started => ("started", ""),
            State::Confirmed => ("confirmed", ""),
            State::Returned(reason) => ("returned", reason),
        }
    }
}

/// A system on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    until: Duration,
    connected: Option<Duration>,
}

/// How a trial ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Well,
    /// It goes; why.
    Unwell(&'static str),
}

impl Trial {
    /// Begins.
    pub fn new(now: Duration) -> Self {
        Self { until: now + WELL_WITHIN, connected: None }
    }

    /// `eyotd` says whether it is connected.
    pub fn connected(&mut self, now: Duration, is_connected: bool) {
        self.connected = is_connected.then(|| self.connected.unwrap_or(now));
    }

    /// Whether it is over.
    pub fn verdict(&self, now: Duration) -> Option<Verdict> {
        match self.connected {
            Some(since) if now >= since + WELL_FOR => Some(Verdict::Well),
            _ if now >= self.until => Some(Verdict::Unwell("it was not connected within five minutes")),
            _ => None,
        }
    }

    /// When to look again.
    pub fn deadline(&self) -> Duration {
        self.connected.map_or(self.until, |since| self.until.min(since + WELL_FOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(state: State) -> Update {
        Update { slot: 3, version: "0.2.0".to_owned(), sha256: "ab".repeat(32), state }
    }

    #[test]
    fn a_new_system_is_started_once() {
        let mut update = update(State::Written);
        assert_eq!(update.begin(3, false), Step::Try);
        assert_eq!(update.state, State::Started);
        assert_eq!(update.begin(3, false), Step::Switch(2), "power was lost before it was well");
        assert!(matches!(update.state, State::Returned(_)));
        assert_eq!(update.begin(3, false), Step::Switch(2), "power was lost before the switch");
        assert_eq!(update.begin(2, false), Step::Run);
    }

    #[test]
    fn a_boot_loader_that_tries_once_has_gone_back_by_itself() {
        let mut hangs = update(State::Written);
        assert_eq!(hangs.begin(2, true), Step::Run);
        assert!(matches!(hangs.state, State::Returned(_)), "it does not come again");
        let mut update = update(State::Written);
        assert_eq!(update.begin(3, true), Step::Try);
        let mut unwell = update.clone();
        assert_eq!(unwell.begin(2, true), Step::Run);
        assert_eq!(unwell.state, State::Returned(UNWELL.to_owned()));
        assert_eq!(update.begin(3, true), Step::Run);
        assert_eq!(update.state, State::Confirmed, "the boot loader was told already");
    }

    #[test]
    fn power_that_is_lost_before_the_switch_to_it_changes_nothing() {
        let mut update = update(State::Written);
        assert_eq!(update.begin(2, false), Step::Switch(3));
        assert_eq!(update.state, State::Written);
    }

    #[test]
    fn what_was_well_stays_and_what_a_person_switched_back_is_left() {
        assert_eq!(update(State::Confirmed).begin(3, false), Step::Run);
        assert_eq!(update(State::Confirmed).begin(2, false), Step::Run);
        let mut back = update(State::Started);
        assert_eq!(back.begin(2, false), Step::Run);
        assert!(matches!(back.state, State::Returned(_)));
    }

    #[test]
    fn records_read_back_and_others_do_not() {
        for state in [State::Written, State::Started, State::Confirmed, State::Returned("it ended: 1".to_owned())] {
            let update = update(state);
            assert_eq!(Update::read(&update.text()), Some(update));
        }
        for text in ["", "slot 3\n", "slot 4\nversion 1\nsha256 a\nstate written\nreason \n"] {
            assert_eq!(Update::read(text), None, "{text}");
        }
    }

    #[test]
    fn well_is_to_be_connected_for_a_while_and_in_time() {
        let s = Duration::from_secs;
        let mut trial = Trial::new(s(5));
        trial.connected(s(20), true);
        trial.connected(s(25), false);
        trial.connected(s(26), true);
        trial.connected(s(30), true);
        assert_eq!((trial.deadline(), trial.verdict(s(35))), (s(36), None));
        assert_eq!(trial.verdict(s(36)), Some(Verdict::Well));
        let trial = Trial::new(s(5));
        assert_eq!((trial.deadline(), trial.verdict(s(304))), (s(305), None));
        assert!(matches!(trial.verdict(s(305)), Some(Verdict::Unwell(_))));
    }
}
