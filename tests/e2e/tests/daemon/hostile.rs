//! Functions that misbehave. Each harms itself alone.

use bytes::Bytes;
use eyot_test_e2e::guest::{echo, failing, probe_emit, spinning, trapping, Manifest};
use eyot_test_e2e::site::{balances, Site};
use serde_json::Value;

const NOT_ALLOWED: i32 = -2;
const OVER_LIMIT: i32 = -3;
const BAD_TOPIC: i32 = -4;

/// What `emit` answered to a function that emits `payload` to `topic`.
#[track_caller]
fn emit_answers(topic: &str, len: usize, payload: impl Into<Bytes>) -> i32 {
    let site = Site::new("emit").function(|dir| Manifest::new("probe").module(dir, &probe_emit(topic, len)));
    let _daemon = site.start();
    let mut client = site.client("hostile");
    client.subscribe("#");
    client.publish("in/x", payload);
    let answer = client.await_topic("out/code");
    i32::from_le_bytes(answer[..].try_into().unwrap())
}

#[test]
fn emit_within_its_permissions_is_done() {
    assert_eq!(emit_answers("out/fine", 8, "x"), 0);
}

#[test]
fn emit_elsewhere_is_refused_and_counted() {
    let site = Site::new("elsewhere").function(|dir| Manifest::new("probe").module(dir, &probe_emit("secret/x", 8)));
    let _daemon = site.start();
    let mut client = site.client("hostile");
    client.subscribe("#");
    client.publish("in/x", "x");
    client.await_message("the function's report", |publish| {
        assert_ne!(publish.topic, "secret/x", "an emit outside of allow.emit was published");
        (publish.topic == "out/code").then(|| assert_eq!(publish.payload[..], NOT_ALLOWED.to_le_bytes()))
    });
    site.await_status("the refusal in the status", |status| status["functions"][0]["emits_refused"] == 1);
}

#[test]
fn emit_to_what_is_no_topic_is_refused() {
    assert_eq!(emit_answers(r"out/\ff", 5, "x"), BAD_TOPIC, "not UTF-8");
    assert_eq!(emit_answers("out/+", 5, "x"), BAD_TOPIC, "a wildcard");
    assert_eq!(emit_answers("", 0, "x"), BAD_TOPIC, "nothing");
}

#[test]
fn emit_over_the_output_limit_is_refused() {
    assert_eq!(emit_answers("out/big", 7, vec![b'x'; 65 << 10]), OVER_LIMIT);
}

/// A message that a function fails on becomes a dead letter with all that is needed to replay it, none of the
/// function's effects happen, and others are served.
#[track_caller]
fn becomes_a_dead_letter(wat: &str, reason: &str) -> Value {
    let mut bad = Manifest::new("bad");
    bad.triggers = vec!["in/bad".into()];
    let mut good = Manifest::new("good");
    good.triggers = vec!["in/good".into()];
    let site = Site::new("dead").function(|dir| bad.module(dir, wat)).function(|dir| good.module(dir, &echo("out/")));
    let _daemon = site.start();
    let mut client = site.client("hostile");
    client.subscribe("out/#");
    client.subscribe("eyot/dead/dead/bad");
    client.publish("in/bad", vec![0xff, 0x00, 0x7f]);
    let letter: Value = serde_json::from_slice(&client.await_topic("eyot/dead/dead/bad")).unwrap();
    assert_eq!(letter["reason"], reason, "{letter}");
    assert_eq!(letter["function"], "bad", "{letter}");
    assert_eq!(letter["topic"], "in/bad", "{letter}");
    assert_eq!(letter["payload_base64"], "/wB/", "{letter}");
    client.publish("in/good", "next");
    client.await_message("the other function's output", |publish| {
        assert_ne!(publish.topic, "out/never", "an effect of a failed function happened");
        (publish.topic == "out/in/good").then_some(())
    });
    let status = site.await_status("the failure in the status", |status| {
        status["functions"].as_array().unwrap().iter().any(|f| f["name"] == "bad" && f["failures"] == 1)
    });
    assert!(balances(&status), "{status}");
    letter
}

#[test]
fn an_error_code_makes_a_dead_letter() {
    assert_eq!(becomes_a_dead_letter(&failing(7), "error")["code"], 7);
}

#[test]
fn a_trap_makes_a_dead_letter() {
    becomes_a_dead_letter(&trapping(), "trap");
}

#[test]
fn endless_work_makes_a_dead_letter() {
    becomes_a_dead_letter(&spinning(), "fuel");
}
