//! Routes: streams of their own that share a link, the urgent ones first.

use eyot_core::config::{Priority, Route, Uplink};
use eyot_core::io::{LinkId, Publish};
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

fn route(name: &str, filter: &str, priority: Priority) -> Route {
    Route { name: name.to_owned(), topics: vec![filter.to_owned()], priority, ttl_ms: None }
}

fn uplink(routes: Vec<Route>) -> Uplink {
    Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], routes, ..Uplink::default() }
}

fn alarms_first() -> Uplink {
    uplink(vec![route("alarms", "up/alarm/#", Priority::High), route("debug", "up/debug", Priority::Low)])
}

fn payload(publish: &Publish) -> &str {
    std::str::from_utf8(&publish.payload).unwrap()
}

#[test]
fn the_first_route_that_matches_wins_and_the_local_broker_has_the_rest() {
    let all = uplink(vec![route("alarms", "up/alarm/#", Priority::High), route("never", "up/alarm/x", Priority::High)]);
    let other = Uplink { name: "other".to_owned(), topics: vec!["up/alarm/#".to_owned()], ..Uplink::default() };
    let mut bench = Bench::new(vec![all, other]);
    for topic in ["up/alarm/x", "up/t", "here"] {
        bench.message(topic, topic);
    }
    let received = |name: &str| bench.stream(name).outputs.received;
    assert_eq!(["cloud/alarms", "cloud/never", "cloud", "other", "local"].map(received), [1, 0, 1, 1, 1]);
}

#[test]
fn each_stream_counts_from_one_under_an_epoch_of_its_own() {
    let mut bench = Bench::new(vec![alarms_first()]);
    for n in 0..3 {
        bench.message("up/t", format!("t{n}"));
        bench.message("up/alarm/a", format!("a{n}"));
    }
    bench.connect(CLOUD, 100);
    let mut seqs = [Vec::new(), Vec::new()];
    let epochs = [bench.stream("cloud").epoch, bench.stream("cloud/alarms").epoch];
    while let Some(publish) = bench.take() {
        let stamp = publish.stamp.unwrap();
        let which = epochs.iter().position(|e| *e == stamp.epoch).expect("a stream's epoch");
        seqs[which].push(stamp.seq);
    }
    assert_eq!(seqs, [[1, 2, 3], [1, 2, 3]]);
    assert!(epochs[0] != epochs[1] && epochs.iter().all(|e| (1..1 << 53).contains(e)));
    bench.restart();
    assert_eq!(epochs, [bench.stream("cloud").epoch, bench.stream("cloud/alarms").epoch], "kept in the log");
}

#[test]
fn an_uplink_that_comes_back_does_not_count_under_the_old_epoch() {
    let mut bench = Bench::new(vec![alarms_first()]);
    bench.message("up/t", "x");
    bench.connect(CLOUD, 100);
    bench.drain();
    bench.wait_ms(100);
    let before = bench.stream("cloud").epoch;
    bench.crash(vec![]);
    assert!(bench.core.ledger().streams.iter().all(|s| s.name == "local"));
    bench.message("up/t", "for the local broker");
    bench.crash(vec![alarms_first()]);
    assert_ne!(bench.stream("cloud").epoch, before);
    assert_eq!(bench.stream("cloud").next_seq, 1);
}

#[test]
fn alarms_overtake_the_backlog() {
    let mut bench = Bench::new(vec![alarms_first()]);
    for n in 0..200 {
        bench.message("up/t", format!("t{n}"));
        bench.message("up/debug", format!("d{n}"));
    }
    bench.connect(CLOUD, 100);
    let first = bench.sent.len();
    assert_eq!(first, 16, "a link of unknown speed gets little that an alarm would stand behind");
    for _ in 0..50 {
        bench.take();
    }
    assert!(bench.sent.len() > 40, "a link that answers gets more: {}", bench.sent.len());
    assert!(bench.sent.iter().all(|p| payload(p).starts_with('t')), "debug waits for telemetry");
    bench.message("up/alarm/a", "fire");
    assert_eq!(bench.sent.last().map(payload), Some("fire"), "there is room for it in the window");
    let rest = bench.drain();
    let place = |text: &str| rest.iter().position(|p| p == text).unwrap();
    assert!(place("fire") < place("t199") && place("t199") < place("d0"));
}

