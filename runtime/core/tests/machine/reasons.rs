//! The loss ledger: every reason to drop something can come about, is counted, is shown, and outlives a power cut.

use bytes::Bytes;
use eyot_core::config::{Uplink, WhenFull};
use eyot_core::io::{Input, Message};
use eyot_spool::Options;
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

fn cloud() -> Uplink {
    Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], ..Uplink::default() }
}

/// Messages and outputs of the cloud that were dropped for this reason, in ledger and status, before and after a power
/// cut.
#[track_caller]
fn check(bench: &mut Bench, reason: DropReason, messages: u64, outputs: u64) {
    bench.wait_ms(100);
    for life in ["before", "after"] {
        let ledger = bench.core.ledger();
        let of_cloud = bench.stream("cloud").total().dropped(reason);
        assert_eq!((ledger.messages.dropped(reason), of_cloud), (messages, outputs), "{life} the power cut");
        let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
        let shown =
            |at: &str| status.pointer(at).and_then(|r| r.get(reason.word())).and_then(|n| n.as_u64()).unwrap_or(0);
        assert_eq!(shown("/ledger/dropped_by_reason"), messages, "{status}");
        assert_eq!(shown("/ledger/streams/cloud/dropped_by_reason"), outputs, "{status}");
        assert_eq!(status["ledger"]["balanced"], true, "{status}");
        bench.restart();
    }
}

fn raw(bench: &mut Bench, topic: &'static str, payload: Bytes) {
    let topic = Bytes::from_static(topic.as_bytes());
    bench.handle(Input::Message(Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload }));
}

/// Messages of 10 KB until the quota has made itself felt.
fn overfill(when_full: WhenFull) -> Bench {
    let mut bench = Bench::sized(vec![cloud()], when_full, Options::MAX_BYTES_MIN);
    for _ in 0..100 {
        bench.message("up/t", vec![b'x'; 10_000]);
    }
    bench
}

#[test]
fn dead_letter() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.message("up/t", "!");
    check(&mut bench, DropReason::DeadLetter, 1, 0);
}

#[test]
fn no_function() {
    let mut bench = Bench::new(vec![cloud()]);
    raw(&mut bench, "elsewhere", Bytes::new());
    check(&mut bench, DropReason::NoFunction, 1, 0);
}

#[test]
fn intake_full() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.handle(Input::IntakeDropped { messages: 7 });
    check(&mut bench, DropReason::IntakeFull, 7, 0);
}

#[test]
fn malformed() {
    let mut bench = Bench::new(vec![cloud()]);
    raw(&mut bench, "in/+", Bytes::new());
    raw(&mut bench, "in/up/t", vec![0; (256 << 10) + 1].into());
    check(&mut bench, DropReason::Malformed, 2, 0);
}

#[test]
fn spool_full_newest() {
    let mut bench = overfill(WhenFull::DropNewest);
    let dropped = bench.core.ledger().messages.dropped(DropReason::SpoolFullNewest);
    assert!((50..100).contains(&dropped), "{dropped}");
    check(&mut bench, DropReason::SpoolFullNewest, dropped, 0);
}

#[test]
fn spool_full_oldest() {
    let mut bench = overfill(WhenFull::DropOldest);
    let dropped = bench.stream("cloud").outputs.dropped(DropReason::SpoolFullOldest);
    assert!((50..100).contains(&dropped), "{dropped}");
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::SpoolFullOldest), dropped);
    bench.wait_ms(100);
    bench.restart();
    // A new life begins a new segment, for which others may have to go.
    let after = bench.stream("cloud").outputs.dropped(DropReason::SpoolFullOldest);
    assert!((dropped..dropped + 10).contains(&after), "{dropped} before, {after} after");
}

/// The segment was gone for good before the ledger said why, and a power cut in between made its outputs lost ones.
#[test]
fn what_is_given_up_has_its_reason_after_a_power_cut_at_any_moment() {
    let (mut cut_at, mut given_up) = (1, 0);
    loop {
        let mut bench = Bench::sized(vec![cloud()], WhenFull::DropOldest, Options::MAX_BYTES_MIN);
        (bench.cut_at, bench.cut_early) = (cut_at, true);
        for _ in 0..70 {
            bench.message("up/t", vec![b'x'; 10_000]);
        }
        bench.restart();
        bench.connect(CLOUD, 10);
        bench.drain();
        let account = bench.stream("cloud");
        given_up += account.outputs.dropped(DropReason::SpoolFullOldest);
        assert_eq!(account.outputs.dropped(DropReason::Corrupt), 0, "cut after sync {cut_at}");
        assert_eq!((account.outputs.pending, bench.core.ledger().messages.pending), (0, 0));
        if cut_at > bench.syncs() {
            break;
        }
        cut_at += 1;
    }
    assert!(given_up > 10 * cut_at, "{given_up} given up, {cut_at} cuts");
}

#[test]
fn refused() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.connect(CLOUD, 10);
    bench.message("up/t", "x");
    let publish = bench.sent.remove(0);
    bench.answer(&publish, false);
    check(&mut bench, DropReason::Refused, 1, 1);
}

/// One of the first records does not read back any more.
fn damage(bench: &Bench) {
    let name = bench.storage.file_names().into_iter().max_by_key(|name| bench.storage.written_len(name)).unwrap();
    assert!(bench.storage.corrupt(&name, 10_000, 0xff));
}

