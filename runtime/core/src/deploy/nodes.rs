//! What nodes are to run, by the registry, and how they do with it.

use eyot_wire::link::Ledger;

use crate::config::Node as Configuration;
use crate::deploy::guard::{Baseline, Guard};
use crate::deploy::plan::Origin;
use crate::deploy::registry::{Build, Entry, Registry, TakenBack, Trial, REGISTERED_MAX};
use crate::node::NodeReport;

/// Bytes of parts of pushes to one node that are not complete, at most.
pub const NODE_STAGING_MAX_BYTES: u64 = 2 << 20;
/// Modules for one node that came in one piece and wait to be verified, at most.
pub const NODE_PIECES_MAX: usize = 2;
/// Times in a row that a node may start anew right after it got a version, before that is taken back.
const QUICK_STARTS_MAX: u32 = 3;
/// What "right after" is, in microseconds.
const QUICK_US: u64 = 10_000_000;

/// The function that a node is to run, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub function: String,
    /// What the node runs is `active`; what it is to run and has not confirmed is `trial`. Nothing is confirmed of what the
    /// configuration file alone speaks of, and it is `active` here.
    pub entry: Entry,
    pub is_logged: bool,
}

impl Standing {
    /// What it is to run.
    pub fn wanted(&self) -> Option<&Build> {
        self.entry.trial.as_ref().map(|trial| &trial.build).or(self.entry.active.as_ref())
    }

    /// What was taken back, unless something higher came after it.
    pub fn taken_back(&self) -> Option<&TakenBack> {
        let is_higher = |back: &&TakenBack| self.entry.active.as_ref().is_none_or(|a| back.build.version > a.version);
        self.entry.taken_back.as_ref().filter(is_higher)
    }
}

/// What a node's link is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What the configuration file says, which it knows.
    AsConfigured,
    /// That it is to run none.
    Nothing,
    Module([u8; 32]),
}

/// What the registry calls a function of a node.
pub(crate) fn key(node: &str, function: &str) -> String {
    format!("{node}/{function}")
}

impl Registry {
    fn of_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> + 'a {
        let all = self.nodes.iter().filter_map(|(key, entry)| Some((key.split_once('/')?, entry)));
        all.filter(move |((of, _), _)| *of == node).map(|((_, function), entry)| (function, entry))
    }

    /// What a node is to run; none if nothing, or nothing that is known here.
    pub(crate) fn standing(&self, node: &Configuration) -> Option<Standing> {
        let runs = |(_, entry): &(&str, &Entry)| entry.active.is_some() || entry.trial.is_some();
        if let Some((function, entry)) = self.of_node(&node.id).find(runs) {
            return Some(Standing { function: function.to_owned(), entry: entry.clone(), is_logged: true });
        }
        let configured = node.configured.as_ref()?;
        // What was removed by a command stays so.
        let is_removed = self.nodes.contains_key(&key(&node.id, &configured.name));
        let entry = Entry::of(configured.build.clone());
        (!is_removed).then(|| Standing { function: configured.name.clone(), entry, is_logged: false })
    }

    /// What its link is to be told.
    pub(crate) fn wanted(&self, node: &Configuration) -> Wanted {
        match self.standing(node).and_then(|standing| standing.wanted().map(|build| build.sha256)) {
            Some(sha256) if self.of_node(&node.id).any(|(_, entry)| entry.modules().any(|of| of == sha256)) => {
                Wanted::Module(sha256)
            }
            None if self.of_node(&node.id).next().is_some() => Wanted::Nothing,
            _ => Wanted::AsConfigured,
        }
    }

    /// What came with the configuration file and is newer than all that was pushed is a way to deploy, too.
    pub(crate) fn take_configured(&mut self, node: &Configuration) {
        let Some(configured) = &node.configured else { return };
        let is_other = self.standing(node).is_some_and(|standing| standing.function != configured.name);
        let entry = self.nodes.get_mut(&key(&node.id, &configured.name)).filter(|_| !is_other);
        if let Some(entry) = entry.filter(|entry| entry.is_behind(&configured.build)) {
            entry.stage(configured.build.clone());
        }
    }

    /// Makes room for one more function of a node, if that can be without forgetting one that runs.
    pub(crate) fn has_room_on_node(&mut self, key: &str) -> bool {
        if self.nodes.contains_key(key) || self.nodes.len() < REGISTERED_MAX {
            return true;
        }
        let gone = self.nodes.iter().find(|(_, entry)| entry.active.is_none() && entry.trial.is_none());
        let gone = gone.map(|(key, _)| key.clone());
        gone.is_some_and(|key| self.nodes.remove(&key).is_some())
    }
}

