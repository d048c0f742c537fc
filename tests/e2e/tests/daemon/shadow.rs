//! A version that runs as a shadow first, on the real daemon.

use std::process::Command as Process;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{counter, echo, spinning, Manifest};
use eyot_test_e2e::site::{balances, Site};
use eyot_wire::control::Command;
use serde_json::Value;

use crate::push::{function_topic, order, report, signed, site};

/// Version `version` of `f`, which is to be a shadow first.
pub fn push(site: &Site, id: &str, version: &str, rollout: &str, wat: &str) {
    let manifest = Manifest { version: version.into(), rollout: rollout.into(), ..Manifest::new("f") };
    let file = site.dir().join("signed.wasm");
    std::fs::write(&file, signed(site.dir(), &manifest, wat)).unwrap();
    let port = site.broker.port().to_string();
    let topic = format!("eyot/{id}/push");
    let sent = Process::new("mosquitto_pub").args(["-p", &port, "-q", "1", "-t", &topic, "-f"]).arg(&file).status();
    assert!(sent.unwrap().success());
}

/// Waits for a report of the shadow of `f` that is as it should be.
fn shadow(client: &mut Client, id: &str, what: &str, is_good: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("eyot/{id}/function/f/shadow");
    client.await_message(what, |publish| {
        let report: Value = serde_json::from_slice(&publish.payload).ok()?;
        (publish.topic == topic.as_str() && is_good(&report)).then_some(report)
    })
}

/// Publishes a message, for which the version in force is to emit this count. Lower ones may be outputs from before a kill.
fn counts(client: &mut Client, expected: u64) {
    client.publish("in/a", "x");
    client.await_message(&format!("count {expected}"), |publish| {
        let count = (publish.topic == "out/n").then(|| u64::from_le_bytes(publish.payload[..].try_into().unwrap()))?;
        assert!(count <= expected, "{count} instead of {expected}");
        (count == expected).then_some(())
    });
}

/// Counts as [`counter`] does, but skips to the next but one at each tenth message, in what it emits only.
fn differs_on_one_of_ten() -> String {
    let off = "(i64.extend_i32_u (i64.eqz (i64.rem_u (i64.load (i32.const 512)) (i64.const 10))))";
    counter("out/n").replace(
        "(drop (call $emit",
        &format!("(i64.store (i32.const 512) (i64.add (i64.load (i32.const 512)) {off})) (drop (call $emit"),
    )
}

#[test]
fn a_version_that_differs_on_one_of_ten_is_seen_through_and_promoted_by_a_command() {
    let site = site("shade");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/shade/#");
    push(&site, "shade", "1.0.0", "", &counter("out/n"));
    function_topic(&mut client, "shade", "active", "1.0.0");
    push(&site, "shade", "1.1.0", "shadow = \"until promoted\"", &differs_on_one_of_ten());
    let document = function_topic(&mut client, "shade", "shadow", "1.1.0");
    assert_eq!(document["active"]["version"], "1.0.0");
    // Retained: whoever comes late sees the same.
    let mut late = site.client("late");
    late.subscribe("eyot/shade/function/f/#");
    for number in 1..=20 {
        counts(&mut client, number);
    }
    let seen = shadow(&mut late, "shade", "20 messages", |report| report["messages"] == 20);
    assert_eq!((&seen["same"], &seen["different"], &seen["skipped"]), (&18.into(), &2.into(), &0.into()), "{seen}");
    let sample = &seen["samples"][0];
    assert_eq!((&sample["topic"], &sample["output"]), (&"in/a".into(), &0.into()), "{seen}");
    assert_eq!(sample["active"]["output"]["payload"], "base64:CgAAAAAAAAA=", "{seen}");
    assert_eq!(sample["shadow"]["output"]["payload"], "base64:CwAAAAAAAAA=", "{seen}");
    assert!(seen["shadow"]["fuel_mean"].as_u64() > seen["active"]["fuel_mean"].as_u64(), "{seen}");
    assert!(seen["shadow"]["run_us_mean"].is_u64(), "{seen}");

    let promote = Command::Promote { function: "f".to_owned() };
    client.publish("eyot/shade/command", order("shade", "promote-1", promote));
    assert_eq!(report(&mut client, "shade", "promote-1")["done"], true);
    shadow(&mut late, "shade", "the promotion", |report| report["state"] == "promoted");
    // It goes on with the state of the version in force, not with its own.
    for number in 21..=29 {
        counts(&mut client, number);
    }
    // The thirtieth, by the new version.
    counts(&mut client, 31);
}

