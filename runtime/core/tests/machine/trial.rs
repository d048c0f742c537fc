//! Shadow runs: what is promoted, what is not, and that nothing else notices.

use std::collections::BTreeMap;

use eyot_core::config::Config;
use eyot_core::deploy::registry::Deployed;
use eyot_core::io::{Input, Job, Notice};
use eyot_core::shadow::SHADOWS_MAX;
use eyot_wire::control::Command;
use eyot_wire::manifest::{Rollout, ShadowRun};
use eyot_wire::shadow::{ShadowOutcome, ShadowState};

use crate::bench::{run_shadow, Bench, PASS};
use crate::site::{Site, SUM};

/// As [`PASS`], but without the last byte of payloads that begin with `?`.
fn cutting() -> String {
    let cut = "(i32.sub (local.get $pl) (i32.eq (i32.load8_u (local.get $p)) (i32.const 63))))))";
    let (before, after) = PASS.rsplit_once("(local.get $pl))))").unwrap();
    format!("{before}{cut}{after}")
}

/// As [`PASS`], but fails on payloads that begin with `?` too.
fn failing() -> String {
    let fails = "(if (i32.eq (i32.load8_u (local.get $p)) (i32.const 63)) (then unreachable))";
    PASS.replacen("(local $turns i32)", &format!("(local $turns i32) {fails}"), 1)
}

const FIVE: &str = "[rollout]\nshadow = \"5 messages\"";
const PATIENT: &str = "[rollout]\nshadow = \"until promoted\"";

fn triple(state: &str, version: &str, active: &str) -> (String, String, String) {
    (state.to_owned(), version.to_owned(), active.to_owned())
}

#[test]
fn a_version_that_does_the_same_is_promoted_after_so_many_messages() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", FIVE, PASS);
    assert_eq!(site.topic("pass"), triple("shadow", "1.1.0", "1.0.0"));
    for payload in ["a", "b", "!", "~d"] {
        site.message("t", payload);
    }
    let report = site.report("pass");
    assert_eq!((report.state, report.messages, report.same, report.different), (ShadowState::Shadow, 4, 4, 0));
    assert_eq!((report.version.as_str(), report.against.as_str()), ("1.1.0", "1.0.0"));
    assert_eq!((report.active.errors, report.shadow.errors, report.failed_alone), (1, 1, 0), "both fail on !");
    assert_eq!(report.active.fuel_max, report.shadow.fuel_max);
    assert!(report.shadow.run_us_max.is_some());
    assert_eq!(site.active("pass"), "1.0.0");
    site.message("t", "e");
    assert_eq!(site.active("pass"), "1.1.0");
    assert_eq!(site.topic("pass").0, "active");
    let report = site.report("pass");
    assert_eq!((report.state, report.messages), (ShadowState::Promoted, 5));
    let mut outputs = site.outputs();
    outputs.retain(|output| !output.contains("\"reason\""));
    assert_eq!(outputs, ["a", "b", "~d", "e"], "once each");
    site.restart();
    assert_eq!(site.active("pass"), "1.1.0");
}

#[test]
fn a_version_that_traps_is_gone_and_nothing_else_has_happened() {
    let mut site = Site::new();
    let sha = site.push("pass", "1.1.0", FIVE, &failing());
    site.message("t", "a");
    site.message("t", "?b");
    assert_eq!(site.topic("pass"), triple("rejected", "1.1.0", "1.0.0"));
    let reason = site.retained("function/pass")["reason"].to_string();
    assert!(reason.contains("failed on 1 of 2 messages") && reason.contains("trap"), "{reason}");
    let report = site.report("pass");
    assert_eq!((report.state, report.shadow.traps, report.active.traps), (ShadowState::Rejected, 1, 0));
    assert_eq!(report.samples.len(), 1);
    assert_eq!(report.samples[0].active, ShadowOutcome::Outputs(1));
    assert!(site.modules.0.contains_key(&[sha; 32]), "its module is kept for who promotes it all the same");
    assert_eq!(site.outputs(), ["a", "?b"], "no dead letter of it either");
    let gone = |notice: &Notice| matches!(notice, Notice::TrialDropped { version, .. } if version == "1.1.0");
    assert!(site.bench.notices.iter().any(gone));
    site.restart();
    assert_eq!(site.active("pass"), "1.0.0");
    site.push("pass", "1.1.0", FIVE, PASS);
    assert_eq!(site.topic("pass").0, "shadow", "the same version may come again when it is mended");
}