impl Entry {
    /// Whether this build is higher than all that were in force, and than what the node is to have next.
    fn is_behind(&self, build: &Build) -> bool {
        let is_higher = |trial: &Trial| build.version.cmp_precedence(&trial.build.version).is_gt();
        self.is_older_than(build) && self.trial.as_ref().is_none_or(is_higher)
    }

    /// A build is kept for its node, which is to have it next.
    pub(crate) fn stage(&mut self, build: Build) {
        self.taken_back.take_if(|back| back.build.content_sha256 == build.content_sha256);
        self.trial = Some(Trial { build, rollout: Default::default() });
    }

    /// The build that the node was to have next goes, and does not come again.
    pub(crate) fn refuse(&mut self, reason: &str) -> Option<Build> {
        let build = self.trial.take()?.build;
        if self.is_older_than(&build) {
            self.highest = Some(build.clone());
        }
        let reason = crate::deploy::registry::cut(reason).to_owned();
        self.taken_back = Some(TakenBack { build: build.clone(), reason });
        Some(build)
    }
}

/// What a change did to a node's function.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// This build is kept for it.
    Staged(Build),
    /// The node runs this one.
    Installed(Build),
    /// It did not, or was not to; why.
    Refused(Build, String),
    /// This one went back to one before; why.
    TakenBack(Build, String),
    Removed,
}

impl Step {
    /// Of the module it is about.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::Staged(build) | Self::Installed(build) | Self::Refused(build, _) | Self::TakenBack(build, _) => {
                Some(build.sha256)
            }
            Self::Removed => None,
        }
    }
}

/// A change that is in the log, and not durable yet.
#[derive(Debug)]
pub(crate) struct NodeChange {
    /// Number of its batch.
    pub batch: u64,
    /// Its own.
    pub number: u64,
    /// Place of the node.
    pub place: usize,
    pub function: String,
    pub step: Step,
    pub origin: Origin,
    /// Modules that nothing needs any more.
    pub gone: Vec<[u8; 32]>,
}

/// How a node does with the version it runs.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// That version.
    sha256: Option<[u8; 32]>,
    guard: Option<Guard>,
    /// How it did.
    counted: Baseline,
    /// When the node began with it, last time; none while it does not run it.
    since_us: Option<u64>,
    /// The node said that it runs it.
    is_seen: bool,
    session: u32,
    ledger: Ledger,
    restarts: u32,
    quick_starts: u32,
}

impl Watch {
    /// Of this version from now on, compared with the one before if there was one.
    pub fn begin(&mut self, build: &Build, baseline: Option<Baseline>, mono_us: u64) {
        self.sha256 = Some(build.sha256);
        self.guard = baseline.map(|baseline| Guard::new(baseline, mono_us));
        (self.counted, self.quick_starts, self.is_seen) = (Baseline::default(), 0, false);
    }

    /// Whether the node said that it runs this version, since this gateway started.
    pub fn has_seen(&self, build: &Build) -> bool {
        self.is_seen && self.sha256 == Some(build.sha256)
    }

    /// How it did until now.
    pub fn baseline(&self) -> Baseline {
        self.counted
    }

    /// The node said how it is; the reason for taking the version back, if there is one.
    pub fn note(&mut self, report: &NodeReport, mono_us: u64) -> Option<String> {
        let before = if report.session == self.session { self.ledger } else { Ledger::default() };
        let count = |now: u32, before: u32| u64::from(now.saturating_sub(before));
        let invoked = count(report.ledger.invoked, before.invoked);
        let failures = count(report.ledger.failed, before.failed);
        (self.session, self.ledger) = (report.session, report.ledger);
        let has_started = std::mem::replace(&mut self.restarts, report.restarts) < report.restarts;
        let was_quick = self.since_us.is_some_and(|since_us| mono_us.saturating_sub(since_us) < QUICK_US);
        let sha256 = self.sha256?;
        let runs = report.runs(&sha256);
        if !runs || has_started {
            self.since_us = None;
        }
        if runs {
            self.is_seen = true;
            self.since_us.get_or_insert(mono_us);
            self.counted.messages = self.counted.messages.saturating_add(invoked + failures);
            self.counted.failures = self.counted.failures.saturating_add(failures);
        }
        if self.guard.as_ref().is_some_and(|guard| guard.is_over(mono_us)) {
            self.guard = None;
        }
        let guard = self.guard.as_mut()?;
        if has_started {
            self.quick_starts = if was_quick { self.quick_starts + 1 } else { 0 };
            if self.quick_starts >= QUICK_STARTS_MAX {
                return Some(format!("the node started anew {QUICK_STARTS_MAX} times in a row, right after it got it"));
            }
        }
        let last = report.last_failure.as_deref().unwrap_or("not told");
        guard.note_all(if runs { invoked + failures } else { 0 }, if runs { failures } else { 0 }, last)
    }
}
