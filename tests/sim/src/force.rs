//! Which version of the function is in force, which is on trial beside it, and whether the other function is there, by what the
//! gateway told of it.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::io::Notice;
use eyot_core::Core;
use eyot_spool::Storage;

use crate::guest::{Failing, Nature, EXTRA, NAME};
use crate::operator::Asked;
use crate::output::Output;
use crate::scenario::Scenario;
use crate::tally::{Met, PROMOTED, ROLLED_BACK};
use crate::way::{Stage, Way};

/// Most messages that a version that fails on all of them is run on before it is taken back; of several workers, each may be
/// at one.
const FAILING_MAX: u64 = 8;
/// Of a version that one went back to, nobody knows how the one before it did: it stays, whatever it does.
const UNGUARDED_MAX: u64 = 1 << 32;

/// Of which versions an output may be, from one change to the next.
#[derive(Clone, Debug, Default)]
struct Standing {
    version: u8,
    canary: Option<u8>,
    /// The canary that came with the next change: it had messages before that was told.
    next_canary: Option<u8>,
    extra: Option<u8>,
}

/// A version that is not in force yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    version: u8,
    stage: Stage,
}

/// What a gateway's status says.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// In force.
    pub version: u8,
    /// Beside it.
    pub trial: Option<Trial>,
    /// The other function.
    pub extra: Option<u8>,
}

/// The checkers' own account of it.
#[derive(Debug, Default)]
pub struct Force {
    /// In force at present.
    version: u8,
    /// The highest that was ever in force by a push or command; 0 while what is in force is what is configured.
    highest: u8,
    /// Those before, the newest first.
    previous: Vec<u8>,
    taken_back: Option<u8>,
    trial: Option<Trial>,
    /// Versions that were on trial at some time. What is left of a push may put one there again, but for the one that was taken
    /// back last.
    tried: BTreeSet<u8>,
    extra: Option<u8>,
    ever: BTreeSet<u8>,
    made: BTreeMap<u8, (Nature, Way)>,
    /// Of each version, how many messages it may have failed on.
    chances: BTreeMap<u8, u64>,
    /// All changes, in order.
    changes: Vec<Standing>,
    /// A version that works may look as if it does not.
    may_look_bad: bool,
    /// The store of modules may fail.
    store_may_fail: bool,
    /// Changes while the gateway ran.
    pub swaps: u64,
    /// Of what kinds they were.
    pub met: Met,
}

