//! What is given up leaves a gap in the numbers: nothing behind it is sent before it is durable, and that costs little.

use eyot_core::config::{Config, Reduce, Uplink, WhenFull};
use eyot_spool::memory::{Fault, Operation};
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

/// When the clock was never set.
const UNSET_MS: i64 = 0;

fn cloud() -> Uplink {
    Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], ..Uplink::default() }
}

fn short_lived(ttl_ms: u64) -> Uplink {
    Uplink { ttl_ms: Some(ttl_ms), ..cloud() }
}

fn dropped(bench: &Bench, reason: DropReason) -> u64 {
    bench.stream("cloud").outputs.dropped(reason)
}

#[test]
fn what_is_too_old_is_durably_given_up_before_anything_behind_it_is_sent() {
    let mut bench = Bench::new(vec![short_lived(10_000)]);
    bench.message("up/t", "old");
    bench.wait_ms(8_000);
    bench.message("up/t", "new");
    bench.hold_commits = true;
    bench.wait_ms(4_000);
    bench.connect(CLOUD, 10);
    bench.wait_ms(1_000);
    assert_eq!(dropped(&bench, DropReason::Expired), 1);
    assert!(bench.sent.is_empty() && bench.holds(), "{:?}", bench.sent);
    bench.release();
    assert_eq!(bench.sent.len(), 1);
    // A power cut does not undo it, and without a clock nothing is too old.
    bench.now.unix_ms = UNSET_MS;
    bench.restart();
    bench.connect(CLOUD, 10);
    assert_eq!(bench.drain(), ["new"]);
}

#[test]
fn what_is_too_much_is_durably_given_up_before_anything_behind_it_is_sent() {
    let quota = Uplink { backlog_max_bytes: Some(1000), when_full: Some(WhenFull::DropOldest), ..cloud() };
    let mut bench = Bench::new(vec![quota]);
    bench.connect(CLOUD, 2);
    for n in 0..40 {
        bench.message("up/t", format!("{n:<96}"));
    }
    bench.hold_commits = true;
    assert_eq!([bench.take(), bench.take()].map(|p| p.unwrap().stamp.unwrap().seq), [1, 2]);
    bench.wait_ms(1_000);
    let gone = dropped(&bench, DropReason::UplinkFull);
    assert!(gone >= 28 && bench.sent.is_empty(), "{gone} {:?}", bench.sent);
    bench.release();
    assert_eq!(bench.sent[0].stamp.unwrap().seq, 3 + gone);
}

#[test]
fn an_evicted_segment_is_durably_gone_before_anything_behind_it_is_sent() {
    let mut bench = Bench::sized(vec![cloud()], WhenFull::DropOldest, 1 << 20);
    bench.connect(CLOUD, 1);
    let evicted = |bench: &Bench| dropped(bench, DropReason::SpoolFullOldest);
    bench.hold_commits = true;
    while evicted(&bench) == 0 {
        bench.release();
        bench.burst("up/t", vec![b'x'; 1000]);
        bench.wait_ms(10);
    }
    // The first one is on its way: its answer makes room for the one behind the gap.
    bench.take().unwrap();
    assert!(bench.sent.is_empty() && bench.holds(), "{:?}", bench.sent);
    while bench.holds() {
        bench.release();
        bench.wait_ms(10);
    }
    assert_eq!(bench.sent[0].stamp.unwrap().seq, 1 + evicted(&bench));
}

#[test]
fn what_a_rewrite_dropped_is_durably_gone_before_anything_behind_it_is_sent() {
    let reduce = Some(Reduce { at_percent: 50, function: "tenth".to_owned() });
    let mut bench = Bench::with(Config { reduce, ..Bench::config(vec![cloud()]) }, 1 << 20);
    while bench.core.ledger().rewrites == 0 {
        bench.hold = true;
        // A disk that has just failed twice is left alone for a second.
        while !bench.core.accepts_messages() {
            bench.wait_ms(100);
        }
        bench.burst("up/t", vec![b'x'; 1000]);
        while bench.holds() && bench.core.ledger().rewrites == 0 {
            bench.storage.disarm();
            bench.storage.fail(Operation::SyncDir, 1, Fault::Error(std::io::ErrorKind::Other));
            (bench.hold, bench.hold_commits) = (true, true);
            bench.release();
        }
        bench.hold_commits = false;
    }
    bench.hold_commits = true;
    assert!(bench.core.spool().may_undo_rewrite(), "the directory's sync failed");
    bench.connect(CLOUD, 10);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    bench.hold_commits = false;
    bench.release();
    bench.wait_ms(2000);
    assert!(!bench.sent.is_empty() && !bench.core.spool().may_undo_rewrite());
}

