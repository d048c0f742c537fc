//! Deployment: from a verified module or a command to another version in force, between two messages.
//!
//! The function that changes begins with nothing more until nothing of it is under way. Then the change goes into the log, as
//! a note of its own with the state that belongs to it, and the function goes on when that is durable: a power cut leaves the
//! old version with its state or the new one with its own. Messages wait meanwhile, and none is lost or run twice.

use eyot_wire::control::PushState;

use super::restore::active_build;
use super::*;
use crate::deploy::guard::Guard;
use crate::deploy::plan::{Change, Document, Origin, Request, Stage};
use crate::deploy::registry::{build, Entry, Trial};
use crate::needs::{Need, Needs};
use crate::task::{Candidate, Fresh, Overrides, Task};

/// No message is taken in while a function that is to be removed ends what it has: if that takes longer, it stays.
pub(super) const LEAVING_MAX_US: u64 = 10_000_000;

impl<S: Storage> Core<S> {
    /// Goes on with the change under way, and begins with the next.
    pub(super) fn deploy(&mut self) {
        for (name, sha256, reason) in self.notices.tripped.drain(..) {
            let is_in_force = self.functions.get(&name).is_some_and(|active| active.sha256 == sha256);
            self.deployer.waiting.push_front(match is_in_force {
                true => Request::TakeBack(name, sha256, reason),
                false => Request::Conclude(name, sha256, Err(reason)),
            });
        }
        self.look_after_pushes();
        if self.deployer.stage.is_none() && !self.draining {
            if let Some(request) = self.deployer.waiting.pop_front() {
                self.begin_change(request);
                self.more = true;
            }
        }
        self.try_swap();
        self.look_after_pushes();
    }

    fn begin_change(&mut self, request: Request) {
        match request {
            Request::Push(push, parts) => {
                self.deployer.stage = Some(Stage::Taking);
                self.deployer.tasks.push_back(Task::Take { push, parts });
            }
            Request::TakeBack(name, sha256, reason) => self.take_back(&name, sha256, reason),
            Request::Conclude(name, sha256, verdict) => self.conclude(&name, sha256, verdict),
            Request::TryAgain(name) => self.try_again_with_config(&name),
            Request::Order(authorized) => {
                let order = authorized.order.clone();
                if let Err(reason) = self.begin_order(authorized) {
                    self.settle(&order, Err(&reason));
                }
            }
        }
    }

    /// Whether the function of this name makes less of the backlog: it belongs to the configuration.
    pub(super) fn is_reducer(&self, name: &str) -> bool {
        self.reducer.as_ref().is_some_and(|reducer| *reducer.name == *name)
    }

