//! What a function keeps survives, neither more nor less.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{counter, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;

const MESSAGES: u64 = 3_000;
const KILLS: u32 = 8;

/// The function counts messages and emits each count. State, output and input are one record, so the n-th output ever
/// must hold the count n, wherever the kills fell.
#[test]
fn a_count_is_exact_over_kill_minus_nine() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::with_broker("counter", Mosquitto::persistent())
        .function(|dir| Manifest::new("counter").module(dir, &counter("out/n")));
    let mut daemon = site.start();
    let mut collector = site.client("collector");
    collector.subscribe("out/n");
    let mut publisher = site.client("publisher");
    for number in 0..MESSAGES {
        publisher.send("in/n", Bytes::from(number.to_string()), 1, false).unwrap();
    }
    let mut count_of_seq = BTreeMap::new();
    for _ in 0..KILLS {
        let until = count_of_seq.len() + random.usize(1..300);
        while count_of_seq.len() < until && collect(&mut collector, &mut count_of_seq, Duration::from_millis(500)) {}
        daemon.kill();
        daemon = Eyotd::start(&site.config);
    }
    let status = site.await_status("all messages counted", |status| {
        let ledger = &status["ledger"];
        status["online"] == true && ledger["pending"] == 0 && ledger["received"].as_u64() >= Some(MESSAGES)
    });
    assert!(balances(&status), "{status}");
    let committed = status["ledger"]["received"].as_u64().unwrap();
    while (count_of_seq.len() as u64) < committed
        && collect(&mut collector, &mut count_of_seq, eyot_test_e2e::wait::STEP)
    {}
    let expected: BTreeMap<u64, u64> = (1..=committed).map(|n| (n, n)).collect();
    assert_eq!(count_of_seq, expected, "seed {seed}: output n does not hold count n");
}

/// Takes one output; false if none came.
fn collect(
    collector: &mut eyot_test_e2e::client::Client,
    count_of_seq: &mut BTreeMap<u64, u64>,
    within: Duration,
) -> bool {
    let Some(publish) = collector.next(within).unwrap() else { return false };
    let count = u64::from_le_bytes(publish.payload[..].try_into().unwrap());
    let seq = Stamp::of(&publish).expect("an output carries its stamp").seq;
    let before = count_of_seq.insert(seq, count);
    assert!(before.is_none_or(|before| before == count), "output {seq} held {before:?} and then {count}");
    true
}

#[test]
fn state_survives_an_orderly_stop() {
    let site = Site::new("orderly").function(|dir| Manifest::new("counter").module(dir, &counter("out/n")));
    for expected in 1..=3_u64 {
        let mut daemon = site.start();
        let mut client = site.client("orderly");
        client.subscribe("out/n");
        client.publish("in/n", "x");
        assert_eq!(client.await_topic("out/n")[..], expected.to_le_bytes());
        assert_eq!(daemon.terminate().code(), Some(0));
    }
}
