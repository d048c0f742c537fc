//! A disk that something else has filled: what was delivered makes room, and a power cut takes no knowledge of it.

use std::io::ErrorKind;

use eyot_core::config::{Order, Uplink, WhenFull};
use eyot_core::ledger::Ledger;
use eyot_spool::memory::{Fault, Operation};
use eyot_spool::{Options, Storage};
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

const MESSAGE_BYTES: usize = 3000;

/// A log of a few segments, with nothing left of the disk and no reserve, and how many messages it holds.
fn stuck(when_full: WhenFull) -> (Bench, u64) {
    stuck_with(when_full, Order::default())
}

fn stuck_with(when_full: WhenFull, order: Order) -> (Bench, u64) {
    stuck_for(when_full, Uplink { order, ..Uplink::default() })
}

fn stuck_for(when_full: WhenFull, uplink: Uplink) -> (Bench, u64) {
    let cloud = Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], ..uplink };
    let whole = Uplink { backlog_max_bytes: None, ..cloud.clone() };
    let mut bench = Bench::sized(vec![whole], when_full, Options::MAX_BYTES_MIN);
    let mut count = 0;
    while bench.core.spool().usage().segments < 4 {
        assert!(bench.message("up/t", vec![b'x'; MESSAGE_BYTES]));
        count += 1;
    }
    bench.storage.unlink("spare.log").unwrap();
    bench.storage.sync_dir().unwrap();
    bench.crash(vec![cloud]);
    bench.storage.set_capacity(Some(bench.storage.used_bytes()));
    (bench, count)
}

/// The first output was refused, and its letter waits for room; nothing becomes durable by itself.
fn stuck_with_a_letter() -> (Bench, u64) {
    let (mut bench, count) = stuck(WhenFull::Block);
    bench.hold_commits = true;
    bench.connect(CLOUD, 1000);
    let refused = bench.sent.remove(0);
    bench.answer(&refused, false);
    (bench, count)
}

/// After a power cut: what arrived is known, but for what was not written down, and all else arrives.
fn check(bench: &mut Bench, taken: u64, count: u64, what: &str) {
    bench.restart();
    let ledger = bench.core.ledger().clone();
    assert_eq!(
        (ledger.messages.received, ledger.messages.pending),
        (count, count - ledger.messages.delivered),
        "{what}"
    );
    let account = bench.stream("cloud").clone();
    assert!(account.outputs.delivered == 0 || account.outputs.delivered == taken, "{what}: {account:?}");
    assert_eq!(account.next_seq, count + 1, "{what}: what was not durable has taken no number");
    bench.storage.set_capacity(None);
    bench.connect(CLOUD, 1000);
    let arrived = bench.drain().len() as u64;
    assert_eq!(arrived, count - account.outputs.delivered, "{what}");
    let account = bench.stream("cloud");
    assert_eq!((account.outputs.delivered, account.outputs.dropped(DropReason::Corrupt)), (count, 0), "{what}");
    assert_eq!((bench.core.ledger().messages.delivered, account.pending_bytes), (count, 0), "{what}");
}

#[test]
fn what_was_delivered_is_known_when_it_has_made_room() {
    let mut made_room = 0;
    for taken in 1..80 {
        let (mut bench, count) = stuck(WhenFull::Block);
        bench.hold_commits = true;
        bench.connect(CLOUD, 1000);
        let oldest = bench.core.spool().usage().oldest_lsn;
        for _ in 0..taken.min(count) {
            bench.take();
        }
        // Taken in, and neither durable nor acknowledged.
        let acked = bench.acked.len();
        bench.message("up/t", vec![b'y'; MESSAGE_BYTES]);
        bench.wait_ms(100);
        assert_eq!(bench.acked.len(), acked);
        made_room += u64::from(bench.core.spool().usage().oldest_lsn > oldest);
        check(&mut bench, taken.min(count), count, &format!("{taken} of {count} taken"));
    }
    assert!(made_room > 20, "{made_room}: this shows nothing");
}