    /// What is known of a function: from the registry, or that it came with the configuration file.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        let known = self.deployer.registry.functions.get(name).cloned();
        let here = || self.functions.get(name).map(|active| Entry::of(active_build(active)));
        match known {
            Some(entry) if entry.active.is_some() || self.functions.get(name).is_none() => Some(entry),
            Some(entry) => here().map(|new| Entry { overrides: entry.overrides, ..new }),
            None => here(),
        }
    }

    /// A verified module: may it come?
    pub(super) fn consider(&mut self, push: [u8; 32], candidate: Candidate) {
        let Candidate { manifest, content_sha256, signers } = candidate;
        let (name, version) = (manifest.name.clone(), manifest.version.to_string());
        let build = build(&manifest, push, content_sha256);
        let by = if signers.is_empty() { "unsigned".to_owned() } else { signers.join(", ") };
        let origin = Origin { push: Some(push), order: None, by };
        let entry = self.entry(&name).unwrap_or_default();
        self.deployer.stage = None;
        if entry.trial.as_ref().is_some_and(|trial| trial.build.content_sha256 == content_sha256) {
            self.put_away(push);
            let state = entry.trial.map_or(PushState::Shadow, |trial| trial.push_state());
            return self.report_push(push, state, Some((&name, &version)), None);
        }
        if let Some(back) = entry.taken_back.as_ref().filter(|back| back.build.content_sha256 == content_sha256) {
            // A retained push comes again with every connection.
            let reason = format!(
                "was rejected or rolled back here before: {}; push it under a higher version, or promote it with `eyot promote {name}`",
                back.reason
            );
            return self.refuse(&name, &version, &origin, &reason);
        }
        match entry.history().admit(&build.release()) {
            Ok(eyot_trust::release::Admission::Unchanged) => {
                self.put_away(push);
                self.report_push(push, PushState::Unchanged, Some((&name, &version)), None);
            }
            Ok(eyot_trust::release::Admission::Replaces) => {
                if let Some(reason) = self.deployer.registry.earlier.reason(&name, &content_sha256) {
                    let reason =
                        format!("was rejected or rolled back here before: {reason}; push it under a higher version");
                    return self.refuse(&name, &version, &origin, &reason);
                }
                match self.has_place(&name).and_then(|()| self.way_in(&manifest, build)) {
                    Ok(change) => self.load(&name, change, origin),
                    Err(reason) => self.refuse(&name, &version, &origin, &reason),
                }
            }
            Err(error) => self.refuse(&name, &version, &origin, &error.to_string()),
        }
    }

    fn has_place(&mut self, name: &str) -> Result<(), String> {
        if self.is_reducer(name) {
            return Err(format!("is called \"{name}\" like the reducer of [spool.reduce]; give it another name"));
        }
        let is_new = self.functions.get(name).is_none();
        if is_new && self.functions.iter().count() >= crate::config::FUNCTIONS_MAX
            || !self.deployer.registry.has_room_for(name)
        {
            return Err("is one function too many; remove another with `eyot remove`".to_owned());
        }
        Ok(())
    }

    /// Has an instance made, unless one is at hand.
    pub(super) fn load(&mut self, name: &str, change: Change, origin: Origin) {
        let (entry, active) = (self.entry(name).unwrap_or_default(), self.functions.get(name));
        let (sha256, overrides): (Option<[u8; 32]>, Overrides) = match &change {
            Change::Advance(build) | Change::TakeBack(build, _) => (Some(build.sha256), entry.overrides),
            Change::Configure(overrides) => (active.map(|active| active.sha256), overrides.clone()),
            Change::Try(trial) => (Some(trial.build.sha256), entry.overrides),
            Change::Remove | Change::Drop(..) => (None, Vec::new()),
        };
        let Some(sha256) = sha256 else { return };
        // What came with the configuration file is not in the store; the way back leads there.
        let is_way_back = matches!(change, Change::TakeBack(..));
        let keep = active.map(|active| active.sha256).filter(|_| !is_way_back);
        let name = name.to_owned();
        let warm = if change.is_beside() { None } else { self.deployer.warm.remove(&name) };
        let warm = warm.filter(|loaded| loaded.sha256 == sha256);
        if let (Change::TakeBack(..), Some(loaded)) = (&change, warm) {
            self.set_frozen(&name, true);
            self.deployer.stage = Some(Stage::Ready { name, change, origin, loaded: Some(loaded) });
            return;
        }
        self.deployer.tasks.push_back(Task::Load { sha256, overrides, keep });
        self.deployer.stage = Some(Stage::Loading { name, sha256, change, origin });
    }

    /// The instance is made.
    pub(super) fn loaded(&mut self, sha256: [u8; 32], result: Result<Fresh, String>) {
        match self.deployer.stage.take() {
            Some(Stage::Loading { name, sha256: wanted, change, origin }) if wanted == sha256 => {
                let checked = result.and_then(|Fresh(loaded)| self.has_means(&name, &loaded).map(|()| loaded));
                match checked {
                    Ok(loaded) => {
                        self.set_frozen(&name, !change.is_beside());
                        let loaded = Some(Box::new(loaded));
                        self.deployer.stage = Some(Stage::Ready { name, change, origin, loaded });
                    }
                    Err(reason) => self.fail(&name, &change, &origin, &reason),
                }
            }
            other => self.deployer.stage = other,
        }
    }

    /// The version before takes memory only while it may have to come back at once.
    pub(super) fn give_up_warm(&mut self) {
        let (functions, mono_us) = (&self.functions, self.now.mono_us);
        self.deployer.warm.retain(|name, _| functions.get(name).is_some_and(|active| active.is_on_probation(mono_us)));
    }

    /// Whether all functions together stay within what log and processor have, with this one in place of what it replaces.
    fn has_means(&self, name: &str, loaded: &Loaded) -> Result<(), String> {
        let mut needs = Needs::new(self.max_bytes, self.config.fuel_budget_per_s);
        for active in self.functions.iter().filter(|active| *active.name != *name) {
            // Those that are here were admitted before.
            let _ = needs.add(&active.instances.need(&active.manifest));
        }
        needs.add(&Need::of(&loaded.function))
    }

    pub(super) fn set_frozen(&mut self, name: &str, is_frozen: bool) {
        let Some(place) = self.functions.place(name) else { return };
        if let Some(active) = self.functions.at_mut(place) {
            active.is_frozen = is_frozen;
        }
        if !is_frozen {
            self.go_on(place);
            self.land();
        }
    }

    /// Makes the change, if nothing of the function is under way and the log has room for it.
    fn try_swap(&mut self) {
        match self.deployer.stage.take() {
            Some(Stage::Ready { name, change, origin, loaded }) if self.is_at_rest(&name, &change) => {
                self.swap(name, change, origin, loaded);
            }
            Some(Stage::Leaving { name, origin, .. }) if self.is_at_rest(&name, &Change::Remove) => {
                self.swap(name, Change::Remove, origin, None);
            }
            Some(Stage::Leaving { name, origin, until_us }) if self.now.mono_us >= until_us => {
                self.fail(&name, &Change::Remove, &origin, &too_busy(&name));
            }
            stage => self.deployer.stage = stage,
        }
    }

    fn is_at_rest(&mut self, name: &str, change: &Change) -> bool {
        if change.is_beside() {
            self.set_canary_out(name, true);
        }
        let is_at_rest = match self.functions.get(name) {
            None => true,
            Some(active) if change.is_beside() => active.is_canary_quiet(),
            Some(active) if matches!(change, Change::Remove) => active.is_idle(),
            Some(active) => active.is_quiet(),
        };
        is_at_rest && self.committer.takes_letters()
    }

    /// A change that is durable is told to all, and the function goes on.
    pub(super) fn change_is_durable(&mut self, durable: u64) {
        let stage = self.deployer.stage.take_if(|s| matches!(s, Stage::Committing { batch, .. } if *batch <= durable));
        let Some(Stage::Committing { name, change, origin, number, is_new, gone, .. }) = stage else { return };
        if !change.is_beside() {
            self.set_frozen(&name, false);
        }
        for sha256 in gone {
            self.deployer.tasks.push_back(Task::Discard { sha256 });
        }
        if let Some(push) = origin.push {
            self.deployer.staging.vouch(&push);
            self.deployer.staging.forget(&push);
            self.deployer.tasks.push_back(Task::Forget { push });
        }
        self.subscribe();
        self.announce(&name, &change, is_new);
        self.tell_shadow(&name, &change);
        self.tell_canary(&name, &change);
        self.tell_config(&name, &change);
        // Whoever hears what became of it finds it retained.
        self.publish_changed_functions();
        if let Some(push) = origin.push {
            self.tell_pusher(&name, &change, push);
        }
        if let Some(authorized) = &origin.order {
            self.settle(&authorized.order, Ok(()));
        }
        self.audit_change(number);
        self.more = true;
    }

    /// The function's topic says what is in force, and the log of the daemon what happened.
    fn announce(&mut self, name: &str, change: &Change, is_new: bool) {
        let version = self.functions.get(name).map(|active| active.manifest.version.to_string()).unwrap_or_default();
        self.deployer.documents.remove(name);
        match change {
            Change::TakeBack(_, reason) => {
                let back = self.deployer.registry.functions.get(name).and_then(|entry| entry.taken_back.clone());
                if let Some(back) = back {
                    let (version, sha256) = (back.build.version.to_string(), back.build.sha256);
                    self.tell(name, &version, sha256, "rolled-back", Some(reason));
                }
                self.notices.push(Notice::RolledBack { function: name.to_owned(), version, reason: reason.clone() });
            }
            Change::Remove => {
                self.clear_document(name);
                self.notices.push(Notice::FunctionRemoved { function: name.to_owned() });
            }
            Change::Advance(_) | Change::Configure(_) => {
                self.notices.changed.push(name.into());
                self.notices.push(Notice::Deployed { function: name.to_owned(), version, is_new });
            }
            Change::Try(_) | Change::Drop(..) => {}
        }
        self.status_due_us = self.now.mono_us;
    }

    /// What a function's topic says in place of what is in force.
    pub(super) fn tell(&mut self, name: &str, version: &str, sha: [u8; 32], state: &'static str, reason: Option<&str>) {
        let document = Document {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: hex::encode(sha),
            state,
            reason: reason.map(|reason| crate::deploy::registry::cut(reason).to_owned()),
        };
        let is_retained = self.functions.get(name).is_some() || self.deployer.may_reject(name);
        if is_retained {
            self.deployer.documents.insert(name.to_owned(), document.clone());
        }
        self.publish_document(&document, is_retained);
    }

    /// A change that cannot be made leaves all as it was.
    pub(super) fn fail(&mut self, name: &str, change: &Change, origin: &Origin, reason: &str) {
        self.deployer.stage = None;
        if !change.is_beside() {
            self.set_frozen(name, false);
        }
        self.set_canary_out(name, false);
        if origin.order.is_none() && self.trial_failed(name, change, reason) {
            return;
        }
        match (&origin.order, change) {
            (Some(authorized), _) => {
                self.settle(&authorized.order, Err(reason));
                self.audit_refusal(authorized.order.command.word(), name, &origin.by, None, reason);
            }
            (None, Change::Advance(build) | Change::Try(Trial { build, .. })) => {
                self.refuse(name, &build.version.to_string(), origin, reason)
            }
            (None, _) => {
                self.watch_again(name);
                let reason = format!("it should be rolled back, and cannot: {reason}");
                self.notices.push(Notice::PushRejected { function: Some(name.to_owned()), reason });
            }
        }
    }

    /// The store failed when a version was to be taken back. Once it is quarantined it is run seldom, so each failure counts.
    fn watch_again(&mut self, name: &str) {
        let baseline = self.deployer.registry.functions.get(name).and_then(|entry| entry.baseline);
        let active = self.functions.place(name).and_then(|place| self.functions.at_mut(place));
        if let (Some(baseline), Some(active)) = (baseline, active) {
            active.guard = Some(Guard::again(baseline, self.now.mono_us));
        }
    }

    fn refuse(&mut self, name: &str, version: &str, origin: &Origin, reason: &str) {
        let Some(push) = origin.push else { return };
        self.deployer.stage = None;
        self.put_away(push);
        self.reject(push, Some((name, version)), reason);
    }

    /// Parts and module of a push that came to nothing.
    fn put_away(&mut self, push: [u8; 32]) {
        self.deployer.staging.forget(&push);
        self.deployer.tasks.push_back(Task::Forget { push });
        let runs = self.functions.iter().any(|active| active.sha256 == push);
        if !runs && !self.deployer.registry.modules().contains(&push) {
            self.deployer.tasks.push_back(Task::Discard { sha256: push });
        }
    }

    /// The intake's filters, if they have changed.
    fn subscribe(&mut self) {
        let filters = self.subscriptions();
        if filters != self.deployer.subscribed {
            self.deployer.subscribed.clone_from(&filters);
            self.effects.push_back(Effect::Subscribe(filters));
        }
    }
}

fn too_busy(name: &str) -> String {
    let seconds = LEAVING_MAX_US / 1_000_000;
    format!("\"{name}\" had messages to end, or the log no room, for {seconds} s, in which no message is taken; send it again later")
}
