//! A version that has a share of the messages first, on the real daemon, with nothing but mosquitto's own clients.

use std::collections::BTreeSet;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::counter;
use eyot_test_e2e::site::balances;
use eyot_wire::control::Command;
use serde_json::Value;

use crate::push::{function_topic, order, report, site};
use crate::shadow::push;

const TOPICS: u64 = 20;

/// Waits for a report of the canary of `f` that is as it should be.
fn canary(client: &mut Client, id: &str, what: &str, is_good: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("eyot/{id}/function/f/canary");
    client.await_message(what, |publish| {
        let report: Value = serde_json::from_slice(&publish.payload).ok()?;
        (publish.topic == topic.as_str() && is_good(&report)).then_some(report)
    })
}

/// Publishes a message on this topic, with which there are to be `count`. Returns whether the newer version has counted it.
/// Lower counts may be outputs from before a kill.
fn counts(client: &mut Client, topic: u64, count: u64) -> bool {
    client.publish(&format!("in/{topic}"), "x");
    client.await_message(&format!("count {count}"), |publish| {
        let is_new = publish.topic == "out/new";
        let is_output = is_new || publish.topic == "out/old";
        let seen = is_output.then(|| u64::from_le_bytes(publish.payload[..].try_into().unwrap()))?;
        assert!(seen <= count, "{seen} instead of {count}: they have one state");
        (seen == count).then_some(is_new)
    })
}

/// A message on each topic, after so many; returns the topics that the newer version has.
fn round(client: &mut Client, before: u64) -> BTreeSet<u64> {
    (1..=TOPICS).filter(|topic| counts(client, *topic, before + topic)).collect()
}

#[test]
fn a_canary_counts_with_the_version_in_force_over_a_kill_until_it_is_promoted() {
    let site = site("canary");
    let mut daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let mut watcher = site.client("watcher");
    watcher.subscribe("eyot/canary/#");
    push(&site, "canary", "1.0.0", "", &counter("out/old"));
    function_topic(&mut watcher, "canary", "active", "1.0.0");
    push(&site, "canary", "1.1.0", "canary = \"40%\"", &counter("out/new"));
    let document = function_topic(&mut watcher, "canary", "canary", "1.1.0");
    assert_eq!(document["active"]["version"], "1.0.0");
    let topics = round(&mut client, 0);
    assert!(!topics.is_empty() && topics.len() < TOPICS as usize, "{topics:?}");
    daemon.kill();
    drop(daemon);
    let daemon = site.start();
    assert_eq!(round(&mut client, TOPICS), topics, "the same topics as before");
    let mut operator = site.client("operator");
    operator.subscribe("eyot/canary/command/+");
    let seen = canary(&mut watcher, "canary", "the report", |report| {
        report["canary"]["messages"] == topics.len() && report["rule"] == "40% until promoted"
    });
    assert_eq!((&seen["canary"]["failures"], &seen["against"]), (&0.into(), &"1.0.0".into()), "{seen}");
    let status = site.await_status("the canary", |status| status["functions"][0]["canary"]["version"] == "1.1.0");
    assert!(balances(&status), "{status}");
    let promote = Command::Promote { function: "f".to_owned() };
    operator.publish("eyot/canary/command", order("canary", "promote-1", promote));
    assert_eq!(report(&mut operator, "canary", "promote-1")["done"], true);
    canary(&mut watcher, "canary", "the promotion", |report| report["state"] == "promoted");
    assert_eq!(round(&mut client, 2 * TOPICS).len() as u64, TOPICS);
    drop(daemon);
}

#[test]
fn a_canary_that_traps_is_out_by_itself_and_a_retained_push_of_it_is_refused_with_the_reason() {
    let site = site("sick");
    let daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let mut watcher = site.client("watcher");
    watcher.subscribe("eyot/sick/#");
    push(&site, "sick", "1.0.0", "", &counter("out/old"));
    function_topic(&mut watcher, "sick", "active", "1.0.0");
    let traps = counter("out/new").replace("(drop (call $emit", "(unreachable) (drop (call $emit");
    push(&site, "sick", "1.1.0", "canary = \"50%\"", &traps);
    function_topic(&mut watcher, "sick", "canary", "1.1.0");
    for number in 0..40 {
        client.publish(&format!("in/{number}"), "x");
    }
    let document = function_topic(&mut watcher, "sick", "rejected", "1.1.0");
    let reason = document["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("failed on 3 of its first 3 messages"), "{reason}");
    assert_eq!(document["active"]["version"], "1.0.0");
    let status = site.await_status("all messages", |status| status["ledger"]["received"] == 40);
    // Of the canary, three; all others did well with the version in force, also those behind them on their topics.
    assert_eq!((&status["functions"][0]["failures"], &status["ledger"]["dropped"]), (&0.into(), &3.into()), "{status}");
    assert!(balances(&status), "{status}");
    assert!(daemon.log().contains("a version that was on trial is gone"), "{}", daemon.log());
    // The very same push again, as from a broker that retains it.
    push(&site, "sick", "1.1.0", "canary = \"50%\"", &traps);
    let again = watcher.await_message("the refusal", |publish| {
        let document: Value = serde_json::from_slice(&publish.payload).ok()?;
        let is_again =
            document["reason"].as_str().is_some_and(|text| text.contains("was rejected or rolled back here before"));
        (publish.topic == "eyot/sick/function/f" && is_again).then_some(document)
    });
    assert!(again["reason"].as_str().unwrap().contains(&reason), "{again}");
}
