//! The instances of one function: here, or away with a job.

use std::sync::Arc;

use eyot_engine::{Effects, Function, State};
use eyot_wire::manifest::Manifest;

use crate::job::Replica;
use crate::needs::Need;

/// One instance at first. A function that keeps no state gets others when messages wait for it.
pub(crate) struct Instances {
    /// The first one, which has the state. None while it is away.
    home: Option<Box<Function>>,
    /// The state meanwhile: nothing becomes part of it before the log holds it.
    kept: Arc<State>,
    /// Others that are here. They go in and out with jobs, which have them in boxes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Function>>,
    /// All of them, and those that are being made.
    count: usize,
    replica: Option<Replica>,
    uses_state: bool,
    state_max_bytes: u64,
    start_fuel: u64,
    /// It has run for a message that is not in the log yet, and keeps state: what it runs next must see that state, and
    /// come behind it in the log.
    is_held: bool,
}

/// An instance that is free for a message.
pub(crate) enum Free {
    Home(Box<Function>),
    Spare(Box<Function>),
    /// One can be made.
    Unmade(Replica),
}

impl Instances {
    pub fn new(function: Box<Function>, replica: Option<Replica>) -> Self {
        let uses_state = function.uses_state();
        let Need { state_bytes: state_max_bytes, start_fuel, .. } = Need::of(&function);
        Self {
            home: Some(function),
            kept: Arc::default(),
            spare: Vec::new(),
            count: 1,
            replica: replica.filter(|_| !uses_state),
            uses_state,
            state_max_bytes,
            start_fuel,
            is_held: false,
        }
    }

    /// Whether all of them are here, and none has run for a message that is not in the log yet, as far as that matters.
    pub fn are_quiet(&self) -> bool {
        !self.is_held && self.home.is_some() && self.count == 1 + self.spare.len()
    }

    /// Whether it has a state.
    pub fn uses_state(&self) -> bool {
        self.uses_state
    }

    /// What the function may need, wherever its instances are.
    pub fn need<'a>(&self, manifest: &'a Manifest) -> Need<'a> {
        Need { manifest, state_bytes: self.state_max_bytes, start_fuel: self.start_fuel }
    }

    /// Takes the first one out for good, with what makes more of it.
    pub fn dissolve(&mut self) -> Option<(Box<Function>, Option<Replica>)> {
        self.spare.clear();
        Some((self.home.take()?, self.replica.take()))
    }

    /// As of the last message in the log.
    pub fn state(&self) -> &Arc<State> {
        self.home.as_ref().map_or(&self.kept, |home| home.state())
    }

    /// The first instance, if it is here and nothing holds it.
    pub fn home_mut(&mut self) -> Option<&mut Function> {
        self.home.as_deref_mut().filter(|_| !self.is_held)
    }

    /// Takes an instance out that is free, or says that one more can be made, of at most `most`.
    pub fn take(&mut self, most: usize) -> Option<Free> {
        if self.is_held {
            return None;
        }
        if let Some(home) = self.home.take() {
            self.kept = Arc::clone(home.state());
            return Some(Free::Home(home));
        }
        if let Some(spare) = self.spare.pop() {
            return Some(Free::Spare(spare));
        }
        let replica = self.replica.as_ref().filter(|_| self.count < most)?;
        self.count += 1;
        Some(Free::Unmade(Arc::clone(replica)))
    }

    /// Puts back what [`take`](Self::take) took out, or what was made.
    pub fn put(&mut self, function: Box<Function>, is_home: bool) {
        if is_home {
            self.home = Some(function);
            self.kept = Arc::default();
        } else {
            self.spare.push(function);
        }
    }

    /// What was to be made cannot be: there will be no more than there are.
    pub fn unmakeable(&mut self) {
        self.count -= 1;
        self.replica = None;
    }

    /// A message has run that is not in the log yet.
    pub fn hold(&mut self) {
        self.is_held = self.uses_state;
    }

    /// It is in the log; true if something may have waited for that.
    pub fn release(&mut self) -> bool {
        std::mem::take(&mut self.is_held)
    }

    /// The effects of the message the first instance has just run.
    pub fn effects(&self) -> Option<&Effects> {
        self.home.as_ref().map(|home| home.effects())
    }

    /// The fuel it took.
    pub fn fuel_spent(&self) -> u64 {
        self.home.as_ref().map_or(0, |home| home.fuel_spent())
    }

    /// Takes its effects.
    pub fn take_effects(&mut self) -> Effects {
        let mut effects = self.home.as_mut().map(|home| home.take_effects()).unwrap_or_default();
        effects.shrink();
        effects
    }

    /// The effects of the message the first instance has just run become part of the state.
    pub fn keep(&mut self) {
        if let Some(home) = &mut self.home {
            home.keep();
        }
    }

    /// As [`keep`](Self::keep), with effects that were taken.
    pub fn keep_taken(&mut self, effects: &Effects) {
        if let Some(home) = &mut self.home {
            home.keep_taken(effects);
        }
    }

    /// Replaces the state.
    pub fn set_state(&mut self, state: State) {
        if let Some(home) = &mut self.home {
            *home.state_mut() = state;
        }
    }

    /// Has this state, which another version has, too: without a copy of it.
    pub fn borrow(&mut self, state: Arc<State>) {
        if let Some(home) = &mut self.home {
            home.share_state(state);
        }
    }

    /// Gives up the instances beyond the first that nothing needs now.
    pub fn give_up_spare(&mut self) {
        self.count -= self.spare.len();
        self.spare = Vec::new();
    }
}
