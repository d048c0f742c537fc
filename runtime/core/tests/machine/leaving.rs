//! A function that is to go: what comes meanwhile waits at the broker, because it may stay after all.

use bytes::Bytes;
use eyot_core::config::{Uplink, WhenFull};
use eyot_core::io::{Answer, Input, LinkId, Message, Notice};
use eyot_core::task::{Authorized, Task};
use eyot_spool::Options;
use eyot_wire::code::DropReason;
use eyot_wire::control::{Command, Order};

use crate::bench::{Bench, CLOUD};

/// A record of the tests fits, and a command with a nonce of this many bytes does not.
const FRAME_MAX_BYTES: usize = 2000;

/// With a cloud, jobs that are the test's, and a function that counts `in/count/#` beside one that passes all on.
fn bench() -> Bench {
    let cloud = Uplink { name: "cloud".to_owned(), topics: vec!["count/#".to_owned()], ..Uplink::default() };
    let options = Options { frame_max_bytes: FRAME_MAX_BYTES, ..Options::for_quota(64 << 20) };
    let mut bench = Bench::with_log(Bench::config(vec![cloud]), options);
    bench.connect(LinkId::INTAKE, 1000);
    bench.connect(CLOUD, 1000);
    bench.jobs = Some(Vec::new());
    bench
}

fn publish(bench: &mut Bench, packet_id: u16, topic: &str, payload: &'static str) {
    let topic = Bytes::from(format!("in/{topic}"));
    let (conn, payload) = (bench.conn(LinkId::INTAKE), Bytes::from_static(payload.as_bytes()));
    bench.handle(Input::Message(Message { conn, packet_id, qos: 1, dup: false, wakes: None, topic, payload }));
    bench.wait_ms(20);
}

/// All jobs end, and those that begin then.
fn end_jobs(bench: &mut Bench) {
    while let Some(mut job) = bench.jobs.as_mut().unwrap().pop() {
        while !job.step() {}
        bench.handle(Input::Ran(Box::new(job)));
        bench.wait_ms(20);
    }
}

fn remove(bench: &mut Bench, nonce: &str) {
    remove_one(bench, nonce, "count");
}

fn remove_one(bench: &mut Bench, nonce: &str, function: &str) {
    let command = Command::Remove { function: function.to_owned() };
    let order = Order { gateway: "bench".into(), nonce: nonce.into(), expires: 1_800_000_000, command };
    let result = Ok(Authorized { order, signer: "ada".into() });
    bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result })));
    bench.wait_ms(20);
}

/// What the function has counted; none if it is gone.
fn counted(bench: &Bench) -> Option<u32> {
    let count = bench.core.states().find(|(function, ..)| *function == "count");
    count.map(|(_, _, value)| u32::from_le_bytes(value.try_into().unwrap()))
}

fn acked(bench: &Bench) -> Vec<u16> {
    bench.acked.iter().map(|(_, _, packet_id)| *packet_id).collect()
}

/// It is busy with a message when it is to go.
fn leaving(nonce: &str) -> Bench {
    let mut bench = bench();
    publish(&mut bench, 1, "count/a", "^");
    remove(&mut bench, nonce);
    assert_eq!((bench.core.accepts_messages(), bench.core.in_flight(), acked(&bench)), (false, 1, vec![]));
    bench
}

/// How many lines of the audit log say this.
fn said(bench: &Bench, what: &str) -> usize {
    let says = |task: &&Task| matches!(task, Task::Audit { line, .. } if line.contains(what));
    bench.tasks.iter().filter(says).count()
}

/// It stays, and has missed nothing: also what comes now is for it.
fn stays(bench: &mut Bench, why: &str) {
    assert_eq!(said(bench, why), 1, "the removal failed: {:?}", bench.tasks);
    assert!(bench.core.accepts_messages());
    publish(bench, 2, "count/b", "x");
    end_jobs(bench);
    assert_eq!((counted(bench), acked(bench)), (Some(2), vec![1, 2]));
    assert_eq!(bench.drain(), ["^", "x"], "the other function has passed them on once each");
    remove(bench, "nonce-again");
    assert_eq!(counted(bench), None, "what is asked for next is done");
}

#[test]
fn a_function_whose_removal_the_log_does_not_take_has_missed_nothing() {
    let mut bench = leaving(&"n".repeat(FRAME_MAX_BYTES));
    end_jobs(&mut bench);
    stays(&mut bench, "larger than the log takes");
}

#[test]
fn messages_wait_so_long_for_a_function_that_is_to_go_and_no_longer() {
    let mut bench = leaving("nonce-one");
    bench.wait_ms(9_000);
    assert!(!bench.core.accepts_messages());
    let due_us = bench.core.deadline_us();
    assert!(
        due_us.is_some_and(|due_us| due_us <= bench.now.mono_us + 1_000_000),
        "nobody else would wake it: {due_us:?}"
    );
    bench.wait_ms(1_100);
    stays(&mut bench, "for 10 s");
}

