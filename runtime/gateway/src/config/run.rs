//! `[run]`: how functions are run.

use std::thread::available_parallelism;

use super::section::{Reader, Section};

/// Most threads for functions.
pub const WORKERS_MAX: u16 = 64;

/// `[run]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Threads that run what takes long: one for each core if the file does not say.
    pub workers: usize,
    /// Fuel in a second that all functions together may come to, by their limits and expected rates; none if nobody adds up.
    pub fuel_budget_per_s: Option<u64>,
}

/// The section, or its defaults.
pub fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Run {
    let mut section = root.table(r, "run");
    let cores = available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(WORKERS_MAX));
    let workers = section.number(r, "workers", 1..=WORKERS_MAX, cores.min(WORKERS_MAX));
    let fuel_budget_per_s = section.parsed(r, "fuel_budget", None, |text| fuel_budget(text).map(Some));
    section.finish(r);
    Run { workers: usize::from(workers), fuel_budget_per_s }
}

/// Reads `200_000_000/s`.
fn fuel_budget(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").map(|number| number.trim_end().replace('_', ""));
    number.and_then(|number| number.parse().ok()).filter(|fuel| *fuel > 0).ok_or_else(|| {
        format!("\"{text}\" is not fuel in a second; write for example \"200_000_000/s\", or remove the key")
    })
}
