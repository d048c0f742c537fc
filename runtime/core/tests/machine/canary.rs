//! Canaries: which messages they have, that what they do counts, and that they go when they do worse.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eyot_core::canary::CANARIES_MAX;
use eyot_core::config::Config;
use eyot_core::io::{Input, Message};
use eyot_wire::canary::{CanaryReport, CanaryState};
use eyot_wire::control::Command;
use eyot_wire::manifest::{CanaryRun, Rollout, Share};
use serde_json::Value;

use crate::bench::{Bench, PASS};
use crate::site::{Site, SUM};

const HALF: &str = "[rollout]\ncanary = \"50%\"";
const TOPICS: usize = 40;

/// As [`PASS`], but what it emits is one byte shorter.
fn shorter() -> String {
    let (before, after) = PASS.rsplit_once("(local.get $pl))))").unwrap();
    format!("{before}(i32.sub (local.get $pl) (i32.const 1))))){after}")
}

/// As [`shorter`], but fails on payloads that begin with `?` too.
fn failing() -> String {
    let fails = "(if (i32.eq (i32.load8_u (local.get $p)) (i32.const 63)) (then unreachable))";
    shorter().replacen("(local $turns i32)", &format!("(local $turns i32) {fails}"), 1)
}

fn report(site: &mut Site, name: &str) -> CanaryReport {
    site.bench.wait_ms(60_000);
    serde_json::from_value(site.retained(&format!("function/{name}/canary"))).unwrap()
}

/// Of the topics, those that a message of which comes out shorter.
fn of_canary(site: &mut Site) -> BTreeSet<usize> {
    site.outputs();
    let mut all = BTreeSet::new();
    for number in 0..TOPICS {
        site.message(&format!("t{number}"), "abc");
        if site.outputs() == ["ab"] {
            all.insert(number);
        }
    }
    all
}

fn triple(state: &str, version: &str, active: &str) -> (String, String, String) {
    (state.to_owned(), version.to_owned(), active.to_owned())
}

fn promote(site: &mut Site, nonce: &str, function: &str) -> bool {
    site.order(nonce, Command::Promote { function: function.to_owned() }).done
}

#[test]
fn a_canary_has_its_share_of_topics_for_good_until_it_is_promoted() {
    let mut site = Site::new();
    assert!(of_canary(&mut site).is_empty());
    let sha = site.push("pass", "1.1.0", HALF, &shorter());
    assert_eq!(site.topic("pass"), triple("canary", "1.1.0", "1.0.0"));
    let first = of_canary(&mut site);
    assert!((10..30).contains(&first.len()), "{first:?}");
    assert_eq!(of_canary(&mut site), first);
    let told = report(&mut site, "pass");
    assert_eq!((told.state, told.canary.messages), (CanaryState::Canary, 2 * first.len() as u64));
    assert_eq!((told.version.as_str(), told.against.as_str(), told.sha256), ("1.1.0", "1.0.0", hex(sha)));
    assert_eq!(told.active.messages, 3 * TOPICS as u64 - told.canary.messages);
    let status: Value = serde_json::from_slice(&site.bench.core.status_json()).unwrap();
    let shown = status["functions"].as_array().unwrap().iter().find(|f| f["name"] == "pass").unwrap();
    assert_eq!(
        (&shown["canary"]["version"], &shown["canary"]["rule"]),
        (&"1.1.0".into(), &"50% until promoted".into())
    );
    site.restart();
    assert_eq!(site.topic("pass"), triple("canary", "1.1.0", "1.0.0"));
    assert_eq!(of_canary(&mut site), first, "the same after a power cut");
    assert!(promote(&mut site, "promote-1", "pass"));
    assert_eq!(site.topic("pass"), triple("active", "1.1.0", "1.1.0"));
    assert_eq!(of_canary(&mut site).len(), TOPICS);
    assert_eq!(report(&mut site, "pass").state, CanaryState::Promoted);
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

#[test]
fn after_so_many_messages_it_is_promoted_by_itself() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "[rollout]\ncanary = \"50% for 30 messages\"", &shorter());
    let mine = of_canary(&mut site);
    let one = format!("t{}", mine.first().unwrap());
    for _ in mine.len()..30 {
        assert_eq!(site.active("pass"), "1.0.0");
        site.message(&one, "abc");
    }
    assert_eq!(site.active("pass"), "1.1.0");
    let told = report(&mut site, "pass");
    assert_eq!((told.state, told.canary.messages), (CanaryState::Promoted, 30));
}

