//! Copies of what is on its way, in blocks that are used again: to allocate for each record costs more than to copy it.

use bytes::{Bytes, BytesMut};

/// Size of a block; what is larger gets one of its own.
const BLOCK_BYTES: usize = 16 << 10;

/// Blocks of one stream. A copy holds on to its block, so that nothing of another stream stays in memory because of it.
#[derive(Debug, Default)]
pub(crate) struct Bodies(BytesMut);

impl Bodies {
    /// A copy of `body`.
    pub fn copy(&mut self, body: &[u8]) -> Bytes {
        if self.0.capacity() < body.len() {
            // The old block again if nothing of it is left.
            self.0.reserve(body.len().max(BLOCK_BYTES));
        }
        self.0.extend_from_slice(body);
        self.0.split().freeze()
    }
}