/// The oldest goes when it is durable that it was given up, on a full disk as at the quota.
#[test]
fn what_a_full_disk_gives_up_has_its_reason_after_a_power_cut() {
    let (mut given_up, mut held) = (0, 0);
    for messages in 1..40 {
        let (mut bench, count) = stuck(WhenFull::DropOldest);
        bench.hold_commits = true;
        for _ in 0..messages {
            bench.message("up/t", vec![b'y'; MESSAGE_BYTES]);
            if bench.holds() && messages % 2 == 0 {
                bench.release();
            }
        }
        held += u64::from(bench.holds());
        bench.restart();
        bench.storage.set_capacity(None);
        bench.connect(CLOUD, 1000);
        let arrived = bench.drain().len() as u64;
        let account = bench.stream("cloud");
        let dropped = account.outputs.dropped(DropReason::SpoolFullOldest);
        given_up += dropped;
        assert_eq!(account.outputs.dropped(DropReason::Corrupt), 0, "{messages} messages");
        assert_eq!(arrived + dropped, account.outputs.received, "{messages} messages");
        assert!(account.outputs.received >= count, "{messages} messages");
        assert_eq!(bench.core.ledger().messages.pending, 0);
    }
    assert!(given_up > 0 && held > 10, "{given_up} given up, {held} times held: this shows nothing");
}

/// A disk that would not remove what was delivered is asked again, though nothing is under way.
#[test]
fn a_log_that_is_full_of_what_the_disk_would_not_remove_gets_empty() {
    let cloud = Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], ..Uplink::default() };
    let mut bench = Bench::sized(vec![cloud], WhenFull::Block, Options::MAX_BYTES_MIN);
    while bench.message("up/t", vec![b'x'; MESSAGE_BYTES]) {}
    (1..200).for_each(|nth| bench.storage.fail(Operation::Unlink, nth, Fault::Error(ErrorKind::Other)));
    bench.connect(CLOUD, 1000);
    bench.drain();
    bench.wait_ms(500);
    assert!(!bench.core.accepts_messages(), "{:?}", bench.core.spool().usage());
    assert!(bench.core.spool().usage().removal_failures > 0);
    bench.wait_ms(3000);
    let failures = bench.core.spool().usage().removal_failures;
    assert!(failures < 40, "it is not asked all the time: {failures}");
    bench.storage.disarm();
    bench.wait_ms(3000);
    assert!(bench.core.accepts_messages() && bench.message("up/t", "x"), "{:?}", bench.core.spool().usage());
}

/// The place of acknowledgements takes nothing, or has no room after all, as one that a backup brought back with holes: nothing goes
/// until it works again, whatever comes meanwhile, and then no more than usual.
#[test]
fn a_full_disk_that_fails_gives_nothing_up_that_is_not_written_down() {
    let given_up = |bench: &Bench| bench.stream("cloud").outputs.dropped(DropReason::SpoolFullOldest);
    let usual = {
        let (mut bench, _) = stuck(WhenFull::DropOldest);
        bench.message("up/t", vec![b'y'; MESSAGE_BYTES]);
        bench.wait_ms(100);
        given_up(&bench)
    };
    assert!(usual > 0);
    for (fault, is_cut) in [ErrorKind::StorageFull, ErrorKind::Other].into_iter().flat_map(|f| [(f, false), (f, true)])
    {
        let (mut bench, count) = stuck(WhenFull::DropOldest);
        let oldest = bench.core.spool().usage().oldest_lsn;
        bench.storage.fail(Operation::WriteAt, 1, Fault::Error(fault));
        // Something else takes the place that was no good.
        bench.storage.set_capacity(Some(0));
        bench.message("up/t", vec![b'y'; MESSAGE_BYTES]);
        let acked = bench.acked.len();
        bench.wait_ms(10_000);
        assert_eq!((bench.core.spool().usage().oldest_lsn, bench.acked.len()), (oldest, acked), "{fault:?}");
        assert!(given_up(&bench) <= usual, "{fault:?}: {}", given_up(&bench));
        if is_cut {
            bench.restart();
            assert_eq!(bench.core.ledger().messages.pending, count, "{fault:?}");
        }
        bench.storage.set_capacity(None);
        bench.wait_ms(3000);
        assert!(bench.message("up/t", "z"), "{fault:?}");
        bench.connect(CLOUD, 1000);
        let arrived = bench.drain().len() as u64;
        let account = bench.stream("cloud");
        let (received, corrupt) = (account.outputs.received, account.outputs.dropped(DropReason::Corrupt));
        assert_eq!((arrived + given_up(&bench), corrupt), (received, 0), "{fault:?}");
        assert_eq!((received, bench.core.ledger().messages.pending), (count + 1 + u64::from(!is_cut), 0), "{fault:?}");
    }
}