impl Force {
    /// Nothing is in force yet.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            may_look_bad: scenario.setup.failing != Failing::Never,
            store_may_fail: scenario.faults.disk_error_mean_ms > 0,
            ..Self::default()
        }
    }

    /// How many changes there were.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Whether the version that made `output` could have, after change `first` and not after change `last`.
    pub fn was_between(&self, output: Output, first: usize, last: usize) -> bool {
        let last = last.min(self.changes.len());
        let first = first.saturating_sub(1).min(last);
        let version = output.version;
        self.changes[first..last].iter().any(|standing| match output.part {
            Output::EXTRA => standing.extra == Some(version),
            _ => standing.version == version || [standing.canary, standing.next_canary].contains(&Some(version)),
        })
    }

    /// A version that was made is like this.
    pub fn made(&mut self, version: u8, nature: Nature, way: Way) {
        self.made.insert(version, (nature, way));
    }

    fn nature(&self, version: u8) -> Nature {
        self.made.get(&version).map_or(Nature::Good, |(nature, _)| *nature)
    }

    fn way(&self, version: u8) -> Way {
        self.made.get(&version).map_or(Way::default(), |(_, way)| *way)
    }

    /// Whether the version in force works.
    pub fn is_good(&self) -> bool {
        self.nature(self.version) == Nature::Good
    }

    /// Whether there is something to take back: a version on trial, or one that came after one that works.
    pub fn can_go_back(&self) -> bool {
        self.trial.is_some() || self.previous.first().is_some_and(|version| self.nature(*version) == Nature::Good)
    }

    /// Whether there is a version to promote.
    pub fn can_promote(&self) -> bool {
        self.trial.is_some() || self.taken_back.is_some()
    }

    /// Whether the other function is there.
    pub fn has_extra(&self) -> bool {
        self.extra.is_some()
    }

    /// Whether the gateway may let this version go by itself.
    fn may_go(&self, version: u8) -> bool {
        self.may_look_bad || self.nature(version) != Nature::Good
    }

    fn advance(&mut self, version: u8) {
        self.previous.retain(|known| *known != version);
        if self.version != version && self.version != 0 {
            self.previous.insert(0, self.version);
        }
        self.taken_back = self.taken_back.filter(|back| *back != version);
        self.highest = self.highest.max(version).max(self.version);
        self.trial = self.trial.filter(|_| self.version == version);
        self.enter(version);
    }

    fn go_back(&mut self, version: u8) {
        self.taken_back = Some(self.version);
        self.previous.retain(|known| *known != version);
        self.trial = None;
        self.enter(version);
        *self.chances.entry(version).or_default() += UNGUARDED_MAX;
    }

    fn enter(&mut self, version: u8) {
        self.version = version;
        self.ever.insert(version);
        *self.chances.entry(version).or_default() += FAILING_MAX;
        self.change();
    }

    fn begin_trial(&mut self, trial: Trial) {
        self.tried.insert(trial.version);
        self.trial = Some(trial);
        if trial.stage == Stage::Canary {
            *self.chances.entry(trial.version).or_default() += FAILING_MAX;
        }
        self.change();
    }

    fn drop_trial(&mut self) {
        self.taken_back = self.trial.take().map(|trial| trial.version);
        self.change();
    }

    /// From here on it is as it is now.
    fn change(&mut self) {
        let canary = self.trial.filter(|trial| trial.stage == Stage::Canary).map(|trial| trial.version);
        if let Some(before) = self.changes.last_mut() {
            before.next_canary = canary;
        }
        self.changes.push(Standing { version: self.version, canary, next_canary: None, extra: self.extra });
    }

    /// Whether the version on trial may take the next step, which leads it to this.
    fn may_step(&self, version: u8, to: Option<Stage>, asked: Asked) -> bool {
        let way = self.way(version);
        let trial = self.trial.filter(|trial| trial.version == version);
        trial.is_some_and(|trial| way.after(trial.stage) == to && (asked.order || way.goes_on(trial.stage)))
    }

    /// Whether this version may come in force or, on trial, be this.
    fn may_come(&self, version: u8, to: Option<Stage>, asked: Asked) -> bool {
        let comes_again = to.is_some() && self.tried.contains(&version) && self.taken_back != Some(version);
        let is_asked = asked.version == Some(version) || comes_again;
        let is_new = is_asked && version > self.highest && self.way(version).first() == to;
        is_new || self.may_step(version, to, asked)
    }

    /// The gateway starts with `found`, and `configured` in its configuration file: what was in force, unless a change was under
    /// way, or what is configured is newer.
    pub fn booted(&mut self, found: Found, configured: u8, asked: Asked) {
        self.extra_booted(found.extra, asked);
        let before = self.version;
        self.version_booted(found.version, configured, asked);
        if before != self.version && found.trial.is_none() {
            return;
        }
        match (self.trial, found.trial) {
            (None, None) => {}
            (Some(trial), None) => {
                assert!(
                    asked.order || self.may_go(trial.version) || self.store_may_fail,
                    "{trial:?} is gone, and nobody asked for that: {asked:?}, {self:?}"
                );
                self.drop_trial();
            }
            (trial, Some(found)) => {
                assert!(
                    trial == Some(found) || self.may_come(found.version, Some(found.stage), asked),
                    "not the version on trial: {found:?}, after {trial:?}: {asked:?}, {self:?}"
                );
                self.begin_trial(found);
            }
        }
    }

    fn extra_booted(&mut self, found: Option<u8>, asked: Asked) {
        let is_pushed = found.is_some() && asked.extra == found;
        let is_removed = found.is_none() && asked.removal;
        assert!(
            found == self.extra || is_pushed || is_removed,
            "of the other function {found:?} is there, and it was {:?}: {asked:?}",
            self.extra
        );
        self.extra = found;
    }

    fn version_booted(&mut self, found: u8, configured: u8, asked: Asked) {
        if self.version == 0 || self.highest == 0 && found == configured {
            self.trial = self.trial.filter(|_| self.version == found);
            return self.enter(found);
        }
        let is_configured = found == configured && configured > self.highest.max(self.version);
        let is_pushed = found > configured && self.may_come(found, None, asked);
        let is_promoted = asked.order && self.taken_back == Some(found);
        let is_back = (asked.order || self.may_go(self.version)) && self.ever.contains(&found);
        let is_newer_configured = configured > self.highest && configured > asked.version.unwrap_or(0);
        assert!(
            found == self.version && !is_newer_configured || is_configured || is_pushed || is_promoted || is_back,
            "not the version in force: it starts with {found}, {} was in force; {configured} is configured, {asked:?}",
            self.version
        );
        match found {
            _ if found == self.version => self.enter(found),
            _ if is_configured || is_pushed || is_promoted => self.advance(found),
            _ => self.go_back(found),
        }
    }

    /// The gateway tells something; true if outputs may be of other versions from here on.
    pub fn noticed(&mut self, notice: &Notice, asked: Asked) -> bool {
        match notice {
            Notice::ModuleLost { function, reason } => panic!("the module of {function} is gone: {reason}"),
            Notice::PushRejected { function: Some(function), reason }
                if function == NAME && reason.starts_with("it should be rolled back, and cannot") =>
            {
                // Until the store works, it fails on some more before that is tried again.
                *self.chances.entry(self.version).or_default() += FAILING_MAX;
                return false;
            }
            Notice::Deployed { function, version, .. } if function == NAME => self.deployed(number(version), asked),
            Notice::RolledBack { function, version, .. } if function == NAME => {
                let version = number(version);
                let is_due = asked.order || self.may_go(self.version);
                assert!(
                    is_due && self.ever.contains(&version),
                    "nobody asked to go back to version {version}: {asked:?}, {self:?}"
                );
                self.met.add(ROLLED_BACK, u64::from(asked.order));
                self.go_back(version);
            }
            Notice::OnTrial { function, version, state } if function == NAME => {
                let trial = Trial { version: number(version), stage: Stage::called(state) };
                assert!(
                    self.trial == Some(trial) || self.may_come(trial.version, Some(trial.stage), asked),
                    "nobody asked for {trial:?}: {asked:?}, {self:?}"
                );
                self.met.strike(trial.stage.word());
                self.begin_trial(trial);
            }
            Notice::TrialDropped { function, version, reason } if function == NAME => {
                self.dropped(number(version), reason, asked);
            }
            Notice::Deployed { function, version, .. } if function == EXTRA => {
                let version = number(version);
                assert!(asked.extra == Some(version), "nobody asked for {EXTRA} {version}: {asked:?}, {self:?}");
                self.extra = Some(version);
                self.change();
            }
            Notice::FunctionRemoved { function } => {
                assert!(asked.removal && function == EXTRA, "nobody asked to remove {function}: {asked:?}");
                self.met.strike("remove");
                self.extra = None;
                self.change();
            }
            _ => return false,
        }
        self.swaps += 1;
        true
    }

    fn deployed(&mut self, version: u8, asked: Asked) {
        let is_same = version == self.version && asked.order;
        let is_promoted = asked.order && self.taken_back == Some(version);
        assert!(
            is_same || is_promoted || self.may_come(version, None, asked),
            "nobody asked for version {version}, which is in force: {asked:?}, {self:?}"
        );
        self.met.add(PROMOTED, u64::from(!is_same && asked.order));
        self.advance(version);
    }

    fn dropped(&mut self, version: u8, reason: &str, asked: Asked) {
        let could_not = self.store_may_fail && reason.starts_with("cannot come in force");
        assert!(
            self.trial.is_some_and(|trial| trial.version == version)
                && (asked.order || self.may_go(version) || could_not),
            "nobody asked to drop version {version}, {reason}: {asked:?}, {self:?}"
        );
        self.met.add(ROLLED_BACK, u64::from(asked.order));
        self.drop_trial();
    }

    /// Versions that fail on everything are taken back before they fail on many messages.
    pub fn bad_ones_went(&self, failed: &BTreeMap<u8, u64>) {
        for (version, failed) in failed {
            let most = self.chances.get(version).copied().unwrap_or(0);
            assert!(*failed <= most, "version {version} failed on {failed} messages, of at most {most}: {self:?}");
        }
    }
}

/// The number of version `1.<number>.0`, whatever follows.
pub fn number(version: &str) -> u8 {
    let number = version.split('.').nth(1).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no version of this world: {version}"))
}

/// What is in force and beside it, as the gateway's status has it; where nothing is pushed, what is configured.
pub(crate) fn found<S: Storage>(scenario: &Scenario, core: &Core<S>, configured: u8) -> Found {
    if scenario.faults.push_mean_ms == 0 {
        return Found { version: configured, trial: None, extra: None };
    }
    let status: serde_json::Value = serde_json::from_slice(&core.status_json()).expect("the status is a document");
    let functions = status["functions"].as_array().expect("there is a list");
    let called = |name| functions.iter().find(|function| function["name"] == name);
    let version = |of: &serde_json::Value| of["version"].as_str().map(number);
    let function = called(NAME).expect("the function is there");
    let trial = [Stage::Shadow, Stage::Canary]
        .into_iter()
        .find_map(|stage| version(&function[stage.word()]).map(|version| Trial { version, stage }));
    let in_force = version(function).expect("it has a version");
    Found { version: in_force, trial, extra: called(EXTRA).and_then(version) }
}
