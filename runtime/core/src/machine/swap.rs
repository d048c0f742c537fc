//! Deployment, between two messages: the change goes into the log, and the machine does what the log says.

use eyot_engine::limits::MIGRATION_FUEL_MAX;
use eyot_wire::code::Failure;

use super::*;
use crate::deploy::guard::Guard;
use crate::deploy::plan::{Change, Origin, Stage};
use crate::deploy::registry::{Build, Deployed, Entry, StateChange};
use crate::task::Authorized;

impl<S: Storage> Core<S> {
    /// A build on probation is to go, if it is in force still: while another change was under way, that may have put another
    /// in its place.
    pub(super) fn take_back(&mut self, name: &str, sha256: [u8; 32], reason: String) {
        if self.functions.get(name).is_none_or(|active| active.sha256 != sha256) {
            return;
        }
        let origin = Origin { by: "probation".to_owned(), ..Origin::default() };
        let to = self.deployer.registry.functions.get(name).and_then(|entry| entry.previous.first().cloned());
        match to {
            Some(to) => self.load(name, Change::TakeBack(to, reason), origin),
            None => self.set_frozen(name, false),
        }
    }

    pub(super) fn swap(&mut self, name: String, change: Change, origin: Origin, mut loaded: Option<Box<Loaded>>) {
        let old_entry = self.deployer.registry.functions.get(&name).cloned();
        let mut entry = self.entry(&name).unwrap_or_default();
        let from = entry.active.clone();
        let baseline = self.functions.get(&name).map(Active::baseline);
        match &change {
            Change::Advance(build) => {
                entry.advance(build.clone());
                entry.baseline = baseline.filter(|_| from.is_some());
            }
            Change::TakeBack(build, reason) => entry.take_back(build, reason),
            Change::Configure(overrides) => entry.overrides.clone_from(overrides),
            Change::Try(trial) => entry.trial = Some(trial.clone()),
            Change::Drop(build, reason) => entry.reject(build, reason),
            Change::Remove => {
                let highest = entry.highest.take();
                entry = Entry { highest, ..Entry::default() };
            }
        }
        let state = match self.state_change(&name, &change, from.as_ref(), entry.active.as_ref(), loaded.as_deref_mut())
        {
            Ok(state) => state,
            Err(reason) => return self.fail(&name, &change, &origin, &reason),
        };
        let beside = match (&change, loaded.as_deref_mut()) {
            (Change::Try(trial), Some(loaded)) => self.trial_state(&name, trial, loaded).map(Some),
            _ => Ok(None),
        };
        let beside = match beside {
            Ok(beside) => beside,
            Err(reason) => return self.fail(&name, &change, &origin, &reason),
        };
        let result = match &change {
            Change::Drop(_, reason) if origin.order.is_none() => Err(reason.as_str()),
            _ => Ok(()),
        };
        let line = self.audit_line(word(&change, &origin), &name, &origin.by, origin.push, result);
        let (deployed, batch) = match self.write_change(&name, Some(entry), origin.order.as_ref(), state, line) {
            Ok(written) => written,
            Err(reason) => return self.fail(&name, &change, &origin, &reason),
        };
        let is_new = self.functions.get(&name).is_none();
        self.end_shadow(&name, &change, &origin);
        self.end_canary(&name, &change, &origin);
        match (&change, beside, loaded) {
            (Change::Try(trial), Some(state), Some(loaded)) => self.begin_trial(&name, trial, *loaded, state),
            (change, _, _) if change.is_beside() => {}
            (_, _, loaded) => self.put_in_force(&name, &change, &deployed, loaded),
        }
        let kept = self.deployer.registry.modules();
        let needed = old_entry.iter().flat_map(Entry::modules).chain(origin.push);
        let gone = needed.filter(|sha256| !kept.contains(sha256)).collect();
        let number = deployed.number;
        self.deployer.stage = Some(Stage::Committing { name, change, origin, batch, number, is_new, gone });
        self.more = true;
    }

