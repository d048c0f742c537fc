//! A function that fails: what becomes of its messages, and that it is left alone if it goes on failing.

use eyot_core::config::Uplink;
use eyot_core::io::{LinkId, Notice};
use eyot_wire::code::DropReason;
use serde_json::Value;

use crate::bench::{Bench, CLOUD};

/// Messages a function fails on in a row until it is left alone.
const FAILURES_MAX: u64 = 10;

fn bench() -> Bench {
    let topics = vec!["up/#".to_owned(), "eyot/+/dead/#".to_owned(), "soft/#".to_owned()];
    let mut bench = Bench::new(vec![Uplink { name: "cloud".to_owned(), topics, ..Uplink::default() }]);
    bench.connect(LinkId::INTAKE, 100);
    bench
}

fn function(bench: &Bench, name: &str) -> Value {
    let status: Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    status["functions"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone()
}

/// What its own topic says.
fn document(bench: &Bench, name: &str) -> Value {
    serde_json::from_slice(&bench.retained[&format!("eyot/bench/function/{name}")]).unwrap()
}

/// Reasons of the dead letters that arrive from here on, in order.
fn letters(bench: &mut Bench) -> Vec<String> {
    bench.connect(CLOUD, 100);
    let reason = |text: String| serde_json::from_str::<Value>(&text).ok()?["reason"].as_str().map(str::to_owned);
    bench.drain().into_iter().filter_map(reason).collect()
}

fn count(bench: &Bench, wanted: fn(&Notice) -> bool) -> usize {
    bench.notices.iter().filter(|n| wanted(n)).count()
}

#[test]
fn a_function_that_fails_again_and_again_is_left_alone_but_for_a_trial_now_and_then() {
    let mut bench = bench();
    for _ in 0..FAILURES_MAX {
        assert_eq!(document(&bench, "pass")["state"], "active");
        bench.message("up/t", "!");
    }
    assert_eq!(
        (&document(&bench, "pass")["state"], &document(&bench, "pass")["reason"]),
        (&"quarantined".into(), &"error".into())
    );
    // Twenty milliseconds each: the first second is not over.
    for _ in 0..30 {
        bench.message("up/t", "fine");
    }
    let shown = function(&bench, "pass");
    assert_eq!((&shown["invocations"], &shown["failures"], &shown["held_back"]), (&10.into(), &10.into(), &30.into()));
    assert_eq!((&shown["quarantined"], &shown["state"]), (&true.into(), &"quarantined".into()));
    assert_eq!(letters(&mut bench), [vec!["error"; 10], vec!["quarantined"; 30]].concat());
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::DeadLetter), 40);

    bench.wait_ms(1000);
    bench.message("up/t", "!");
    bench.wait_ms(1500);
    bench.message("up/t", "not yet");
    assert_eq!(function(&bench, "pass")["invocations"], 11, "the second trial waits twice as long");
    bench.wait_ms(600);
    bench.message("up/t", "fine");
    bench.message("up/t", "fine again");
    assert_eq!(bench.drain().iter().filter(|text| text.starts_with("fine")).count(), 2);
    let shown = function(&bench, "pass");
    assert_eq!((&shown["quarantined"], &shown["held_back"]), (&false.into(), &31.into()));
    assert_eq!(document(&bench, "pass")["state"], "active");
    assert!(document(&bench, "pass").get("reason").is_none());
    assert_eq!(count(&bench, |n| matches!(n, Notice::FunctionQuarantined { count: 1, .. })), 1);
    assert_eq!(count(&bench, |n| matches!(n, Notice::FunctionReleased { held_back: 31, .. })), 1);
}

#[test]
fn other_functions_of_the_same_messages_go_on() {
    let mut bench = bench();
    for _ in 0..FAILURES_MAX + 5 {
        bench.message("soft/t", "?");
    }
    assert_eq!(document(&bench, "soft")["state"], "quarantined");
    assert_eq!(document(&bench, "pass")["state"], "active");
    bench.connect(CLOUD, 100);
    assert_eq!(bench.drain(), vec!["?"; 15]);
}

#[test]
fn what_passes_is_not_dropped_and_leaves_no_letter() {
    let mut bench = bench();
    bench.message("soft/t", "?");
    bench.message("soft/t", "both");
    let shown = function(&bench, "soft");
    assert_eq!((&shown["failures"], &shown["passed"]), (&1.into(), &1.into()));
    bench.connect(CLOUD, 100);
    assert_eq!(bench.drain(), ["?", "both", "both"]);
    let messages = &bench.core.ledger().messages;
    assert_eq!((messages.received, messages.delivered, messages.dropped_total()), (2, 2, 0));
    assert_eq!(count(&bench, |n| matches!(n, Notice::FunctionPassed { count: 1, .. })), 1);
    assert_eq!(count(&bench, |n| matches!(n, Notice::FunctionFailed { .. })), 0);
}