#[test]
fn a_thousand_outputs_are_given_up_in_one_commit() {
    let mut bench = Bench::new(vec![short_lived(10_000)]);
    bench.connect(CLOUD, 1);
    bench.message("up/t", "first");
    for n in 0..1000 {
        bench.burst("up/t", format!("{n}"));
    }
    bench.wait_ms(15_000);
    bench.message("up/t", "last");
    let before = bench.syncs;
    assert_eq!(bench.drain(), ["first", "last"]);
    assert_eq!((dropped(&bench, DropReason::Expired), bench.syncs - before), (1000, 1));
}

/// Two outputs for each that the link carries, for a minute, on a disk that takes 50 ms for a sync. Returns how many arrived
/// and how many commits there were.
fn overload(uplink: Uplink) -> (usize, u64) {
    let mut bench = Bench::new(vec![uplink]);
    bench.connect(CLOUD, 10);
    bench.hold_commits = true;
    let mut arrived = 0;
    for n in 0..6000 {
        bench.burst("up/t", format!("{n:<96}"));
        bench.wait_ms(10);
        if n % 5 == 0 {
            bench.release();
        }
        if n % 2 == 0 {
            arrived += usize::from(bench.take().is_some());
        }
    }
    (arrived, bench.syncs)
}

#[test]
fn a_link_that_is_too_slow_carries_what_it_can_and_costs_no_commit_for_each_gap() {
    let quota = |bytes| Uplink { backlog_max_bytes: Some(bytes), when_full: Some(WhenFull::DropOldest), ..cloud() };
    let (plain, plain_syncs) = overload(cloud());
    // The last two have no time, or no room, for what comes while the window is answered.
    for (uplink, part) in [(short_lived(10_000), 9), (quota(160_000), 9), (short_lived(320), 6), (quota(2000), 1)] {
        let (arrived, syncs) = overload(uplink);
        assert!(arrived * 10 >= plain * part, "{arrived} of {plain} arrived");
        assert!(syncs <= plain_syncs, "{syncs} commits for {plain_syncs}");
    }
}

#[test]
fn a_link_with_a_rate_costs_no_commit_for_each_gap() {
    let slow = |uplink| Uplink { rate_max_per_s: Some(10), ..uplink };
    let quota = Uplink { backlog_max_bytes: Some(4000), when_full: Some(WhenFull::DropOldest), ..cloud() };
    let costs = [cloud(), short_lived(2000), quota].map(|uplink| {
        let mut bench = Bench::new(vec![slow(uplink)]);
        bench.connect(CLOUD, 10);
        let mut arrived = 0;
        for n in 0..3000 {
            bench.message("up/t", format!("{n:<96}"));
            arrived += bench.drain().len();
        }
        (arrived, bench.syncs)
    });
    let [(plain, plain_syncs), rest @ ..] = costs;
    for (arrived, syncs) in rest {
        assert!(arrived * 10 >= plain * 9, "{costs:?}");
        assert!(syncs <= plain_syncs + 120, "twice a second: {costs:?}");
    }
}

#[test]
fn outputs_that_follow_each_other_cost_no_commit() {
    let mut bench = Bench::new(vec![short_lived(10_000)]);
    bench.connect(CLOUD, 10);
    bench.wait_ms(100);
    let before = bench.syncs;
    for n in 0..100 {
        bench.message("up/t", format!("{n}"));
        bench.drain();
    }
    bench.wait_ms(1000);
    assert!(bench.syncs - before <= 201, "a message's and, as ever, its acknowledgement's: {}", bench.syncs - before);
}
