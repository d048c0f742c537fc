//! What a function remembers from one message to the next.

use alloc::sync::Arc;

use super::Function;
use crate::effects::Effects;
use crate::state::State;

impl Function {
    /// What it remembers.
    pub fn state(&self) -> &Arc<State> {
        &self.store.data().state
    }

    /// Its state, for recovery. Copied if whoever has a clone of the [`Arc`] still holds it.
    pub fn state_mut(&mut self) -> &mut State {
        Arc::make_mut(&mut self.store.data_mut().state)
    }

    /// Makes `state` its state, without a copy of it.
    pub fn share_state(&mut self, state: Arc<State>) {
        self.store.data_mut().state = state;
    }

    /// Makes the state operations of the last message part of the state.
    pub fn keep(&mut self) {
        let host = self.store.data_mut();
        host.effects.apply_to(&mut host.state);
    }

    /// As [`keep`](Self::keep), with effects that were [taken](Self::take_effects).
    pub fn keep_taken(&mut self, effects: &Effects) {
        effects.apply_to(&mut self.store.data_mut().state);
    }
}
