//! Dead letters about outputs that an uplink refused.

use std::collections::BTreeSet;

use eyot_core::config::{Priority, Route, Uplink, WhenFull};
use eyot_core::io::{LinkId, Notice, Publish};
use eyot_spool::Options;
use eyot_wire::code::DropReason;
use serde_json::{json, Value};

use crate::bench::{Bench, CLOUD};

const LETTERS: &str = "eyot/bench/dead/cloud";

fn cloud(topics: &[&str]) -> Uplink {
    Uplink { name: "cloud".to_owned(), topics: topics.iter().map(|t| (*t).to_owned()).collect(), ..Uplink::default() }
}

/// The cloud answers the first publish on the wire with a refusal.
fn refuse(bench: &mut Bench) -> Publish {
    let publish = bench.sent.remove(0);
    bench.answer(&publish, false);
    publish
}

/// What is sent on this link from here on until nothing more is; all of it is accepted.
fn arrivals(bench: &mut Bench, link: LinkId) -> Vec<Publish> {
    bench.connect(link, 100);
    std::iter::from_fn(|| bench.take()).collect()
}

fn json(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

/// Received, delivered, pending, dropped: of all messages, and of the stream to the local broker.
fn accounts(bench: &Bench) -> [(u64, u64, u64, u64); 2] {
    [&bench.core.ledger().messages, &bench.stream("local").outputs]
        .map(|account| (account.received, account.delivered, account.pending, account.dropped_total()))
}

#[test]
fn what_is_refused_is_kept_once_and_is_no_message() {
    let mut bench = Bench::new(vec![cloud(&["up/#"])]);
    bench.connect(CLOUD, 10);
    bench.message("up/t", "good");
    bench.take();
    bench.message("up/t", "bad");
    let received_at_ms = bench.sent[0].received_at_ms;
    let refused = refuse(&mut bench);
    // An answer that comes twice is one.
    bench.answer(&refused, false);
    bench.wait_ms(100);
    assert_eq!(accounts(&bench), [(2, 1, 0, 1), (1, 0, 1, 0)]);

    let epoch = bench.stream("cloud").epoch;
    bench.restart();
    assert_eq!(accounts(&bench), [(2, 1, 0, 1), (1, 0, 1, 0)], "after a power cut");
    let letters = arrivals(&mut bench, LinkId::LOCAL);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].topic, LETTERS);
    let expected = json!({
        "uplink": "cloud", "stream": "cloud", "epoch": epoch, "seq": 2, "reason": "refused",
        "topic": "up/t", "payload_base64": "YmFk", "received_at_ms": received_at_ms,
    });
    assert_eq!(json(&letters[0]), expected);
    assert_eq!(accounts(&bench), [(2, 1, 0, 1), (1, 1, 0, 0)]);
    assert!(arrivals(&mut bench, CLOUD).is_empty(), "what was refused is done with");
}

/// The power fails at each sync on the way: the letter is there whenever the ledger has the output as dropped.
#[test]
fn no_power_cut_comes_between_a_refusal_and_its_letter() {
    for cut_at in 1..12 {
        let mut bench = Bench::new(vec![cloud(&["up/#"])]);
        bench.cut_at = cut_at;
        for n in 0..4 {
            bench.connect(CLOUD, 10);
            bench.message("up/t", n.to_string());
            // A batch is due when the letter comes into it: the ledger that has the refusal goes with the next.
            bench.burst("here", "x");
            bench.now.mono_us += 20_000;
            while !bench.sent.is_empty() {
                refuse(&mut bench);
            }
            bench.wait_ms(20);
        }
        bench.cut_at = 0;
        // Without another answer: what is counted as refused now was so when the power failed.
        bench.restart();
        let refused = bench.stream("cloud").outputs.dropped(DropReason::Refused);
        let mut letters = arrivals(&mut bench, LinkId::LOCAL);
        letters.retain(|p| p.topic == LETTERS);
        let seqs: BTreeSet<_> = letters.iter().map(|p| json(p)["seq"].as_u64()).collect();
        assert!(refused >= 2 && seqs.len() as u64 >= refused, "cut {cut_at}: {refused} refused, letters {seqs:?}");
        let outputs = bench.stream("cloud").outputs.received + bench.stream("local").outputs.received;
        let messages = bench.core.ledger().messages.received;
        assert_eq!(messages, outputs - letters.len() as u64, "cut {cut_at}: one output each, and the letters");
    }
}