#[test]
fn so_many_may_differ_and_no_more() {
    for (different, expected) in [("20%", "1.1.0"), ("19%", "1.0.0")] {
        let mut site = Site::new();
        site.push("pass", "1.1.0", &format!("{FIVE}\ndifferent = \"{different}\""), &cutting());
        for payload in ["a", "b", "?cut", "d", "e"] {
            site.message("t", payload);
        }
        assert_eq!(site.active("pass"), expected, "{different}");
        let report = site.report("pass");
        assert_eq!(report.different, 1);
        let [sample] = &report.samples[..] else { panic!("{report:?}") };
        assert_eq!((sample.topic.as_str(), sample.payload.as_str(), sample.output), ("in/t", "?cut", Some(0)));
        let output = |payload: &str| ShadowOutcome::Output { topic: "t".to_owned(), payload: payload.to_owned() };
        assert_eq!((&sample.active, &sample.shadow), (&output("?cut"), &output("?cu")));
        assert_eq!(site.outputs(), ["a", "b", "?cut", "d", "e"]);
    }
}

#[test]
fn a_shadow_has_a_state_of_its_own_that_begins_as_the_others() {
    let mut site = Site::new();
    site.push("sum", "1.0.0", "", SUM);
    site.message("sum/a", "\u{1}");
    site.push("sum", "1.1.0", PATIENT, SUM);
    // Counts everything twice.
    for _ in 0..3 {
        site.message("sum/a", "\u{1}");
    }
    let report = site.report("sum");
    assert_eq!((report.messages, report.same), (3, 3), "{report:?}");
    let state = |site: &Site| {
        let states: Vec<_> = site.bench.core.states().map(|(f, _, value)| (f.to_owned(), value[0])).collect();
        states.into_iter().filter(|(name, _)| name == "sum").map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(state(&site), [4], "and the log has one of them only");
    site.order("promote-1", Command::Promote { function: "sum".to_owned() });
    site.message("sum/a", "\u{1}");
    assert_eq!((site.active("sum").as_str(), state(&site)), ("1.1.0", vec![5]));
    site.restart();
    assert_eq!((site.active("sum").as_str(), state(&site)), ("1.1.0", vec![5]));
}

fn held(site: &mut Site) -> Vec<Job> {
    std::mem::take(site.bench.jobs.as_mut().unwrap())
}

#[test]
fn nothing_waits_for_a_slow_shadow_and_what_it_missed_it_does_not_count_as_different() {
    let mut site = Site::new();
    site.push("sum", "1.0.0", "", SUM);
    site.push("sum", "1.1.0", PATIENT, SUM);
    site.bench.jobs = Some(Vec::new());
    let acked = site.bench.acked.len();
    for _ in 0..100 {
        site.message("sum/a", "\u{1}");
    }
    assert_eq!(site.bench.acked.len(), acked + 100);
    let jobs = held(&mut site);
    assert_eq!(jobs.len(), 1, "one at a time");
    let report = site.report("sum");
    assert_eq!((report.messages, report.skipped), (0, 100 - 1 - 64));
    // It does what it has, and then knows what the other one knows.
    for job in jobs {
        site.bench.handle(Input::Ran(run_shadow(Box::new(job))));
    }
    while let Some(job) = held(&mut site).pop() {
        site.bench.handle(Input::Ran(run_shadow(Box::new(job))));
    }
    site.bench.jobs = None;
    for _ in 0..10 {
        site.message("sum/a", "\u{1}");
    }
    let report = site.report("sum");
    assert_eq!((report.messages, report.same, report.different), (75, 75, 0), "{report:?}");
    // Copies are no more than one a second; here the first one was overdue.
    assert_eq!(report.skipped, 35);
}

#[test]
fn a_job_without_a_thread_counts_as_skipped() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", PATIENT, PASS);
    site.bench.jobs = Some(Vec::new());
    site.message("t", "a");
    let job = held(&mut site).remove(0);
    assert!(job.is_shadow());
    site.bench.handle(Input::Ran(Box::new(job)));
    site.bench.jobs = None;
    site.message("t", "b");
    let report = site.report("pass");
    assert_eq!((report.messages, report.skipped, report.same), (1, 1, 1));
}

#[test]
fn commands_end_a_run() {
    let mut site = Site::new();
    let first = site.push("pass", "1.1.0", PATIENT, &cutting());
    site.message("t", "?a");
    let back = site.order("rollback-1", Command::Rollback { function: "pass".to_owned(), to: None });
    assert!(back.done, "{back:?}");
    assert_eq!(site.topic("pass"), triple("rejected", "1.1.0", "1.0.0"));
    assert!(site.retained("function/pass")["reason"].to_string().contains("taken back by ada"));
    assert_eq!(site.report("pass").state, ShadowState::Dropped);

    site.push("pass", "1.2.0", PATIENT, &cutting());
    assert!(site.order("promote-1", Command::Promote { function: "pass".to_owned() }).done);
    assert_eq!(site.active("pass"), "1.2.0");
    let report = site.report("pass");
    assert_eq!((report.state, report.messages), (ShadowState::Promoted, 0));
    assert!(site.modules.0.contains_key(&[first; 32]), "that of what was taken back last");

    site.push("pass", "1.3.0", PATIENT, PASS);
    assert!(site.order("remove-01", Command::Remove { function: "pass".to_owned() }).done);
    assert_eq!(site.active("pass"), "");
    assert!(site.bench.retained["eyot/bench/function/pass/shadow"].is_empty());
    assert!(site.modules.0.is_empty());
}

