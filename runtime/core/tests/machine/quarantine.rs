//! A function that fails: what becomes of its messages, and that it is left alone if it goes on failing.

use bytes::Bytes;
use eyot_core::config::Uplink;
use eyot_core::io::{Input, LinkId, Message, Notice};
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

fn publish(bench: &mut Bench, packet_id: u16, topic: &str, payload: &'static str) {
    let (topic, payload) = (Bytes::from(format!("in/{topic}")), Bytes::from_static(payload.as_bytes()));
    let conn = bench.conn(LinkId::INTAKE);
    bench.handle(Input::Message(Message { conn, packet_id, qos: 1, dup: false, wakes: None, topic, payload }));
}

#[test]
fn a_message_is_tried_again_before_others_of_its_function_and_after_others_of_other_functions() {
    let mut bench = bench();
    publish(&mut bench, 1, "stubborn/a", "?");
    publish(&mut bench, 2, "stubborn/a", "second");
    publish(&mut bench, 3, "stubborn/b", "third");
    publish(&mut bench, 4, "up/t", "fourth");
    bench.wait_ms(250);
    assert_eq!((bench.core.in_flight(), bench.core.ledger().messages.received), (3, 1));
    assert_eq!(bench.stream("cloud").outputs.received, 1, "another function's");
    bench.wait_ms(100);
    let shown = function(&bench, "stubborn");
    assert_eq!((&shown["invocations"], &shown["failures"], &shown["retries"]), (&5.into(), &3.into(), &2.into()));
    assert_eq!(count(&bench, |n| matches!(n, Notice::FunctionFailed { count: 1, .. })), 1, "of the last time");
    assert_eq!(letters(&mut bench), ["error"]);
    let acked: Vec<u16> = bench.acked.iter().map(|(_, _, packet_id)| *packet_id).collect();
    assert_eq!((bench.core.in_flight(), acked), (0, vec![1, 2, 3, 4]));
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::DeadLetter), 1);
}

#[test]
fn a_message_that_ran_out_of_time_may_end_well_the_next_time() {
    let mut bench = bench();
    bench.jobs = Some(Vec::new());
    publish(&mut bench, 1, "stubborn/a", "~");
    let end = |bench: &mut Bench, name: &str, is_late: bool| {
        let jobs = bench.jobs.as_mut().unwrap();
        let place = jobs.iter().position(|job| **job.function() == *name).unwrap();
        let mut job = jobs.remove(place);
        assert!(!is_late || job.took(u64::MAX));
        while !job.step() {}
        bench.handle(Input::Ran(Box::new(job)));
    };
    end(&mut bench, "pass", false);
    end(&mut bench, "stubborn", true);
    assert_eq!(bench.jobs.as_ref().unwrap().len(), 0);
    bench.wait_ms(120);
    end(&mut bench, "stubborn", false);
    bench.wait_ms(20);
    let shown = function(&bench, "stubborn");
    assert_eq!(
        (&shown["retries"], &shown["last_failure"], &shown["held_back"]),
        (&1.into(), &"deadline".into(), &0.into())
    );
    assert_eq!((bench.acked.len(), bench.core.ledger().messages.dropped_total()), (1, 0));
}

#[test]
fn what_waits_for_another_try_is_not_acknowledged_at_a_power_cut_and_not_waited_for_at_the_end() {
    let mut bench = bench();
    publish(&mut bench, 1, "stubborn/a", "?");
    bench.wait_ms(50);
    bench.restart();
    assert_eq!((bench.acked.len(), bench.core.ledger().messages.received), (0, 0), "the broker has it still");
    bench.connect(LinkId::INTAKE, 100);
    publish(&mut bench, 1, "stubborn/a", "?");
    bench.wait_ms(50);
    bench.handle(Input::Drain);
    bench.wait_ms(20);
    assert!(bench.drained);
    assert_eq!((bench.acked.len(), bench.core.ledger().messages.dropped(DropReason::DeadLetter)), (1, 1));
}

#[test]
fn what_fails_after_all_tries_again_and_again_is_quarantined_and_not_tried_again() {
    let mut bench = bench();
    for n in 0..FAILURES_MAX {
        assert_eq!(function(&bench, "stubborn")["quarantined"], false, "after {n}");
        bench.message("stubborn/a", "?");
        bench.wait_ms(400);
    }
    assert_eq!(document(&bench, "stubborn")["state"], "quarantined");
    bench.wait_ms(1000);
    bench.message("stubborn/a", "?");
    bench.message("stubborn/a", "?");
    let shown = function(&bench, "stubborn");
    assert_eq!((&shown["invocations"], &shown["held_back"]), (&31.into(), &1.into()), "a trial is run once");
    assert_eq!(bench.core.in_flight(), 0);
}

/// A worker is done with one of its jobs, in time or not.
fn end_any(bench: &mut Bench, rng: &mut fastrand::Rng) -> bool {
    let jobs = bench.jobs.as_mut().unwrap();
    let Some(index) = rng.choice(0..jobs.len()) else { return false };
    let mut job = jobs.remove(index);
    if rng.u8(0..3) == 0 {
        job.took(u64::MAX);
    }
    while !job.step() {}
    bench.handle(Input::Ran(Box::new(job)));
    true
}

#[test]
fn whatever_fails_each_message_lands_in_its_turn() {
    assert_eq!((0..60).map(|seed| each_lands_in_its_turn(seed, "")).sum::<u64>(), 0);
}

