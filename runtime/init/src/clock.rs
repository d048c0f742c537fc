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
        let named = fs::read_to_string(SERVERS_FILE).unwrap_or_default();
        let servers = named.split_whitespace().map(|address| format!("{address}:123")).chain([SERVER.to_owned()]);
        if let Some((server, time)) = ask(servers) {
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
fn ask(servers: impl IntoIterator<Item = String>) -> Option<(String, Duration)> {
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Between 1900, where NTP begins, and 1970.
    const NTP_TO_UNIX_S: u64 = 2_208_988_800;
    /// 2031.
    const SERVER_TIME: Duration = Duration::from_secs(1_930_000_000);

    /// A server at which it is [`SERVER_TIME`], for one question.
    fn server() -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut packet = [0; 48];
            let (_, client) = socket.recv_from(&mut packet).unwrap();
            let asked_at: [u8; 8] = packet[40..].try_into().unwrap();
            let now = (SERVER_TIME.as_secs() + NTP_TO_UNIX_S) << 32;
            packet = [0; 48];
            // Version 4, from a server; of the first stratum.
            (packet[0], packet[1]) = (0x24, 1);
            packet[12..16].copy_from_slice(b"GPS\0");
            packet[24..32].copy_from_slice(&asked_at);
            packet[32..40].copy_from_slice(&now.to_be_bytes());
            packet[40..].copy_from_slice(&now.to_be_bytes());
            socket.send_to(&packet, client).unwrap();
        });
        address
    }

    #[test]
    fn the_first_server_that_answers_tells_the_time() {
        let good = server();
        let (told_by, time) = ask(["no.server.invalid:123".to_owned(), good.clone()]).unwrap();
        assert_eq!(told_by, good);
        assert!(time.abs_diff(SERVER_TIME) < Duration::from_secs(60), "{time:?}");
        assert_eq!(ask(["no.server.invalid:123".to_owned()]), None);
    }
}