    /// A change goes into the log with its line for the audit log, and the registry has it from here on. Returns it with the
    /// number of the batch.
    pub(super) fn write_change(
        &mut self,
        name: &str,
        entry: Option<Entry>,
        by: Option<&Authorized>,
        state: StateChange,
        line: String,
    ) -> Result<(Deployed, u64), String> {
        self.prepare();
        let nonce = by.map(|by| (by.order.nonce.clone(), by.order.expires));
        let deployed = Deployed::new(self.deployer.registry.number + 1, name, entry, nonce, state);
        let written = self.committer.append_deployed(&deployed.encode(), &line, self.now.mono_us);
        let batch = written.map_err(|error| error.to_string())?;
        self.deployer.audits.push(deployed.number, line);
        self.deployer.registry.apply(&deployed);
        Ok((deployed, batch))
    }

    /// What becomes of the state when `from` gives way to `to`.
    fn state_change(
        &mut self,
        name: &str,
        change: &Change,
        from: Option<&Build>,
        to: Option<&Build>,
        loaded: Option<&mut Loaded>,
    ) -> Result<StateChange, String> {
        let (Some(from), Some(to)) = (from, to) else {
            return Ok(if matches!(change, Change::Remove) { StateChange::Drop } else { StateChange::Keep });
        };
        let (from, to) = (from.version.major, to.version.major);
        if from == to {
            return Ok(StateChange::Keep);
        }
        let old = self.functions.get(name).map(|active| active.instances.state().as_ref().clone());
        match (change, loaded, old) {
            (Change::Advance(_), Some(loaded), Some(old)) if loaded.function.has_migrate() && !old.is_empty() => {
                *loaded.function.state_mut() = old;
                migrate(loaded, from)?;
                Ok(StateChange::Migrate { from, state: loaded.function.state().entries().clone() })
            }
            _ => Ok(StateChange::Aside { from, to }),
        }
    }

    /// The machine does what the log now says.
    fn put_in_force(&mut self, name: &str, change: &Change, deployed: &Deployed, loaded: Option<Box<Loaded>>) {
        let place = self.functions.place(name);
        if let Some(active) = place.and_then(|place| self.functions.at_mut(place)) {
            let state = active.instances.state();
            if !state.is_empty() {
                self.orphans.insert(name.to_owned(), state.entries().clone());
            }
        }
        deployed.state.apply(name, &mut self.orphans);
        let state = self.orphans.remove(name).unwrap_or_default();
        let may_reuse = self.flight.is_empty();
        match (place, loaded) {
            (Some(place), Some(loaded)) => {
                let mono_us = self.now.mono_us;
                let Some(active) = self.functions.at_mut(place) else { return };
                self.flight.sign(place, active.maker());
                let old = active.become_new(*loaded);
                let baseline = deployed.entry.as_ref().and_then(|entry| entry.baseline);
                active.guard = baseline.map(|baseline| Guard::new(baseline, mono_us));
                let is_on_probation = active.guard.is_some();
                if let Some(old) = old.filter(|_| is_on_probation && matches!(change, Change::Advance(_))) {
                    self.deployer.warm.insert(name.to_owned(), Box::new(old));
                }
                self.functions.retrigger();
                self.set_state(place, state);
            }
            (None, Some(loaded)) => {
                let place = self.functions.add(*loaded, may_reuse);
                if let Some(active) = self.functions.at_mut(place) {
                    active.is_frozen = true;
                }
                self.set_state(place, state);
            }
            (Some(place), None) => self.functions.remove(place),
            (None, None) => {}
        }
    }
}

/// A version makes its own of the state of major version `from`, which it has.
pub(super) fn migrate(loaded: &mut Loaded, from: u64) -> Result<(), String> {
    let most = MIGRATION_FUEL_MAX.min(loaded.function.manifest().limits.fuel);
    loaded.function.migrate(from).map_err(|failure| {
        let limit = if failure == Failure::Fuel { format!(" ({most} for a migration)") } else { String::new() };
        format!(
            "cannot take over the state of version {from}: eyot_migrate: {failure}{limit}; the version before stays"
        )
    })
}

/// What the audit log calls it.
fn word(change: &Change, origin: &Origin) -> &'static str {
    match (&origin.order, change) {
        (Some(authorized), _) => authorized.order.command.word(),
        (None, Change::TakeBack(..)) => "rollback",
        (None, _) => "push",
    }
}
