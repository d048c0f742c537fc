//! The harness itself: a test that leans on a false floor proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};
use std::time::Duration;

use eyot_test_e2e::certs::Authority;
use eyot_test_e2e::client::{Client, Closed};
use eyot_test_e2e::disk::SmallDisk;
use eyot_test_e2e::guest::{counter, echo, failing, probe_emit, spinning, trapping, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::proxy::{Proxy, State};
use eyot_test_e2e::wait::STEP;
use tempfile::TempDir;

/// Subscribes, goes away, has a message sent, restarts the broker, comes back.
fn message_after_restart(mut broker: Mosquitto) -> (bool, Option<bytes::Bytes>) {
    Client::resume(broker.port(), "sleeper").unwrap().subscribe("a/#");
    let mut sender = Client::connect(broker.port(), "sender");
    assert!(sender.publish_heard("a/b", "kept?"));
    broker.restart();
    assert!(matches!(sender.next(STEP), Err(Closed)), "a restart cuts connections");
    let mut sleeper = Client::resume(broker.port(), "sleeper").unwrap();
    let present = sleeper.session_present();
    let within = if present { STEP } else { Duration::ZERO };
    (present, sleeper.next(within).unwrap().map(|publish| publish.payload))
}

#[test]
fn a_persistent_broker_keeps_sessions_and_messages() {
    assert_eq!(message_after_restart(Mosquitto::persistent()), (true, Some("kept?".into())));
}

#[test]
fn a_forgetful_broker_forgets() {
    assert_eq!(message_after_restart(Mosquitto::forgetful()), (false, None));
}

#[test]
fn the_broker_says_whether_anybody_listens() {
    let broker = Mosquitto::forgetful();
    let mut client = Client::connect(broker.port(), "both");
    assert!(!client.publish_heard("a", "nobody"));
    client.subscribe("a");
    assert!(client.publish_heard("a", "somebody"));
    assert_eq!(client.await_topic("a"), "somebody");
}

#[test]
fn the_tls_listener_proves_who_it_is() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let broker = Mosquitto::with_tls(&ours.server());
    let port = broker.tls_url().rsplit(':').next().unwrap().to_owned();
    for (authority, trusted) in [(&ours, true), (&theirs, false)] {
        let output = Command::new("mosquitto_pub")
            .args(["-h", "localhost", "-p", &port, "-t", "a", "-m", "b", "-q", "1", "--cafile"])
            .arg(authority.ca())
            .output()
            .expect("mosquitto_pub is installed (apt-get install mosquitto-clients)");
        assert_eq!(output.status.success(), trusted, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn hand_written_guests_are_modules_with_one_manifest() {
    let dir = TempDir::new().unwrap();
    let guests = [echo("out/"), counter("out/n"), probe_emit(r"out/\ff", 5), failing(1), spinning(), trapping()];
    for wat in guests {
        let module = fs::read(Manifest::new("guest").module(dir.path(), &wat)).unwrap();
        let plain = eyot_test_e2e::guest::without_manifest(&module);
        assert_eq!(plain, wat::parse_str(&wat).unwrap());
        assert_eq!(plain, eyot_test_e2e::guest::without_manifest(&plain));
    }
}

#[test]
fn a_proxy_passes_on_holds_back_and_cuts() {
    let broker = Mosquitto::forgetful();
    let proxy = Proxy::new(broker.port());
    let mut far = Client::connect(broker.port(), "far");
    far.subscribe("a");
    let mut near = Client::connect(proxy.port(), "near");
    near.publish("a", "through");
    assert_eq!(far.await_topic("a"), "through");
    proxy.set(State::Stalled);
    near.send("a", "held back".into(), 1, false).unwrap();
    assert!(matches!(far.next(Duration::from_millis(200)), Ok(None)), "nothing comes through");
    proxy.set(State::Open);
    assert_eq!(far.await_topic("a"), "held back");
    assert!(near.next_ack(STEP).unwrap().is_some(), "nor was the connection cut");
    proxy.set(State::Cut);
    assert!(matches!(near.next(STEP), Err(Closed)));
    assert!(Client::resume(proxy.port(), "near").is_err());
}

#[test]
fn a_small_disk_fills_up_breaks_and_is_repaired() {
    let Some(disk) = SmallDisk::ext4("a_small_disk_fills_up_breaks_and_is_repaired", 8) else { return };
    let write = || fs::write(disk.path().join("file"), [7; 64 << 10]).map_err(|error| error.kind());
    disk.fill();
    assert_eq!(write(), Err(ErrorKind::StorageFull));
    disk.free();
    assert_eq!(write(), Ok(()));
    disk.break_down();
    assert_eq!(write(), Err(ErrorKind::ReadOnlyFilesystem));
    disk.repair();
    assert_eq!(write(), Ok(()));
}

/// In the environment of a copy of this program: it takes that many ports, says which, and waits for its end.
const PORTS: &str = "EYOT_TEST_HARNESS_PORTS";

#[test]
fn ports_are_taken_and_told() {
    let Ok(count) = std::env::var(PORTS) else { return };
    for _ in 0..count.parse().unwrap() {
        println!("port {}", free_port());
    }
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn no_two_processes_get_the_same_port() {
    const EACH: usize = 100;
    // Their process ids are close together, so they look for ports in much the same places.
    let mut others: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "ports_are_taken_and_told", "--nocapture"])
                .env(PORTS, EACH.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut ports = Vec::new();
    for other in &mut others {
        let lines = BufReader::new(other.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let told = lines.filter_map(|line| line.split_once("port ").map(|(_, port)| port.parse::<u16>().unwrap()));
        ports.extend(told.take(EACH));
    }
    for mut other in others {
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(ports.len(), 4 * EACH);
    let distinct: BTreeSet<_> = ports.iter().collect();
    assert_eq!(distinct.len(), ports.len(), "{ports:?}");
}

#[test]
fn a_broker_is_not_up_because_another_listens_on_its_port() {
    let other = Mosquitto::forgetful();
    let settings = format!("listener {} 127.0.0.1\n", other.port());
    let outcome = std::panic::catch_unwind(|| Mosquitto::with_settings(&settings));
    let said = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("in use"), "{said}");
}