#[test]
fn so_it_does_when_no_more_fits_in_flight() {
    let much: &'static str = "x".repeat(60_000).leak();
    let cut: u64 = (0..20).map(|seed| each_lands_in_its_turn(seed, much)).sum();
    assert!(cut > 10, "{cut}");
}

/// Returns how many were not run again for that.
fn each_lands_in_its_turn(seed: u64, rest: &'static str) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bench = bench();
    bench.jobs = Some(Vec::new());
    let count = 120;
    let payloads = ["?", "~", "^", "x", "x", "x"].map(|first| &*[first, rest].concat().leak());
    for packet_id in 1..=count {
        let topic = rng.choice(["stubborn/a", "stubborn/b", "soft/a", "count/a", "up/t"]).unwrap();
        let payload = rng.choice(payloads).unwrap();
        for _ in 0..2000 {
            if bench.core.accepts_messages() {
                break;
            }
            end_any(&mut bench, &mut rng);
            bench.wait_ms(10);
        }
        publish(&mut bench, packet_id, topic, payload);
        if rng.bool() {
            bench.wait_ms(rng.u64(0..80));
        }
        for _ in 0..rng.u8(0..4) {
            end_any(&mut bench, &mut rng);
        }
    }
    for _ in 0..2000 {
        if bench.core.in_flight() == 0 {
            break;
        }
        end_any(&mut bench, &mut rng);
        bench.wait_ms(50);
    }
    assert_eq!(bench.core.in_flight(), 0, "seed {seed}: something waits for ever");
    bench.wait_ms(50);
    let acked: Vec<u16> = bench.acked.iter().map(|(_, _, packet_id)| *packet_id).collect();
    assert_eq!(acked, (1..=count).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(bench.core.ledger().messages.received, u64::from(count), "seed {seed}");
    function(&bench, "stubborn")["retries_cut"].as_u64().unwrap()
}

/// The job of a message of `stubborn`, by its topic, ends too late.
fn end_late(bench: &mut Bench, topic: &str) {
    let jobs = bench.jobs.as_mut().unwrap();
    let Some(place) = jobs.iter().position(|job| **job.function() == *"stubborn" && job.topic() == topic) else {
        return;
    };
    let mut job = jobs.remove(place);
    while !job.took(u64::MAX) {
        job.step();
    }
    bench.handle(Input::Ran(Box::new(job)));
}

#[test]
fn what_waits_behind_a_try_goes_on_when_that_is_held_back() {
    let mut bench = bench();
    for _ in 1..FAILURES_MAX {
        bench.message("stubborn/a", "?");
        bench.wait_ms(400);
    }
    bench.jobs = Some(Vec::new());
    for (packet_id, (topic, payload)) in (1..).zip([("stubborn/a", "~"), ("stubborn/b", "~"), ("stubborn/c", "x")]) {
        publish(&mut bench, packet_id, topic, payload);
    }
    let mut waited_ms = 0;
    while bench.core.in_flight() > 0 && waited_ms < 3000 {
        end_late(&mut bench, "in/stubborn/a");
        if waited_ms >= 60 {
            end_late(&mut bench, "in/stubborn/b");
        }
        let jobs = bench.jobs.as_mut().unwrap();
        if let Some(place) = jobs.iter().position(|job| **job.function() == *"pass") {
            let mut job = jobs.remove(place);
            while !job.step() {}
            bench.handle(Input::Ran(Box::new(job)));
        }
        bench.wait_ms(10);
        waited_ms += 10;
    }
    let shown = function(&bench, "stubborn");
    assert_eq!(
        (bench.core.in_flight(), &shown["quarantined"], &shown["held_back"]),
        (0, &true.into(), &2.into()),
        "{shown}"
    );
}

/// Messages in flight come to 2 MiB at most: those that wait for another try are not to keep out what others could do.
#[test]
fn what_waits_for_another_try_makes_room_when_no_more_fits_in_flight() {
    let mut bench = bench();
    let payload = Bytes::from([b"?".as_slice(), &[b'x'; 60_000]].concat());
    let count = 26;
    for packet_id in 1..=count {
        assert!(bench.core.accepts_messages(), "before message {packet_id}, with {} in flight", bench.core.in_flight());
        let (conn, topic) = (bench.conn(LinkId::INTAKE), Bytes::from_static(b"in/stubborn/a"));
        let payload = payload.clone();
        bench.handle(Input::Message(Message { conn, packet_id, qos: 1, dup: false, wakes: None, topic, payload }));
    }
    assert!(bench.core.in_flight() > 10, "there are no more that go than must: {}", bench.core.in_flight());
    publish(&mut bench, count + 1, "up/t", "healthy");
    assert_eq!(bench.stream("cloud").outputs.received, bench.core.ledger().messages.received, "at once");
    let shown = function(&bench, "stubborn");
    let cut = shown["retries_cut"].as_u64().unwrap();
    assert!((5..10).contains(&cut), "{shown}");
    bench.wait_ms(2000);
    assert_eq!((bench.core.in_flight(), bench.acked.len()), (0, usize::from(count) + 1));
    bench.connect(CLOUD, 100);
    let letters: Vec<Value> = bench.drain().iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let with = |text: &str| letters.iter().filter(|letter| letter["detail"].as_str().unwrap().contains(text)).count();
    assert_eq!((letters.len(), with("memory for messages in flight was full") as u64), (usize::from(count), cut));
    assert_eq!(with("error code 1"), letters.iter().filter(|letter| letter["reason"] == "error").count());
}
