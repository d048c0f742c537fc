//! `order = "live-first"`: what is new overtakes the backlog, under an epoch of its own.

use std::collections::BTreeMap;

use eyot_core::config::{Order, Uplink};
use eyot_core::finished::FINISHED_MAX;
use eyot_core::io::{LinkId, Publish};
use serde_json::Value;

use crate::bench::{Bench, CLOUD};

const WINDOW: u16 = 10;

fn bench() -> Bench {
    let topics = vec!["up/#".to_owned()];
    Bench::new(vec![Uplink { name: "cloud".to_owned(), topics, order: Order::LiveFirst, ..Uplink::default() }])
}

fn fill(bench: &mut Bench, numbers: std::ops::Range<u32>) {
    for n in numbers {
        bench.message("up/t", n.to_string());
    }
}

fn number(publish: &Publish) -> u32 {
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

/// Everything that waits: all numbers in the order they arrived. Checks that each epoch counts without gaps from `next`.
fn drain(bench: &mut Bench, next: &mut BTreeMap<u64, u64>) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(publish) = bench.take() {
        let stamp = publish.stamp.unwrap();
        let next = next.entry(stamp.epoch).or_insert(1);
        assert!(stamp.seq <= *next, "{stamp:?} came where {next} was due");
        if stamp.seq == *next {
            *next += 1;
            numbers.push(number(&publish));
        }
    }
    numbers
}

