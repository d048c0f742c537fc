//! What senders nobody vouches for cost: how much they can have written, however often they send.

use bytes::Bytes;
use eyot_core::config::Config;
use eyot_core::io::{Answer, Input, LinkId, Message};
use eyot_core::task::{Candidate, Fresh, Taken, Task};
use eyot_trust::command::seal;
use eyot_trust::sign::Signer;
use eyot_wire::control::{Command, Order};
use eyot_wire::manifest::Manifest;
use serde_json::Value;

use crate::bench::Bench;
use crate::site::Site;

const DAY_BYTES: u64 = 1 << 20;

fn site() -> Site {
    Site::with(Config { vain_day_bytes: DAY_BYTES, ..Bench::config(Vec::new()) })
}

fn send(site: &mut Site, topic: &str, payload: impl Into<Bytes>) {
    let (conn, topic) = (site.bench.conn(LinkId::INTAKE), Bytes::from(format!("eyot/bench/{topic}")));
    let message = Message { conn, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload: payload.into() };
    site.bench.handle(Input::Message(message));
}

/// The store keeps all it is given; returns the bytes.
fn keep_all(site: &mut Site, whole: [u8; 32]) -> u64 {
    let (tasks, mut sum) = (std::mem::take(&mut site.bench.tasks), 0);
    for task in tasks {
        match task {
            Task::Keep { ticket, push, number, bytes } => {
                let (push, bytes) = (push.unwrap_or(whole), bytes.len() as u64);
                sum += bytes;
                site.bench.handle(Input::Answer(Box::new(Answer::Kept {
                    ticket,
                    push,
                    number,
                    bytes,
                    result: Ok(()),
                })));
            }
            other => site.bench.tasks.push(other),
        }
    }
    sum
}

fn refusal(site: &Site, push: &str) -> Option<String> {
    let topic = format!("eyot/bench/push/{push}");
    let told = site.bench.told.iter().rfind(|publish| publish.topic == topic)?;
    let report: Value = serde_json::from_slice(&told.payload).unwrap();
    report["reason"].as_str().map(str::to_owned)
}

#[test]
fn parts_of_strangers_are_written_up_to_so_much_a_day() {
    let mut site = site();
    let (mut written, mut turns) = (0, 0);
    for turn in 0..2000_u32 {
        // Each time of another push, so that there is always room: those before are silent for long.
        let push = format!("{turn:064x}");
        send(&mut site, &format!("push/{push}/1"), vec![0; 50_000]);
        written += keep_all(&mut site, [0; 32]);
        site.bench.wait_ms(11_000);
        turns += 1;
        if let Some(reason) = refusal(&site, &push).filter(|reason| reason.contains("vain_per_day")) {
            assert!(reason.contains("in one piece"), "{reason}");
            break;
        }
    }
    assert!((DAY_BYTES / 2..=DAY_BYTES).contains(&written), "{written} in {turns} turns");
    site.bench.tasks.clear();
    send(&mut site, "push", vec![0; 50_000]);
    assert_eq!(keep_all(&mut site, [1; 32]), 50_000, "what is whole is verified first, and taken");
}

/// A whole module that may be signed: the store writes it, verifies it again, and the machine decides.
fn push(site: &mut Site, version: &str, sha: u8) -> u64 {
    send(site, "push", vec![sha; 100_000]);
    let written = keep_all(site, [sha; 32]);
    if written > 0 {
        let text =
            format!("name = \"pass\"\nversion = \"{version}\"\n[[trigger]]\nmqtt = \"in/#\"\n[allow]\nemit = [\"#\"]");
        let manifest = Manifest::parse(&text).unwrap();
        site.modules.0.insert([sha; 32], (manifest.clone(), crate::bench::PASS.to_owned()));
        let candidate = Candidate { manifest, content_sha256: [sha; 32], signers: vec!["ada".to_owned()] };
        site.bench.wait_ms(20);
        let taken = Answer::Taken { push: [sha; 32], result: Taken::Ready(candidate) };
        site.bench.tasks.retain(|task| !matches!(task, Task::Take { .. }));
        site.bench.handle(Input::Answer(Box::new(taken)));
        for task in std::mem::take(&mut site.bench.tasks) {
            if let Task::Load { sha256, overrides, .. } = task {
                let result = site.modules.make(&sha256, &overrides).map(Fresh);
                site.bench.handle(Input::Answer(Box::new(Answer::Loaded { sha256, result })));
            }
        }
        site.bench.wait_ms(20);
    }
    written
}

#[test]
fn a_signed_module_that_comes_again_and_again_is_written_up_to_so_much_a_day_and_new_ones_are_not_counted() {
    let mut site = site();
    for minor in 1..=50 {
        assert_eq!(push(&mut site, &format!("1.{minor}.0"), minor), 100_000, "version {minor}");
        assert_eq!(site.active("pass"), format!("1.{minor}.0"));
    }
    let written: u64 = (0..50).map(|_| push(&mut site, "1.1.0", 1)).sum();
    assert!((DAY_BYTES / 2..=DAY_BYTES).contains(&written), "{written}");
    site.bench.wait_ms(24 * 3_600_000);
    assert_eq!(push(&mut site, "1.51.0", 51), 100_000, "a day later");
    assert_eq!(site.active("pass"), "1.51.0");
}

#[test]
fn a_command_that_was_done_is_not_kept_again() {
    let mut site = site();
    let command =
        Command::Config { function: "pass".to_owned(), set: [("k".to_owned(), "v".to_owned())].into(), unset: vec![] };
    let order =
        Order { gateway: "bench".into(), nonce: "nonce-one".into(), expires: 1_800_000_000, command: command.clone() };
    let text = seal(&Signer::from_seed(&[7; 32], "ada").unwrap(), &order).unwrap();
    assert!(site.order("nonce-one", command).done);
    site.bench.tasks.clear();
    let acked = site.bench.acked.len();
    for _ in 0..10 {
        send(&mut site, "command", text.clone());
    }
    let reads = site.bench.tasks.iter().filter(|task| matches!(task, Task::Read { .. })).count();
    assert_eq!((reads, site.bench.acked.len()), (0, acked + 10));
    let last = site.bench.told.iter().rfind(|publish| publish.topic.ends_with(b"nonce-one")).unwrap();
    let report: Value = serde_json::from_slice(&last.payload).unwrap();
    assert_eq!((&report["done"], &report["repeated"]), (&false.into(), &"done".into()));
}
