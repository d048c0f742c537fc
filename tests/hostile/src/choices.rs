//! Where generators take their decisions from: a seed, or the bytes of a fuzzer.

/// A stream of decisions.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    bytes: Option<&'a [u8]>,
    state: u64,
}

impl<'a> Choices<'a> {
    /// Endless, from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self { bytes: None, state: seed }
    }

    /// From bytes; after their end always the first choice, which generators make the simplest one.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes: Some(bytes), state: 0 }
    }

    /// Any number (splitmix64).
    pub fn number(&mut self) -> u64 {
        if let Some(bytes) = &mut self.bytes {
            let (now, later) = bytes.split_at(bytes.len().min(2));
            *bytes = later;
            return now.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// True once in `times`, and never for [`from_bytes`](Self::from_bytes) after the end.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == times.saturating_sub(1) && times > 0
    }

    /// One of `all`.
    ///
    /// # Panics
    /// When there is none.
    #[allow(clippy::expect_used)] // a generator without choices is a mistake in it
    pub fn pick<'b, T: ?Sized>(&mut self, all: &[&'b T]) -> &'b T {
        let index = self.below(all.len() as u64) as usize;
        all.get(index).expect("there is something to choose from")
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.number() as u8).collect()
    }
}
