//! Records per second, and bytes written for each commit, at 1, 10 and 100 records of 256 bytes per commit.
//!
//! `cargo run --release -p eyot-spool --example append [directory]`: the directory decides which disk is measured; without
//! one it is a temporary directory, which may be memory.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use eyot_spool::{FileStorage, Lsn, Options, Replay, Spool, Storage};

const RECORD_BYTES: usize = 256;
const QUOTA_BYTES: u64 = 64 << 20;
const RUN_MS: u64 = 2_000;

struct Ignore;

impl Replay for Ignore {
    fn checkpoint(&mut self, _bytes: &[u8]) {}
    fn frame(&mut self, _lsn: Lsn, _kind: u8, _body: &[u8]) {}
    fn note(&mut self, _kind: u8, _body: &[u8]) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let root = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    println!("{}, {RECORD_BYTES}-byte records", root.display());
    println!("records/commit   records/s   commits/s   KB/commit   bytes written / payload byte");
    for per_commit in [1, 10, 100] {
        let directory = tempfile::tempdir_in(&root)?;
        let storage = FileStorage::open(directory.path())?;
        measure(&storage, per_commit)?;
    }
    Ok(())
}

fn measure(storage: &FileStorage, per_commit: u32) -> Result<(), Box<dyn Error>> {
    let mut spool = Spool::open(storage.clone(), Options::for_quota(QUOTA_BYTES), fastrand::u64(1..), &mut Ignore)?;
    spool.set_streams(&[0]);
    let record = [0x5a; RECORD_BYTES];
    let start = Instant::now();
    let mut commits = 0u32;
    while start.elapsed() < Duration::from_millis(RUN_MS) {
        for _ in 0..per_commit {
            if spool.wants_checkpoint() {
                spool.checkpoint(&[0; 1024]);
            }
            spool.append(1, &record)?;
        }
        spool.ack(0, spool.durable());
        if let Some(commit) = spool.begin_commit()? {
            spool.end_commit(commit.id, storage.sync_data(&commit.file))?;
            commits += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let records = f64::from(commits) * f64::from(per_commit);
    let written = spool.usage().bytes_written as f64;
    println!(
        "{per_commit:>14}   {:>9.0}   {:>9.0}   {:>9.2}   {:>9.2}",
        records / seconds,
        f64::from(commits) / seconds,
        written / f64::from(commits) / 1024.0,
        written / (records * RECORD_BYTES as f64)
    );
    Ok(())
}