#[test]
fn what_comes_goes_on_without_a_function_that_is_gone() {
    let mut bench = leaving("nonce-one");
    end_jobs(&mut bench);
    assert_eq!((counted(&bench), acked(&bench), bench.core.in_flight()), (None, vec![1], 0));
    publish(&mut bench, 2, "count/b", "x");
    end_jobs(&mut bench);
    assert_eq!((counted(&bench), acked(&bench)), (None, vec![1, 2]));
    assert_eq!(bench.drain(), ["^", "x"]);
    assert_eq!(bench.core.ledger().messages.pending, 0);
}

/// Its place in the order is kept while it waits to be run again, and then it fails for good: it is there until that is over.
#[test]
fn a_function_that_is_to_run_again_does_so_before_it_goes() {
    let mut bench = bench();
    publish(&mut bench, 1, "stubborn/a", "?");
    remove_one(&mut bench, "nonce-one", "stubborn");
    assert_eq!((bench.core.accepts_messages(), acked(&bench)), (false, vec![]));
    bench.wait_ms(500);
    assert_eq!((bench.core.accepts_messages(), acked(&bench)), (true, vec![1]));
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::DeadLetter), 1, "it has failed three times");
    assert!(bench.notices.contains(&Notice::FunctionRemoved { function: "stubborn".to_owned() }));
    publish(&mut bench, 2, "stubborn/b", "?");
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::DeadLetter), 1, "nobody minds it any more");
}

/// A command that comes again meanwhile is the same one.
#[test]
fn a_removal_that_is_sent_twice_is_done_once() {
    let mut bench = leaving("nonce-one");
    remove(&mut bench, "nonce-one");
    end_jobs(&mut bench);
    assert_eq!(counted(&bench), None);
    let answers: Vec<_> = bench.told.iter().map(|p| String::from_utf8_lossy(&p.payload)).collect();
    assert!(answers.iter().any(|answer| answer.contains(r#""done":true"#)), "{answers:?}");
    assert!(!answers.iter().any(|answer| answer.contains("no function here")), "{answers:?}");
}

/// What the log keeps in reserve is for what makes room: a removal waits, and messages that would be dropped wait with it.
#[test]
fn a_function_goes_when_the_log_has_room_for_that() {
    let cloud = Uplink { name: "cloud".to_owned(), topics: vec!["here/#".to_owned()], ..Uplink::default() };
    let mut bench = Bench::sized(vec![cloud], WhenFull::DropNewest, Options::MAX_BYTES_MIN);
    bench.message("count/a", "x");
    while !bench.notices.contains(&Notice::SpoolFull) {
        bench.message("here", vec![b'x'; 10_000]);
    }
    assert!(bench.core.accepts_messages(), "to drop them");
    remove(&mut bench, "nonce-one");
    bench.wait_ms(1000);
    assert_eq!((bench.core.accepts_messages(), counted(&bench)), (false, Some(1)));
    bench.connect(LinkId::LOCAL, 1000);
    bench.connect(CLOUD, 1000);
    bench.drain();
    bench.wait_ms(100);
    assert_eq!((bench.core.accepts_messages(), counted(&bench)), (true, None));
}

/// Nothing that came without it is durable before its removal is, however far the disk has come.
#[test]
fn what_came_without_a_function_is_not_there_without_its_removal() {
    let mut removed_alone = false;
    for syncs in 0..4 {
        let mut bench = bench();
        bench.jobs = None;
        publish(&mut bench, 1, "count/a", "x");
        bench.hold_commits = true;
        remove(&mut bench, "nonce-one");
        publish(&mut bench, 2, "count/b", "x");
        (0..syncs).for_each(|_| bench.release());
        bench.restart();
        let (received, counted) = (bench.core.ledger().messages.received, counted(&bench));
        match (received, counted) {
            (1, Some(1)) => assert_eq!(syncs, 0),
            (1, None) => removed_alone = true,
            (2, None) => assert!(syncs > 0, "it waits for the removal"),
            other => panic!("after {syncs} syncs: {other:?}"),
        }
    }
    assert!(removed_alone, "this shows nothing");
}

/// Nothing that came without it is durable before its removal is.
#[test]
fn a_power_cut_leaves_it_there_with_all_messages_or_gone() {
    let mut bench = leaving("nonce-one");
    bench.restart();
    assert_eq!((bench.core.ledger().messages.received, acked(&bench)), (0, vec![]));
    bench.jobs = None;
    bench.connect(LinkId::INTAKE, 1000);
    publish(&mut bench, 1, "count/a", "x");
    bench.hold_commits = true;
    remove(&mut bench, "nonce-two");
    publish(&mut bench, 2, "count/b", "x");
    assert_eq!((counted(&bench), acked(&bench)), (None, vec![1]));
    bench.restart();
    let before = counted(&bench).unwrap_or(0);
    assert_eq!(
        bench.core.ledger().messages.received,
        1,
        "what came without it is not there, whether it is gone or not"
    );
    bench.connect(LinkId::INTAKE, 1000);
    publish(&mut bench, 2, "count/b", "x");
    assert_eq!(
        (counted(&bench), acked(&bench)),
        (Some(before + 1), vec![1, 2]),
        "it is configured, and begins anew if it was gone"
    );
}
