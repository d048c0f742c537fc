//! Deadlines. Everything awaited has one, and a missed one says what was awaited.

use std::thread;
use std::time::{Duration, Instant};

/// Patience with a single step of a healthy system on a busy machine.
pub const STEP: Duration = Duration::from_secs(20);

/// Patience with the status: it is renewed every second here, but may tell of a link that waits up to 30 seconds before
/// it tries again.
pub const RENEWED_STATUS: Duration = Duration::from_secs(30 + 20);

/// How often a condition without an event of its own is looked at.
const POLL: Duration = Duration::from_millis(3);

/// Looks at `condition` until it yields a value.
///
/// # Panics
/// When `within` passes first, naming `what`.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}, in vain");
        thread::sleep(POLL);
    }
}
