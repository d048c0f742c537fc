//! What the kernel says about a process.

use std::fs;
use std::time::Duration;

/// CPU time it has used, in user and kernel mode, all threads.
///
/// # Panics
/// When there is no such process.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is running");
    // The name, in parentheses, may hold anything; what follows is fields 3 and up.
    let fields = stat.rsplit_once(") ").expect("stat has a name").1;
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Most memory it ever held, in KiB.
///
/// # Panics
/// When there is no such process.
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

/// Memory it holds now, in KiB.
///
/// # Panics
/// When there is no such process.
pub fn rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel counts memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
