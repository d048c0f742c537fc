//! Which version of which function is in force, and which there were: part of the log, so that after a power cut it is
//! the one before or the one after, with the state that belongs to it.

use std::collections::BTreeMap;

use eyot_trust::release::{History, Release};
use eyot_wire::manifest::Manifest;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::deploy::guard::Baseline;
use crate::deploy::rejected::Earlier;
use crate::functions::States;
use crate::task::Overrides;

mod trial;

pub use trial::Trial;

/// Versions of a function that are kept besides the one in force.
pub const PREVIOUS_MAX: usize = 2;
/// Functions the registry knows, at most; those that were removed are forgotten first.
pub const REGISTERED_MAX: usize = 256;
/// Commands that are remembered until they expire, so that none works twice; at most.
pub const NONCES_MAX: usize = 256;
/// What the name of a change to a node's function begins with.
pub const ON_NODE: &str = "node/";
/// What a command is told whose nonce is remembered.
pub const DONE_ALREADY: &str = "was done already: it has the nonce of an earlier command; sign a new one";
/// Longest reason that is kept, in bytes.
pub const REASON_MAX_BYTES: usize = 256;

/// One build of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its version.
    pub version: Version,
    /// SHA-256 of its module.
    pub sha256: [u8; 32],
    /// The same, without signatures.
    pub content_sha256: [u8; 32],
}

impl Build {
    /// For the rules of which version may follow.
    pub fn release(&self) -> Release {
        Release { version: self.version.clone(), content_sha256: self.content_sha256 }
    }

    /// Whether `text` names it: its version, or the first 8 or more digits of its SHA-256.
    pub fn is_called(&self, text: &str) -> bool {
        text == self.version.to_string() || text.len() >= 8 && hex::encode(self.sha256).starts_with(text)
    }
}

/// A build that was taken back, or rejected when it was on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// Which.
    pub build: Build,
    /// Why.
    pub reason: String,
}

/// What is known of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is in force; none if the function was removed.
    pub active: Option<Build>,
    /// What was before, the newest first; at most [`PREVIOUS_MAX`].
    pub previous: Vec<Build>,
    /// The highest version that was ever in force.
    pub highest: Option<Build>,
    /// What was taken back last, or rejected: its module is kept, and a push of it is refused.
    pub taken_back: Option<TakenBack>,
    /// What runs beside it. Where there is none, it reads as in logs from before there could be any.
    #[serde(with = "trial")]
    pub trial: Option<Trial>,
    /// What its configuration is here.
    pub overrides: Overrides,
    /// How the version before did, while the present one is on probation.
    pub baseline: Option<Baseline>,
}

impl Entry {
    /// Of a function that came with the configuration file.
    pub fn of(build: Build) -> Self {
        Self { highest: Some(build.clone()), active: Some(build), ..Self::default() }
    }

    /// For the rules of which version may follow.
    pub fn history(&self) -> History {
        History {
            active: self.active.as_ref().map(Build::release),
            highest: self.highest.as_ref().map(Build::release),
            rollback: None,
        }
    }

    /// Whether this build is higher than all that were in force.
    pub fn is_older_than(&self, build: &Build) -> bool {
        let is_higher = |known: &Build| build.version.cmp_precedence(&known.version).is_gt();
        self.highest.as_ref().is_none_or(is_higher)
    }

    /// Puts a build in force that came.
    pub fn advance(&mut self, build: Build) {
        if let Some(active) = self.active.replace(build.clone()) {
            self.remember(active);
        }
        self.previous.retain(|known| known.content_sha256 != build.content_sha256);
        if self.taken_back.as_ref().is_some_and(|back| back.build.content_sha256 == build.content_sha256) {
            self.taken_back = None;
        }
        if self.is_older_than(&build) {
            self.highest = Some(build);
        }
        self.trial = None;
        self.baseline = None;
    }

    /// The build on trial goes.
    pub fn reject(&mut self, build: &Build, reason: &str) {
        self.trial = None;
        self.taken_back = Some(TakenBack { build: build.clone(), reason: cut(reason).to_owned() });
    }

    fn remember(&mut self, build: Build) {
        self.previous.retain(|known| known.content_sha256 != build.content_sha256);
        self.previous.insert(0, build);
        self.previous.truncate(PREVIOUS_MAX);
    }

    /// What a rollback leads to: the one before, or what `to` names; what was taken back lies ahead, and has to be named.
    pub fn way_back(&self, to: Option<&str>) -> Option<&Build> {
        let ahead = self.taken_back.iter().filter(|_| to.is_some()).map(|back| &back.build);
        self.previous.iter().chain(ahead).find(|build| to.is_none_or(|to| build.is_called(to)))
    }

