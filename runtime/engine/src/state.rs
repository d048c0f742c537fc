//! What a function remembers between messages.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Keys and values that a function keeps with `state_set`, in key order.
///
/// No limit is enforced here: the host calls do it, so that a state that was committed under larger limits can still
/// be recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl State {
    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    /// Stores `value` under `key`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        if let Some(kept) = self.entries.get_mut(key) {
            self.bytes = self.bytes - kept.len() + value.len();
            kept.clear();
            kept.extend_from_slice(value);
        } else {
            self.bytes += key.len() + value.len();
            self.entries.insert(key.to_vec(), value.to_vec());
        }
    }

    /// Removes `key`; says whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let removed = self.entries.remove(key);
        if let Some(value) = &removed {
            self.bytes -= key.len() + value.len();
        }
        removed.is_some()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values.
    pub fn entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.entries
    }

    /// Keys and values, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl From<BTreeMap<Vec<u8>, Vec<u8>>> for State {
    fn from(entries: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self { entries, bytes }
    }
}
