//! How much a node may say in a while. Whoever has the line is trusted with readings, not with the gateway: a node that is
//! broken, or another program at its socket, fills no log, is not published without end, and leaves the processor to others.

use std::time::{Duration, Instant};

use eyot_core::io::FUNCTION_LOG_LINES_PER_S_MAX;

/// Bytes that are read of a line in a second, at most: more than twice what the fastest serial port carries.
pub const READ_PER_S_MAX_BYTES: usize = 1 << 20;
/// Times a second that a node says who it is, over a while: one that is well does so once, and once more when it is asked.
const GREETINGS_PER_S_MAX: u32 = 2;
/// Times it may do so at once: several connections that break, and starts in a row.
const GREETINGS_MAX: u32 = 20;
/// Times a second that it is told elsewhere how a node is, over a while; what changed meanwhile goes with the next beat.
const REPORTS_PER_S_MAX: u32 = 2;
/// The same at once: a function and a program come, and end.
const REPORTS_MAX: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// So many at once, and so many a second over a while.
#[derive(Debug)]
struct Bucket {
    per_s: u32,
    most: u32,
    left: u32,
    filled: Instant,
}

impl Bucket {
    fn new(per_s: u32, most: u32, now: Instant) -> Self {
        Self { per_s, most, left: most, filled: now }
    }

    /// Takes one; false if there is none.
    fn take(&mut self, now: Instant) -> bool {
        let every = SECOND / self.per_s.max(1);
        let gained = now.saturating_duration_since(self.filled).as_nanos() / every.as_nanos().max(1);
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(gained).min(self.most);
        // What is left of a step counts for the next one, unless there is no room for more.
        self.filled = if self.left == self.most { now } else { self.filled + every * gained };
        let is_there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_there
    }
}

/// Of one node, over all its connections.
#[derive(Debug)]
pub struct Allowance {
    greetings: Bucket,
    reports: Bucket,
    log_lines: Bucket,
    /// Log lines that there was no room for, and that are not told of.
    log_lines_dropped: u64,
    /// Something changed that was not reported.
    owes_report: bool,
    second_ends: Instant,
    read_bytes: usize,
}

impl Allowance {
    /// All of it.
    pub fn new(now: Instant) -> Self {
        Self {
            greetings: Bucket::new(GREETINGS_PER_S_MAX, GREETINGS_MAX, now),
            reports: Bucket::new(REPORTS_PER_S_MAX, REPORTS_MAX, now),
            // As many as of a function here.
            log_lines: Bucket::new(FUNCTION_LOG_LINES_PER_S_MAX, FUNCTION_LOG_LINES_PER_S_MAX, now),
            log_lines_dropped: 0,
            owes_report: false,
            second_ends: now + SECOND,
            read_bytes: 0,
        }
    }

    /// It says who it is; false if it does so again and again.
    pub fn greeting(&mut self, now: Instant) -> bool {
        self.greetings.take(now)
    }

    /// Something changed; whether that is to be reported now, and not with the next beat.
    pub fn report(&mut self, now: Instant) -> bool {
        let is_now = self.reports.take(now);
        self.owes_report |= !is_now;
        is_now
    }

    /// A beat: whether something changed that was not reported.
    pub fn take_owed_report(&mut self) -> bool {
        std::mem::take(&mut self.owes_report)
    }

    /// It logs a line; false if it is one too many.
    pub fn log_line(&mut self, now: Instant) -> bool {
        let is_there = self.log_lines.take(now);
        self.log_lines_dropped += u64::from(!is_there);
        is_there
    }

    /// A beat: log lines that were dropped since the last one.
    pub fn take_dropped_log_lines(&mut self) -> u64 {
        std::mem::take(&mut self.log_lines_dropped)
    }

    /// So many bytes were read; until when no more are, if so.
    pub fn read(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if now >= self.second_ends {
            (self.second_ends, self.read_bytes) = (now + SECOND, 0);
        }
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        (self.read_bytes >= READ_PER_S_MAX_BYTES).then_some(self.second_ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_at_once_and_so_much_a_second() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut allowance = Allowance::new(start);
        let greeted = |allowance: &mut Allowance, ms| (0..100).filter(|_| allowance.greeting(after(ms))).count();
        assert_eq!(greeted(&mut allowance, 0), 20);
        assert_eq!([400, 600, 999, 1000].map(|ms| greeted(&mut allowance, ms)), [0, 1, 0, 1], "a half counts");
        assert_eq!(greeted(&mut allowance, 3_600_000), 20);

        assert_eq!((0..100).filter(|_| allowance.report(after(0))).count(), 20);
        assert_eq!([allowance.take_owed_report(), allowance.take_owed_report()], [true, false]);
        assert_eq!((0..100).filter(|_| allowance.log_line(after(0))).count(), 50);
        assert_eq!([allowance.take_dropped_log_lines(), allowance.take_dropped_log_lines()], [50, 0]);

        assert_eq!(allowance.read(after(0), READ_PER_S_MAX_BYTES - 1), None);
        assert_eq!(allowance.read(after(900), 1), Some(after(1000)));
        assert_eq!(allowance.read(after(1000), 1), None);
    }
}
