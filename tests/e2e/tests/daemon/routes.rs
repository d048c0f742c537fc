//! Routes of an uplink with a real broker at its far end.

use std::time::Instant;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;
use eyot_test_e2e::wait::STEP;
use serde_json::Value;

const ALARMS: &str = "[[uplink.route]]\nname = \"alarms\"\ntopics = [\"cloud/in/alarm\"]\npriority = \"high\"\n";

/// A gateway whose cloud is away, with this many readings and then an alarm on its disk.
struct Away {
    site: Site,
    cloud: Mosquitto,
    _daemon: eyot_test_e2e::daemon::Eyotd,
}

impl Away {
    fn new(id: &str, more: &str, readings: u64) -> Self {
        let mut site = Site::new(id).function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
        let mut cloud = Mosquitto::persistent();
        site.config.uplinks = vec![Uplink { more: more.into(), ..Uplink::cloud(cloud.url()) }];
        Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
        let daemon = site.start();
        cloud.stop();
        let mut sensor = site.client("sensor");
        for number in 0..readings {
            sensor.publish("in/x", number.to_string());
        }
        sensor.publish("in/alarm", "fire");
        site.await_status("everything on disk", |status| status["ledger"]["received"] == readings + 1);
        Self { site, cloud, _daemon: daemon }
    }

    fn collector(&mut self) -> Client {
        self.cloud.resume();
        Client::resume(self.cloud.port(), "collector").unwrap()
    }
}

fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["uplinks"].as_array().unwrap().iter().find(|u| u["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn an_alarm_overtakes_the_backlog_under_an_epoch_of_its_own() {
    let mut away = Away::new("alarm", ALARMS, 3_000);
    let mut collector = away.collector();
    let mut before = 0;
    let alarm = loop {
        let publish = collector.next(STEP).unwrap().expect("the backlog arrives");
        if &publish.topic[..] == b"cloud/in/alarm" {
            break Stamp::of(&publish).unwrap();
        }
        before += 1;
    };
    assert!(before < 100, "{before} readings came before the alarm");
    let status = away.site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    assert_eq!((alarm.seq, alarm.epoch), (1, of(&status, "cloud/alarms")["epoch"].to_string()), "{status}");
    assert_eq!(status["ledger"]["streams"]["cloud/alarms"]["delivered"], 1, "{status}");
    assert_eq!(status["ledger"]["streams"]["cloud"]["delivered"], 3_000, "{status}");
}

#[test]
fn a_rate_spreads_the_backlog_and_alarms_come_first() {
    let mut away = Away::new("rate", &format!("rate = \"200/s\"\n{ALARMS}"), 400);
    let mut collector = away.collector();
    let started = Instant::now();
    let first = collector.next(STEP).unwrap().expect("something arrives");
    assert_eq!(&first.payload[..], b"fire");
    for _ in 0..400 {
        collector.next(STEP).unwrap().expect("the backlog arrives");
    }
    // 100 ms of it may be made up for at once.
    let took = started.elapsed();
    assert!(took.as_millis() >= 1_700, "400 readings in {took:?} at 200/s");
}

#[test]
fn a_full_backlog_drops_its_oldest_and_says_so() {
    let more = "max_backlog = \"64KiB\"\nwhen_full = \"drop-oldest\"\n";
    let mut away = Away::new("full", &format!("{more}{ALARMS}"), 8_000);
    let status = away.site.await_status("a full backlog", |status| of(status, "cloud")["backlog"]["full"] == true);
    assert!(of(&status, "cloud")["pending_bytes"].as_u64() <= Some(64 << 10), "{status}");
    assert!(balances(&status), "{status}");
    let mut collector = away.collector();
    while &collector.next(STEP).unwrap().expect("the backlog arrives").payload[..] != b"7999" {}
    let status = away.site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    let streams = &status["ledger"]["streams"];
    let dropped = streams["cloud"]["dropped_by_reason"]["uplink_full"].as_u64().unwrap();
    assert_eq!(streams["cloud"]["delivered"].as_u64(), Some(8_000 - dropped), "{status}");
    assert_eq!(streams["cloud/alarms"]["delivered"], 1, "{status}");
}

#[test]
fn live_first_sends_what_is_new_before_the_backlog() {
    let mut away = Away::new("live", "order = \"live-first\"\nrate = \"1000/s\"\n", 3_000);
    let mut collector = away.collector();
    away.site.await_status("the cloud to be back", |status| of(status, "cloud")["connected"] == true);
    away.site.client("sensor").publish("in/x", "new");
    let mut before = 0;
    while &collector.next(STEP).unwrap().expect("something arrives").payload[..] != b"new" {
        before += 1;
    }
    assert!(before < 2_500, "{before} of the backlog came first");
    let status = away.site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    assert_eq!(status["ledger"]["delivered"], 3_002, "{status}");
}

#[test]
fn a_full_backlog_that_drops_its_newest_keeps_what_it_has() {
    let mut away = Away::new("newest", "max_backlog = \"64KiB\"\nwhen_full = \"drop-newest\"\n", 8_000);
    let status = away.site.await_status("a full backlog", |status| of(status, "cloud")["backlog"]["full"] == true);
    let dropped = status["ledger"]["dropped_by_reason"]["uplink_full"].as_u64().unwrap();
    assert!(balances(&status) && dropped > 0 && dropped < 8_000, "{status}");
    let mut collector = away.collector();
    for number in 0..8_001 - dropped {
        assert_eq!(collector.next(STEP).unwrap().expect("the oldest arrive").payload, number.to_string());
    }
    let status = away.site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    assert_eq!(status["ledger"]["delivered"], 8_001 - dropped, "{status}");
}

#[test]
fn a_full_backlog_that_blocks_leaves_the_rest_with_the_broker() {
    const READINGS: u64 = 8_000;
    let mut site = Site::with_broker("block", Mosquitto::persistent())
        .function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    let mut cloud = Mosquitto::persistent();
    let more = "max_backlog = \"64KiB\"\nwhen_full = \"block\"\n".to_owned();
    site.config.uplinks = vec![Uplink { more, ..Uplink::cloud(cloud.url()) }];
    Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
    let _daemon = site.start();
    cloud.stop();
    let mut sensor = site.client("sensor");
    for number in 0..READINGS {
        sensor.publish("in/x", number.to_string());
    }
    let full = site.await_status("a full backlog", |status| of(status, "cloud")["backlog"]["full"] == true);
    assert!(full["ledger"]["received"].as_u64() < Some(READINGS) && full["ledger"]["dropped"] == 0, "{full}");
    cloud.resume();
    let mut collector = Client::resume(cloud.port(), "collector").unwrap();
    for number in 0..READINGS {
        assert_eq!(collector.next(STEP).unwrap().expect("everything arrives").payload, number.to_string());
    }
    let status = site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    assert_eq!(
        (&status["ledger"]["delivered"], &status["ledger"]["dropped"]),
        (&READINGS.into(), &0.into()),
        "{status}"
    );
}

#[test]
fn what_is_older_than_its_ttl_is_dropped_while_the_cloud_is_away_and_counted() {
    const READINGS: u64 = 300;
    let alarms = format!("{ALARMS}ttl = \"1h\"\n");
    let mut away = Away::new("ttl", &format!("ttl = \"1s\"\n{alarms}"), READINGS);
    let expired = |status: &Value| status["ledger"]["dropped_by_reason"]["expired"].as_u64();
    let status = away.site.await_status("all readings to expire", |status| expired(status) == Some(READINGS));
    let streams = &status["ledger"]["streams"];
    assert!(balances(&status), "{status}");
    assert_eq!(streams["cloud"]["dropped_by_reason"]["expired"], READINGS, "{status}");
    assert_eq!((&status["ledger"]["pending"], &streams["cloud/alarms"]["pending"]), (&1.into(), &1.into()), "{status}");

    let mut collector = away.collector();
    assert_eq!(collector.next(STEP).unwrap().expect("the alarm has time").payload, "fire");
    away.site.await_status("the cloud to be back", |status| of(status, "cloud")["connected"] == true);
    away.site.client("sensor").publish("in/x", "fresh");
    let fresh = collector.next(STEP).unwrap().expect("what is new is sent");
    assert_eq!((&fresh.payload[..], Stamp::of(&fresh).unwrap().seq), (&b"fresh"[..], READINGS + 1), "after a gap");
    let status = away.site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    let ledger = &status["ledger"];
    assert!(balances(&status), "{status}");
    assert_eq!((&ledger["received"], &ledger["delivered"]), (&(READINGS + 2).into(), &2.into()), "{status}");
    assert_eq!(expired(&status), Some(READINGS), "{status}");
}
