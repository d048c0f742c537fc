//! What a message read is recorded: in captures on command, and in dead letters.

use eyot_core::io::{Answer, Input, LinkId};
use eyot_core::task::Authorized;
use eyot_wire::capture::{Capture, CAPTURES_MAX};
use eyot_wire::code::Failure;
use eyot_wire::control::{Command, Order, OrderReport};
use serde_json::{json, Value};

use crate::bench::Bench;

fn bench() -> Bench {
    let mut bench = Bench::new(Vec::new());
    bench.connect(LinkId::INTAKE, 100);
    bench.connect(LinkId::LOCAL, 100);
    bench
}

fn order(bench: &mut Bench, nonce: &str, function: &str, count: u32, on_error: bool) -> OrderReport {
    let command = Command::Capture { function: function.to_owned(), count, on_error };
    let order = Order { gateway: "bench".to_owned(), nonce: nonce.to_owned(), expires: 1_700_003_600, command };
    let result = Ok(Authorized { order, signer: "ada".to_owned() });
    bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result })));
    let topic = format!("eyot/bench/command/{nonce}");
    let at = bench.told.iter().position(|publish| publish.topic == topic).unwrap();
    serde_json::from_slice(&bench.told.remove(at).payload).unwrap()
}

#[track_caller]
fn done(report: &OrderReport) {
    assert_eq!((report.done, report.reason.as_deref()), (true, None));
}

fn captures(bench: &mut Bench, function: &str) -> Vec<Capture> {
    let topic = format!("eyot/bench/capture/{function}");
    let told = std::mem::take(&mut bench.told);
    let of_function = told.iter().filter(|publish| publish.topic == topic);
    of_function
        .map(|publish| match Capture::decode(&publish.payload).unwrap() {
            (capture, []) => capture,
            (_, rest) => panic!("{} bytes more", rest.len()),
        })
        .collect()
}

/// Dead letters of a function.
fn letters(bench: &mut Bench, function: &str) -> Vec<Value> {
    let sent: Vec<_> = std::iter::from_fn(|| bench.take()).collect();
    let topic = format!("eyot/bench/dead/{function}");
    let of_function = sent.iter().filter(|publish| publish.topic == topic);
    of_function.map(|publish| serde_json::from_slice(&publish.payload).unwrap()).collect()
}

const STATE_KEY: &[u8] = b"n";

#[test]
fn a_capture_has_the_state_before_and_what_came_of_the_message() {
    let mut bench = bench();
    bench.message("count/a", "x");
    done(&order(&mut bench, "nonce-one", "count", 2, false));
    for payload in ["y", "!", "z"] {
        bench.message("count/a", payload);
    }
    let [good, bad] = captures(&mut bench, "count").try_into().unwrap();
    assert_eq!((good.function.as_str(), good.version.as_str(), good.topic.as_str()), ("count", "1.0.0", "in/count/a"));
    assert_eq!(good.payload, b"y");
    assert_eq!(good.state, Some(vec![(STATE_KEY.to_vec(), vec![1, 0, 0, 0])]));
    assert_eq!(good.outcome.state, [(STATE_KEY.to_vec(), Some(vec![2, 0, 0, 0]))]);
    assert_eq!((good.outcome.result, bad.outcome.result), (Ok(()), Err(Failure::Code(1))));
    assert_eq!(bad.state, Some(vec![(STATE_KEY.to_vec(), vec![2, 0, 0, 0])]));
    assert_eq!(bad.outcome.state, []);
    assert!(good.now_ms < bad.now_ms && good.seed != bad.seed);
}