    /// Takes the build in force back, for one of those before.
    pub fn take_back(&mut self, to: &Build, reason: &str) {
        self.previous.retain(|known| known.content_sha256 != to.content_sha256);
        let reason = cut(reason).to_owned();
        self.taken_back = self.active.replace(to.clone()).map(|build| TakenBack { build, reason });
        self.trial = None;
        self.baseline = None;
    }

    /// Modules it needs.
    pub fn modules(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        let trial = self.trial.iter().map(|trial| &trial.build);
        let builds = self.active.iter().chain(&self.previous).chain(trial);
        builds.chain(self.taken_back.iter().map(|back| &back.build)).map(|build| build.sha256)
    }
}

/// The beginning of `text`, cut at a character boundary.
pub fn cut(text: &str) -> &str {
    let end = (0..=REASON_MAX_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// All functions that were ever pushed here, or changed by a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// By name.
    pub functions: BTreeMap<String, Entry>,
    /// Of nodes, by node and name: `<node>/<name>`. It stands behind the rest in the log, which is older.
    #[serde(skip)]
    pub nodes: BTreeMap<String, Entry>,
    /// What was taken back before what its function's entry has. Behind that.
    #[serde(skip)]
    pub earlier: Earlier,
    /// Commands that were done, with the Unix time in seconds when each expires.
    pub nonces: BTreeMap<String, u64>,
    /// Number of the last change.
    pub number: u64,
}

/// What a change does to the function's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateChange {
    /// It carries over.
    Keep,
    /// That of major version `from` is put aside, and that of `to` comes back, if there is any.
    Aside {
        /// From this.
        from: u64,
        /// To this.
        to: u64,
    },
    /// As before, and this is the state from now on.
    Migrate {
        /// From this.
        from: u64,
        /// What the new version made of it.
        state: BTreeMap<Vec<u8>, Vec<u8>>,
    },
    /// It goes, with all that was put aside.
    Drop,
}

impl StateChange {
    /// Does it to the state of function `name`.
    pub fn apply(&self, name: &str, states: &mut States) {
        let aside = |major: &u64| format!("{name}@{major}");
        match self {
            Self::Keep => {}
            Self::Aside { from, to } => {
                let old = states.remove(name);
                if let Some(state) = states.remove(&aside(to)) {
                    states.insert(name.to_owned(), state);
                }
                keep_aside(name, aside(from), old, states);
            }
            Self::Migrate { from, state } => {
                let old = states.insert(name.to_owned(), state.clone());
                keep_aside(name, aside(from), old, states);
            }
            Self::Drop => {
                let prefix = format!("{name}@");
                states.retain(|key, _| key != name && !key.starts_with(&prefix));
            }
        }
    }
}

/// One state is kept aside per function: that of the version one would go back to.
fn keep_aside(name: &str, key: String, state: Option<BTreeMap<Vec<u8>, Vec<u8>>>, states: &mut States) {
    let prefix = format!("{name}@");
    states.retain(|key, _| !key.starts_with(&prefix));
    if let Some(state) = state.filter(|state| !state.is_empty()) {
        states.insert(key, state);
    }
}

/// What one change did, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Of this shape.
    pub version: u8,
    /// Of all changes, which: after a failed sync the log may show one twice.
    pub number: u64,
    /// The function's name; empty if only a command is to be remembered.
    pub name: String,
    /// What is known of it from now on; none if it is forgotten.
    pub entry: Option<Entry>,
    /// The command that asked for it, and when it expires.
    pub nonce: Option<(String, u64)>,
    /// What became of its state.
    pub state: StateChange,
}

/// The shape that is written.
const VERSION: u8 = 1;

impl Deployed {
    /// In the shape that is written.
    pub fn new(
        number: u64,
        name: &str,
        entry: Option<Entry>,
        nonce: Option<(String, u64)>,
        state: StateChange,
    ) -> Self {
        Self { version: VERSION, number, name: name.to_owned(), entry, nonce, state }
    }

    /// As it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok().filter(|deployed: &Self| deployed.version == VERSION)
    }
}

impl Registry {
    /// Takes a change in; false if that was done already.
    pub fn apply(&mut self, deployed: &Deployed) -> bool {
        if deployed.number <= self.number {
            return false;
        }
        self.number = deployed.number;
        if let Some((nonce, expires)) = &deployed.nonce {
            self.nonces.insert(nonce.clone(), *expires);
        }
        let (entries, name) = match deployed.name.strip_prefix(ON_NODE) {
            Some(name) => (&mut self.nodes, name),
            None => {
                let before = self.functions.get(&deployed.name);
                self.earlier.follow(&deployed.name, before, deployed.entry.as_ref());
                (&mut self.functions, deployed.name.as_str())
            }
        };
        match &deployed.entry {
            Some(entry) => drop(entries.insert(name.to_owned(), entry.clone())),
            None => drop(entries.remove(name)),
        }
        true
    }

