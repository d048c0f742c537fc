//! `cargo run --release -p eyot-test-bench --bin wear`: what a flash has to take for the same records, by store.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use eyot_spool::wear::{TIMES_BYTES, TIMES_INTERVAL_US};
use eyot_test_bench::flash::Flash;
use eyot_test_bench::store::{Eyot, Failure, Redb, Sqlite, Store};

const RECORD_BYTES: usize = 256;
/// Records per commit, and how many times fewer commits than of single records.
const GROUPS: [(usize, u32); 3] = [(1, 1), (10, 5), (100, 20)];
/// Enough for a log to have gone round its files, and for a database to have grown.
const WARM_UP_COMMITS: u32 = 500;
const WARM_UP_RECORDS: usize = 100;

/// Counts the sectors that a fresh ext4 on a loop device writes for our log, SQLite and redb. Needs root.
#[derive(Debug, Parser)]
struct Args {
    /// Commits of a single record; a fifth of them hold ten, a twentieth hold a hundred
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    commits: u32,
    /// How long our log commits a record a second, which costs more each: the file's time of change is journaled too
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

type Open = fn(&Path) -> Result<Box<dyn Store>, Failure>;

const STORES: [(&str, Open); 4] = [
    ("eyot, uplink connected", |dir| Ok(Box::new(Eyot::open(dir, true)?))),
    ("eyot, uplink away", |dir| Ok(Box::new(Eyot::open(dir, false)?))),
    ("SQLite, WAL, synchronous=FULL", |dir| Ok(Box::new(Sqlite::open(dir)?))),
    ("redb", |dir| Ok(Box::new(Redb::open(dir)?))),
];

/// One store with one size of group.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    kib_per_commit: f64,
    amplification: f64,
    /// The store's own estimate over what was counted.
    estimate: Option<f64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(reason) = Flash::mount() {
        println!("SKIPPED: it needs root, loop devices and mkfs.ext4 ({reason}); nothing was measured");
        return ExitCode::SUCCESS;
    }
    match table(args.commits).and_then(|text| Ok(text + &slow(args.seconds)?)) {
        Ok(text) => print!("{text}"),
        Err(error) => {
            eprintln!("wear: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn table(commits: u32) -> Result<String, Failure> {
    let mut text = format!(
        "{RECORD_BYTES}-byte records on ext4, bytes the device took until the file system was unmounted.\n\n\
         | store | KB per commit of 1 | 10 | 100 | device bytes per payload byte at 1 | 10 | 100 | own estimate |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    let mut ours: Option<[Measured; GROUPS.len()]> = None;
    let mut ratios = String::new();
    for (name, open) in STORES {
        let mut row = [Measured::default(); GROUPS.len()];
        for ((per_commit, fewer), cell) in GROUPS.into_iter().zip(&mut row) {
            *cell = measure(open, per_commit, commits / fewer, Duration::ZERO)?;
        }
        let shown = |pick: fn(&Measured) -> f64| row.map(|m| format!("{:.1}", pick(&m))).join(" | ");
        let estimates: Vec<_> = row.iter().filter_map(|m| m.estimate).map(|e| format!("{e:.2}")).collect();
        let (kib, amplification) = (shown(|m| m.kib_per_commit), shown(|m| m.amplification));
        text += &format!("| {name} | {kib} | {amplification} | {} |\n", estimates.join(" / "));
        let base = *ours.get_or_insert(row);
        let ratio: Vec<_> =
            row.iter().zip(base).map(|(m, b)| format!("{:.1}", m.kib_per_commit / b.kib_per_commit)).collect();
        ratios += &format!("| {name} | {} |\n", ratio.join(" | "));
    }
    Ok(format!("{text}\nTimes what our log writes:\n\n| store | 1 | 10 | 100 |\n|---|---|---|---|\n{ratios}"))
}

/// Our log where messages are rare.
fn slow(seconds: u32) -> Result<String, Failure> {
    let [(name, open), ..] = STORES;
    let Measured { kib_per_commit, estimate, .. } = measure(open, 1, seconds, Duration::from_secs(1))?;
    let estimate = estimate.unwrap_or_default();
    Ok(format!("\n{name}, one record a second: {kib_per_commit:.1} KB per commit, own estimate {estimate:.2}\n"))
}

fn measure(open: Open, per_commit: usize, commits: u32, pause: Duration) -> Result<Measured, Failure> {
    let flash = Flash::mount()?;
    let record = [0x5a; RECORD_BYTES];
    let mut store = open(&flash.path())?;
    for _ in 0..WARM_UP_COMMITS {
        store.commit(&record, WARM_UP_RECORDS)?;
    }
    let (before, estimated_before) = (flash.written_bytes()?, store.estimated_bytes());
    for _ in 0..commits {
        store.commit(&record, per_commit)?;
        std::thread::sleep(pause);
    }
    let times = u64::from(commits) * pause.as_micros() as u64 / TIMES_INTERVAL_US * TIMES_BYTES;
    let estimated =
        store.estimated_bytes().zip(estimated_before).map(|(after, before)| (after - before + times) as f64);
    drop(store);
    let written = (flash.unmount()? - before) as f64;
    Ok(Measured {
        kib_per_commit: written / f64::from(commits) / 1024.0,
        amplification: written / (f64::from(commits) * (per_commit * RECORD_BYTES) as f64),
        estimate: estimated.map(|estimated| estimated / written),
    })
}
