//! Functions that take long: who waits for them, and who does not.

use bytes::Bytes;
use eyot_core::config::{Uplink, WhenFull};
use eyot_core::io::{Input, Job, LinkId, Message};
use eyot_spool::Options;
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

fn cloud() -> Uplink {
    Uplink { name: "cloud".to_owned(), topics: vec!["up/#".to_owned(), "count/#".to_owned()], ..Uplink::default() }
}

/// With a connected cloud, and jobs that are the test's.
fn bench() -> Bench {
    let mut bench = Bench::new(vec![cloud()]);
    bench.connect(LinkId::INTAKE, 1000);
    bench.connect(CLOUD, 1000);
    bench.jobs = Some(Vec::new());
    bench
}

/// The numbers of what was acknowledged, in order.
fn acked(bench: &Bench) -> Vec<u16> {
    bench.acked.iter().map(|(_, _, packet_id)| *packet_id).collect()
}

fn publish(bench: &mut Bench, qos: u8, packet_id: u16, topic: &str, payload: &str) {
    let (topic, payload) = (Bytes::from(format!("in/{topic}")), Bytes::from(payload.to_owned()));
    let conn = bench.conn(LinkId::INTAKE);
    bench.handle(Input::Message(Message { conn, packet_id, qos, dup: false, wakes: None, topic, payload }));
}

fn jobs(bench: &mut Bench) -> &mut Vec<Job> {
    bench.jobs.as_mut().unwrap()
}

/// A worker is done with the job at this place among those it has.
fn end(bench: &mut Bench, index: usize) {
    let mut job = jobs(bench).remove(index);
    while !job.step() {}
    bench.handle(Input::Ran(Box::new(job)));
}

fn count(bench: &Bench) -> u32 {
    let count = bench.core.states().find(|(function, ..)| *function == "count");
    count.map_or(0, |(_, _, value)| u32::from_le_bytes(value.try_into().unwrap()))
}

#[test]
fn topics_overtake_each_other_and_keep_their_own_order() {
    let mut bench = bench();
    for (packet_id, (topic, payload)) in (1..).zip([("up/a", "~1"), ("up/a", "2"), ("up/b", "3"), ("up/c", "4")]) {
        publish(&mut bench, 1, packet_id, topic, payload);
    }
    bench.wait_ms(20);
    assert_eq!((bench.core.in_flight(), jobs(&mut bench).len()), (4, 2), "one is busy, the other is being made");
    for _ in 0..3 {
        end(&mut bench, 1);
    }
    bench.wait_ms(20);
    assert_eq!(bench.drain(), ["3", "4"], "of another topic, in the order they came");
    assert!(acked(&bench).is_empty(), "acknowledgements keep the order of arrival");
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert_eq!((bench.drain(), acked(&bench)), (vec!["~1".to_owned(), "2".to_owned()], vec![1, 2, 3, 4]));
    assert_eq!(bench.core.in_flight(), 0);
    assert_eq!(bench.core.ledger().messages.delivered, 4);
}

#[test]
fn state_is_as_of_the_log_while_a_message_is_away() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "count/a", "^");
    publish(&mut bench, 1, 2, "count/b", "x");
    bench.wait_ms(20);
    assert_eq!((jobs(&mut bench).len(), count(&bench), bench.core.in_flight()), (1, 0, 2), "one at a time");
    end(&mut bench, 0);
    assert_eq!(count(&bench), 1, "the first has landed");
    assert_eq!(jobs(&mut bench).len(), 1, "after a long message the next begins on a worker");
    bench.wait_ms(20);
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert_eq!((count(&bench), acked(&bench), bench.drain().len()), (2, vec![1, 2], 2));
    bench.restart();
    assert_eq!(count(&bench), 2);
}

#[test]
fn what_was_away_at_a_power_cut_has_no_effect() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "count/a", "x");
    publish(&mut bench, 1, 2, "count/a", "^");
    publish(&mut bench, 1, 3, "count/a", "~");
    bench.wait_ms(20);
    bench.restart();
    bench.wait_ms(20);
    assert_eq!((count(&bench), bench.core.ledger().messages.received, acked(&bench)), (1, 1, vec![1]));
    jobs(&mut bench).clear();
    publish(&mut bench, 1, 1, "count/a", "^");
    end(&mut bench, 0);
    assert_eq!(count(&bench), 2);
}

