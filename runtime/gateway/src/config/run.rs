//! `[run]`.

use std::thread::available_parallelism;

use super::section::{Reader, Section};

/// Most threads for functions.
pub const WORKERS_MAX: u16 = 64;

/// How many threads run what takes long: one for each core if the file does not say.
pub fn read(reader: &mut Reader<'_>, root: &mut Section<'_, '_>) -> usize {
    let mut section = root.table(reader, "run");
    let cores = available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(WORKERS_MAX));
    let workers = section.number(reader, "workers", 1..=WORKERS_MAX, cores.min(WORKERS_MAX));
    section.finish(reader);
    usize::from(workers)
}
