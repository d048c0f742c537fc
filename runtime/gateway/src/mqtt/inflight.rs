//! Which publish waits for which packet id.

/// Packet ids for publishes end here; those above are for subscriptions.
pub const WINDOW_MAX: u16 = 32_768;

/// Bounded map from packet ids, which it hands out, to tokens. Grows to what is used, not to what is allowed.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Index is the packet id less 1.
    tokens: Vec<Option<u64>>,
    free: Vec<u16>,
    window: u16,
}

impl Inflight {
    /// At most `window` publishes, and never more than [`WINDOW_MAX`].
    pub fn new(window: u16) -> Self {
        Self { tokens: Vec::new(), free: Vec::new(), window: window.min(WINDOW_MAX) }
    }

    /// Most publishes in flight.
    pub fn window(&self) -> u16 {
        self.window
    }

    /// Publishes in flight.
    pub fn len(&self) -> usize {
        self.tokens.len() - self.free.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens in flight, in no order.
    pub fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.tokens.iter().flatten().copied()
    }

    /// A packet id for this token; none if the window is full.
    pub fn insert(&mut self, token: u64) -> Option<u16> {
        if let Some(id) = self.free.pop() {
            *self.tokens.get_mut(usize::from(id) - 1)? = Some(token);
            return Some(id);
        }
        let id = u16::try_from(self.tokens.len() + 1).ok().filter(|id| *id <= self.window)?;
        self.tokens.push(Some(token));
        Some(id)
    }

    /// The token that waited for this packet id, which is free from here on.
    pub fn remove(&mut self, id: u16) -> Option<u64> {
        let token = self.tokens.get_mut(usize::from(id).checked_sub(1)?)?.take()?;
        self.free.push(id);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_bounded_and_come_back() {
        let mut inflight = Inflight::new(3);
        let ids: Vec<_> = (10..13).filter_map(|token| inflight.insert(token)).collect();
        assert_eq!((ids.as_slice(), inflight.len()), (&[1, 2, 3][..], 3));
        assert_eq!(inflight.insert(99), None);
        assert_eq!(inflight.remove(2), Some(11));
        assert_eq!(inflight.remove(2), None, "an answer counts once");
        assert_eq!((inflight.remove(0), inflight.remove(4), inflight.remove(u16::MAX)), (None, None, None));
        assert_eq!(inflight.insert(14), Some(2));
        assert_eq!([1, 2, 3].map(|id| inflight.remove(id)), [Some(10), Some(14), Some(12)]);
        assert!(inflight.is_empty());
    }
}
