//! Versions on trial: a push that is to be a [shadow](crate::shadow) first, or a [canary](crate::canary), or one after the
//! other, until it comes in force or goes.
//!
//! How far it is on its way is part of the log like every change; what it has shown is not, and after a restart it begins anew
//! with what it was. It ends by its rule, by a command (`promote` leads it a step on, `rollback` lets it go), or with what it is
//! compared with: another version in force, or the function removed.

use eyot_engine::State;
use eyot_wire::control::PushState;
use eyot_wire::manifest::{Manifest, Rollout};
use eyot_wire::shadow::{ShadowReport, ShadowState};

use super::*;
use crate::deploy::plan::{Change, Origin, Request, Stage};
use crate::deploy::registry::{Build, Trial};
use crate::shadow::SHADOWS_MAX;
use crate::task::Shelf;

/// Reports of runs that are over, which are told to new connections; the oldest go first.
pub(super) const ENDED_MAX: usize = 8;
/// Why a run is over when what it was compared with is not in force any more.
pub(super) const REPLACED: &str = "another version came in force than the one it was compared with; push it again";

impl<S: Storage> Core<S> {
    /// How a build is to come in force.
    pub(super) fn way_in(&self, manifest: &Manifest, build: Build) -> Result<Change, String> {
        let rollout = manifest.rollout.or(self.config.rollout).filter(Rollout::is_trial);
        let place = self.functions.place(&manifest.name);
        // There is nothing to compare the first one with.
        let Some(rollout) = rollout.filter(|_| place.is_some()) else { return Ok(Change::Advance(build)) };
        if rollout.shadow.is_some() && !self.functions.shadows.has_room_for(place) {
            return Err(format!(
                "is one shadow too many: {SHADOWS_MAX} versions are on trial; promote one or take it back, or push it again \
                 later"
            ));
        }
        if rollout.canary.is_some() {
            self.has_room_for_canary(&manifest.name)?;
        }
        Ok(Change::Try(Trial { build, rollout }))
    }

    /// What the next step of a version on trial is.
    pub(super) fn step_on(trial: Trial) -> Change {
        match trial.rollout {
            Rollout { shadow: Some(_), canary: Some(_), .. } => {
                Change::Try(Trial { rollout: Rollout { shadow: None, ..trial.rollout }, ..trial })
            }
            _ => Change::Advance(trial.build),
        }
    }

    /// A run has come to an end: what is to become of the version.
    pub(super) fn conclude(&mut self, name: &str, sha256: [u8; 32], verdict: Result<(), String>) {
        let trial = self.entry(name).and_then(|entry| entry.trial).filter(|trial| trial.build.sha256 == sha256);
        let Some(trial) = trial else { return };
        let origin = Origin { push: Some(sha256), order: None, by: trial.word().to_owned() };
        match verdict {
            Ok(()) => self.load(name, Self::step_on(trial), origin),
            Err(reason) => self.let_go(name, trial.build, reason, origin),
        }
    }

    /// The version on trial is to go.
    pub(super) fn let_go(&mut self, name: &str, build: Build, reason: String, origin: Origin) {
        let change = Change::Drop(build, crate::deploy::registry::cut(&reason).to_owned());
        self.deployer.stage = Some(Stage::Ready { name: name.to_owned(), change, origin, loaded: None });
    }

    /// The version on trial has another configuration now, and begins again with that.
    pub(super) fn try_again_with_config(&mut self, name: &str) {
        if let Some(trial) = self.entry(name).and_then(|entry| entry.trial) {
            let origin = Origin { push: Some(trial.build.sha256), order: None, by: trial.word().to_owned() };
            self.load(name, Change::Try(trial), origin);
        }
    }

    /// A version on trial cannot come in force, or not begin: it goes. False if `change` is about no such version.
    pub(super) fn trial_failed(&mut self, name: &str, change: &Change, reason: &str) -> bool {
        let (Change::Advance(build) | Change::Try(Trial { build, .. })) = change else { return false };
        let trial = self.entry(name).and_then(|entry| entry.trial);
        let is_on_trial = trial.is_some_and(|trial| trial.build.sha256 == build.sha256);
        if is_on_trial {
            let reason = Err(format!("cannot come in force: {reason}"));
            self.deployer.waiting.push_front(Request::Conclude(name.into(), build.sha256, reason));
            self.more = true;
        }
        is_on_trial
    }

    /// The state a shadow begins with: what it would have if it were promoted now.
    fn shadow_state(&self, name: &str, loaded: &mut Loaded) -> Result<State, String> {
        let Some(active) = self.functions.get(name) else { return Ok(State::default()) };
        let state = active.instances.state().as_ref();
        let (from, to) = (active.manifest.version.major, loaded.function.manifest().version.major);
        if from == to {
            return Ok(state.clone());
        }
        if loaded.function.has_migrate() && !state.is_empty() {
            *loaded.function.state_mut() = state.clone();
            swap::migrate(loaded, from)?;
            return Ok(loaded.function.state().as_ref().clone());
        }
        Ok(self.orphans.get(&format!("{name}@{to}")).cloned().unwrap_or_default().into())
    }

    /// It begins with what it is to be first. A version that is to be a shadow needs a state of its own.
    pub(super) fn begin_trial(&mut self, name: &str, trial: &Trial, loaded: Loaded, state: State) {
        match trial.rollout {
            Rollout { shadow: None, canary: Some(rule), .. } => self.begin_canary(name, trial, rule, loaded),
            _ => self.begin_shadow(name, trial, loaded, state),
        }
    }

