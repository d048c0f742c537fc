//! State of the function that survives a reset of the node.

use eyot_engine::State;

/// How often a state that has changed is kept; what changed since is lost with a reset. 64 KiB of a flash whose pages bear 10,000
/// erasures take a state of 4 KiB so often for 17 years.
pub const KEEP_EVERY_MS: u64 = 3_600_000;

/// It could not be kept: the flash failed, or it is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept;

/// Where a board keeps a state.
pub trait Keeper {
    /// What was kept last, if that was of the function with this SHA-256.
    fn load(&mut self, sha256: &[u8; 32]) -> Option<State>;

    /// Keeps this in its place. A power cut leaves one or the other.
    ///
    /// # Errors
    /// What was kept before stays, if the flash can still be read.
    fn keep(&mut self, sha256: &[u8; 32], state: &State) -> Result<(), NotKept>;
}
