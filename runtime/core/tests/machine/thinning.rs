//! A log that fills up: what matters least goes first, and a reducer makes less of the backlog before anything does.

use std::collections::BTreeMap;

use eyot_core::config::{Config, Priority, Reduce, Route, Uplink};
use eyot_core::io::{Input, Message, Notice};
use eyot_wire::code::DropReason;
use serde_json::Value;

use crate::bench::{Bench, CLOUD};

const QUOTA_BYTES: u64 = 1 << 20;
/// Messages of that size that fill the quota.
const FILL: u64 = 900;
const PAYLOAD_BYTES: usize = 1000;

fn cloud() -> Uplink {
    let route = |name: &str, priority| Route {
        name: name.to_owned(),
        topics: vec![format!("up/{name}")],
        priority,
        ttl_ms: None,
    };
    let routes = vec![route("alarms", Priority::High), route("debug", Priority::Low)];
    Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], routes, ..Uplink::default() }
}

fn reducing() -> Config {
    Config { reduce: Some(Reduce { at_percent: 50, function: "tenth".to_owned() }), ..Bench::config(vec![cloud()]) }
}

/// `first`, the number, and padding.
fn payload(first: char, number: u64) -> String {
    format!("{first}{number:06}{:.<width$}", "", width = PAYLOAD_BYTES)
}

/// Every tenth is an alarm, every other one debugging.
fn topic(number: u64) -> &'static str {
    match number % 10 {
        0 => "up/alarms",
        odd if odd % 2 == 1 => "up/debug",
        _ => "up/telemetry",
    }
}

fn fill(bench: &mut Bench, count: u64) {
    for number in 0..count {
        assert!(bench.message(topic(number), payload('x', number)), "message {number} is not taken");
    }
}

/// Numbers of what arrives, by topic.
fn arrivals(bench: &mut Bench) -> BTreeMap<String, Vec<u64>> {
    let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while let Some(publish) = bench.take() {
        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
        let number = std::str::from_utf8(&publish.payload[1..7]).unwrap().parse().unwrap();
        arrived.entry(topic).or_default().push(number);
    }
    arrived
}

fn dropped(bench: &Bench, stream: &str, reason: DropReason) -> u64 {
    bench.stream(stream).outputs.dropped(reason)
}

/// Everything is delivered or dropped for a reason, and what arrived is what was delivered.
fn assert_settled(bench: &Bench, arrived: &BTreeMap<String, Vec<u64>>) {
    let ledger = bench.core.ledger();
    assert!(ledger.is_balanced());
    for (stream, topic) in [("cloud/alarms", "up/alarms"), ("cloud/debug", "up/debug"), ("cloud", "up/telemetry")] {
        let outputs = &bench.stream(stream).outputs;
        let count = arrived.get(topic).map_or(0, Vec::len) as u64;
        assert_eq!(
            (outputs.pending, outputs.delivered, outputs.dropped(DropReason::Corrupt)),
            (0, count, 0),
            "{stream}"
        );
    }
    assert_eq!((ledger.messages.pending, ledger.messages.dropped(DropReason::Corrupt)), (0, 0), "{ledger:?}");
}

#[test]
fn what_matters_least_goes_first_and_alarms_last() {
    let mut bench = Bench::with(Bench::config(vec![cloud()]), QUOTA_BYTES);
    let mut taken = 0;
    let full = DropReason::SpoolFullOldest;
    while dropped(&bench, "cloud", full) == 0 {
        bench.message(topic(taken), payload('x', taken));
        taken += 1;
    }
    assert!(taken > FILL && dropped(&bench, "cloud/debug", full) > taken / 4, "debugging goes before telemetry");
    while taken < 4 * FILL {
        bench.message(topic(taken), payload('x', taken));
        taken += 1;
    }
    assert_eq!(dropped(&bench, "cloud/alarms", full), 0);
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert_eq!(arrived["up/alarms"], (0..taken).step_by(10).collect::<Vec<_>>());
    assert!(arrived["up/telemetry"].is_sorted() && arrived["up/telemetry"].last() == Some(&(taken - 2)));
    assert_settled(&bench, &arrived);
    assert!(bench.notices.iter().any(|n| matches!(n, Notice::Dropped { reason: "spool_full_oldest", .. })));
}

