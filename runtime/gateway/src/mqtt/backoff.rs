//! When to try again after a connection failed.

use std::time::Duration;

/// Upper bound of the first wait.
pub const BACKOFF_FIRST_MS: u64 = 100;
/// Upper bound of any wait.
pub const BACKOFF_MAX_MS: u64 = 30_000;
/// A connection that lasted this long starts the count anew.
pub const BACKOFF_RESET_AFTER_MS: u64 = 10_000;

/// Exponential backoff with full jitter: uniform between 0 and `min(max, first * 2^attempt)`, so that a thousand gateways
/// do not come back in step. `random` is any uniformly distributed number.
pub fn wait(attempt: u32, random: u64) -> Duration {
    let bound_ms = BACKOFF_FIRST_MS.saturating_mul(1 << attempt.min(32)).min(BACKOFF_MAX_MS);
    Duration::from_millis(random % (bound_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_spread_below_it() {
        for (attempt, bound_ms) in [(0, 100), (1, 200), (5, 3_200), (8, 25_600), (9, 30_000), (u32::MAX, 30_000)] {
            assert_eq!(wait(attempt, bound_ms), Duration::from_millis(bound_ms), "attempt {attempt}");
            assert_eq!(wait(attempt, bound_ms + 1), Duration::ZERO, "attempt {attempt}");
        }
        let mut jitter = fastrand::Rng::with_seed(7);
        let waits_ms: Vec<_> = (0..1000).map(|_| wait(20, jitter.u64(..)).as_millis()).collect();
        assert!(waits_ms.iter().all(|w| *w <= u128::from(BACKOFF_MAX_MS)));
        let mean_ms = waits_ms.iter().sum::<u128>() / 1000;
        assert!((14_000..16_000).contains(&mean_ms), "{mean_ms}");
    }
}