#[test]
fn a_letter_that_is_refused_makes_no_other() {
    // Its letters go back to who refused the output, and to another uplink.
    let archive = Uplink { name: "archive".to_owned(), ..cloud(&["eyot/+/dead/#"]) };
    let mut bench = Bench::new(vec![cloud(&["up/#", "eyot/#"]), archive]);
    bench.connect(CLOUD, 10);
    bench.connect(LinkId::uplink(1), 10);
    bench.message("up/t", "bad");
    refuse(&mut bench);
    bench.wait_ms(100);
    assert_eq!(
        bench.sent.iter().map(|p| (p.link, &p.topic[..])).collect::<Vec<_>>(),
        [(CLOUD, LETTERS.as_bytes()), (LinkId::uplink(1), LETTERS.as_bytes())]
    );
    for _ in 0..2 {
        refuse(&mut bench);
        bench.wait_ms(100);
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    let refused = ["cloud", "archive"].map(|stream| bench.stream(stream).outputs.dropped(DropReason::Refused));
    assert_eq!((refused, accounts(&bench)), ([2, 1], [(1, 0, 0, 1), (0, 0, 0, 0)]));

    // Nor does the letter of a function.
    bench.message("up/t", "!");
    refuse(&mut bench);
    refuse(&mut bench);
    bench.wait_ms(100);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
}

/// A record passes as a whole: an output that was refused is sent again with the rest of it, and its letter written then.
#[test]
fn a_link_cut_within_a_record_makes_no_second_letter() {
    let mut bench = Bench::new(vec![cloud(&["two/#"])]);
    for _ in 0..3 {
        bench.connect(CLOUD, 10);
        bench.message("two/t", "bad");
        refuse(&mut bench);
        bench.disconnect(CLOUD);
    }
    bench.connect(CLOUD, 10);
    refuse(&mut bench);
    while bench.take().is_some() {}
    bench.wait_ms(100);
    let letters = arrivals(&mut bench, LinkId::LOCAL).len() as u64;
    assert_eq!((letters, bench.stream("cloud").outputs.dropped(DropReason::Refused)), (1, 1));
}

/// Records pass in order: an answer that was early is forgotten with its connection.
#[test]
fn a_link_cut_after_an_early_answer_makes_no_second_letter() {
    let mut bench = Bench::new(vec![cloud(&["up/#"])]);
    bench.connect(CLOUD, 10);
    bench.message("up/t", "one");
    bench.message("up/t", "two");
    let second = bench.sent.remove(1);
    bench.answer(&second, false);
    bench.wait_ms(100);
    assert_eq!(bench.stream("local").outputs.received, 0, "the first is not answered");
    bench.disconnect(CLOUD);
    bench.connect(CLOUD, 10);
    refuse(&mut bench);
    refuse(&mut bench);
    bench.wait_ms(100);
    let seqs: Vec<_> = arrivals(&mut bench, LinkId::LOCAL).iter().map(|p| json(p)["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(1), Some(2)]);
}

/// The count of dropped letters, in status and notices.
fn letters_dropped(bench: &Bench) -> (u64, usize) {
    let status: Value = serde_json::from_slice(&bench.core.status_json()).unwrap();
    let told = bench.notices.iter().filter(|n| matches!(n, Notice::LetterDropped { uplink, .. } if uplink == "cloud"));
    (status["letters_dropped"].as_u64().unwrap(), told.count())
}

#[test]
fn a_full_log_takes_no_letter_and_says_so() {
    let mut bench = Bench::sized(vec![cloud(&["up/#"])], WhenFull::DropNewest, Options::MAX_BYTES_MIN);
    for _ in 0..100 {
        bench.message("up/t", vec![b'x'; 10_000]);
    }
    assert!(bench.notices.contains(&Notice::SpoolFull), "{:?}", bench.notices);
    bench.connect(CLOUD, 1);
    let used = bench.core.spool().usage().bytes;
    refuse(&mut bench);
    assert_eq!((letters_dropped(&bench), bench.stream("local").outputs.received), ((1, 1), 0));
    assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::Refused), 1);
    assert!(bench.core.spool().usage().bytes <= used);
    bench.wait_ms(100);
    bench.restart();
    assert_eq!(bench.core.ledger().letters_dropped, 1, "it is written down with the refusal");
}

/// A letter is larger than what it is about: there are outputs the log can hold and their letters it cannot.
#[test]
fn a_letter_the_log_cannot_hold_is_counted() {
    let mut options = Options::for_quota(64 << 20);
    options.frame_max_bytes = 12_000;
    let mut bench = Bench::with_log(Bench::config(vec![cloud(&["up/#"])]), options);
    bench.connect(CLOUD, 10);
    bench.message("up/t", vec![b'x'; 10_000]);
    refuse(&mut bench);
    bench.wait_ms(100);
    assert_eq!((letters_dropped(&bench), accounts(&bench)), ((1, 1), [(1, 0, 0, 1), (1, 0, 0, 1)]));
    assert_eq!(bench.stream("local").next_seq, 1, "it takes no number");
    bench.restart();
    assert_eq!(accounts(&bench), [(1, 0, 0, 1), (1, 0, 0, 1)]);
}

#[test]
fn a_letter_its_uplink_has_no_room_for_is_counted() {
    let archive = Uplink {
        name: "archive".to_owned(),
        backlog_max_bytes: Some(100),
        when_full: Some(WhenFull::DropNewest),
        ..cloud(&["eyot/+/dead/#"])
    };
    let mut bench = Bench::new(vec![cloud(&["up/#"]), archive]);
    bench.connect(CLOUD, 10);
    bench.message("up/t", "bad");
    refuse(&mut bench);
    bench.wait_ms(100);
    bench.restart();
    assert_eq!(bench.stream("archive").outputs.dropped(DropReason::UplinkFull), 1);
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::Refused), 1);
}