#[test]
fn a_canary_that_fails_is_out_with_the_next_message_and_does_not_come_again() {
    let mut site = Site::new();
    let sha = site.push("pass", "1.1.0", HALF, &failing());
    let mine = of_canary(&mut site);
    let one = format!("t{}", mine.first().unwrap());
    for number in 0..6 {
        // All at once: the change cannot come between them.
        let topic = Bytes::from(format!("in/{one}"));
        let payload = Bytes::from(format!("?{number}"));
        site.bench.step(Input::Message(Message {
            conn: 0,
            packet_id: 1,
            qos: 1,
            dup: false,
            wakes: None,
            topic,
            payload,
        }));
    }
    site.work();
    let mut outputs = site.outputs();
    let letters = outputs.iter().filter(|output| output.contains("\"version\":\"1.1.0\"")).count();
    outputs.retain(|output| !output.contains("\"reason\""));
    assert_eq!((letters, outputs), (3, vec!["?3".to_owned(), "?4".to_owned(), "?5".to_owned()]));
    assert_eq!(site.topic("pass"), triple("rejected", "1.1.0", "1.0.0"));
    let reason = site.retained("function/pass")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("failed on 3 of its first") && reason.contains("trap"), "{reason}");
    assert_eq!(report(&mut site, "pass").state, CanaryState::Rejected);
    assert!(of_canary(&mut site).is_empty());
    // A retained push comes again, and is told why not.
    site.restart();
    site.next = sha;
    site.push("pass", "1.1.0", HALF, &failing());
    assert_eq!(site.topic("pass"), triple("rejected", "1.1.0", "1.0.0"));
    let again = site.retained("function/pass")["reason"].as_str().unwrap().to_owned();
    assert!(again.contains(&reason) && again.contains("eyot promote pass"), "{again}");
    assert!(promote(&mut site, "promote-1", "pass"), "who says so has it");
    assert_eq!(site.active("pass"), "1.1.0");
}

#[test]
fn a_canary_that_uses_too_much_fuel_is_out() {
    let mut site = Site::new();
    for _ in 0..20 {
        site.message("t", "a");
    }
    let spinning = shorter().replacen("(i32.const 126)", "(i32.const 97)", 1);
    site.push("pass", "1.1.0", HALF, &spinning);
    let mine = of_canary(&mut site);
    for number in mine.iter().cycle().take(20) {
        site.message(&format!("t{number}"), "abc");
    }
    assert_eq!(site.topic("pass").0, "rejected");
    assert!(site.retained("function/pass")["reason"].as_str().unwrap().contains("fuel for a message"));
}

#[test]
fn what_wakes_only_one_of_the_two_is_for_the_version_in_force() {
    let mut site = Site::new();
    site.push("sum", "1.0.0", "", SUM);
    let lines = "[[trigger]]\nmqtt = \"more/#\"\n[rollout]\ncanary = \"100%\"";
    site.push("sum", "1.1.0", lines, SUM);
    assert!(!site.bench.core.subscriptions().contains(&"more/#".to_owned()));
    site.message("sum/a", "\u{1}");
    assert_eq!(report(&mut site, "sum").canary.messages, 1);
    promote(&mut site, "promote-1", "sum");
    assert!(site.bench.core.subscriptions().contains(&"more/#".to_owned()));
    site.push("sum", "1.2.0", "[rollout]\ncanary = \"100%\"", SUM);
    let topic = Bytes::from("more/a");
    let message = Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload: Bytes::from("x") };
    site.bench.handle(Input::Message(message));
    site.work();
    let told = report(&mut site, "sum");
    assert_eq!((told.canary.messages, told.active.messages), (0, 1));
}

#[test]
fn a_shadow_may_become_a_canary() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "[rollout]\nshadow = \"2 messages\"\ncanary = \"50% for 9 messages\"", PASS);
    assert_eq!(site.topic("pass"), triple("shadow", "1.1.0", "1.0.0"));
    site.message("t", "a");
    site.message("t", "b");
    assert_eq!(site.topic("pass"), triple("canary", "1.1.0", "1.0.0"));
    assert_eq!(site.retained("function/pass/shadow")["state"], "canary");
    site.restart();
    assert_eq!(site.topic("pass"), triple("canary", "1.1.0", "1.0.0"), "it does not begin as a shadow again");
    for number in 0..TOPICS {
        site.message(&format!("t{number}"), "abc");
    }
    assert_eq!(site.active("pass"), "1.1.0");

    site.push("pass", "1.2.0", "[rollout]\nshadow = \"until promoted\"\ncanary = \"50%\"", PASS);
    promote(&mut site, "promote-1", "pass");
    assert_eq!(site.topic("pass"), triple("canary", "1.2.0", "1.1.0"));
    promote(&mut site, "promote-2", "pass");
    assert_eq!(site.topic("pass"), triple("active", "1.2.0", "1.2.0"));
}

#[test]
fn commands_and_other_versions_end_a_canary() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", HALF, &shorter());
    assert!(site.order("rollback-1", Command::Rollback { function: "pass".to_owned(), to: None }).done);
    assert_eq!(site.topic("pass"), triple("rejected", "1.1.0", "1.0.0"));
    assert_eq!(report(&mut site, "pass").state, CanaryState::Dropped);
    assert!(of_canary(&mut site).is_empty());

    site.push("pass", "1.2.0", HALF, &shorter());
    site.push("pass", "1.3.0", HALF, &shorter());
    assert_eq!(site.topic("pass"), triple("canary", "1.3.0", "1.0.0"));
    let set = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    assert!(site.order("config-01", Command::Config { function: "pass".to_owned(), set, unset: Vec::new() }).done);
    assert_eq!(site.topic("pass"), triple("canary", "1.3.0", "1.0.0"), "it goes on with another configuration");
    assert!(!of_canary(&mut site).is_empty());
    site.push("pass", "1.4.0", "", PASS);
    assert_eq!(site.topic("pass"), triple("active", "1.4.0", "1.4.0"));
    let told = report(&mut site, "pass");
    assert_eq!((told.state, told.version.as_str()), (CanaryState::Dropped, "1.3.0"));

    site.push("pass", "1.5.0", HALF, &shorter());
    assert!(site.order("remove-01", Command::Remove { function: "pass".to_owned() }).done);
    assert_eq!(site.active("pass"), "");
    assert!(site.bench.retained["eyot/bench/function/pass/canary"].is_empty());
    assert!(site.modules.0.is_empty());
}