#[test]
fn without_routes_the_whole_window_is_used() {
    let mut bench = Bench::new(vec![uplink(vec![])]);
    for n in 0..60 {
        bench.message("up/t", format!("{n}"));
    }
    bench.connect(CLOUD, 50);
    assert_eq!(bench.sent.len(), 50);
}

#[test]
fn bytes_in_flight_are_bounded_too_and_what_is_larger_goes_alone() {
    let mut bench = Bench::new(vec![uplink(vec![])]);
    for n in 0..60 {
        bench.message("up/t", vec![b'x'; if n % 10 == 9 { 5_000 } else { 96 }]);
    }
    bench.connect_within(CLOUD, 50, 800);
    let (mut most, mut arrived) = (0, 0);
    while !bench.sent.is_empty() {
        let bytes = bench.sent.iter().map(|p| p.topic.len() + p.payload.len()).collect::<Vec<_>>();
        // The last one may be the one that is over the limit.
        assert!(bytes[..bytes.len() - 1].iter().sum::<usize>() < 800, "{bytes:?}");
        most = most.max(bytes.len());
        bench.take();
        arrived += 1;
    }
    assert_eq!((arrived, most), (60, 8));
}

/// One that was answered once a minute got sixteen.
#[test]
fn beside_an_urgent_route_a_batch_is_filled_at_once() {
    let mut bench = Bench::new(vec![Uplink { batch_max: Some(200), ..alarms_first() }]);
    for n in 0..500 {
        bench.burst("up/t", format!("{n}"));
    }
    bench.connect(CLOUD, 400);
    assert_eq!(bench.sent.len(), 200);
    bench.message("up/alarm/a", "fire");
    assert_eq!(bench.sent.last().map(payload), Some("fire"));
}

#[test]
fn large_telemetry_leaves_room_for_an_alarm() {
    let mut bench = Bench::new(vec![alarms_first()]);
    for _ in 0..40 {
        bench.message("up/t", vec![b't'; 96]);
    }
    bench.connect_within(CLOUD, 100, 800);
    assert_eq!(bench.sent.len(), 7, "an eighth is kept");
    bench.message("up/alarm/a", "fire");
    assert_eq!(bench.sent.last().map(payload), Some("fire"));
}

#[test]
fn a_window_of_one_carries_everything() {
    let mut bench = Bench::new(vec![alarms_first()]);
    for topic in ["up/debug", "up/t", "up/alarm/a"] {
        bench.message(topic, topic);
    }
    bench.connect(CLOUD, 1);
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.drain(), ["up/alarm/a", "up/t", "up/debug"]);
}

#[test]
fn streams_of_one_priority_take_turns() {
    let mut bench = Bench::new(vec![uplink(vec![route("events", "up/event", Priority::Normal)])]);
    for n in 0..100 {
        bench.message("up/t", format!("t{n}"));
        bench.message("up/event", format!("e{n}"));
    }
    bench.connect(CLOUD, 4);
    let arrived = bench.drain();
    let place = |text: &str| arrived.iter().position(|p| p == text).unwrap();
    assert!(place("t30") < 70 && place("e30") < 70, "{arrived:?}");
}

#[test]
fn the_rate_is_shared_and_alarms_are_first_in_it() {
    let mut cloud = alarms_first();
    cloud.rate_max_per_s = Some(10);
    let mut bench = Bench::new(vec![cloud]);
    for n in 0..30 {
        bench.message("up/t", format!("t{n}"));
    }
    bench.connect(CLOUD, 100);
    bench.wait_ms(200);
    bench.drain();
    bench.message("up/alarm/a", "fire");
    bench.wait_ms(100);
    assert!(bench.drain().contains(&"fire".to_owned()), "one interval is 100 ms");
    let before = bench.stream("cloud").outputs.pending;
    bench.wait_ms(1000);
    bench.drain();
    let sent = before - bench.stream("cloud").outputs.pending;
    assert!((8..=12).contains(&sent), "{sent} in a second");
}

#[test]
fn each_route_has_its_own_age_limit() {
    let mut cloud = alarms_first();
    cloud.ttl_ms = Some(1000);
    cloud.routes[0].ttl_ms = Some(60_000);
    let mut bench = Bench::new(vec![cloud]);
    bench.message("up/t", "old");
    bench.message("up/alarm/a", "fire");
    bench.wait_ms(2000);
    bench.message("up/t", "new");
    assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::Expired), 1);
    bench.connect(CLOUD, 100);
    assert_eq!(bench.drain(), ["fire", "new"]);
    assert_eq!(bench.stream("cloud/alarms").outputs.dropped_total(), 0);
    bench.restart();
    assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::Expired), 1, "the ledger is kept");
}

