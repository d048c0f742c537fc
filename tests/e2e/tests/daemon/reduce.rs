//! A log that fills up while the cloud is away: a reducer makes less of the backlog, and alarms stay.

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, example, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;

/// Together three times the quota, of which 3 MiB are taken by segments at work.
const MESSAGES: u64 = 6_000;
const PAYLOAD_BYTES: usize = 2 << 10;
/// One message in so many is an alarm.
const ALARM_EVERY: u64 = 20;

const ROUTE: &str = "\n[[uplink.route]]\nname = \"alarms\"\ntopics = [\"cloud/in/alarm\"]\npriority = \"high\"\n";

#[test]
fn a_backlog_is_thinned_before_anything_is_dropped_and_alarms_stay() {
    let mut site = Site::new("thin").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    site.config.functions.push(example("thin"));
    let mut cloud = Mosquitto::persistent();
    site.config.uplinks = vec![Uplink { more: ROUTE.to_owned(), ..Uplink::cloud(cloud.url()) }];
    site.config.spool = "max_bytes = \"4MiB\"\n[spool.reduce]\nat = \"40%\"\nfunction = \"thin\"".to_owned();
    Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
    let mut daemon = site.start();
    cloud.stop();
    let mut sensor = site.client("sensor");
    for number in 0..MESSAGES {
        let mut payload = vec![b'.'; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        sensor.publish(if number % ALARM_EVERY == 0 { "in/alarm" } else { "in/x" }, payload);
    }
    let taken = site.await_status("all of it taken", |status| {
        status["ledger"]["received"].as_u64() == Some(MESSAGES) && status["spool"]["rewrites"].as_u64() > Some(1)
    });
    assert!(balances(&taken), "{taken}");
    assert!(taken["functions"].as_array().unwrap().iter().any(|f| f["name"] == "thin"), "{taken}");
    daemon.kill();
    let _daemon = site.start();
    cloud.resume();
    let status = site.await_status("everything settled", |status| {
        status["ledger"]["pending"] == 0 && status["ledger"]["received"].as_u64() >= Some(MESSAGES)
    });
    assert!(balances(&status), "{status}");
    let streams = &status["ledger"]["streams"];
    let alarms = MESSAGES / ALARM_EVERY;
    assert_eq!(streams["cloud/alarms"]["delivered"], alarms, "{streams}");
    let reduced = streams["cloud"]["dropped_by_reason"]["reduced"].as_u64().unwrap();
    assert!(reduced > MESSAGES / 3, "{streams}");
    assert_eq!(streams["cloud"]["dropped"], reduced, "nothing was dropped for another reason: {streams}");
    let mut collector = Client::resume(cloud.port(), "collector").unwrap();
    let delivered = status["ledger"]["delivered"].as_u64().unwrap();
    let (mut seqs, mut alarm_seqs) = (Vec::new(), Vec::new());
    while ((seqs.len() + alarm_seqs.len()) as u64) < delivered {
        let publish = collector.next(eyot_test_e2e::wait::STEP).unwrap().expect("what was delivered is at the cloud");
        let seq = Stamp::of(&publish).unwrap().seq;
        let stream = if publish.topic == "cloud/in/alarm" { &mut alarm_seqs } else { &mut seqs };
        if stream.last().is_none_or(|last| *last < seq) {
            stream.push(seq);
        }
    }
    assert_eq!(alarm_seqs, (1..=alarms).collect::<Vec<u64>>());
    // What is left has the numbers it had: the holes are as many as the ledger says.
    assert_eq!(seqs.last(), Some(&(MESSAGES - alarms)), "the newest is there");
    assert_eq!(MESSAGES - alarms - seqs.len() as u64, reduced);
}
