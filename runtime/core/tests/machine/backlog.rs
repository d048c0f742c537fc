//! `max_backlog`: each policy, its accounts over crashes, and that it is told once.

use eyot_core::config::{Priority, Route, Uplink, WhenFull};
use eyot_core::io::Notice;
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

/// Topic and payload of one output.
const OUTPUT_BYTES: u64 = 4 + 996;
/// Room for ten.
const MAX_BYTES: u64 = 10 * OUTPUT_BYTES;

fn cloud(when_full: WhenFull) -> Uplink {
    let low = Route {
        name: "debug".to_owned(),
        topics: vec!["up/d".to_owned()],
        priority: Priority::Low,
        ..Route::default()
    };
    Uplink {
        name: "cloud".to_owned(),
        topics: vec!["up/#".to_owned()],
        routes: vec![low],
        backlog_max_bytes: Some(MAX_BYTES),
        when_full: Some(when_full),
        ..Uplink::default()
    }
}

fn fill(bench: &mut Bench, topic: &str, numbers: std::ops::Range<u32>) -> u32 {
    numbers.map(|n| u32::from(bench.message(topic, format!("{n:<996}")))).sum()
}

fn arrived(bench: &mut Bench) -> Vec<u32> {
    bench.drain().iter().map(|text| text.trim_end().parse().unwrap()).collect()
}

fn dropped(bench: &Bench, stream: &str) -> u64 {
    bench.stream(stream).outputs.dropped(DropReason::UplinkFull)
}

#[test]
fn drop_oldest_gives_up_the_lowest_priority_first_and_then_the_oldest() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
    fill(&mut bench, "up/t", 0..5);
    fill(&mut bench, "up/d", 100..105);
    fill(&mut bench, "up/t", 5..8);
    assert_eq!((dropped(&bench, "cloud/debug"), dropped(&bench, "cloud")), (3, 0));
    fill(&mut bench, "up/t", 8..13);
    assert_eq!((dropped(&bench, "cloud/debug"), dropped(&bench, "cloud")), (5, 3));
    let waiting = ["cloud", "cloud/debug"].map(|name| bench.stream(name).pending_bytes);
    assert_eq!(waiting, [MAX_BYTES, 0]);
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::UplinkFull), 8);
    bench.connect(CLOUD, 100);
    assert_eq!(arrived(&mut bench), (3..13).collect::<Vec<_>>());
    assert_eq!(bench.stream("cloud").pending_bytes, 0);
}

/// What stood behind the first gap waited for that to be durable, and stayed for good, with all that came after it.
#[test]
fn drop_oldest_holds_the_quota_of_an_uplink_that_is_away() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
    for n in 0..400 {
        bench.burst("up/t", format!("{n:<996}"));
    }
    bench.wait_ms(100);
    assert_eq!((bench.stream("cloud").pending_bytes, dropped(&bench, "cloud")), (MAX_BYTES, 390));
    bench.connect(CLOUD, 100);
    assert_eq!(arrived(&mut bench), (390..400).collect::<Vec<_>>());
}

/// What comes in one commit and is more than the quota cannot be read before it is durable: it goes then, and nothing of a higher
/// priority before.
#[test]
fn a_burst_larger_than_the_quota_takes_nothing_of_a_higher_priority() {
    for link in [None, Some(4)] {
        let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
        fill(&mut bench, "up/t", 0..5);
        if let Some(window) = link {
            bench.connect(CLOUD, window);
        }
        for n in 100..500 {
            bench.burst("up/d", format!("{n:<996}"));
        }
        bench.wait_ms(100);
        assert_eq!(dropped(&bench, "cloud"), 0, "{link:?}");
        let pending: u64 = ["cloud", "cloud/debug"].map(|name| bench.stream(name).pending_bytes).iter().sum();
        // On a link, what goes waits behind what is in flight.
        assert!(pending <= MAX_BYTES || link.is_some(), "{pending}");
        bench.disconnect(CLOUD);
        bench.connect(CLOUD, 100);
        let arrived = arrived(&mut bench);
        assert_eq!(arrived.iter().filter(|number| **number < 5).count(), 5, "{link:?}: {arrived:?}");
        assert!(arrived.len() < 30, "{link:?}: {arrived:?}");
    }
}