    /// Makes room for one more function, if that can be without forgetting one that runs.
    pub fn has_room_for(&mut self, name: &str) -> bool {
        if self.functions.contains_key(name) || self.functions.len() < REGISTERED_MAX {
            return true;
        }
        let gone = self.functions.iter().find(|(_, entry)| entry.active.is_none()).map(|(name, _)| name.clone());
        gone.is_some_and(|name| self.functions.remove(&name).is_some())
    }

    /// Whether a command may be done that comes at this Unix time in seconds: it was not done before, and can be
    /// remembered.
    ///
    /// # Errors
    /// Reason and remedy.
    pub fn admit(&mut self, nonce: &str, now_s: u64) -> Result<(), &'static str> {
        self.nonces.retain(|_, expires| *expires > now_s);
        if self.nonces.contains_key(nonce) {
            return Err(DONE_ALREADY);
        }
        if self.nonces.len() >= NONCES_MAX {
            return Err("is one more than can be remembered until they expire; wait, or let commands expire sooner");
        }
        Ok(())
    }

    /// All modules that are needed.
    pub fn modules(&self) -> Vec<[u8; 32]> {
        self.functions.values().chain(self.nodes.values()).flat_map(Entry::modules).collect()
    }
}

/// The build that a manifest and hashes describe.
pub fn build(manifest: &Manifest, sha256: [u8; 32], content_sha256: [u8; 32]) -> Build {
    Build { version: manifest.version.clone(), sha256, content_sha256 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str, byte: u8) -> Build {
        Build { version: text.parse().unwrap(), sha256: [byte; 32], content_sha256: [byte; 32] }
    }

    fn state(value: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        BTreeMap::from([(b"k".to_vec(), value.to_vec())])
    }

    #[test]
    fn two_versions_are_kept_and_the_way_back_remembers_what_was_taken_back() {
        let mut entry = Entry::of(version("1.0.0", 1));
        for (text, byte) in [("1.1.0", 2), ("1.2.0", 3), ("1.3.0", 4)] {
            entry.advance(version(text, byte));
        }
        let kept: Vec<_> = entry.previous.iter().map(|build| build.sha256[0]).collect();
        assert_eq!((entry.active.as_ref().unwrap().sha256[0], kept), (4, vec![3, 2]));
        entry.take_back(&version("1.2.0", 3), "it trapped");
        assert_eq!(entry.active, Some(version("1.2.0", 3)));
        assert_eq!(entry.previous, [version("1.1.0", 2)]);
        assert_eq!(entry.highest, Some(version("1.3.0", 4)), "the way down does not open for what is in between");
        assert_eq!(entry.taken_back.as_ref().unwrap().build, version("1.3.0", 4));
        assert_eq!(entry.modules().count(), 3);
    }

    #[test]
    fn state_goes_aside_and_comes_back() {
        let mut states = States::from([("f".to_owned(), state(b"one")), ("g".to_owned(), state(b"other"))]);
        StateChange::Aside { from: 1, to: 2 }.apply("f", &mut states);
        assert_eq!(states.get("f"), None);
        states.insert("f".to_owned(), state(b"two"));
        StateChange::Aside { from: 2, to: 1 }.apply("f", &mut states);
        assert_eq!((states.get("f"), states.get("f@2")), (Some(&state(b"one")), Some(&state(b"two"))));
        StateChange::Migrate { from: 1, state: state(b"three") }.apply("f", &mut states);
        assert_eq!((states.get("f"), states.get("f@1")), (Some(&state(b"three")), Some(&state(b"one"))));
        StateChange::Drop.apply("f", &mut states);
        assert_eq!(states.keys().collect::<Vec<_>>(), ["g"]);
    }

    #[test]
    fn a_command_works_once_and_is_forgotten_when_it_expires() {
        let mut registry = Registry::default();
        assert_eq!(registry.admit("nonce-one", 100), Ok(()));
        let done = Deployed::new(1, "f", None, Some(("nonce-one".to_owned(), 200)), StateChange::Keep);
        assert_eq!((registry.apply(&done), registry.apply(&done)), (true, false));
        assert!(registry.admit("nonce-one", 199).is_err());
        assert_eq!(registry.admit("nonce-one", 200), Ok(()), "it has expired, which is checked elsewhere");
        for number in 0..NONCES_MAX {
            registry.nonces.insert(format!("nonce-{number}"), 300);
        }
        assert!(registry.admit("one-more", 200).is_err());
    }

    #[test]
    fn what_the_log_says_is_read_back_or_refused() {
        let entry = Some(Entry::of(version("1.0.0", 1)));
        let deployed = Deployed::new(1, "f", entry, Some(("n".to_owned(), 1)), StateChange::Aside { from: 1, to: 2 });
        let bytes = deployed.encode();
        assert_eq!(Deployed::decode(&bytes), Some(deployed));
        for end in 0..bytes.len() {
            assert_eq!(Deployed::decode(&bytes[..end]), None);
        }
        assert_eq!(Deployed::decode(&[9; 40]), None);
    }
}
