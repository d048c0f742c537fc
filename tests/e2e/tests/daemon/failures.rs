//! What the machine may do to the daemon. Where it cannot go on it ends with exit code 1 and says why.

use std::fs;
use std::net::TcpListener;

use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::disk::SmallDisk;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::wait::STEP;

fn echo_site(id: &str, prefix: &str) -> Site {
    Site::new(id).function(|dir| Manifest::new("echo").module(dir, &echo(prefix)))
}

#[track_caller]
fn fails_to_start(site: &Site, needles: &[&str]) {
    let ended = Eyotd::start(&site.config).ended();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    for needle in needles {
        assert!(ended.log.contains(needle), "no {needle:?} in:\n{}", ended.log);
    }
}

#[test]
fn a_data_directory_has_one_daemon() {
    let site = echo_site("twice", "out/");
    let mut first = site.start();
    fails_to_start(&site, &[&site.config.data_dir.to_string_lossy()]);
    assert!(first.is_running());
}

#[test]
fn a_data_directory_is_free_again_after_kill_minus_nine() {
    let site = echo_site("again", "out/");
    site.start().kill();
    assert!(site.start().is_running());
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let mut site = echo_site("read-only", "out/");
    let Some(disk) = SmallDisk::mount("a_data_directory_that_cannot_be_written_is_named", 64) else { return };
    site.config.data_dir = disk.data_dir();
    // A configuration lies beside the data; this one must be readable still.
    fs::create_dir(&site.config.data_dir).unwrap();
    let mut daemon = site.start();
    assert_eq!(daemon.terminate().code(), Some(0));
    disk.make_read_only();
    let ended = Eyotd::spawn(
        std::process::Command::new(eyot_test_e2e::programs::eyotd())
            .arg("--config")
            .arg(disk.path().join("read-only.toml")),
    )
    .ended();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(&*site.config.data_dir.to_string_lossy()), "{}", ended.log);
}

#[test]
fn a_data_directory_that_is_a_file_is_named() {
    let site = echo_site("file", "out/");
    fs::write(&site.config.data_dir, "in the way").unwrap();
    fails_to_start(&site, &[&site.config.data_dir.to_string_lossy()]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let mut site = echo_site("taken", "out/");
    let port = free_port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    site.config.broker_url = format!("embedded://127.0.0.1:{port}");
    fails_to_start(&site, &[&port.to_string()]);
}

/// The disk is smaller than the quota, and the cloud is away: what does not fit stays with the broker, and all of it
/// arrives once there is room.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let mut site = echo_site("full", "cloud/");
    let Some(disk) = SmallDisk::mount("a_full_disk_loses_nothing_that_was_acknowledged", 24) else { return };
    let mut cloud = Mosquitto::persistent();
    site.config.data_dir = disk.data_dir();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    site.config.spool = "max_bytes = \"512MiB\"\nwhen_full = \"block\"".into();
    let mut collector = eyot_test_e2e::client::Client::resume(cloud.port(), "collector").unwrap();
    collector.subscribe("cloud/#");
    let mut daemon = site.start();
    cloud.stop();
    let mut sensor = site.client("sensor");
    let messages = 2_000_u32;
    for number in 0..messages {
        let mut payload = vec![b'.'; 16 << 10];
        payload[..4].copy_from_slice(&number.to_le_bytes());
        sensor.publish("in/x", payload);
    }
    let full = site.await_status("the spool to be full", |status| status["spool"]["state"] != "ok");
    assert!(balances(&full), "{full}");
    assert!(daemon.is_running());
    cloud.resume();
    let mut collector = eyot_test_e2e::client::Client::resume(cloud.port(), "collector").unwrap();
    let mut next = 0;
    while next < messages {
        let publish = collector.next(STEP).unwrap().unwrap_or_else(|| panic!("{next} of {messages} came, then none"));
        let number = u32::from_le_bytes(publish.payload[..4].try_into().unwrap());
        assert!(number <= next, "message {next} is missing: {number} came");
        next += u32::from(number == next);
    }
    let after =
        site.await_status("room again", |status| status["spool"]["state"] == "ok" && status["ledger"]["pending"] == 0);
    assert!(balances(&after), "{after}");
    assert_eq!(after["ledger"]["dropped"], 0, "{after}");
}
