//! The time from the network, for boards whose own clock stands at 1970 after each start.
//!
//! Until it is known the clock is left there: eyotd takes a time before 2020 for unset, and does without ages and expiry
//! dates; a clock that looks right and is not would mislead it. TLS waits by itself, as no certificate is valid yet.

use std::fs;
use std::net::ToSocketAddrs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsntp::{Config, SntpClient};
use rustix::time::{clock_settime, ClockId, Timespec};

use crate::say;

/// Who is asked when the network does not name a server.
const SERVER: &str = "pool.ntp.org:123";
/// Where the DHCP client leaves the addresses of the network's own servers.
const SERVERS_FILE: &str = "/run/ntp-servers";
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Pause after a failure, doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(64);
const CHECK_EVERY: Duration = Duration::from_secs(3600);
/// A clock that is less wrong is left alone.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Keeps the clock right, on a thread of its own, for ever.
pub fn keep() {
    let mut retry = RETRY_FIRST;
    loop {
        if let Some((server, time)) = ask() {
            set(&server, time);
            retry = RETRY_FIRST;
            thread::sleep(CHECK_EVERY);
        } else {
            thread::sleep(retry);
            retry = (retry * 2).min(RETRY_MAX);
        }
    }
}

/// Who answered first, and the time since 1970.
fn ask() -> Option<(String, Duration)> {
    let named = fs::read_to_string(SERVERS_FILE).unwrap_or_default();
    let servers = named.split_whitespace().map(|address| format!("{address}:123")).chain([SERVER.to_owned()]);
    let client = SntpClient::with_config(Config::default().timeout(ANSWER_MAX));
    servers.into_iter().find_map(|server| {
        let address = server.to_socket_addrs().ok()?.next()?;
        let answer = client.synchronize(address.to_string()).ok()?;
        Some((server, answer.datetime().unix_timestamp().ok()?))
    })
}

fn set(server: &str, time: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let off = time.abs_diff(now);
    if off < TOLERANCE {
        return;
    }
    let Ok(tv_sec) = time.as_secs().try_into() else { return };
    let timespec = Timespec { tv_sec, tv_nsec: time.subsec_nanos().into() };
    match clock_settime(ClockId::Realtime, timespec) {
        Ok(()) => say!("the clock is set by {server}; it was {} s off", off.as_secs()),
        Err(error) => say!("the clock cannot be set: {error}"),
    }
}