/// A function that keeps state waits with its next message for the one before to be in the log, which waits for the others
/// it woke.
#[test]
fn a_message_lands_when_all_its_functions_have_ended() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "count/a", "~");
    publish(&mut bench, 1, 2, "count/b", "x");
    bench.wait_ms(20);
    assert_eq!((count(&bench), bench.core.in_flight()), (0, 2));
    // Both are with `pass`; the second is done first.
    end(&mut bench, 1);
    assert_eq!((count(&bench), bench.core.in_flight()), (0, 2), "it stands behind the first");
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert_eq!((count(&bench), bench.core.in_flight(), bench.drain().len()), (2, 0, 2));
}

#[test]
fn instances_are_as_many_as_workers() {
    let mut bench = bench();
    for packet_id in 1..=5 {
        publish(&mut bench, 1, packet_id, &format!("up/{packet_id}"), "~");
    }
    assert_eq!(jobs(&mut bench).len(), 2);
    for left in (0..5).rev() {
        end(&mut bench, 0);
        assert_eq!(jobs(&mut bench).len(), left.min(2));
    }
    bench.wait_ms(20);
    assert_eq!((acked(&bench), bench.drain().len()), (vec![1, 2, 3, 4, 5], 5));
}

#[test]
fn a_job_that_runs_over_its_deadline_fails() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "up/a", "~");
    let mut job = jobs(&mut bench).remove(0);
    assert!(!job.step() && !job.took(999_999_999));
    assert!(job.took(1), "the default is a second");
    bench.handle(Input::Ran(Box::new(job)));
    bench.wait_ms(20);
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::DeadLetter), 1);
    let status: serde_json::Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    assert_eq!(status["functions"][1]["last_failure"], "deadline", "{status}");
    publish(&mut bench, 1, 2, "up/a", "short");
    end(&mut bench, 0);
    publish(&mut bench, 1, 3, "up/a", "shorter");
    bench.wait_ms(20);
    assert_eq!((bench.drain(), acked(&bench)), (vec!["short".to_owned(), "shorter".to_owned()], vec![1, 2, 3]));
}

#[test]
fn messages_wait_outside_when_too_many_are_in_flight() {
    let mut bench = bench();
    let mut packet_ids = 1..;
    while bench.core.accepts_messages() {
        publish(&mut bench, 1, packet_ids.next().unwrap(), "count/a", "^");
    }
    assert_eq!(bench.core.in_flight(), 9216);
    while !jobs(&mut bench).is_empty() {
        end(&mut bench, 0);
    }
    bench.wait_ms(20);
    assert_eq!((count(&bench), acked(&bench).len(), bench.core.in_flight()), (9216, 9216, 0));
    assert!(bench.core.accepts_messages());
}

/// Acknowledgements wait for the slow ones in front; results do not, as far as the window lets messages in at all.
#[test]
fn others_go_on_while_a_whole_window_waits_for_one_function() {
    let mut bench = bench();
    let window = usize::from(eyot_core::config::RECEIVE_MAX_DEFAULT);
    for packet_id in (1..).take(window - 10) {
        publish(&mut bench, 1, packet_id, "count/a", "^");
    }
    for packet_id in (1..).take(window).skip(window - 10) {
        publish(&mut bench, 1, packet_id, "up/a", "x");
    }
    assert!(bench.core.accepts_messages(), "the window is full, and there is room for QoS 0");
    publish(&mut bench, 0, 0, "up/a", "y");
    bench.wait_ms(20);
    assert_eq!((bench.drain().len(), bench.core.in_flight(), acked(&bench).len()), (11, window - 10, 0));
}