/// Where nothing could be rewritten, the next look was a while later, and until then whole segments went.
#[test]
fn alarms_stay_however_fast_the_rest_comes() {
    let config = Config { commit_window_us: 50, ack_flush_us: 1 << 40, ..Bench::config(vec![cloud()]) };
    let mut bench = Bench::with(config, QUOTA_BYTES);
    for number in 0..3 * FILL {
        bench.burst(topic(number), payload('x', number));
    }
    assert_eq!(dropped(&bench, "cloud/alarms", DropReason::SpoolFullOldest), 0);
    assert!(dropped(&bench, "cloud/debug", DropReason::SpoolFullOldest) > FILL / 2);
}

#[test]
fn alarms_go_too_when_there_is_nothing_else() {
    let mut bench = Bench::with(Bench::config(vec![cloud()]), QUOTA_BYTES);
    for number in 0..3 * FILL {
        assert!(bench.message("up/alarms", payload('x', number)));
    }
    assert!(dropped(&bench, "cloud/alarms", DropReason::SpoolFullOldest) > FILL);
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert_settled(&bench, &arrived);
}

#[test]
fn a_reducer_makes_less_of_the_backlog_before_anything_is_dropped() {
    let mut bench = Bench::with(reducing(), QUOTA_BYTES);
    fill(&mut bench, 2 * FILL);
    assert!(bench.core.ledger().rewrites > 2);
    assert_eq!(dropped(&bench, "cloud", DropReason::SpoolFullOldest), 0);
    let reduced = dropped(&bench, "cloud", DropReason::Reduced) + dropped(&bench, "cloud/debug", DropReason::Reduced);
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::Reduced), reduced);
    assert!(reduced > FILL / 2, "{reduced}");
    assert!(bench.notices.iter().any(|n| matches!(n, Notice::Dropped { reason: "reduced", .. })));
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert_eq!(arrived["up/alarms"], (0..2 * FILL).step_by(10).collect::<Vec<_>>(), "alarms are not reduced");
    let mut thinned: Vec<u64> = arrived["up/telemetry"].iter().chain(&arrived["up/debug"]).copied().collect();
    thinned.sort_unstable();
    // Its state goes on from segment to segment: every tenth, alarms not counted.
    let shown: Vec<u64> = (0..2 * FILL).filter(|n| n % 10 > 0).collect();
    let expected: Vec<u64> = shown.into_iter().step_by(10).take(100).collect();
    assert_eq!(thinned[..100], expected);
    assert_settled(&bench, &arrived);
}

/// The watermark is of what the log takes before it is full, which is less than its quota: with the highest there is, the quota's
/// 95 %, it would be full before.
#[test]
fn the_log_is_not_full_below_the_watermark() {
    let reduce = Some(Reduce { at_percent: 90, function: "tenth".to_owned() });
    let mut bench = Bench::with(Config { reduce, ..reducing() }, QUOTA_BYTES);
    fill(&mut bench, 2 * FILL);
    for stream in ["cloud", "cloud/debug"] {
        assert!(dropped(&bench, stream, DropReason::Reduced) > 0, "{stream}");
        assert_eq!(dropped(&bench, stream, DropReason::SpoolFullOldest), 0, "{stream}");
    }
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert!(arrived["up/telemetry"][0] < 100, "{:?}", &arrived["up/telemetry"][..5]);
    assert_settled(&bench, &arrived);
}

#[test]
fn a_power_cut_right_after_a_rewrite_costs_no_account_its_balance() {
    let history = |cut_at: u64| {
        let mut bench = Bench::with(reducing(), QUOTA_BYTES);
        bench.cut_at = cut_at;
        let mut sent = 0;
        while sent < 2 * FILL {
            sent += u64::from(bench.message(topic(sent), payload('x', sent)));
        }
        bench
    };
    let whole = history(0);
    assert!(whole.rewrites_at.len() > 2);
    for cut_at in whole.rewrites_at {
        let mut bench = history(cut_at);
        assert!(bench.core.ledger().is_balanced());
        bench.connect(CLOUD, 100);
        let arrived = arrivals(&mut bench);
        assert_eq!(arrived["up/alarms"].len() as u64, 2 * FILL / 10, "cut at {cut_at}");
        assert_settled(&bench, &arrived);
    }
}

