//! Functions that come, change and go: each keeps its place meanwhile, because what is in flight knows it by that.

use eyot_engine::State;
use eyot_wire::manifest::CanaryRun;

use super::*;
use crate::canary::Canary;
use crate::deploy::registry::Trial;

impl Functions {
    /// Where the one of this name is, as long as it is there.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.active.iter().position(|active| *active.name == *name && !active.is_gone)
    }

    /// The one at this place.
    pub fn at_mut(&mut self, place: usize) -> Option<&mut Active> {
        self.active.get_mut(place)
    }

    /// One more. `may_reuse`: nothing in flight knows the places of functions that are gone.
    pub fn add(&mut self, loaded: Loaded, may_reuse: bool) -> usize {
        let free = self.active.iter().position(|active| active.is_gone).filter(|_| may_reuse);
        let active = Active::new(loaded);
        let place = match free.and_then(|place| Some((place, self.active.get_mut(place)?))) {
            Some((place, gone)) => {
                *gone = active;
                place
            }
            None => {
                self.active.push(active);
                self.active.len() - 1
            }
        };
        self.retrigger();
        place
    }

    /// It is idle, and goes.
    pub fn remove(&mut self, place: usize) {
        if let Some(active) = self.active.get_mut(place) {
            active.instances.dissolve();
            active.is_gone = true;
        }
        self.retrigger();
    }

    /// From now on a shadow sees what the one at this place sees.
    pub fn begin_shadow(&mut self, place: usize, trial: Trial, loaded: Loaded, state: State) {
        if let Some(active) = self.active.get(place) {
            self.shadows.begin(place, active, trial, loaded.function, state);
        }
    }

    /// From now on a version has a share of the messages of the one at this place.
    pub fn begin_canary(&mut self, place: usize, trial: &Trial, rule: CanaryRun, loaded: Loaded, mono_us: u64) {
        if let Some(active) = self.active.get_mut(place) {
            active.canary = Some(Box::new(Canary::new(loaded, trial, rule, mono_us)));
        }
    }

    /// Canaries, with the functions they are of.
    pub fn canaries(&self) -> impl Iterator<Item = (&Active, &Canary)> {
        self.iter().filter_map(|active| Some((active, active.canary.as_deref()?)))
    }

    /// Triggers may have changed.
    pub fn retrigger(&mut self) {
        self.triggers = Triggers::of(&self.active);
    }
}