    /// What it needs for that; an error if it cannot be.
    pub(super) fn trial_state(&self, name: &str, trial: &Trial, loaded: &mut Loaded) -> Result<State, String> {
        self.may_share(name, trial, loaded)?;
        match trial.rollout.shadow {
            Some(_) => self.shadow_state(name, loaded),
            None => Ok(State::default()),
        }
    }

    /// From here on a version sees what the one in force sees.
    fn begin_shadow(&mut self, name: &str, trial: &Trial, loaded: Loaded, state: State) {
        if let Some(place) = self.functions.place(name) {
            self.deployer.ended.retain(|report| report.function != name);
            self.functions.begin_shadow(place, trial.clone(), loaded, state);
            self.more = true;
        }
    }

    /// The shadow goes, because of this change. What it has shown is told when that is durable.
    pub(super) fn end_shadow(&mut self, name: &str, change: &Change, origin: &Origin) {
        let shadow = self.functions.place(name).and_then(|place| self.functions.shadows.end(place));
        let Some(shadow) = shadow else { return };
        let (state, reason) = match change {
            Change::Advance(build) if shadow.is_of(build) => (ShadowState::Promoted, None),
            Change::Drop(_, reason) if origin.order.is_none() => (ShadowState::Rejected, Some(reason.as_str())),
            Change::Drop(_, reason) => (ShadowState::Dropped, Some(reason.as_str())),
            Change::Remove => (ShadowState::Dropped, Some("the function was removed")),
            Change::Advance(_) | Change::TakeBack(..) => (ShadowState::Dropped, Some(REPLACED)),
            Change::Try(trial) if shadow.is_of(&trial.build) && trial.rollout.shadow.is_none() => {
                (ShadowState::Canary, None)
            }
            Change::Try(trial) if !shadow.is_of(&trial.build) => {
                (ShadowState::Dropped, Some("another version is on trial in its place"))
            }
            // It begins again.
            Change::Configure(_) | Change::Try(_) => return,
        };
        self.deployer.ended.push_back(shadow.report(state, reason));
        while self.deployer.ended.len() > ENDED_MAX {
            self.deployer.ended.pop_front();
        }
    }

    /// Passes on what shadows have come to, and what they are to do.
    pub(super) fn tend_shadows(&mut self) {
        self.functions.shadows.mono_us = self.now.mono_us;
        for (name, sha256, verdict) in std::mem::take(&mut self.functions.shadows.concluded) {
            self.deployer.waiting.push_back(Request::Conclude(name, sha256, verdict));
            self.more = true;
        }
        for report in self.functions.shadows.take_reports() {
            self.publish_shadow(&report);
        }
        while let Some(job) = self.functions.shadows.next_leaving() {
            self.effects.push_back(Effect::Run(job));
        }
    }

    fn publish_shadow(&mut self, report: &ShadowReport) {
        self.publish_control(&format!("function/{}/shadow", report.function), report, true);
    }

    /// All runs, and the last that are over.
    pub(super) fn shadow_reports(&self) -> Vec<ShadowReport> {
        self.functions.shadows.reports().chain(self.deployer.ended.iter().cloned()).collect()
    }

    /// A change that a shadow came, stayed or went with is durable.
    pub(super) fn tell_shadow(&mut self, name: &str, change: &Change) {
        if let Some(report) = self.deployer.ended.iter().rfind(|report| report.function == name).cloned() {
            self.publish_shadow(&report);
        }
        match change {
            Change::Try(trial) => {
                let (version, state) = (trial.build.version.to_string(), trial.word());
                self.tell(name, &version, trial.build.sha256, state, None);
                self.notices.push(Notice::OnTrial { function: name.to_owned(), version, state });
            }
            Change::Drop(build, reason) => {
                let version = build.version.to_string();
                self.tell(name, &version, build.sha256, "rejected", Some(reason));
                let reason = reason.clone();
                self.notices.push(Notice::TrialDropped { function: name.to_owned(), version, reason });
            }
            Change::Configure(_) => self.deployer.waiting.push_back(Request::TryAgain(name.to_owned())),
            Change::Remove => {
                self.deployer.ended.retain(|report| report.function != name);
                self.publish_nothing(&format!("function/{name}/shadow"));
            }
            Change::Advance(_) | Change::TakeBack(..) => {}
        }
    }

    /// What became of a push.
    pub(super) fn tell_pusher(&mut self, name: &str, change: &Change, push: [u8; 32]) {
        let (state, version, reason) = match change {
            Change::Try(trial) => (trial.push_state(), Some(trial.build.version.to_string()), None),
            Change::Drop(build, reason) => {
                (PushState::Rejected, Some(build.version.to_string()), Some(reason.as_str()))
            }
            _ => (PushState::Active, self.functions.get(name).map(|active| active.manifest.version.to_string()), None),
        };
        if let Some(version) = version {
            self.report_push(push, state, Some((name, &version)), reason);
        }
    }

    /// Begins again with the trials there were when the gateway ended.
    pub(super) fn restore_trials(&mut self, shelf: &mut dyn Shelf) {
        for (name, entry) in self.deployer.registry.functions.clone() {
            let Some(trial) = entry.trial else { continue };
            let loaded = shelf.load(&trial.build.sha256, &entry.overrides);
            let ready = loaded.and_then(|mut loaded| Ok((self.trial_state(&name, &trial, &mut loaded)?, loaded)));
            match ready {
                Ok((state, loaded)) => {
                    self.begin_trial(&name, &trial, loaded, state);
                    self.tell(&name, &trial.build.version.to_string(), trial.build.sha256, trial.word(), None);
                }
                Err(reason) => {
                    if let Some(entry) = self.deployer.registry.functions.get_mut(&name) {
                        entry.trial = None;
                    }
                    self.notices.push(Notice::ModuleLost { function: name, reason });
                }
            }
        }
    }
}
