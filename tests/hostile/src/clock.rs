//! Time that a busy machine does not stretch.

use std::hint::black_box;
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

/// Time that a multiplication takes longer when its result is subnormal: nothing on most processors, and more than a hundred
/// cycles on those that leave it to their microcode.
pub fn subnormal_penalty() -> Duration {
    const TIMES: u32 = 1_000_000;
    let multiply = |by: f64| {
        // What nobody looks at would not be multiplied.
        let run = || timed(|| black_box((0..TIMES).fold(1.0, |value: f64, _| by * (0.75 - black_box(value))))).0;
        (0..3).map(|_| run()).min().unwrap_or_default()
    };
    multiply(4e-320).saturating_sub(multiply(0.5)) / TIMES
}
