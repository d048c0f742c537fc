//! Deployment, at the start: the versions in force that were when the gateway ended.

use super::*;
use crate::deploy::guard::Guard;
use crate::deploy::plan::Audits;
use crate::deploy::registry::{build, Build, Entry};
use crate::task::{Shelf, Task};

impl<S: Storage> Core<S> {
    /// Puts the versions in force that were when the gateway ended: to be called once, after [`open`](Self::open).
    pub fn restore(&mut self, shelf: &mut dyn Shelf) {
        for (name, entry) in self.deployer.registry.functions.clone() {
            self.restore_one(&name, &entry, shelf);
        }
        self.restore_trials(shelf);
        self.restore_nodes();
        shelf.audit(&mut self.deployer.audits.lines());
        self.deployer.audits = Audits::default();
        for command in shelf.commands() {
            self.ordered_before(command);
        }
        shelf.retain(&self.deployer.registry.modules());
        let gone = self.deployer.staging.restore(&shelf.parts(), self.now.mono_us);
        // What is in force needs its parts no more: the kill may have come when some of them were removed.
        let done = self.functions.iter().map(|active| active.sha256);
        let done: Vec<_> = done.filter(|sha256| self.deployer.staging.forget(sha256)).collect();
        self.deployer.tasks.extend(gone.into_iter().chain(done).map(|push| Task::Forget { push }));
        self.restore_node_parts(shelf);
        self.deployer.subscribed = self.subscriptions();
    }

    fn restore_one(&mut self, name: &str, entry: &Entry, shelf: &mut dyn Shelf) {
        if self.is_reducer(name) {
            return;
        }
        let place = self.functions.place(name);
        let configured = place.and_then(|place| self.functions.at_mut(place)).map(|active| active_build(active));
        // What came with the configuration file and is newer than all that was pushed is a way to deploy, too.
        if let Some(build) = configured.as_ref().filter(|build| entry.is_older_than(build)) {
            if let Some(entry) = self.deployer.registry.functions.get_mut(name) {
                entry.advance(build.clone());
            }
            return;
        }
        let Some(active) = &entry.active else {
            return place.into_iter().for_each(|place| self.functions.remove(place));
        };
        if configured.as_ref().is_some_and(|build| build.sha256 == active.sha256) && entry.overrides.is_empty() {
            return;
        }
        match shelf.load(&active.sha256, &entry.overrides) {
            Ok(loaded) => {
                let at = self.put(name, loaded);
                if let (Some(baseline), Some(active)) = (entry.baseline, self.functions.at_mut(at)) {
                    active.guard = Some(Guard::new(baseline, self.now.mono_us));
                }
                if let Some(state) = self.orphans.remove(name) {
                    self.set_state(at, state);
                }
            }
            Err(reason) => {
                self.notices.push(Notice::ModuleLost { function: name.to_owned(), reason });
            }
        }
    }

    /// In place of the function of this name, or as one more. The state stays.
    fn put(&mut self, name: &str, loaded: Loaded) -> usize {
        match self.functions.place(name) {
            Some(place) => {
                if let Some(active) = self.functions.at_mut(place) {
                    let state = active.instances.state().as_ref().clone();
                    active.become_new(loaded);
                    active.instances.set_state(state);
                }
                self.functions.retrigger();
                place
            }
            None => self.functions.add(loaded, self.flight.is_empty()),
        }
    }

    pub(super) fn set_state(&mut self, place: usize, entries: BTreeMap<Vec<u8>, Vec<u8>>) {
        if let Some(active) = self.functions.at_mut(place) {
            active.instances.set_state(entries.into());
        }
    }
}

/// The build that a function is of.
pub(super) fn active_build(active: &Active) -> Build {
    build(&active.manifest, active.sha256, active.content_sha256)
}