fn names(bench: &Bench) -> Vec<&str> {
    bench.core.ledger().streams.iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn what_is_new_overtakes_the_backlog() {
    let mut bench = bench();
    let mut next = BTreeMap::new();
    fill(&mut bench, 0..100);
    bench.connect(CLOUD, WINDOW);
    fill(&mut bench, 100..140);
    let arrived = drain(&mut bench, &mut next);
    let place = |n: u32| arrived.iter().position(|a| *a == n).unwrap();
    assert!(place(139) < 60, "they do not take turns: {arrived:?}");
    assert_eq!(next.into_values().collect::<std::collections::BTreeSet<_>>(), [41, 101].into());
    let backlog: Vec<u32> = arrived.into_iter().filter(|n| *n < 100).collect();
    assert_eq!(backlog, (0..100).collect::<Vec<_>>(), "in order for itself");
}

#[test]
fn of_two_backlogs_the_older_goes_first() {
    let mut bench = bench();
    fill(&mut bench, 0..40);
    bench.connect(CLOUD, WINDOW);
    bench.disconnect(CLOUD);
    fill(&mut bench, 40..80);
    bench.connect(CLOUD, WINDOW);
    let arrived = drain(&mut bench, &mut BTreeMap::new());
    let place = |n: u32| arrived.iter().position(|a| *a == n).unwrap();
    // The window is filled before the younger one is known to be a backlog.
    assert!(place(39) < place(40 + u32::from(WINDOW)), "{arrived:?}");
}

#[test]
fn a_backlog_that_fits_the_window_is_none() {
    let mut bench = bench();
    fill(&mut bench, 0..10);
    bench.connect(CLOUD, WINDOW);
    assert_eq!(names(&bench), ["local", "cloud"]);
    assert_eq!(drain(&mut bench, &mut BTreeMap::new()), (0..10).collect::<Vec<_>>());
}

#[test]
fn power_cuts_and_cut_links_in_between_lose_nothing() {
    let mut bench = bench();
    let (mut next, mut arrived) = (BTreeMap::new(), Vec::new());
    let mut sent = 0;
    for round in 0..12 {
        fill(&mut bench, sent..sent + 40);
        sent += 40;
        bench.connect(CLOUD, WINDOW);
        fill(&mut bench, sent..sent + 5);
        sent += 5;
        for _ in 0..12 {
            let publish = bench.sent.remove(0);
            bench.answer(&publish, true);
            let (stamp, payload) = (publish.stamp.unwrap(), number(&publish));
            let next = next.entry(stamp.epoch).or_insert(1);
            if stamp.seq == *next {
                *next += 1;
                arrived.push(payload);
            }
        }
        if round % 3 == 0 {
            bench.restart();
        } else {
            bench.disconnect(CLOUD);
        }
        assert!(names(&bench).len() <= 2 + 4, "backlogs are bounded: {:?}", names(&bench));
    }
    bench.connect(CLOUD, WINDOW);
    arrived.extend(drain(&mut bench, &mut next));
    arrived.sort_unstable();
    assert_eq!(arrived, (0..sent).collect::<Vec<_>>());
    assert_eq!(bench.core.ledger().messages.pending, 0);
}

#[test]
fn a_backlog_that_is_delivered_goes_and_is_not_forgotten() {
    let mut bench = bench();
    fill(&mut bench, 0..50);
    let old = bench.stream("cloud").epoch;
    bench.connect(LinkId::INTAKE, 100);
    bench.connect(CLOUD, WINDOW);
    fill(&mut bench, 50..55);
    assert_eq!(names(&bench).len(), 3);
    drain(&mut bench, &mut BTreeMap::new());
    assert_eq!(names(&bench).len(), 3, "until it is durable that it is delivered");
    bench.retained.clear();
    bench.wait_ms(100);
    assert_eq!(names(&bench), ["local", "cloud"], "the link is still up");
    let told: Value = serde_json::from_slice(&bench.retained["eyot/bench/status"]).unwrap();
    assert_eq!(told["finished"][0]["epoch"], old, "and the status says so at once");
    fill(&mut bench, 55..56);
    assert_eq!(bench.take().map(|publish| number(&publish)), Some(55));
    bench.wait_ms(100);
    bench.restart();
    let account = bench.stream("cloud");
    assert_eq!((account.outputs.delivered, account.earlier.delivered), (6, 50));
    let status: Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    assert_eq!(status["ledger"]["streams"]["cloud"]["delivered"], 56);
    assert_eq!(status["uplinks"][1]["delivered"], 6, "of this epoch");
    let finished = &status["finished"][0];
    assert_eq!((&finished["name"], &finished["epoch"]), (&format!("cloud~{old}").into(), &old.into()));
    assert_eq!(
        (&finished["delivered"], &finished["pending"], &finished["next_seq"]),
        (&50.into(), &0.into(), &51.into())
    );
}

#[test]
fn the_last_backlogs_that_went_are_remembered() {
    let mut bench = bench();
    let mut epochs = Vec::new();
    for round in 0..FINISHED_MAX as u32 + 3 {
        fill(&mut bench, round * 20..round * 20 + 20);
        epochs.push(bench.stream("cloud").epoch);
        bench.connect(CLOUD, WINDOW);
        drain(&mut bench, &mut BTreeMap::new());
        bench.wait_ms(100);
        bench.disconnect(CLOUD);
    }
    bench.restart();
    let kept: Vec<u64> = bench.core.ledger().finished().map(|f| f.epoch).collect();
    assert_eq!(kept, epochs[3..]);
}

#[test]
fn the_status_shows_the_backlog_behind_its_stream() {
    let mut bench = bench();
    fill(&mut bench, 0..50);
    let old = bench.stream("cloud").epoch;
    bench.connect(CLOUD, WINDOW);
    let status: Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    let shown: Vec<_> = status["uplinks"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap()).collect();
    assert_eq!(shown, ["local", "cloud", &format!("cloud~{old}")]);
    assert_eq!((&status["uplinks"][2]["pending"], &status["uplinks"][2]["epoch"]), (&50.into(), &old.into()));
    bench.crash(vec![]);
    assert_eq!(bench.core.ledger().messages.pending, 0, "an uplink that is removed takes its backlogs along");
}

/// The disk fails while the new stream is on its way into the log, and the old one is delivered meanwhile.
#[test]
fn a_stream_takes_outputs_until_its_successor_does() {
    let mut bench = bench();
    fill(&mut bench, 0..40);
    bench.storage.set_read_only(true);
    bench.connect(CLOUD, WINDOW);
    assert_eq!(drain(&mut bench, &mut BTreeMap::new()).len(), 40);
    bench.disconnect(CLOUD);
    bench.connect(CLOUD, WINDOW);
    bench.storage.set_read_only(false);
    bench.wait_ms(5000);
    fill(&mut bench, 40..41);
    let publish = bench.take().unwrap();
    assert_eq!((publish.link, number(&publish)), (CLOUD, 40));
}
