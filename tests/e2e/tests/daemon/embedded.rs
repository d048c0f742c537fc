//! `embedded://`: no other broker on the box; sensors connect to the daemon itself.

use std::collections::HashSet;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::site::{await_status, Site};
use eyot_test_e2e::wait::{wait_for, STEP};

fn start(site: &mut Site) -> (Eyotd, u16) {
    let port = free_port();
    site.config.broker_url = format!("embedded://127.0.0.1:{port}");
    let daemon = Eyotd::start(&site.config);
    wait_for("the embedded broker", STEP, || TcpStream::connect(("127.0.0.1", port)).ok());
    await_status(port, &site.config.id, "the gateway to be online", |status| status["online"] == true);
    (daemon, port)
}

#[test]
fn sensors_connect_to_the_daemon_itself() {
    let mut site = Site::new("inside").function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    let (_daemon, port) = start(&mut site);
    let mut client = Client::connect(port, "sensor");
    client.subscribe("out/#");
    for number in 0..100 {
        client.publish("in/x", number.to_string());
    }
    for number in 0..100 {
        assert_eq!(client.await_topic("out/in/x"), number.to_string());
    }
}

#[test]
fn sensors_of_both_protocol_versions_are_served_on_one_port() {
    let mut site = Site::new("versions").function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    let (_daemon, port) = start(&mut site);
    let mut client = Client::connect(port, "listener");
    client.subscribe("out/#");
    for version in ["mqttv311", "mqttv5"] {
        let sent = Command::new("mosquitto_pub")
            .args(["-V", version, "-p", &port.to_string(), "-q", "1", "-t", "in/v", "-m", version])
            .stderr(Stdio::inherit())
            .status();
        assert!(sent.expect("mosquitto_pub is installed (apt-get install mosquitto-clients)").success(), "{version}");
        assert_eq!(client.await_topic("out/in/v"), version);
    }
}

#[test]
fn an_embedded_broker_feeds_an_uplink() {
    let mut site = Site::new("feeds").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    let cloud = Mosquitto::forgetful();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    let mut collector = Client::connect(cloud.port(), "collector");
    collector.subscribe("cloud/#");
    let (_daemon, port) = start(&mut site);
    Client::connect(port, "sensor").publish("in/x", "up");
    assert_eq!(collector.await_topic("cloud/in/x"), "up");
}

/// Publishes its numbers as fast as they are acknowledged, until the broker ends; returns those that were. Says so when
/// there are some.
fn publish_to_the_end(port: u16, begun: &mpsc::Sender<()>) -> Vec<u16> {
    const UNACKNOWLEDGED: u16 = 100;
    let mut sensor = Client::connect(port, "sensor");
    let mut acknowledged = Vec::new();
    // This client's packet ids count from 1, as these numbers do.
    for number in 1..u16::MAX {
        if sensor.send("in/x", number.to_string().into(), 1, false).is_err() {
            break;
        }
        if number > UNACKNOWLEDGED {
            let Ok(Some(ack)) = sensor.next_ack(STEP) else { break };
            acknowledged.push(ack.pkid);
        }
        if acknowledged.len() == 1_000 {
            begun.send(()).unwrap();
        }
    }
    while let Ok(Some(ack)) = sensor.next_ack(STEP) {
        acknowledged.push(ack.pkid);
    }
    acknowledged
}

#[test]
fn what_sensors_were_acknowledged_before_a_stop_is_delivered() {
    let mut site = Site::new("closing").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    let cloud = Mosquitto::forgetful();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    let mut collector = Client::connect(cloud.port(), "collector");
    collector.subscribe("cloud/#");
    let (mut daemon, port) = start(&mut site);
    let (begun, has_begun) = mpsc::channel();
    let sensor = thread::spawn(move || publish_to_the_end(port, &begun));
    has_begun.recv_timeout(STEP).expect("acknowledgements");
    assert_eq!(daemon.terminate().code(), Some(0));
    let mut missing: HashSet<u16> = sensor.join().unwrap().into_iter().collect();
    assert!((1_000..60_000).contains(&missing.len()), "it was stopped in the middle: {}", missing.len());
    let (_daemon, _) = start(&mut site);
    while !missing.is_empty() {
        let publish = collector.next(STEP).unwrap();
        let publish = publish.unwrap_or_else(|| panic!("acknowledged, and never delivered: {missing:?}"));
        missing.remove(&std::str::from_utf8(&publish.payload).unwrap().parse().unwrap());
    }
}