#[test]
fn a_reducer_that_fails_costs_nothing_and_may_emit_once() {
    let mut bench = Bench::with(reducing(), QUOTA_BYTES);
    let mut number = 0;
    while bench.core.ledger().rewrites == 0 {
        bench.message("up/telemetry", payload(if number % 2 == 0 { '#' } else { '2' }, number));
        number += 1;
    }
    let told = |n: &Notice| matches!(n, Notice::ReducerFailed { failure, .. } if failure.contains("unreachable"));
    assert!(bench.notices.iter().any(told), "{:?}", bench.notices);
    assert!(!bench.notices.iter().any(|n| matches!(n, Notice::FunctionFailed { .. })), "there is no dead letter");
    assert!(bench.notices.iter().any(|n| matches!(n, Notice::EmitRefused { .. })));
    let status = String::from_utf8(bench.core.status_json()).unwrap();
    assert!(status.contains(r#""name":"tenth""#) && status.contains(r#""last_failure":"trap""#), "{status}");
    assert_eq!(dropped(&bench, "cloud", DropReason::Reduced), 0, "each was kept as it was, or once");
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert_eq!(arrived["up/telemetry"], (0..number).collect::<Vec<_>>());
    assert_settled(&bench, &arrived);
}

#[test]
fn what_is_in_flight_stays() {
    let mut bench = Bench::with(Bench::config(vec![cloud()]), QUOTA_BYTES);
    fill(&mut bench, 30);
    bench.connect(CLOUD, 20);
    fill(&mut bench, 3 * FILL);
    let waiting: Vec<_> = bench.sent.clone();
    let in_flight = waiting.len();
    assert!(in_flight > 10, "nobody answers");
    for publish in &waiting {
        bench.answer(publish, true);
    }
    bench.sent.retain(|p| !waiting.iter().any(|w| w.token == p.token));
    let before: u64 = ["cloud", "cloud/alarms", "cloud/debug"].iter().map(|s| bench.stream(s).outputs.delivered).sum();
    assert_eq!(before, in_flight as u64, "each answer counts");
    let arrived = arrivals(&mut bench);
    let count: usize = arrived.values().map(Vec::len).sum();
    let delivered: u64 =
        ["cloud", "cloud/alarms", "cloud/debug"].iter().map(|s| bench.stream(s).outputs.delivered).sum();
    assert_eq!(delivered, (count + in_flight) as u64);
    assert_eq!(dropped(&bench, "cloud/alarms", DropReason::SpoolFullOldest), 0);
    assert_eq!((bench.core.ledger().messages.pending, bench.stream("cloud").outputs.pending), (0, 0));
    assert_eq!(dropped(&bench, "cloud", DropReason::Corrupt) + dropped(&bench, "cloud/debug", DropReason::Corrupt), 0);
}

#[test]
fn a_link_that_comes_up_ends_a_rewrite_and_another_begins_behind_it() {
    let mut bench = Bench::with(reducing(), QUOTA_BYTES);
    bench.hold = true;
    let mut sent = 0;
    while !bench.holds() {
        bench.message(topic(sent), payload('x', sent));
        sent += 1;
    }
    bench.connect(CLOUD, 20);
    assert_eq!(bench.core.ledger().rewrites, 0);
    let taken: Vec<_> = (0..5).filter_map(|_| bench.take()).collect();
    assert_eq!(taken.len(), 5, "what the rewrite was to drop is under way");
    bench.release();
    let mut arrived = arrivals(&mut bench);
    for publish in taken {
        let number = std::str::from_utf8(&publish.payload[1..7]).unwrap().parse().unwrap();
        arrived.entry(String::from_utf8(publish.topic.to_vec()).unwrap()).or_default().push(number);
    }
    assert_settled(&bench, &arrived);
}

/// What stood for the outputs went with its segment, and they were counted again, as lost.
#[test]
fn a_rewritten_segment_goes_with_all_that_was_said_of_it() {
    let uplinks = vec![Uplink { routes: Vec::new(), ..cloud() }];
    let mut bench = Bench::with(Config { uplinks, ..reducing() }, QUOTA_BYTES);
    let mut sent = 0;
    while sent < 2 * FILL || dropped(&bench, "cloud", DropReason::SpoolFullOldest) < FILL / 2 {
        // Half of them stay, because the reducer fails on them.
        bench.message("up/telemetry", payload(if sent / 5 % 2 == 0 { '#' } else { 'x' }, sent));
        sent += 1;
    }
    assert!(dropped(&bench, "cloud", DropReason::Reduced) > FILL / 2);
    bench.connect(CLOUD, 100);
    let delivered = arrivals(&mut bench)["up/telemetry"].len() as u64;
    let outputs = &bench.stream("cloud").outputs;
    assert_eq!((outputs.pending, outputs.delivered, outputs.dropped(DropReason::Corrupt)), (0, delivered, 0));
}

/// What it emitted was left in the stream it came from, whose topics do not include it.
#[test]
fn a_reducer_that_emits_to_another_destination_fails() {
    let mut bench = Bench::with(reducing(), QUOTA_BYTES);
    let mut number = 0;
    while bench.core.ledger().rewrites == 0 {
        bench.message("up/telemetry", payload('>', number));
        number += 1;
    }
    let told = |n: &Notice| matches!(n, Notice::ReducerFailed { failure, .. } if failure.contains("\"elsewhere\""));
    assert!(bench.notices.iter().any(told), "{:?}", bench.notices);
    let status = String::from_utf8(bench.core.status_json()).unwrap();
    assert!(status.contains(r#""last_failure":"misrouted""#), "{status}");
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    assert_eq!(arrived["up/telemetry"], (0..number).collect::<Vec<_>>());
    assert_settled(&bench, &arrived);
}

/// Fills the log for two minutes with what the reducer fails on.
fn two_minutes(bench: &mut Bench) {
    let mut number = 0;
    while bench.now.mono_us < 120_000_000 {
        bench.message("up/telemetry", payload('#', number));
        number += 1;
    }
}

/// Each segment was shown to it as soon as the last was done.
#[test]
fn a_reducer_that_frees_nothing_rests() {
    let uplinks = vec![Uplink { routes: Vec::new(), ..cloud() }];
    let mut bench = Bench::with(Config { uplinks, ..reducing() }, QUOTA_BYTES);
    two_minutes(&mut bench);
    let rewrites = bench.core.ledger().rewrites;
    assert!((2..15).contains(&rewrites), "{rewrites} rewrites in two minutes");
    assert!(dropped(&bench, "cloud", DropReason::SpoolFullOldest) > FILL);
}

/// Messages waited until it had been shown whole segments, each output for as long as its limits allow.
#[test]
fn a_reducer_that_takes_long_at_the_quota_rests() {
    let uplinks = vec![Uplink { routes: Vec::new(), ..cloud() }];
    let mut bench = Bench::with(Config { uplinks, ..reducing() }, QUOTA_BYTES);
    let take = |bench: &mut Bench, payload: String| {
        let topic = "in/up/telemetry".into();
        let message =
            Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload: payload.into() };
        bench.now.mono_us += 20_000;
        bench.step(Input::Message(message));
    };
    let mut number = 0;
    while bench.core.spool().rewriting().is_none() {
        take(&mut bench, payload('^', number));
        number += 1;
    }
    while bench.core.accepts_messages() {
        take(&mut bench, "^".repeat(40 * PAYLOAD_BYTES));
    }
    assert_eq!(dropped(&bench, "cloud", DropReason::SpoolFullOldest), 0, "it is shown the first segments");
    let before = runs(&bench);
    while !bench.core.accepts_messages() {
        bench.now.mono_us += 1000;
        bench.step(Input::Tick);
    }
    // 500,000,000 of fuel, 10,000,000 at a time; of these some before it was seen that the log is full.
    let after_full = runs(&bench) - before;
    assert!((40..=50).contains(&after_full), "{after_full} outputs were shown while messages waited");
    let told = |n: &Notice| matches!(n, Notice::ReducerFailed { failure, .. } if failure.contains("fuel"));
    assert!(bench.notices.iter().any(told), "{:?}", bench.notices);
    assert!(dropped(&bench, "cloud", DropReason::SpoolFullOldest) > 0, "the oldest went instead");
}

/// Outputs the reducer was shown.
fn runs(bench: &Bench) -> u64 {
    let status: Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    let functions = status["functions"].as_array().unwrap();
    functions.iter().find(|f| f["name"] == "tenth").unwrap()["invocations"].as_u64().unwrap()
}

/// That it was full and had room was told of each segment.
#[test]
fn a_log_that_stays_at_its_quota_says_once_that_it_is_full() {
    let mut bench = Bench::with(reducing(), QUOTA_BYTES);
    two_minutes(&mut bench);
    let count = |wanted: fn(&Notice) -> bool| bench.notices.iter().filter(|n| wanted(n)).count();
    let told = [count(|n| matches!(n, Notice::SpoolFull)), count(|n| matches!(n, Notice::SpoolHasRoom { .. }))];
    assert_eq!(told, [1, 0]);
    bench.connect(CLOUD, 100);
    let arrived = arrivals(&mut bench);
    bench.wait_ms(11_000);
    assert_eq!(bench.notices.iter().filter(|n| matches!(n, Notice::SpoolHasRoom { .. })).count(), 1);
    assert_settled(&bench, &arrived);
}