#[test]
fn a_route_that_is_removed_still_delivers_its_backlog() {
    let mut bench = Bench::new(vec![alarms_first()]);
    bench.message("up/alarm/a", "fire");
    bench.crash(vec![uplink(vec![])]);
    bench.connect(CLOUD, 10);
    assert_eq!(bench.drain(), ["fire"]);
    bench.wait_ms(100);
    bench.restart();
    assert!(!bench.core.ledger().streams.iter().any(|s| s.name == "cloud/alarms"), "then it is gone");
}

#[test]
fn the_backlog_of_an_uplink_that_is_removed_is_counted() {
    let mut bench = Bench::new(vec![alarms_first()]);
    bench.message("up/alarm/a", "fire");
    bench.crash(vec![]);
    let alarms = bench.stream("cloud/alarms");
    assert_eq!((alarms.outputs.pending, alarms.outputs.dropped(DropReason::UplinkRemoved)), (0, 1));
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::UplinkRemoved), 1);
}

#[test]
fn an_answer_belongs_to_its_stream_and_connection() {
    let mut bench = Bench::new(vec![alarms_first()]);
    bench.message("up/t", "t");
    bench.message("up/alarm/a", "a");
    bench.connect(CLOUD, 10);
    let old = bench.sent.clone();
    let alarm = old.iter().find(|p| payload(p) == "a").unwrap();
    bench.answer(alarm, false);
    assert_eq!(bench.stream("cloud/alarms").outputs.dropped(DropReason::Refused), 1);
    assert_eq!(bench.stream("cloud").outputs.pending, 1);
    bench.disconnect(CLOUD);
    bench.connect(CLOUD, 10);
    old.iter().for_each(|p| bench.answer(p, true));
    assert_eq!(bench.stream("cloud").outputs.pending, 1, "answers of an earlier connection count for nothing");
    assert_eq!(bench.drain(), ["t"]);
}

#[test]
fn the_status_has_every_stream_with_its_epoch() {
    let mut bench = Bench::new(vec![alarms_first()]);
    bench.connect(LinkId::LOCAL, 10);
    let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    let shown: Vec<_> = status["uplinks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| (u["name"].as_str().unwrap(), u["priority"].as_str().unwrap(), u["epoch"].as_u64().unwrap()))
        .collect();
    let epoch = |name: &str| bench.stream(name).epoch;
    let expected = [("local", "normal"), ("cloud/alarms", "high"), ("cloud/debug", "low"), ("cloud", "normal")];
    assert_eq!(shown, expected.map(|(name, priority)| (name, priority, epoch(name))));
    let stream = bench.core.ledger().streams.iter().find(|s| s.name == "cloud/alarms").unwrap();
    assert_eq!(bench.core.priority(stream.stream), Priority::High);
}

#[test]
fn a_link_that_says_nothing_by_itself_is_connected_when_it_has_accepted_something() {
    let mut bench = Bench::new(vec![Uplink { proven_by_answer: true, ..uplink(Vec::new()) }]);
    let connected = |bench: &Bench| {
        let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
        status["uplinks"].as_array().unwrap().iter().find(|u| u["name"] == "cloud").unwrap()["connected"] == true
    };
    for _ in 0..2 {
        bench.connect(CLOUD, 100);
        bench.message("up/t", "a");
        assert!(!connected(&bench), "it can be reached, and that is all");
        let publish = bench.sent.remove(0);
        bench.answer(&publish, false);
        assert!(!connected(&bench), "it accepted nothing");
        bench.message("up/t", "b");
        bench.take().unwrap();
        assert!(connected(&bench));
        bench.disconnect(CLOUD);
        assert!(!connected(&bench));
    }
}

#[test]
fn the_status_says_whether_the_sensors_broker_has_our_subscriptions() {
    let mut bench = Bench::new(Vec::new());
    let subscribed = |bench: &Bench| {
        let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
        status["subscribed"] == true
    };
    for _ in 0..2 {
        bench.connect(LinkId::LOCAL, 10);
        assert!(!subscribed(&bench), "results can go out, and that is all");
        bench.connect(LinkId::INTAKE, 10);
        assert!(subscribed(&bench));
        bench.disconnect(LinkId::INTAKE);
        assert!(!subscribed(&bench));
    }
}