#[test]
fn a_newer_push_takes_the_place_and_the_same_one_changes_nothing() {
    let mut site = Site::new();
    let first = site.push("pass", "1.1.0", PATIENT, &failing());
    site.message("t", "a");
    site.next = first;
    site.push("pass", "1.1.0", PATIENT, &failing());
    assert_eq!(site.report("pass").messages, 1, "it goes on");
    site.push("pass", "1.2.0", FIVE, PASS);
    assert_eq!(site.topic("pass"), triple("shadow", "1.2.0", "1.0.0"));
    assert!(!site.modules.0.contains_key(&[first; 32]));
    assert_eq!(site.report("pass").messages, 0);
    site.push("pass", "1.3.0", "", PASS);
    assert_eq!(site.topic("pass"), triple("active", "1.3.0", "1.3.0"), "without a rollout at once");
    let report = site.report("pass");
    assert_eq!((report.state, report.version.as_str()), (ShadowState::Dropped, "1.2.0"));
}

#[test]
fn the_first_version_comes_at_once_and_the_gateway_may_ask_for_shadows() {
    let rollout = Some(Rollout { shadow: Some(ShadowRun::Messages(1)), ..Rollout::default() });
    let mut site = Site::with(Config { rollout, ..Bench::config(Vec::new()) });
    site.push("sum", "1.0.0", PATIENT, SUM);
    assert_eq!(site.topic("sum"), triple("active", "1.0.0", "1.0.0"));
    site.push("sum", "1.1.0", "", SUM);
    assert_eq!(site.topic("sum").0, "shadow");
    site.message("sum/a", "a");
    assert_eq!(site.active("sum"), "1.1.0");
    site.push("sum", "1.2.0", "[rollout]", SUM);
    assert_eq!(site.active("sum"), "1.2.0", "who says so is in force at once");
}

#[test]
fn after_a_power_cut_a_run_begins_again() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", FIVE, PASS);
    for payload in ["a", "b", "c", "d"] {
        site.message("t", payload);
    }
    site.restart();
    assert_eq!(site.topic("pass"), triple("shadow", "1.1.0", "1.0.0"));
    for payload in ["a", "b", "c", "d"] {
        site.message("t", payload);
    }
    assert_eq!((site.active("pass").as_str(), site.report("pass").messages), ("1.0.0", 4));
    site.message("t", "e");
    assert_eq!(site.active("pass"), "1.1.0");
}

/// At every sync of a run, from the push to the version in force.
#[test]
fn a_power_cut_leaves_the_old_or_the_new_version_and_never_both() {
    let mut seen = BTreeMap::new();
    for (cut_at, cut_early) in (1..14).flat_map(|at| [(at, false), (at, true)]) {
        let mut site = Site::new();
        site.push("sum", "1.0.0", "", SUM);
        let before = site.bench.syncs;
        (site.bench.cut_at, site.bench.cut_early) = (before + cut_at, cut_early);
        site.push("sum", "1.1.0", "[rollout]\nshadow = \"2 messages\"", SUM);
        for _ in 0..4 {
            // A cut in between leaves a gateway that was not told of its store.
            if site.bench.syncs >= before + cut_at {
                break;
            }
            site.bench.message("sum/a", "\u{1}");
            site.work();
        }
        site.bench.cut_at = 0;
        site.restart();
        let document = site.topic("sum");
        let expected = match document.0.as_str() {
            "shadow" => triple("shadow", "1.1.0", "1.0.0"),
            _ => triple("active", &document.1, &document.1),
        };
        assert_eq!(document, expected, "cut at {cut_at}");
        *seen.entry((document.0, document.1)).or_insert(0) += 1;
        site.message("sum/a", "\u{1}");
        site.message("sum/a", "\u{1}");
        let active = site.active("sum");
        assert_eq!(active, "1.1.0", "cut at {cut_at}");
    }
    let states: Vec<_> = seen.keys().map(|(state, version)| format!("{state} {version}")).collect();
    assert_eq!(states, ["active 1.1.0", "shadow 1.1.0"], "{seen:?}");
}

