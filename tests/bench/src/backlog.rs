//! A backlog of weeks: how soon `eyotd` is there again with it, how fast it drains, and how much memory that takes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eyot_test_e2e::config::{Config, Uplink};
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::site::balances;
use eyot_test_e2e::wait::wait_for;
use rustix::fs::{fadvise, Advice};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::null::{Feeder, Null};
use crate::process::{cpu_time, peak_rss_kib};

/// Patience with a log that fills up, or drains.
const WITHIN: Duration = Duration::from_secs(1_800);
/// Patience with a daemon that does one thing.
const SOON: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of each message's payload: 16 to 16,000.
    pub payload_bytes: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Messages in the backlog, one record each.
    pub records: u64,
    /// Bytes on disk.
    pub log_bytes: u64,
    /// Bytes on disk for each.
    pub record_bytes: u64,
    /// Records a second while the backlog was made, with a commit for at most a thousand.
    pub fill_rate: f64,
    /// Most memory meanwhile.
    pub fill_peak_rss_kib: u64,
    /// From the start of the process, its log out of the page cache, to its CONNECT at the cloud.
    pub open_ms: f64,
    /// Records a second from the first to the last at the cloud.
    pub drain_rate: f64,
    /// CPU time for a million of them.
    pub drain_cpu_s_per_million: f64,
    /// Most memory from start to the end of the drain.
    pub peak_rss_kib: u64,
}

/// Makes a backlog in a directory of its own below `parent`, and drains it.
///
/// # Errors
/// What came at the cloud was not everything in order, or the ledger says otherwise.
///
/// # Panics
/// When the daemon does not do what it is there for.
pub fn measure(plan: Plan, parent: &Path, tell: &mut dyn FnMut(&str)) -> Result<Figures, String> {
    fs::create_dir_all(parent).expect("the data directory can be made");
    let dir = TempDir::new_in(parent).expect("a directory in the data directory");
    let feeder = Feeder::listen(free_port(), plan.payload_bytes);
    let cloud_port = free_port();
    let config = config(&dir, &feeder, cloud_port);

    tell("filling the log, with the uplink away");
    let started = Instant::now();
    let mut daemon = Eyotd::start(&config);
    wait_for("the log to fill up", WITHIN, || (bytes_in(&config.data_dir) >= plan.log_bytes).then_some(()));
    let records = feeder.finish();
    let fill_rate = records as f64 / started.elapsed().as_secs_f64();
    let fill_peak_rss_kib = peak_rss_kib(daemon.pid());
    if !daemon.terminate().success() {
        return Err(format!("eyotd did not end well: {}", daemon.log()));
    }
    let log_bytes = bytes_in(&config.data_dir);
    forget(&config.data_dir);

    tell(&format!("{records} records in {log_bytes} bytes; starting again, with the uplink there"));
    let cloud = Null::listen(cloud_port);
    let started = Instant::now();
    let daemon = Eyotd::start(&config);
    let connected = wait_for("eyotd to connect", SOON, || cloud.seen().connected);
    let cpu_before = cpu_time(daemon.pid());
    let mut before = 0;
    wait_for("the backlog to drain", WITHIN, || {
        let outputs = cloud.outputs();
        if outputs / 1_000_000 > before / 1_000_000 {
            tell(&format!("{outputs} of {records} drained"));
        }
        before = outputs;
        (outputs >= records || cloud.seen().breach.is_some()).then_some(())
    });
    let cpu = cpu_time(daemon.pid()) - cpu_before;
    let drained = cloud.seen().took();
    settled(&cloud, records)?;
    Ok(Figures {
        records,
        log_bytes,
        record_bytes: log_bytes / records.max(1),
        fill_rate,
        fill_peak_rss_kib,
        open_ms: (connected - started).as_secs_f64() * 1e3,
        drain_rate: records as f64 / drained.as_secs_f64(),
        drain_cpu_s_per_million: cpu.as_secs_f64() * 1e6 / records as f64,
        peak_rss_kib: peak_rss_kib(daemon.pid()),
    })
}

fn config(dir: &TempDir, feeder: &Feeder, cloud_port: u16) -> Config {
    let broker = format!("mqtt://127.0.0.1:{}", feeder.port());
    let mut config = Config::new("backlog", &dir.path().join("data"), broker);
    let mut manifest = Manifest::new("echo");
    manifest.triggers = vec!["sensors/+/raw".into()];
    config.functions = vec![manifest.module(dir.path(), &echo("cloud/"))];
    config.uplinks = vec![Uplink::cloud(format!("mqtt://127.0.0.1:{cloud_port}"))];
    config.spool = "max_bytes = \"64GiB\"\nwhen_full = \"block\"".into();
    config
}

/// Waits for a status that knows of the end, and holds it against what came.
fn settled(cloud: &Null, records: u64) -> Result<(), String> {
    if let Some(breach) = &cloud.seen().breach {
        return Err(breach.clone());
    }
    let status = wait_for("a status after the drain", SOON, || {
        let status: Value = serde_json::from_slice(&cloud.seen().status).ok()?;
        (status["ledger"]["pending"] == 0).then_some(status)
    });
    let ledger = &status["ledger"];
    if !balances(&status) || ledger["delivered"] != records || ledger["dropped"] != 0 || cloud.outputs() != records {
        return Err(format!("{} of {records} came, and the ledger says {ledger}", cloud.outputs()));
    }
    Ok(())
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn bytes_in(dir: &Path) -> u64 {
    files(dir).filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// Has the kernel forget what it remembers of these files, as after a boot.
fn forget(dir: &Path) {
    for path in files(dir) {
        let file = File::open(path).expect("the log is ours");
        file.sync_all().expect("the log can be synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the kernel takes advice");
    }
}

impl Figures {
    /// As a table, beside what is promised.
    pub fn markdown(&self) -> String {
        let mib = |kib: u64| kib as f64 / 1024.0;
        format!(
            "{} records of {} bytes, {:.2} GB in all, {:.0} records/s written.\n\n| what | measured | promised |\n|---|---|---|\n\
             | opens, cold, until connected | {:.0} ms | under 500 ms |\n\
             | drains in order | {:.0} records/s | over 50,000 records/s |\n\
             | CPU for a million | {:.1} s | |\n\
             | peak RSS, open and drain | {:.1} MB | under 12 MB |\n\
             | peak RSS, fill | {:.1} MB | under 12 MB |\n",
            self.records,
            self.record_bytes,
            self.log_bytes as f64 / 1e9,
            self.fill_rate,
            self.open_ms,
            self.drain_rate,
            self.drain_cpu_s_per_million,
            mib(self.peak_rss_kib),
            mib(self.fill_peak_rss_kib),
        )
    }
}