#[test]
fn both_have_one_state() {
    let mut site = Site::new();
    site.push("sum", "1.0.0", "", SUM);
    site.push("sum", "1.1.0", HALF, SUM);
    let state = |site: &Site| {
        let states: Vec<_> = site.bench.core.states().map(|(f, _, value)| (f.to_owned(), value[0])).collect();
        states.into_iter().filter(|(name, _)| name == "sum").map(|(_, value)| value).collect::<Vec<_>>()
    };
    for number in 0..20 {
        site.message(&format!("sum/{number}"), "\u{1}");
    }
    let told = report(&mut site, "sum");
    assert!((5..15).contains(&told.canary.messages), "{told:?}");
    assert_eq!(state(&site), [20]);
    site.restart();
    assert_eq!(state(&site), [20]);
    promote(&mut site, "promote-1", "sum");
    site.message("sum/a", "\u{1}");
    assert_eq!(state(&site), [21]);

    site.push("sum", "2.0.0", HALF, SUM);
    assert_eq!(site.topic("sum"), triple("rejected", "2.0.0", "1.1.0"));
    let reason = site.retained("function/sum")["reason"].to_string();
    assert!(reason.contains("keeps state") && reason.contains("leave canary out"), "{reason}");
    site.push("pass", "2.0.0", HALF, PASS);
    assert_eq!(site.topic("pass"), triple("canary", "2.0.0", "1.0.0"), "without a state it may");
}

/// At every sync of a run, from the push to the version in force.
#[test]
fn a_power_cut_leaves_a_canary_or_none_and_counts_each_message_once() {
    let mut seen = BTreeMap::new();
    for (cut_at, cut_early) in (1..20).flat_map(|at| [(at, false), (at, true)]) {
        let mut site = Site::new();
        site.push("sum", "1.0.0", "", SUM);
        let before = site.bench.syncs;
        (site.bench.cut_at, site.bench.cut_early) = (before + cut_at, cut_early);
        site.push("sum", "1.1.0", "[rollout]\ncanary = \"50% for 4 messages\"", SUM);
        let acked_before = site.bench.acked.len();
        let mut sent = 0;
        for number in 0..12 {
            // A cut in between leaves a gateway that was not told of its store.
            if site.bench.syncs >= before + cut_at {
                break;
            }
            sent += usize::from(site.bench.message(&format!("sum/{number}"), "\u{1}"));
            site.work();
        }
        site.bench.cut_at = 0;
        let acked = site.bench.acked.len() - acked_before;
        site.restart();
        let document = site.topic("sum");
        let expected = match document.0.as_str() {
            "canary" => triple("canary", "1.1.0", "1.0.0"),
            _ => triple("active", &document.1, &document.1),
        };
        assert_eq!(document, expected, "cut at {cut_at}");
        *seen.entry((document.0, document.1)).or_insert(0) += 1;
        let states: Vec<_> = site.bench.core.states().filter(|(f, ..)| *f == "sum").map(|(.., v)| v[0]).collect();
        let counted = states.first().map_or(0, |value| usize::from(*value));
        assert!(
            acked <= counted && counted <= sent,
            "{acked} acknowledged, {counted} counted, {sent} sent; cut at {cut_at}"
        );
    }
    let states: Vec<_> = seen.keys().map(|(state, version)| format!("{state} {version}")).collect();
    assert_eq!(states, ["active 1.1.0", "canary 1.1.0"], "{seen:?}");
}

#[test]
fn there_are_so_many_canaries_and_no_more_and_the_gateway_may_ask_for_them() {
    let canary = Some(CanaryRun { share: Share { ppm: 500_000 }, messages: None });
    let rollout = Some(Rollout { canary, ..Rollout::default() });
    let mut site = Site::with(Config { rollout, ..Bench::config(Vec::new()) });
    let names: Vec<String> = (0..=CANARIES_MAX).map(|number| format!("f{number}")).collect();
    for version in ["1.0.0", "1.1.0"] {
        for name in &names {
            site.push(name, version, "", PASS);
        }
    }
    let states: Vec<_> = names.iter().map(|name| site.topic(name).0).collect();
    assert!(states[..CANARIES_MAX].iter().all(|state| state == "canary"), "{states:?}");
    assert_eq!(states[CANARIES_MAX], "rejected");
    assert!(site.retained(&format!("function/{}", names[CANARIES_MAX]))["reason"].to_string().contains("too many"));
}