#[test]
fn drop_oldest_leaves_what_is_in_flight() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
    bench.connect(CLOUD, 4);
    fill(&mut bench, "up/t", 0..30);
    let account = bench.stream("cloud");
    assert_eq!(account.outputs.dropped_total(), 0, "what goes waits behind what is in flight");
    assert_eq!(account.outputs.pending, 30);
    let all = arrived(&mut bench);
    assert_eq!(all[..4], [0, 1, 2, 3]);
    assert_eq!(all[4..], (24..30).collect::<Vec<_>>());
    assert_eq!(dropped(&bench, "cloud"), 20);
}

#[test]
fn a_lost_link_does_not_give_up_more_than_needs_be() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
    bench.connect(CLOUD, 4);
    fill(&mut bench, "up/t", 0..14);
    bench.disconnect(CLOUD);
    assert_eq!((dropped(&bench, "cloud"), bench.stream("cloud").pending_bytes), (4, MAX_BYTES));
    bench.connect(CLOUD, 4);
    assert_eq!(arrived(&mut bench), (4..14).collect::<Vec<_>>());
}

#[test]
fn drop_newest_refuses_what_comes() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropNewest)]);
    let acks = bench.acked.len();
    fill(&mut bench, "up/t", 0..8);
    fill(&mut bench, "up/d", 8..14);
    assert_eq!(bench.acked.len() - acks, 14, "refused is not unacknowledged");
    assert_eq!((dropped(&bench, "cloud/debug"), bench.stream("cloud/debug").outputs.received), (4, 6));
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::UplinkFull), 4);
    bench.restart();
    assert_eq!((dropped(&bench, "cloud/debug"), bench.stream("cloud/debug").outputs.received), (4, 6));
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::UplinkFull), 4);
    bench.connect(CLOUD, 100);
    assert_eq!(arrived(&mut bench), (0..10).collect::<Vec<_>>());
    assert_eq!(bench.stream("cloud/debug").outputs.dropped(DropReason::Corrupt), 0, "refused outputs take no number");
}

#[test]
fn block_holds_the_intake_until_there_is_room() {
    let mut bench = Bench::new(vec![cloud(WhenFull::Block)]);
    assert_eq!(fill(&mut bench, "up/t", 0..15), 10);
    assert!(!bench.core.accepts_messages());
    bench.restart();
    assert!(!bench.core.accepts_messages(), "the account is kept");
    bench.connect(CLOUD, 100);
    bench.take();
    assert!(bench.core.accepts_messages());
    assert_eq!(bench.core.ledger().messages.dropped_total(), 0);
}

#[test]
fn the_spools_policy_is_the_default_and_other_uplinks_are_not_concerned() {
    let mut near = cloud(WhenFull::Block);
    near.when_full = None;
    let far = Uplink { name: "far".to_owned(), topics: vec!["up/#".to_owned()], ..Uplink::default() };
    let mut bench = Bench::new(vec![near, far]);
    assert_eq!(fill(&mut bench, "up/t", 0..15), 15);
    assert_eq!((dropped(&bench, "cloud"), bench.stream("far").outputs.pending), (5, 15), "drop-oldest");
}

#[test]
fn an_episode_is_told_once_and_shown_in_the_status() {
    let mut bench = Bench::new(vec![cloud(WhenFull::DropOldest)]);
    let told = |bench: &mut Bench| {
        let of_uplink = |n: &Notice| matches!(n, Notice::UplinkFull { .. } | Notice::UplinkHasRoom { .. });
        std::mem::take(&mut bench.notices).into_iter().filter(of_uplink).collect::<Vec<_>>()
    };
    fill(&mut bench, "up/t", 0..40);
    let uplink = || "cloud".to_owned();
    assert_eq!(told(&mut bench), [Notice::UplinkFull { uplink: uplink() }]);
    let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    let shown = status["uplinks"].as_array().unwrap().iter().find(|u| u["name"] == "cloud").unwrap();
    assert_eq!(shown["backlog"], serde_json::json!({"max_bytes": MAX_BYTES, "full": true}));
    assert_eq!(shown["pending_bytes"], MAX_BYTES);
    bench.connect(CLOUD, 100);
    bench.drain();
    assert_eq!(told(&mut bench), [Notice::UplinkHasRoom { uplink: uplink(), dropped: 30 }]);
}