#[test]
fn a_capture_of_what_ended_on_a_worker_is_the_same() {
    let mut bench = bench();
    bench.message("count/a", "x");
    done(&order(&mut bench, "nonce-one", "count", 3, false));
    // Takes its time, and the next waits for it.
    bench.burst("count/a", "^");
    bench.burst("count/b", "y");
    bench.wait_ms(20);
    let captures = captures(&mut bench, "count");
    let before: Vec<_> = captures.iter().map(|c| (c.payload[0], c.state.as_ref().unwrap()[0].1[0])).collect();
    assert_eq!(before, [(b'^', 1), (b'y', 2)]);
    assert_eq!(captures[0].outcome.state, [(STATE_KEY.to_vec(), Some(vec![2, 0, 0, 0]))]);
}

#[test]
fn only_failures_are_captured_if_that_is_asked_and_a_count_of_0_ends_it() {
    let mut bench = bench();
    done(&order(&mut bench, "nonce-one", "count", 5, true));
    for payload in ["x", "!", "y", "!"] {
        bench.message("count/a", payload);
    }
    let payloads: Vec<_> = captures(&mut bench, "count").into_iter().map(|capture| capture.payload).collect();
    assert_eq!(payloads, [b"!", b"!"]);
    done(&order(&mut bench, "nonce-two", "count", 0, false));
    bench.message("count/a", "!");
    assert_eq!(captures(&mut bench, "count"), []);
}

#[test]
fn a_command_to_capture_works_once_and_is_refused_with_a_reason() {
    let mut bench = bench();
    done(&order(&mut bench, "nonce-one", "count", 1, false));
    let again = order(&mut bench, "nonce-one", "count", 1, false);
    assert!(again.reason.unwrap().contains("nonce"));
    bench.wait_ms(100);
    bench.restart();
    bench.connect(LinkId::INTAKE, 100);
    let again = order(&mut bench, "nonce-one", "count", 1, false);
    assert!(!again.done, "after a power cut");
    let unknown = order(&mut bench, "nonce-two", "nobody", 1, false);
    assert!(unknown.reason.unwrap().contains("nobody"));
    let many = order(&mut bench, "nonce-three", "count", CAPTURES_MAX + 1, false);
    assert!(many.reason.unwrap().contains("10000"));
}

#[test]
fn what_is_captured_in_a_second_has_a_limit() {
    let mut bench = bench();
    done(&order(&mut bench, "nonce-one", "pass", 100, false));
    let large = vec![b'x'; 200_000];
    for _ in 0..8 {
        bench.message("t", large.clone());
    }
    // The one that goes beyond it is the last.
    assert_eq!(captures(&mut bench, "pass").len(), 6);
    bench.wait_ms(1000);
    // The first one after the pause finds that the second is over.
    for _ in 0..2 {
        bench.message("t", "small");
    }
    assert_eq!(captures(&mut bench, "pass").len(), 1);
}

#[test]
fn a_letter_has_the_state_before_the_message() {
    let mut bench = bench();
    for payload in ["x", "!", "!"] {
        bench.message("count/a", payload);
    }
    let of_count = letters(&mut bench, "count");
    assert_eq!(of_count.len(), 2);
    for letter in of_count {
        assert_eq!(letter["state"], json!({"n": "base64:AQAAAA=="}), "{letter}");
        assert!(letter.get("state_left_out").is_none(), "{letter}");
    }
    bench.message("t", "!");
    let stateless = letters(&mut bench, "pass").remove(0);
    assert!(stateless.get("state").is_none() && stateless.get("state_left_out").is_none(), "{stateless}");
}

/// What a change did is written again with the rest of its batch.
#[test]
fn a_command_is_not_forgotten_when_the_sync_of_its_batch_fails() {
    let mut bench = bench();
    bench.wait_ms(20);
    bench.hold_commits = true;
    done(&order(&mut bench, "nonce-one", "count", 1, false));
    assert!(bench.holds());
    bench.fail_sync();
    bench.wait_ms(2000);
    bench.restart();
    bench.connect(LinkId::INTAKE, 100);
    let again = order(&mut bench, "nonce-one", "count", 1, false);
    assert!(again.reason.is_some_and(|reason| reason.contains("was done already")));
}