#[test]
fn a_version_that_traps_is_gone_before_it_could_do_harm() {
    let site = site("trap");
    let daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let mut watcher = site.client("watcher");
    watcher.subscribe("eyot/trap/#");
    push(&site, "trap", "1.0.0", "", &counter("out/n"));
    function_topic(&mut watcher, "trap", "active", "1.0.0");
    let traps = counter("out/n").replace(
        "(drop (call $emit",
        "(if (i64.eq (i64.load (i32.const 512)) (i64.const 5)) (then unreachable)) (drop (call $emit",
    );
    push(&site, "trap", "1.1.0", "shadow = \"100 messages\"", &traps);
    function_topic(&mut watcher, "trap", "shadow", "1.1.0");
    for number in 1..=5 {
        counts(&mut client, number);
    }
    let document = function_topic(&mut watcher, "trap", "rejected", "1.1.0");
    assert!(document["reason"].as_str().unwrap().contains("failed on 1 of 5 messages"), "{document}");
    assert_eq!(document["active"]["version"], "1.0.0");
    counts(&mut client, 6);
    let status = site.await_status("the refusal", |status| status["functions"][0]["shadow"].is_null());
    assert_eq!((&status["functions"][0]["failures"], &status["ledger"]["dropped"]), (&0.into(), &0.into()), "{status}");
    assert!(balances(&status), "{status}");
    assert!(daemon.log().contains("a version that was on trial is gone"), "{}", daemon.log());
}

#[test]
fn a_version_that_does_the_same_is_promoted_by_its_rule_also_over_a_kill() {
    let site = site("rule");
    let mut daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let mut watcher = site.client("watcher");
    watcher.subscribe("eyot/rule/function/#");
    push(&site, "rule", "1.0.0", "", &counter("out/n"));
    function_topic(&mut watcher, "rule", "active", "1.0.0");
    push(&site, "rule", "1.1.0", "shadow = \"20 messages\"", &counter("out/n"));
    function_topic(&mut watcher, "rule", "shadow", "1.1.0");
    for number in 1..=15 {
        counts(&mut client, number);
    }
    daemon.kill();
    drop(daemon);
    let _daemon = site.start();
    // The run begins again, with the state as it is now.
    for number in 16..=35 {
        counts(&mut client, number);
    }
    let last = shadow(&mut watcher, "rule", "the promotion", |report| report["state"] == "promoted");
    assert_eq!((&last["messages"], &last["same"]), (&20.into(), &20.into()), "{last}");
    site.await_status("the new version", |status| status["functions"][0]["version"] == "1.1.0");
    counts(&mut client, 36);
}

#[test]
fn nothing_waits_for_a_shadow_that_spins() {
    let site = site("spin");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("eyot/spin/function/#");
    push(&site, "spin", "1.0.0", "", &echo("out/"));
    function_topic(&mut client, "spin", "active", "1.0.0");
    let manifest = Manifest {
        version: "1.1.0".into(),
        rollout: "shadow = \"until promoted\"".into(),
        limits: "fuel = 1_000_000_000\ndeadline = \"10s\"".into(),
        ..Manifest::new("f")
    };
    client.publish("eyot/spin/push", signed(site.dir(), &manifest, &spinning()));
    function_topic(&mut client, "spin", "shadow", "1.1.0");
    client.subscribe("out/#");
    // Each is acknowledged before the next is sent, while the shadow is at its first for ten seconds of the processor's time.
    for number in 0..500 {
        client.publish("in/a", number.to_string());
    }
    for number in 0..500 {
        assert_eq!(client.await_topic("out/in/a"), number.to_string());
    }
    let late = &mut site.client("late");
    late.subscribe("eyot/spin/function/f/#");
    let seen = shadow(late, "spin", "what was skipped", |report| report["skipped"].as_u64() > Some(0));
    assert!(seen["messages"].as_u64().unwrap() < 500 - seen["skipped"].as_u64().unwrap(), "{seen}");
}
