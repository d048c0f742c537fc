//! Time that a busy machine does not stretch.

use std::time::Duration;

use rustix::time::{clock_gettime, ClockId};

/// Processor time of the calling thread.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Processor time that `work` takes, and what it answers.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = thread_time();
    let answer = work();
    (thread_time().saturating_sub(start), answer)
}
