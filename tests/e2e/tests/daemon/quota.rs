//! What happens when the spool's quota is used up, as the configuration says.

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;
use serde_json::Value;

const QUOTA_BYTES: u64 = 24 << 20;
/// Together twice the quota.
const MESSAGES: u64 = 3_000;
const PAYLOAD_BYTES: usize = 16 << 10;

/// What one policy made of [`MESSAGES`] messages without an uplink.
struct Outcome {
    /// The status at the end.
    status: Value,
    /// Numbers of the messages that reached the cloud once it was back, in the order they came.
    arrived: Vec<u64>,
    /// Sequence numbers of the same.
    seqs: Vec<u64>,
}

#[track_caller]
fn run(when_full: &str) -> Outcome {
    let mut site = Site::new("quota").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    let mut cloud = Mosquitto::persistent();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    site.config.spool = format!("max_bytes = \"24MiB\"\nwhen_full = {when_full:?}");
    Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
    let _daemon = site.start();
    cloud.stop();
    let mut sensor = site.client("sensor");
    for number in 0..MESSAGES {
        let mut payload = vec![b'.'; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        sensor.publish("in/x", payload);
    }
    let full = site.await_status("the policy in force", |status| {
        let taken = status["ledger"]["received"].as_u64();
        if when_full == "block" {
            status["spool"]["state"] == "full"
        } else {
            taken == Some(MESSAGES)
        }
    });
    assert!(balances(&full), "{full}");
    assert!(full["spool"]["bytes"].as_u64().unwrap() <= QUOTA_BYTES, "{full}");
    cloud.resume();
    let status = site.await_status("everything settled", |status| {
        let ledger = &status["ledger"];
        ledger["pending"] == 0 && ledger["received"].as_u64() >= Some(MESSAGES)
    });
    assert!(balances(&status), "{status}");
    let mut collector = Client::resume(cloud.port(), "collector").unwrap();
    let (mut arrived, mut seqs) = (Vec::new(), Vec::new());
    let delivered = status["ledger"]["delivered"].as_u64().unwrap();
    while (arrived.len() as u64) < delivered {
        let publish = collector.next(eyot_test_e2e::wait::STEP).unwrap().expect("what was delivered is at the cloud");
        let seq = Stamp::of(&publish).unwrap().seq;
        if seqs.last().is_none_or(|last| *last < seq) {
            arrived.push(u64::from_le_bytes(publish.payload[..8].try_into().unwrap()));
            seqs.push(seq);
        }
    }
    assert!(arrived.is_sorted_by(|a, b| a < b), "order: {arrived:?}");
    Outcome { status, arrived, seqs }
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let outcome = run("drop-oldest");
    let dropped = outcome.status["ledger"]["dropped_by_reason"]["spool_full_oldest"].as_u64().unwrap();
    assert_eq!(outcome.arrived.len() as u64 + dropped, MESSAGES);
    assert_eq!(outcome.arrived.last(), Some(&(MESSAGES - 1)));
    // The gap can be proven at the cloud: numbers are missing in the sequence, as many as the ledger says.
    assert_eq!(outcome.seqs.last().unwrap() - outcome.seqs.len() as u64, dropped);
}

#[test]
fn drop_newest_keeps_the_oldest_and_counts_the_rest() {
    let outcome = run("drop-newest");
    let dropped = outcome.status["ledger"]["dropped_by_reason"]["spool_full_newest"].as_u64().unwrap();
    assert_eq!(outcome.arrived.len() as u64 + dropped, MESSAGES);
    assert_eq!(outcome.arrived.first(), Some(&0));
}

#[test]
fn block_leaves_the_rest_with_the_broker() {
    let outcome = run("block");
    assert_eq!(outcome.status["ledger"]["dropped"], 0, "{}", outcome.status);
    assert_eq!(outcome.arrived, (0..MESSAGES).collect::<Vec<u64>>());
}
