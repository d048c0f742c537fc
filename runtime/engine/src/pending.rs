//! State operations of the running message, laid over the state until the message has ended well.

use alloc::vec::Vec;

use eyot_wire::code::HostError;

use crate::effects::StateOp;
use crate::limits::{STATE_KEYS_MAX, STATE_OPS_MAX};
use crate::state::State;

/// Key and value stand one after the other in `bytes`; `value_len` is `None` for a delete.
#[derive(Debug)]
struct Op {
    start: usize,
    key_len: usize,
    value_len: Option<usize>,
}

/// The last operation on each key, in the order they were made.
///
/// An operation that replaces an earlier one leaves a hole in `bytes`; when holes outgrow `compact_at`, live bytes
/// move together. So memory stays near the state limit however often a function writes.
#[derive(Debug, Default)]
pub(crate) struct PendingState {
    bytes: Vec<u8>,
    live_bytes: usize,
    ops: Vec<Op>,
    /// Size of the state once these operations are applied.
    total_bytes: usize,
    total_keys: usize,
}

/// Holes below this size, in bytes, are not worth moving.
const HOLES_MIN_BYTES: usize = 4096;

impl PendingState {
    /// Starts a message on top of `state`.
    pub(crate) fn begin(&mut self, state: &State) {
        self.clear();
        self.total_bytes = state.bytes();
        self.total_keys = state.len();
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.live_bytes = 0;
        self.ops.clear();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = StateOp<'_>> {
        self.ops.iter().map(|op| match self.value_of(op) {
            Some(value) => StateOp::Set { key: self.key_of(op), value },
            None => StateOp::Delete { key: self.key_of(op) },
        })
    }

    fn key_of(&self, op: &Op) -> &[u8] {
        self.bytes.get(op.start..op.start + op.key_len).unwrap_or_default()
    }

    fn value_of(&self, op: &Op) -> Option<&[u8]> {
        let start = op.start + op.key_len;
        op.value_len.map(|len| self.bytes.get(start..start + len).unwrap_or_default())
    }

    fn position(&self, key: &[u8]) -> Option<usize> {
        self.ops.iter().rposition(|op| self.key_of(op) == key)
    }

    /// The value as the running message sees it.
    pub(crate) fn get<'a>(&'a self, state: &'a State, key: &[u8]) -> Option<&'a [u8]> {
        match self.position(key).and_then(|i| self.ops.get(i)) {
            Some(op) => self.value_of(op),
            None => state.get(key),
        }
    }

    /// Sets `key`, unless the state would grow over `limit_bytes`.
    pub(crate) fn set(&mut self, state: &State, key: &[u8], value: &[u8], limit_bytes: usize) -> Result<(), HostError> {
        let old = self.get(state, key).map(<[u8]>::len);
        let old_bytes = old.map_or(0, |len| key.len() + len);
        let new_bytes = key.len() + value.len();
        let total = self.total_bytes.saturating_sub(old_bytes).saturating_add(new_bytes);
        let new_key = old.is_none();
        if new_bytes > old_bytes && total > limit_bytes || new_key && self.total_keys >= STATE_KEYS_MAX {
            return Err(HostError::OverLimit);
        }
        self.push(key, Some(value))?;
        self.total_bytes = total;
        self.total_keys += usize::from(new_key);
        Ok(())
    }

    /// Deletes `key`, which must be there.
    pub(crate) fn delete(&mut self, state: &State, key: &[u8]) -> Result<(), HostError> {
        let Some(old) = self.get(state, key).map(<[u8]>::len) else { return Err(HostError::NotFound) };
        self.push(key, None)?;
        self.total_bytes = self.total_bytes.saturating_sub(key.len() + old);
        self.total_keys = self.total_keys.saturating_sub(1);
        Ok(())
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), HostError> {
        match self.position(key) {
            Some(i) => {
                let replaced = self.ops.remove(i);
                self.live_bytes -= replaced.key_len + replaced.value_len.unwrap_or(0);
            }
            None if self.ops.len() >= STATE_OPS_MAX => return Err(HostError::OverLimit),
            None => {}
        }
        self.compact();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.live_bytes += self.bytes.len() - start;
        self.ops.push(Op { start, key_len: key.len(), value_len: value.map(<[u8]>::len) });
        Ok(())
    }

    /// Closes holes once they are larger than what is live: `ops` stand in the order of their bytes.
    fn compact(&mut self) {
        let holes = self.bytes.len() - self.live_bytes;
        if holes < HOLES_MIN_BYTES.max(self.live_bytes) {
            return;
        }
        let mut end = 0;
        for op in &mut self.ops {
            let len = op.key_len + op.value_len.unwrap_or(0);
            self.bytes.copy_within(op.start..op.start + len, end);
            op.start = end;
            end += len;
        }
        self.bytes.truncate(end);
    }

    /// Makes the operations part of `state`, and goes on without them.
    pub(crate) fn settle(&mut self, state: &mut State) {
        self.apply(state);
        self.bytes.clear();
        self.live_bytes = 0;
        self.ops.clear();
    }

    /// Makes the operations part of `state`. They stay readable until the next message.
    pub(crate) fn apply(&self, state: &mut State) {
        for op in self.ops() {
            match op {
                StateOp::Set { key, value } => state.set(key, value),
                StateOp::Delete { key } => {
                    state.delete(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewriting_a_key_does_not_grow_memory() {
        let (state, mut pending) = (State::default(), PendingState::default());
        let value = alloc::vec![7; 1000];
        pending.set(&state, b"first", b"kept", 2000).unwrap();
        for i in 0..10_000usize {
            pending.set(&state, b"key", &value[..i % 1000], 2000).unwrap();
        }
        assert!(pending.bytes.len() < 3 * HOLES_MIN_BYTES, "{}", pending.bytes.len());
        let ops: Vec<_> = pending.ops().collect();
        assert_eq!(ops[0], StateOp::Set { key: b"first", value: b"kept" });
        assert_eq!(ops[1], StateOp::Set { key: b"key", value: &value[..999] });
    }

    #[test]
    fn totals_follow_sets_and_deletes() {
        let mut state = State::default();
        state.set(b"a", b"1234");
        let mut pending = PendingState::default();
        pending.begin(&state);
        assert_eq!(pending.set(&state, b"b", b"123", 8), Err(HostError::OverLimit));
        pending.delete(&state, b"a").unwrap();
        assert_eq!(pending.delete(&state, b"a"), Err(HostError::NotFound));
        assert_eq!(pending.get(&state, b"a"), None);
        pending.set(&state, b"b", b"1234567", 8).unwrap();
        pending.apply(&mut state);
        assert_eq!((state.bytes(), state.len(), pending.total_bytes, pending.total_keys), (8, 1, 8, 1));
    }
}