/// Outputs that wait for their turn take memory: then only the oldest message goes on.
#[test]
fn what_is_in_flight_is_bounded_in_bytes() {
    let mut bench = bench();
    let payload = format!("~{}", "x".repeat(50_000));
    publish(&mut bench, 1, 1, "up/a", "~");
    let mut packet_ids = 2..;
    while bench.core.accepts_messages() {
        publish(&mut bench, 1, packet_ids.next().unwrap(), "up/a", &payload);
    }
    let taken = bench.core.in_flight();
    assert!((30..50).contains(&taken), "2 MiB hold {taken} of them");
    // All but the first are done, as far as that goes; what they emit counts as well.
    while jobs(&mut bench).len() > 1 {
        end(&mut bench, 1);
    }
    assert_eq!(bench.core.in_flight(), taken);
    while !jobs(&mut bench).is_empty() {
        end(&mut bench, 0);
    }
    bench.wait_ms(20);
    assert_eq!((acked(&bench).len(), bench.drain().len()), (taken, taken));
}

/// QoS 0 messages for a function that is behind must not take the room of all others.
#[test]
fn a_function_that_is_behind_drops_qos_0() {
    let mut bench = bench();
    for _ in 0..100 {
        publish(&mut bench, 0, 0, "count/a", "^");
    }
    let dropped = bench.core.ledger().messages.dropped(DropReason::IntakeFull);
    assert_eq!((bench.core.in_flight(), dropped), (65, 35), "one runs, 64 wait");
    publish(&mut bench, 1, 1, "count/a", "^");
    publish(&mut bench, 0, 0, "up/a", "x");
    bench.wait_ms(20);
    assert_eq!((bench.drain(), bench.core.in_flight()), (vec!["x".to_owned()], 66));
}

#[test]
fn draining_waits_for_what_is_in_flight() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "count/a", "^");
    publish(&mut bench, 1, 2, "count/a", "x");
    bench.handle(Input::Drain);
    bench.wait_ms(1000);
    assert!(!bench.drained);
    end(&mut bench, 0);
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert!(bench.drained);
    assert_eq!((acked(&bench), count(&bench)), (vec![1, 2], 2));
}

/// What takes longer is given up: the broker has what it keeps for the gateway, and the rest is counted.
#[test]
fn draining_waits_for_two_seconds() {
    let mut bench = bench();
    publish(&mut bench, 1, 1, "count/a", "^");
    publish(&mut bench, 0, 0, "count/b", "^");
    publish(&mut bench, 1, 2, "up/a", "x");
    bench.handle(Input::Drain);
    bench.wait_ms(1999);
    assert_eq!((bench.drained, bench.core.in_flight()), (false, 2));
    bench.wait_ms(21);
    assert_eq!((bench.drained, bench.core.in_flight(), acked(&bench)), (true, 0, vec![]));
    assert_eq!(bench.drain(), ["x"], "in the log, though not acknowledged");
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert_eq!((count(&bench), jobs(&mut bench).len()), (0, 0), "what comes too late has no effect");
    bench.restart();
    let messages = &bench.core.ledger().messages;
    assert_eq!((messages.received, messages.dropped(DropReason::IntakeFull)), (2, 1), "of QoS 0, and known for good");
}

/// What a message leads to has no room when it has ended: it waits, and is given up when the gateway stops.
#[test]
fn draining_gives_up_what_has_no_room() {
    let mut bench = Bench::sized(vec![cloud()], WhenFull::Block, Options::MAX_BYTES_MIN);
    bench.connect(LinkId::INTAKE, 1000);
    bench.jobs = Some(Vec::new());
    publish(&mut bench, 1, 1, "up/a", "~");
    let mut packet_ids = 2..;
    while bench.core.accepts_messages() {
        publish(&mut bench, 1, packet_ids.next().unwrap(), "count/a", &"x".repeat(10_000));
        while jobs(&mut bench).len() > 1 {
            end(&mut bench, 1);
        }
        bench.wait_ms(20);
    }
    end(&mut bench, 0);
    bench.wait_ms(20);
    assert_eq!(bench.core.in_flight(), 1);
    bench.handle(Input::Drain);
    bench.wait_ms(20);
    assert_eq!((bench.core.in_flight(), acked(&bench).contains(&1)), (0, false));
}
