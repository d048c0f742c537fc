//! Which version of the function is in force, by what the gateway told of it.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::io::Notice;
use eyot_core::Core;
use eyot_spool::Storage;

use crate::guest::{Failing, Nature, NAME};
use crate::operator::Asked;
use crate::scenario::Scenario;

/// Most messages that a version that fails on all of them is run on before it is taken back; of several workers, each may be
/// at one.
const FAILING_MAX: u64 = 8;
/// Of a version that one went back to, nobody knows how the one before it did: it stays, whatever it does.
const UNGUARDED_MAX: u64 = 1 << 32;

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
    ever: BTreeSet<u8>,
    natures: BTreeMap<u8, Nature>,
    /// Of each version, how many messages it may have failed on.
    chances: BTreeMap<u8, u64>,
    /// All changes, in order.
    changes: Vec<u8>,
    /// A version that works may look as if it does not.
    may_look_bad: bool,
    /// Changes while the gateway ran.
    pub swaps: u64,
}

impl Force {
    /// Nothing is in force yet.
    pub fn new(scenario: &Scenario) -> Self {
        Self { may_look_bad: scenario.setup.failing != Failing::Never, ..Self::default() }
    }

    /// How many changes there were.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Whether `version` was in force after change `first`, and not after change `last`.
    pub fn was_between(&self, version: u8, first: usize, last: usize) -> bool {
        let last = last.min(self.changes.len());
        let first = first.saturating_sub(1).min(last);
        self.changes[first..last].contains(&version)
    }

    /// A version that was made is like this.
    pub fn made(&mut self, version: u8, nature: Nature) {
        self.natures.insert(version, nature);
    }

    fn nature(&self, version: u8) -> Nature {
        self.natures.get(&version).copied().unwrap_or(Nature::Good)
    }

    /// Whether the version in force works.
    pub fn is_good(&self) -> bool {
        self.nature(self.version) == Nature::Good
    }

    /// Whether there is a version before it, and that works.
    pub fn can_go_back(&self) -> bool {
        self.previous.first().is_some_and(|version| self.nature(*version) == Nature::Good)
    }

    /// Whether there is a version that was taken back.
    pub fn has_taken_back(&self) -> bool {
        self.taken_back.is_some()
    }

    /// Whether the gateway may take it back by itself.
    fn may_go(&self) -> bool {
        self.may_look_bad || !self.is_good()
    }

    fn advance(&mut self, version: u8) {
        self.previous.retain(|known| *known != version);
        if self.version != version && self.version != 0 {
            self.previous.insert(0, self.version);
        }
        self.taken_back = self.taken_back.filter(|back| *back != version);
        self.highest = self.highest.max(version).max(self.version);
        self.enter(version);
    }

    fn go_back(&mut self, version: u8) {
        self.taken_back = Some(self.version);
        self.previous.retain(|known| *known != version);
        self.enter(version);
        *self.chances.entry(version).or_default() += UNGUARDED_MAX;
    }

    fn enter(&mut self, version: u8) {
        self.version = version;
        self.ever.insert(version);
        self.changes.push(version);
        *self.chances.entry(version).or_default() += FAILING_MAX;
    }

    /// The gateway starts with `found` in force, and `configured` in its configuration file: what was in force, unless a
    /// change was under way, or what is configured is newer.
    pub fn booted(&mut self, found: u8, configured: u8, asked: Asked) {
        if self.version == 0 || self.highest == 0 && found == configured {
            return self.enter(found);
        }
        let is_configured = found == configured && configured > self.highest.max(self.version);
        let is_pushed = asked.version == Some(found) && found > self.highest.max(configured);
        let is_back = (asked.order || self.may_go()) && self.ever.contains(&found);
        let is_newer_configured = configured > self.highest && configured > asked.version.unwrap_or(0);
        assert!(
            found == self.version && !is_newer_configured || is_configured || is_pushed || is_back,
            "not the version in force: it starts with {found}, {} was in force; {configured} is configured, {asked:?}",
            self.version
        );
        match found {
            _ if found == self.version => self.enter(found),
            _ if is_configured || is_pushed || self.taken_back == Some(found) => self.advance(found),
            _ => self.go_back(found),
        }
    }

    /// The gateway tells something; true if another version is in force from here on.
    pub fn noticed(&mut self, notice: &Notice, asked: Asked) -> bool {
        match notice {
            Notice::ModuleLost { function, reason } => panic!("the module of {function} is gone: {reason}"),
            Notice::PushRejected { function: Some(function), reason }
                if function == NAME && reason.starts_with("it should be rolled back, and cannot") =>
            {
                // Until the store works, it fails on some more before that is tried again.
                *self.chances.entry(self.version).or_default() += FAILING_MAX;
                false
            }
            Notice::Deployed { function, version, .. } if function == NAME => {
                let version = number(version);
                let is_same = version == self.version && asked.order;
                let is_back = asked.order && self.taken_back == Some(version);
                assert!(
                    is_same || is_back || asked.version == Some(version) && version > self.highest,
                    "nobody asked for version {version}, which is in force: {asked:?}, {self:?}"
                );
                self.advance(version);
                self.swaps += 1;
                true
            }
            Notice::RolledBack { function, version, .. } if function == NAME => {
                let version = number(version);
                let is_due = asked.order || self.may_go();
                assert!(
                    is_due && self.ever.contains(&version),
                    "nobody asked to go back to version {version}: {asked:?}, {self:?}"
                );
                self.go_back(version);
                self.swaps += 1;
                true
            }
            _ => false,
        }
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

/// The version in force, as the gateway's status has it.
pub(crate) fn in_force<S: Storage>(core: &Core<S>) -> u8 {
    let status: serde_json::Value = serde_json::from_slice(&core.status_json()).expect("the status is a document");
    let functions = status["functions"].as_array().into_iter().flatten();
    let version =
        functions.filter(|function| function["name"] == NAME).find_map(|function| function["version"].as_str());
    number(version.expect("the function is there"))
}
