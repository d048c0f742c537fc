//! `[spool]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::delivery::when_full;
use super::section::{size, Reader, Section};
use super::{reduce, Spool, WhenFull, SIZE_MAX_BYTES, SPOOL_MIN_BYTES};

const COMMIT_WINDOW: Duration = Duration::from_millis(10);
const COMMIT_WINDOW_MAX: Duration = Duration::from_secs(1);
const COMMIT_WINDOWS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);
const QUOTAS_BYTES: RangeInclusive<u64> = SPOOL_MIN_BYTES..=SIZE_MAX_BYTES;
/// Below this, keeping the log itself takes more.
const WEAR_BUDGETS_BYTES: RangeInclusive<u64> = 16 << 20..=SIZE_MAX_BYTES;

/// The section, or its defaults.
pub fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Spool {
    let mut section = root.table(r, "spool");
    let max_bytes = section.parsed(r, "max_bytes", 512 << 20, |text| size(text, &QUOTAS_BYTES));
    let when_full = section.parsed(r, "when_full", WhenFull::DropOldest, when_full);
    let commit_window = section.duration(r, "commit_window", COMMIT_WINDOW, COMMIT_WINDOWS);
    let longer = commit_window..=*COMMIT_WINDOWS.end();
    let longest = COMMIT_WINDOW_MAX.max(commit_window);
    let commit_window_max = section.duration(r, "commit_window_max", longest, longer);
    let wear_budget_day_bytes = section.parsed(r, "wear_budget", None, |text| wear_budget(text).map(Some));
    let reduce = reduce::reduce(&mut section, r);
    section.finish(r);
    Spool { max_bytes, when_full, reduce, commit_window, wear_budget_day_bytes, commit_window_max }
}

/// Reads `2GiB/day`.
fn wear_budget(text: &str) -> Result<u64, String> {
    let Some(bytes) = text.strip_suffix("/day") else {
        return Err(format!("\"{text}\" does not say \"/day\"; write for example \"2GiB/day\""));
    };
    size(bytes.trim_end(), &WEAR_BUDGETS_BYTES)
}