/// The oldest segment is to go and cannot be read: it waits, and goes unread when that does not pass. Then it is missed.
#[test]
fn a_segment_that_cannot_be_read_is_tried_again_before_it_goes_unread() {
    for (failures, is_missed) in [(1, false), (1000, true)] {
        let cloud = Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned()], ..Uplink::default() };
        let mut bench = Bench::sized(vec![cloud], WhenFull::DropOldest, Options::MAX_BYTES_MIN);
        for _ in 0..400 {
            (1..=failures).for_each(|nth| bench.storage.fail(Operation::ReadAt, nth, Fault::Error(ErrorKind::Other)));
            assert!(bench.message("up/t", vec![b'x'; MESSAGE_BYTES]));
            let calls = bench.storage.calls(Operation::ReadAt);
            bench.wait_ms(if bench.core.accepts_messages() { 20 } else { 5000 });
            assert!(bench.storage.calls(Operation::ReadAt) < calls + 100, "it is not read all the time");
            bench.storage.disarm();
        }
        bench.connect(CLOUD, 1000);
        let arrived = bench.drain().len() as u64;
        let outputs = &bench.stream("cloud").outputs;
        assert_eq!(arrived + outputs.dropped_total(), outputs.received, "{failures} failures");
        assert!(outputs.dropped_total() > 100, "{failures} failures: {outputs:?}");
        assert_eq!(outputs.dropped(DropReason::Corrupt) > 0, is_missed, "{failures} failures: {outputs:?}");
    }
}

/// What is dropped before it has a record is not acknowledged before that is durable, and comes again after a power cut: it is
/// counted then.
#[test]
fn what_is_dropped_without_a_record_counts_once_it_is_acknowledged() {
    let backlog = |max| Uplink { backlog_max_bytes: max, when_full: Some(WhenFull::DropNewest), ..Uplink::default() };
    for (what, uplink) in [("by the log", backlog(None)), ("by the uplink", backlog(Some(1)))] {
        let (mut made_room, mut dropped) = (0, 0);
        for taken in (1..80).step_by(5) {
            let (mut bench, count) = stuck_for(WhenFull::DropNewest, uplink.clone());
            let before = bench.core.ledger().clone();
            bench.hold_commits = true;
            bench.connect(CLOUD, 1000);
            for _ in 0..3 {
                bench.message("up/t", vec![b'y'; MESSAGE_BYTES]);
            }
            let in_memory = bench.core.ledger().messages.dropped_total() - before.messages.dropped_total();
            let oldest = bench.core.spool().usage().oldest_lsn;
            (0..taken.min(count)).for_each(|_| drop(bench.take()));
            bench.wait_ms(3000);
            made_room += u64::from(bench.core.spool().usage().oldest_lsn > oldest);
            bench.restart();
            dropped += in_memory;
            let after = bench.core.ledger();
            assert_eq!(after.messages.received, before.messages.received, "{what}, {taken} taken, {in_memory} dropped");
            let received = |ledger: &Ledger| ledger.streams.iter().map(|s| s.outputs.received).sum::<u64>();
            assert_eq!(received(after), received(&before), "{what}, {taken} taken");
        }
        assert!(made_room > 4 && dropped > 16, "{what}: {made_room}, {dropped}: this shows nothing");
    }
}