#[test]
fn another_configuration_begins_the_run_again() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", FIVE, PASS);
    site.message("t", "a");
    let set = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let command = Command::Config { function: "pass".to_owned(), set, unset: Vec::new() };
    assert!(site.order("config-01", command).done);
    assert_eq!(site.topic("pass"), triple("shadow", "1.1.0", "1.0.0"));
    assert_eq!(site.report("pass").messages, 0);
    for payload in ["a", "b", "c", "d", "e"] {
        site.message("t", payload);
    }
    assert_eq!(site.active("pass"), "1.1.0");
}

#[test]
fn what_it_is_compared_with_may_be_taken_back() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "", &failing());
    site.push("pass", "1.2.0", PATIENT, PASS);
    for _ in 0..5 {
        site.message("t", "?");
    }
    assert_eq!(site.topic("pass"), triple("rolled-back", "1.1.0", "1.0.0"));
    let report = site.report("pass");
    assert_eq!(report.state, ShadowState::Dropped);
    assert!(report.reason.unwrap().contains("push it again"));
    // Of what both failed on, or the shadow did better with, nothing is held against it.
    assert_eq!((report.failed_alone, report.shadow.traps), (0, 0));
}

#[test]
fn a_major_version_has_what_it_would_migrate() {
    let migrate = r#"(func (export "eyot_migrate") (param i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
        (i32.store (i32.const 8) (i32.mul (i32.load (i32.const 8)) (i32.const 2)))
        (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4))))"#;
    let migrating = SUM.replacen("(memory", &format!("{}\n(memory", &migrate[..migrate.len() - 1]), 1);
    let mut site = Site::new();
    site.push("sum", "1.0.0", "", SUM);
    site.message("sum/a", "\u{3}");
    site.push("sum", "2.0.0", PATIENT, &migrating);
    site.message("sum/a", "\u{1}");
    let report = site.report("sum");
    let [sample] = &report.samples[..] else { panic!("{report:?}") };
    let output = |sum: &str| ShadowOutcome::Output { topic: "sum/a".to_owned(), payload: sum.to_owned() };
    assert_eq!((&sample.active, &sample.shadow), (&output("base64:BAAAAA=="), &output("base64:BwAAAA==")));
    // What is promoted migrates the state as it is then.
    site.order("promote-1", Command::Promote { function: "sum".to_owned() });
    site.message("sum/a", "\u{1}");
    let state: Vec<_> = site.bench.core.states().filter(|(f, ..)| *f == "sum").map(|(.., v)| v[0]).collect();
    assert_eq!(state, [9]);
    let failing = migrating.replacen("(i32.const 2)))", "(i32.const 2))) (unreachable)", 1);
    site.push("sum", "3.0.0", PATIENT, &failing);
    assert_eq!(site.topic("sum"), triple("rejected", "3.0.0", "2.0.0"));
    assert!(site.retained("function/sum")["reason"].to_string().contains("eyot_migrate"));
}

#[test]
fn reports_are_told_ever_more_rarely_and_the_last_at_once() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "[rollout]\nshadow = \"600 messages\"", PASS);
    let topic = "eyot/bench/function/pass/shadow".to_owned();
    let (mut last, mut told) = (site.bench.retained[&topic].clone(), Vec::new());
    for number in 1..=600 {
        site.bench.wait_ms(180);
        site.bench.message("t", "a");
        let report = &site.bench.retained[&topic];
        if *report != last {
            last.clone_from(report);
            told.push(number / 5);
        }
    }
    // In seconds.
    assert_eq!(told, [1, 3, 7, 15, 31, 63]);
    site.work();
    assert_eq!(site.retained("function/pass/shadow")["state"], "promoted");
}

#[test]
fn there_are_so_many_shadows_and_no_more() {
    let mut site = Site::new();
    let names: Vec<String> = (0..=SHADOWS_MAX).map(|number| format!("f{number}")).collect();
    for version in ["1.0.0", "1.1.0"] {
        for name in &names {
            site.push(name, version, PATIENT, PASS);
        }
    }
    let states: Vec<_> = names.iter().map(|name| site.topic(name).0).collect();
    assert!(states[..SHADOWS_MAX].iter().all(|state| state == "shadow"), "{states:?}");
    assert_eq!(states[SHADOWS_MAX], "rejected");
    assert!(site.retained(&format!("function/{}", names[SHADOWS_MAX]))["reason"].to_string().contains("on trial"));
    site.push("f0", "1.2.0", PATIENT, PASS);
    assert_eq!(site.topic("f0").1, "1.2.0", "there is place for what takes a place");
}

#[test]
fn a_record_without_a_trial_reads_as_before_there_were_any() {
    let deployed =
        Deployed::new(1, "f", Some(Default::default()), None, eyot_core::deploy::registry::StateChange::Keep);
    // version, number, name, entry: none in force, none before, no highest, none taken back, no trial, no values, no
    // baseline; no command; the state stays.
    assert_eq!(deployed.encode(), [1, 1, 1, b'f', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
