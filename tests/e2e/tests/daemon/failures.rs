//! What the machine may do to the daemon. Where it cannot go on it ends with exit code 1 and says why.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use eyot_test_e2e::daemon::{check_file, Eyotd};
use eyot_test_e2e::disk::SmallDisk;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::programs::eyotd;
use eyot_test_e2e::site::Site;

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
    site.config.data_dir = disk.path();
    let mut daemon = site.start();
    assert_eq!(daemon.terminate().code(), Some(0));
    disk.make_read_only();
    let config = disk.path().with_file_name("read-only.toml");
    let ended = Eyotd::spawn(Command::new(eyotd()).arg("--config").arg(&config)).ended();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(&*site.config.data_dir.to_string_lossy()), "{}", ended.log);
    let checked = check_file(&config);
    assert_eq!(checked.code, Some(0), "it may be writable again when the daemon starts: {}", checked.log);
    assert!(checked.log.contains("warning: ") && checked.log.contains("Read-only file system"), "{}", checked.log);
}

#[test]
fn a_data_directory_that_is_a_file_is_named() {
    let site = echo_site("file", "out/");
    fs::write(&site.config.data_dir, "in the way").unwrap();
    let ended = Eyotd::start(&site.config).ended();
    assert_eq!(ended.code, Some(2), "it is the configuration's fault: {}", ended.log);
    assert!(ended.log.contains(&*site.config.data_dir.to_string_lossy()), "{}", ended.log);
}

/// Mosquitto closes the connection on a topic of more levels than it knows, and would on each one after it.
#[test]
fn a_topic_that_the_broker_would_close_on_is_refused_to_the_function() {
    let site = echo_site("deep", "out/");
    let _daemon = site.start();
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    client.publish(&format!("in{}", "/a".repeat(200)), "too deep once it is prefixed");
    client.publish("in/a", "hello");
    client.await_topic("out/in/a");
    let status = site.await_status("the refused emit", |status| {
        status["functions"].as_array().is_some_and(|functions| functions[0]["emits_refused"] == 1)
    });
    assert_eq!(status["ledger"]["pending"], 0, "{status}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let mut site = echo_site("taken", "out/");
    let port = free_port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    site.config.broker_url = format!("embedded://127.0.0.1:{port}");
    fails_to_start(&site, &[&port.to_string()]);
}
