//! Versions that come and go while messages of many topics are under way, with and without a state.

use std::collections::BTreeMap;

use bytes::Bytes;
use eyot_core::io::{Answer, Input, Message};
use eyot_core::task::Authorized;
use eyot_wire::control::{Command, Order};

use crate::bench::PASS;
use crate::site::{Site, SUM};

/// As [`SUM`], but counts messages, takes its time over those that begin with `~`, and fails on those that begin with `!`.
fn slow_count() -> String {
    let spin = "(if (i32.eq (i32.load8_u (local.get $p)) (i32.const 33)) (then (return (i32.const 1))))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 126)) (then
      (local.set $turns (i32.const 20000))
      (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))";
    let slow = SUM.replacen(
        "(result i32)\n    (drop (call $get",
        &format!("(result i32) (local $turns i32) {spin}\n    (drop (call $get"),
        1,
    );
    assert_ne!(slow, SUM);
    slow.replacen("(i32.load8_u (local.get $p))))\n", "(i32.const 1)))\n", 1)
}

/// Messages of many topics, some of which take long, while versions come and go; jobs come back in any order.
#[test]
fn whatever_comes_in_between_each_message_is_run_once_and_in_the_order_of_its_topic() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..25 {
        // What this one emits is how many messages it has counted.
        let sent = interleave(&mut rng, "sum", &slow_count());
        let count = |payload: &[u8]| <[u8; 4]>::try_from(payload).map(u32::from_le_bytes).ok();
        let expected: Vec<_> = (1..).take(sent.1.len()).collect();
        check(sent.0, count, &expected);
        // And this one what it was given.
        let (site, expected) = interleave(&mut rng, "pass", PASS);
        let number = |payload: &[u8]| std::str::from_utf8(payload.get(1..)?).ok()?.parse().ok();
        check(site, number, &expected);
    }
}

/// Returns the numbers of the messages that the function does not fail on.
fn interleave(rng: &mut fastrand::Rng, name: &str, wat: &str) -> (Site, Vec<u32>) {
    let mut site = Site::new();
    // In the place of the version, as it must stand before all tables.
    let retry = if rng.bool() { "\"\non_error = \"retry(2, 10ms)" } else { "" };
    site.push(name, &format!("1.0.1{retry}"), "", wat);
    site.bench.jobs = Some(Vec::new());
    let (mut sent, mut number, mut failing) = (Vec::new(), 0, 0);
    for _ in 0..rng.usize(20..120) {
        number += 1;
        match rng.u8(..100) {
            0..70 => {
                // Ten failures in a row would keep it from others.
                let may_fail = failing < 9 / 3;
                let kind = ["~", if may_fail { "!" } else { "a" }, "a", "a", "a", "a", "a", "a"][rng.usize(..8)];
                failing += u32::from(kind == "!");
                let topic = if name == "sum" { "in/sum" } else { "in/t" };
                let topic = Bytes::from(format!("{topic}/{}", rng.u8(..12)));
                let payload = Bytes::from(format!("{kind}{number:05}"));
                if site.bench.core.accepts_messages() {
                    sent.extend((kind != "!").then_some(number));
                    let message = Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload };
                    site.bench.step(Input::Message(message));
                }
            }
            70..85 => end_one(&mut site, rng),
            85..92 => {
                let share = ["10%", "50%", "90% for 5 messages"][rng.usize(..3)];
                let rollout = if rng.bool() { format!("[rollout]\ncanary = \"{share}\"") } else { String::new() };
                site.push(name, &format!("1.{number}.0{retry}"), &rollout, wat);
            }
            92..96 => {
                let command = match rng.bool() {
                    true => Command::Promote { function: name.to_owned() },
                    false => Command::Rollback { function: name.to_owned(), to: None },
                };
                order(&mut site, number, command);
            }
            _ => site.work(),
        }
    }
    for turn in 0.. {
        assert!(turn < 100_000, "it does not come to an end");
        if site.bench.jobs.as_ref().unwrap().is_empty() && site.bench.core.in_flight() == 0 {
            break;
        }
        end_one(&mut site, rng);
        site.work();
    }
    site.bench.wait_ms(1000);
    (site, sent)
}

fn check(mut site: Site, read: impl Fn(&[u8]) -> Option<u32>, expected: &[u32]) {
    let mut seen = Vec::new();
    let mut last: BTreeMap<Bytes, u32> = BTreeMap::new();
    while let Some(publish) = site.bench.take() {
        let Some(number) = read(&publish.payload) else { continue };
        let before = last.insert(publish.topic.clone(), number).unwrap_or(0);
        assert!(before < number, "{number} after {before} on {:?}", publish.topic);
        seen.push(number);
    }
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

fn end_one(site: &mut Site, rng: &mut fastrand::Rng) {
    let jobs = site.bench.jobs.as_mut().unwrap();
    if !jobs.is_empty() {
        let job = jobs.swap_remove(rng.usize(..jobs.len()));
        site.bench.step(Input::Ran(Box::new(job)));
    }
}

/// What the gateway answers may have to wait.
fn order(site: &mut Site, number: u32, command: Command) {
    let nonce = format!("nonce-{number}");
    let order = Order { gateway: "bench".to_owned(), nonce, expires: 1_800_000_000, command };
    let result = Ok(Authorized { order, signer: "ada".to_owned() });
    site.bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result })));
    site.work();
}