/// A link came back while a message waits that a full disk has no room for: the stream that is new from then on begins behind that
/// message, which is not durable when what was delivered makes room.
#[test]
fn a_stream_that_is_new_on_a_full_disk_misses_nothing_after_a_power_cut() {
    let (mut made_room, mut begun) = (0, 0);
    for taken in 1..80 {
        let (mut bench, count) = stuck_with(WhenFull::Block, Order::LiveFirst);
        bench.hold_commits = true;
        bench.burst("up/t", vec![b'y'; MESSAGE_BYTES]);
        bench.connect(CLOUD, 10);
        let oldest = bench.core.spool().usage().oldest_lsn;
        for _ in 0..taken.min(count) {
            bench.take();
        }
        bench.wait_ms(3000);
        made_room += u64::from(bench.core.spool().usage().oldest_lsn > oldest);
        bench.restart();
        begun += u64::from(bench.core.ledger().streams.len() > 2);
        bench.storage.set_capacity(None);
        let before = bench.core.ledger().messages.delivered;
        bench.connect(CLOUD, 1000);
        bench.drain();
        let received = bench.core.ledger().messages.received;
        for n in 0..3 {
            assert!(bench.message("up/t", n.to_string()));
        }
        let arrived = bench.drain();
        assert_eq!(arrived, ["0", "1", "2"], "{taken} taken, {before} delivered before, {received} received");
        assert_eq!(bench.core.ledger().messages.pending, 0, "{taken} taken");
    }
    assert!(made_room > 10 && begun > 10, "{made_room}, {begun}: this shows nothing");
}

/// An output was refused, and its letter waits in memory for room that what else was delivered makes: what is written down for
/// that has the refusal, and a power cut takes the letter.
#[test]
fn a_refusal_that_a_full_disk_has_without_its_letter_is_counted() {
    let (mut made_room, mut lost) = (0, 0);
    for taken in 1..80 {
        let (mut bench, count) = stuck_with_a_letter();
        let oldest = bench.core.spool().usage().oldest_lsn;
        assert_eq!(bench.core.ledger().letters_dropped, 0, "it is in the batch");
        (1..taken.min(count)).for_each(|_| drop(bench.take()));
        bench.wait_ms(3000);
        made_room += u64::from(bench.core.spool().usage().oldest_lsn > oldest);
        assert_eq!(bench.core.ledger().letters_dropped, 0, "{taken} taken: it is still there");
        bench.restart();
        let known = bench.stream("cloud").outputs.dropped(DropReason::Refused);
        assert_eq!(bench.stream("local").next_seq, 1, "{taken} taken: the letter is gone");
        assert_eq!(bench.core.ledger().letters_dropped, known, "{taken} taken");
        lost += known;
    }
    assert!(made_room > 20 && lost > 20, "{made_room}, {lost}: this shows nothing");
}

/// When the letter has found its room, nothing was dropped: that is written down with it.
#[test]
fn a_letter_that_waited_for_room_is_not_counted_as_dropped() {
    let (mut bench, count) = stuck_with_a_letter();
    let oldest = bench.core.spool().usage().oldest_lsn;
    (1..count).for_each(|_| drop(bench.take()));
    bench.wait_ms(3000);
    assert!(bench.core.spool().usage().oldest_lsn > oldest && bench.holds(), "it has its room, and is not durable");
    bench.release();
    bench.restart();
    let account = bench.stream("local");
    assert_eq!((account.outputs.received, bench.core.ledger().letters_dropped), (1, 0));
    assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::Refused), 1);
}