#[test]
fn corrupt() {
    let mut bench = Bench::new(vec![cloud()]);
    for n in 0..5 {
        bench.message("up/t", format!("{n:<3000}"));
    }
    damage(&bench);
    bench.connect(CLOUD, 10);
    let arrived = bench.drain();
    assert_eq!(arrived.len(), 4, "{arrived:?}");
    check(&mut bench, DropReason::Corrupt, 1, 1);
    bench.connect(CLOUD, 10);
    assert_eq!(bench.drain(), Vec::<String>::new());
}

#[test]
fn what_is_lost_is_counted_once_however_often_the_link_is_cut() {
    let mut bench = Bench::new(vec![cloud()]);
    for n in 0..5 {
        bench.message("up/t", format!("{n:<3000}"));
    }
    damage(&bench);
    for _ in 0..3 {
        bench.connect(CLOUD, 10);
        assert_eq!(bench.sent.len(), 4);
        bench.disconnect(CLOUD);
    }
    bench.connect(CLOUD, 10);
    bench.drain();
    let account = bench.stream("cloud");
    let counts = (account.outputs.dropped(DropReason::Corrupt), account.outputs.delivered, account.pending_bytes);
    assert_eq!(counts, (1, 4, 0));
}

#[test]
fn uplink_removed() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.message("up/t", "x");
    bench.crash(vec![]);
    assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::UplinkRemoved), 1);
    bench.wait_ms(100);
    bench.restart();
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::UplinkRemoved), 1);
}

#[test]
fn expired() {
    let mut bench = Bench::new(vec![Uplink { ttl_ms: Some(1000), ..cloud() }]);
    bench.message("up/t", "x");
    bench.wait_ms(2000);
    bench.message("here", "y");
    check(&mut bench, DropReason::Expired, 1, 1);
}

#[test]
fn uplink_full() {
    let quota = |when_full| Uplink { backlog_max_bytes: Some(1000), when_full: Some(when_full), ..cloud() };
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let mut bench = Bench::new(vec![quota(when_full)]);
        for _ in 0..20 {
            bench.message("up/t", vec![b'x'; 96]);
        }
        check(&mut bench, DropReason::UplinkFull, 10, 10);
    }
}

#[test]
fn messages_that_the_broker_sent_again_are_still_counted_after_a_power_cut() {
    let mut bench = Bench::new(vec![cloud()]);
    for (topic, dup) in [("in/up/t", true), ("in/up/t", false), ("elsewhere", true)] {
        let topic = Bytes::from_static(topic.as_bytes());
        let payload = Bytes::from_static(b"1");
        bench.handle(Input::Message(Message { conn: 0, packet_id: 1, qos: 1, dup, wakes: None, topic, payload }));
        bench.wait_ms(20);
    }
    for life in ["before", "after"] {
        assert_eq!(bench.core.ledger().redelivered, 2, "{life} the power cut");
        bench.restart();
    }
}

/// Each try writes the batch anew, which wears the flash.
#[test]
fn a_disk_whose_syncs_fail_again_and_again_is_not_asked_at_once() {
    let mut bench = Bench::new(vec![cloud()]);
    bench.wait_ms(100);
    bench.hold_commits = true;
    bench.message("up/t", "1");
    let (mut failures, mut first_two_took_ms) = (0, 0);
    for ms in 0..10_000 {
        if bench.holds() {
            bench.fail_held();
            failures += 1;
            first_two_took_ms = if failures == 2 { ms } else { first_two_took_ms };
        }
        bench.wait_ms(1);
    }
    assert!((8..=12).contains(&failures), "{failures}");
    assert!(first_two_took_ms < 10, "once it is tried again at once: {first_two_took_ms}");
    bench.hold_commits = false;
    bench.release();
    bench.wait_ms(2000);
    bench.restart();
    bench.connect(CLOUD, 100);
    assert_eq!(bench.take().map(|publish| publish.payload), Some(Bytes::from_static(b"1")));
}

/// What came of an output says how many messages may come of it; the outputs share that.
#[test]
fn messages_of_which_no_more_may_come_are_dropped() {
    let mut bench = Bench::new(vec![Uplink { topics: vec!["two/#".to_owned(), "up/#".to_owned()], ..cloud() }]);
    let topic = Bytes::from_static(b"in/two/t");
    let shares = [(None, Some(8_191)), (Some(9), Some(4)), (Some(2), Some(0)), (Some(0), None)];
    for (wakes, _) in shares {
        let (topic, payload) = (topic.clone(), Bytes::from_static(b"1"));
        bench.handle(Input::Message(Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes, topic, payload }));
    }
    check(&mut bench, DropReason::Loop, 1, 0);
    bench.connect(CLOUD, 100);
    let sent: Vec<_> = std::iter::from_fn(|| bench.take()).map(|publish| publish.wakes).collect();
    let expected: Vec<_> = shares.iter().take(3).flat_map(|(_, share)| [*share; 2]).collect();
    assert_eq!(sent, expected);
    bench.message("up/t", "2");
    assert_eq!(bench.take().unwrap().wakes, None, "it need not be said of what a sensor's message alone leads to");
}
