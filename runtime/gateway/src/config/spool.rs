//! `[spool]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use eyot_wire::manifest::parse_size;

use super::delivery::when_full;
use super::section::{Reader, Section};
use super::{reduce, Spool, WhenFull, SPOOL_MIN_BYTES};

const COMMIT_WINDOW: Duration = Duration::from_millis(10);
const COMMIT_WINDOW_MAX: Duration = Duration::from_secs(1);
const COMMIT_WINDOWS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);
/// Below this, keeping the log itself takes more.
const WEAR_BUDGET_MIN_BYTES: u64 = 16 << 20;

/// The section, or its defaults.
pub fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Spool {
    let mut section = root.table(r, "spool");
    let max_bytes = section.parsed(r, "max_bytes", 512 << 20, |text| match parse_size(text) {
        Ok(bytes) if bytes >= SPOOL_MIN_BYTES => Ok(bytes),
        Ok(_) => Err(format!("is too small; at least {} KiB", SPOOL_MIN_BYTES >> 10)),
        Err(reason) => Err(reason),
    });
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
    let Some(size) = text.strip_suffix("/day") else {
        return Err(format!("\"{text}\" does not say \"/day\"; write for example \"2GiB/day\""));
    };
    match parse_size(size.trim_end()) {
        Ok(bytes) if bytes >= WEAR_BUDGET_MIN_BYTES => Ok(bytes),
        Ok(_) => Err(format!("is too small; at least {} MiB/day", WEAR_BUDGET_MIN_BYTES >> 20)),
        Err(_) => Err(format!("\"{size}\" is not a size; write a number and a unit, for example \"2GiB/day\"")),
    }
}
