//! What `eyotd` tells the supervisor that started it, in the protocol of `sd_notify`.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use eyot_test_e2e::config::Config;
use eyot_test_e2e::daemon::{write_config, Eyotd};
use eyot_test_e2e::programs::eyotd;
use eyot_test_e2e::wait::STEP;
use tempfile::TempDir;

/// What a supervisor wants to hear, at the latest, in microseconds.
const WATCHDOG_US: u64 = 400_000;

fn next(socket: &UnixDatagram) -> String {
    let mut datagram = [0; 256];
    let length = socket.recv(&mut datagram).unwrap();
    String::from_utf8_lossy(&datagram[..length]).trim().to_owned()
}

#[test]
fn a_supervisor_hears_that_the_gateway_is_ready_well_and_stopping() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    socket.set_read_timeout(Some(STEP)).unwrap();
    let config = Config::new("watched", &dir.path().join("data"), "mqtt://127.0.0.1:1".into());
    let mut command = Command::new(eyotd());
    command.arg("--config").arg(write_config(&config)).env("NOTIFY_SOCKET", &at);
    let mut daemon = Eyotd::spawn(command.env("WATCHDOG_USEC", WATCHDOG_US.to_string()));
    assert_eq!(next(&socket), "READY=1");
    let begin = Instant::now();
    for _ in 0..3 {
        // The broker of this test is not there.
        assert_eq!(next(&socket), "WATCHDOG=1\nSTATUS=not connected");
    }
    assert!(begin.elapsed() >= Duration::from_micros(WATCHDOG_US), "as often as wanted, and not oftener");
    assert!(daemon.terminate().success());
    assert_eq!(next(&socket), "STOPPING=1");
}