/// Twenty letters wait for an uplink, with this priority, in a log where what matters less has to go.
fn thinned(priority: Priority) -> Bench {
    let topics = vec!["eyot/+/dead/#".to_owned()];
    let keep = Route { name: "keep".to_owned(), topics, priority, ttl_ms: None };
    let archive = Uplink { name: "archive".to_owned(), routes: vec![keep], ..Uplink::default() };
    let uplinks = vec![cloud(&["up/#", "eyot/#"]), archive];
    let mut bench = Bench::sized(uplinks, WhenFull::DropOldest, Options::MAX_BYTES_MIN);
    bench.connect(CLOUD, 10);
    for n in 0..20 {
        bench.message("up/t", n.to_string());
        refuse(&mut bench);
        bench.wait_ms(20);
        assert_eq!(bench.take().unwrap().topic, LETTERS);
    }
    for _ in 0..100 {
        bench.message("here", vec![b'x'; 10_000]);
    }
    assert!(!bench.rewrites_at.is_empty(), "{:?}", bench.notices);
    bench
}

#[test]
fn a_letter_that_was_rewritten_is_no_message() {
    let mut bench = thinned(Priority::High);
    let before = accounts(&bench);
    assert!(before[0].2 > 20, "messages wait: {before:?}");
    let letters = arrivals(&mut bench, LinkId::uplink(1));
    assert_eq!((letters.len(), json(&letters[19])["seq"].as_u64()), (20, Some(39)));
    assert_eq!((accounts(&bench), bench.stream("archive/keep").outputs.delivered), (before, 20));
}

#[test]
fn a_letter_that_is_given_up_is_no_message() {
    let bench = thinned(Priority::Low);
    let dropped = |name| bench.stream(name).outputs.dropped(DropReason::SpoolFullOldest);
    assert_eq!(dropped("archive/keep"), 20);
    assert_eq!(bench.core.ledger().messages.dropped(DropReason::SpoolFullOldest), dropped("local"));
}
