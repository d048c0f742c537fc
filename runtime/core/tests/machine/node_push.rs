//! Pushes to nodes: staged until the node has them, back when it does worse, and as before after a power cut.

use bytes::Bytes;
use eyot_core::config::Configured;
use eyot_core::io::{Answer, Input, Message};
use eyot_core::task::{Part, Refusal, Taken, Task};
use eyot_wire::control::NodeAct;

use crate::field::{build, Field};

#[test]
fn a_push_is_staged_until_the_node_runs_it() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    assert_eq!(field.installed(), Some(Some(first)));
    field.stands("staged", "1.0.0", "", "");
    field.runs(first);
    field.stands("active", "1.0.0", "", "");
    assert_eq!(field.pushed(first), [("staged".into(), String::new()), ("active".into(), String::new())]);
    field.says(|report| report.online = false);
    let second = field.push("trim", "1.1.0");
    assert!(field.pushed(second)[0].1.contains("away"));
    field.stands("staged", "1.1.0", "1.0.0", "");
    let third = field.push("trim", "1.2.0");
    assert!(!field.modules.kept.contains(&second), "the node never had it, and will not");
    field.says(|report| report.online = true);
    field.runs(third);
    field.stands("active", "1.2.0", "", "");
    let before = field.bench.installs.len();
    field.push_again("trim", "1.2.0", third);
    assert_eq!(field.pushed(third).last().unwrap().0, "unchanged");
    assert_eq!((field.bench.installs.len(), field.modules.kept.contains(&third)), (before, true));
    let old = field.push("trim", "1.1.5");
    field.is_refused(old, "older than 1.2.0");
    field.stands("rejected", "1.1.5", "1.2.0", "older");
    assert!(!field.modules.kept.contains(&old));
}

#[test]
fn what_a_node_refuses_goes_and_does_not_come_again() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    let second = field.push("trim", "1.1.0");
    field.says(|report| report.refused = Some(([9; 32], "of another".to_owned())));
    field.stands("staged", "1.1.0", "1.0.0", "of another");
    field.says(|report| report.refused = Some(([second; 32], "no room".to_owned())));
    field.is_refused(second, "no room");
    assert_eq!(field.installed(), Some(Some(first)), "the link goes back as well");
    field.runs(first);
    for _ in 0..2 {
        field.stands("rolled-back", "1.1.0", "1.0.0", "no room");
        field.push_again("trim", "1.1.0", second);
        field.is_refused(second, "was taken back: no room");
        let same_version = field.push("trim", "1.1.0");
        field.is_refused(same_version, "");
        field.restart();
        assert_eq!(field.installed(), Some(Some(first)));
    }
    let third = field.push("trim", "1.1.1");
    field.runs(third);
    field.stands("active", "1.1.1", "", "");
}

/// A push that was refused hides neither what runs nor what waits for the node: whoever wants to place another needs both.
#[test]
fn what_is_staged_is_told_beside_a_push_that_was_refused() {
    let trim = |version: &str| Some(("trim".to_owned(), version.to_owned()));
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    assert_eq!((field.told("staged"), field.told("active")), (None, None), "the document is about it");
    field.push("thin", "2.0.0");
    field.stands("rejected", "2.0.0", "", "remove trim");
    assert_eq!((field.told("staged"), field.told("active")), (trim("1.0.0"), None));
    field.runs(first);
    field.stands("active", "1.0.0", "", "");
    assert_eq!((field.told("staged"), field.told("active")), (None, None));
    field.push("trim", "1.1.0");
    field.push("thin", "2.0.1");
    assert_eq!((field.told("staged"), field.told("active")), (trim("1.1.0"), trim("1.0.0")));

    let configured = Configured { name: "trim".to_owned(), build: build("1.0.0", 101) };
    let mut field = Field::with(Some(configured));
    assert_eq!(field.told("staged"), None);
    field.says(|report| report.refused = Some(([101; 32], "no room".to_owned())));
    field.stands("rejected", "1.0.0", "", "no room");
    assert_eq!(field.told("staged"), trim("1.0.0"), "it is sent again with the next start");
}

#[test]
fn a_version_that_fails_where_the_one_before_did_not_is_taken_back() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    field.does(100, 0);
    let second = field.push("trim", "1.1.0");
    field.does(40, 0);
    field.runs(second);
    field.says(|report| report.function = None);
    field.does(0, 50);
    field.stands("active", "1.1.0", "", "");
    field.runs(second);
    field.does(20, 2);
    field.stands("active", "1.1.0", "", "");
    field.says(|report| report.last_failure = Some("on sensors/sim/raw: trap".to_owned()));
    field.does(0, 1);
    assert_eq!(field.installed(), Some(Some(first)));
    let reason = "failed on 3 of its first 23 messages, last: on sensors/sim/raw: trap";
    field.stands("rolled-back", "1.1.0", "1.0.0", reason);
    field.restart();
    assert_eq!(field.installed(), Some(Some(first)));
    field.stands("rolled-back", "1.1.0", "1.0.0", reason);
}

#[test]
fn a_version_that_fails_no_more_than_the_one_before_stays_and_so_does_the_first() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    field.does(0, 100);
    field.stands("active", "1.0.0", "", "");
    field.does(100, 0);
    let second = field.push("trim", "1.1.0");
    field.runs(second);
    field.does(50, 50);
    field.stands("active", "1.1.0", "", "");
    field.bench.wait_ms(601_000);
    field.does(0, 1000);
    field.stands("active", "1.1.0", "", "");
}

#[test]
fn a_node_that_starts_anew_with_each_try_of_a_version_gets_the_one_before() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    let second = field.push("trim", "1.1.0");
    field.runs(second);
    let start = |field: &mut Field, after_ms| {
        field.bench.wait_ms(after_ms);
        field.says(|report| {
            (report.session, report.function) = (report.session + 1, None);
            report.restarts += 1;
        });
        field.runs(second);
    };
    for after_ms in [1000, 1000, 11_000, 1000, 1000] {
        start(&mut field, after_ms);
        field.stands("active", "1.1.0", "", "");
    }
    start(&mut field, 1000);
    field.stands("rolled-back", "1.1.0", "1.0.0", "started anew 3 times");
    assert_eq!(field.installed(), Some(Some(first)));
}

#[test]
fn a_node_runs_one_function_until_a_command_removes_it() {
    let mut field = Field::new();
    let trim = field.push("trim", "1.0.0");
    field.runs(trim);
    let thin = field.push("thin", "2.0.0");
    field.is_refused(thin, "`eyot remove trim --node north`");
    let report = field.order("nonce-one", "thin", NodeAct::Remove);
    assert!(!report.done && report.reason.unwrap().contains("runs no function that is called \"thin\""));
    assert!(field.order("nonce-two", "trim", NodeAct::Remove).done);
    assert_eq!(field.installed(), Some(None));
    assert!(!field.modules.kept.contains(&trim));
    field.says(|report| report.function = None);
    field.restart();
    assert_eq!(field.installed(), Some(None), "a node that was away has it still");
    let again = field.push_again("trim", "1.0.0", trim);
    field.is_refused(again, "");
    let thin = field.push("thin", "2.0.0");
    assert_eq!(field.installed(), Some(Some(thin)));
}

#[test]
fn commands_lead_back_and_forth() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    assert!(field.order("nonce-one", "trim", NodeAct::Rollback).reason.unwrap().contains("no version"));
    let second = field.push("trim", "1.1.0");
    assert!(field.order("nonce-two", "trim", NodeAct::Rollback).done);
    field.is_refused(second, "taken back by ada");
    field.runs(first);
    assert!(field.order("nonce-three", "trim", NodeAct::Promote).done);
    assert_eq!(field.installed(), Some(Some(second)));
    field.runs(second);
    field.stands("active", "1.1.0", "", "");
    assert!(field.order("nonce-four", "trim", NodeAct::Rollback).done);
    field.stands("rolled-back", "1.1.0", "1.0.0", "rolled back by ada");
    assert_eq!(field.installed(), Some(Some(first)));
    let again = field.order("nonce-four", "trim", NodeAct::Rollback);
    assert!(!again.done && again.repeated.is_some());
    let nobody = field.order_for("south", "nonce-five", "trim", NodeAct::Rollback);
    assert!(nobody.reason.unwrap().contains("no node here is called \"south\""));
    field.restart();
    assert!(!field.order("nonce-four", "trim", NodeAct::Rollback).done, "remembered");
}

#[test]
fn nothing_is_told_of_a_change_that_is_not_durable() {
    let mut field = Field::new();
    field.bench.hold_commits = true;
    let first = field.push("trim", "1.0.0");
    assert!(field.pushed(first).is_empty() && field.bench.installs.is_empty());
    field.restart();
    assert_eq!(field.installed(), None, "it never was");
    let first = field.push("trim", "1.0.0");
    field.bench.hold_commits = true;
    field.runs(first);
    assert_eq!(field.pushed(first).len(), 1);
    field.restart();
    assert_eq!(field.pushed(first).last().unwrap().0, "active", "the node said it again");
}

#[test]
fn what_was_pushed_goes_before_the_configuration_file_until_that_is_newer() {
    let configured = |version: &str, byte| Some(Configured { name: "trim".to_owned(), build: build(version, byte) });
    let mut field = Field::with(configured("1.0.0", 101));
    field.modules.kept.extend([101, 102]);
    field.stands("staged", "1.0.0", "", "");
    assert_eq!(field.installed(), None, "the link knows it");
    field.runs(101);
    field.stands("active", "1.0.0", "", "");
    let first = field.push("trim", "1.1.0");
    field.runs(first);
    field.restart();
    assert_eq!(field.installed(), Some(Some(first)));
    assert!(field.order("nonce-one", "trim", NodeAct::Rollback).done);
    assert_eq!(field.installed(), Some(Some(101)));
    field.bench.configure_node(configured("1.2.0", 102));
    field.restart();
    assert_eq!(field.installed(), Some(Some(102)));
    field.stands("staged", "1.2.0", "1.0.0", "");
    field.runs(102);
    field.stands("active", "1.2.0", "", "");
    assert!(field.order("nonce-two", "trim", NodeAct::Remove).done);
    field.restart();
    assert_eq!(field.installed(), Some(None), "what a command removed stays so");
}

#[test]
fn what_the_configuration_file_names_is_staged_until_the_node_runs_it() {
    let mut field = Field::with(Some(Configured { name: "trim".to_owned(), build: build("1.0.0", 101) }));
    field.modules.kept.insert(101);
    field.says(|report| report.refused = Some(([101; 32], "no room".to_owned())));
    field.stands("rejected", "1.0.0", "", "no room");
    let unwanted = field.push("other", "1.0.0");
    field.is_refused(unwanted, "`eyot remove trim --node north`");
    field.stands("rejected", "1.0.0", "", "remove trim");
    field.runs(101);
    field.says(|report| (report.online, report.function) = (false, None));
    field.stands("rejected", "1.0.0", "1.0.0", "remove trim");
    field.restart();
    field.stands("staged", "1.0.0", "", "");
    field.says(|report| report.online = true);
    field.runs(101);
    field.says(|report| (report.online, report.function) = (false, None));
    field.stands("active", "1.0.0", "", "");
}

#[test]
fn what_the_configuration_file_names_does_not_replace_a_higher_version_that_waits_for_the_node() {
    let configured = |version: &str, byte| Some(Configured { name: "trim".to_owned(), build: build(version, byte) });
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    let second = field.push("trim", "1.2.0");
    field.bench.configure_node(configured("1.1.0", 101));
    field.modules.kept.insert(101);
    field.restart();
    field.stands("staged", "1.2.0", "1.0.0", "");
    assert_eq!(field.installed(), Some(Some(second)));
    field.bench.configure_node(configured("1.3.0", 101));
    field.restart();
    field.stands("staged", "1.3.0", "1.0.0", "");
    field.says(|report| report.refused = Some(([101; 32], "no room".to_owned())));
    field.stands("rolled-back", "1.3.0", "1.0.0", "no room");
    field.restart();
    field.stands("rolled-back", "1.3.0", "1.0.0", "no room");
}

#[test]
fn what_no_trusted_key_signed_changes_nothing_of_the_node_s_topic() {
    let mut field = Field::new();
    let first = field.push("trim", "1.0.0");
    field.runs(first);
    field.stands("active", "1.0.0", "", "");
    let before = field.bench.retained.clone();
    let refuse = |field: &mut Field, byte: u8, is_authorized| {
        let release = Some(("trim".to_owned(), "9.0.0".to_owned()));
        let refusal = Refusal { release, is_authorized, reason: "why".to_owned() };
        let answer = match byte % 2 {
            0 => Answer::Taken { push: [byte; 32], result: Taken::Refused(refusal) },
            _ => Answer::Refused { ticket: 0, push: [byte; 32], refusal },
        };
        field.store_says(answer);
        field.work();
        field.is_refused(byte, "why");
    };
    for byte in [8, 9] {
        refuse(&mut field, byte, false);
        let changed: Vec<_> =
            field.bench.retained.iter().filter(|(topic, said)| before.get(*topic) != Some(said)).collect();
        assert!(changed.is_empty(), "{changed:?}");
    }
    field.stands("active", "1.0.0", "", "");
    refuse(&mut field, 10, true);
    field.stands("rejected", "9.0.0", "1.0.0", "why");
}

fn publish(field: &mut Field, topic: &str, packet_id: u16) {
    let (topic, payload) = (Bytes::from(topic.to_owned()), Bytes::from_static(b"a part"));
    let message = Message { conn: 1, packet_id, qos: 1, dup: false, wakes: None, topic, payload };
    field.bench.handle(Input::Message(message));
}

#[test]
fn parts_for_a_node_go_to_a_place_of_their_own_and_are_there_after_a_restart() {
    let mut field = Field::new();
    let push = [7; 32];
    let topic = format!("eyot/bench/node/north/push/{}/1", hex::encode(push));
    publish(&mut field, &topic, 5);
    let [Task::Node { node: 0, task }] = &field.bench.tasks[..] else { panic!("{:?}", field.bench.tasks) };
    let Task::Keep { ticket, push: Some(of), number: 1, .. } = **task else { panic!("{task:?}") };
    assert_eq!((of, field.bench.acked.len()), (push, 0), "not kept yet");
    field.store_says(Answer::Kept { ticket, push, number: 1, bytes: 6, result: Ok(()) });
    assert_eq!(field.bench.acked.len(), 1);
    // No part of any push has this number, so it is nothing that this one is given up for.
    publish(&mut field, &topic.replace("/1", "/4294967295"), 4);
    assert_eq!((field.bench.acked.len(), field.pushed(7).len()), (2, 0));
    field.bench.wait_ms(2100);
    let reports = field.pushed(7);
    assert_eq!(reports.last().unwrap().0, "receiving");
    field.modules.parts = vec![Part { push, number: 1, bytes: 6 }];
    field.restart();
    field.bench.tasks.clear();
    publish(&mut field, &topic.replace("/1", "/0"), 6);
    let task = field.bench.tasks.pop();
    let Some(Task::Node { task, .. }) = task else { panic!("{task:?}") };
    let Task::Keep { ticket, number: 0, .. } = *task else { panic!("{task:?}") };
    field.store_says(Answer::Kept { ticket, push, number: 0, bytes: 6, result: Ok(()) });
    field.bench.wait_ms(400);
    let takes = |task: &Task| matches!(task, Task::Node { task, .. } if matches!(**task, Task::Take { parts: 2, .. }));
    assert!(field.bench.tasks.iter().any(takes), "{:?}", field.bench.tasks);
}

#[test]
fn what_is_for_a_node_that_is_not_here_is_turned_away_and_acknowledged() {
    let mut field = Field::new();
    publish(&mut field, "eyot/bench/node/south/push", 5);
    assert_eq!(field.bench.acked.len(), 1);
    assert!(!field.bench.tasks.iter().any(|task| matches!(task, Task::Node { .. })));
    publish(&mut field, "eyot/bench/node/north/push", 6);
    assert!(field.bench.tasks.iter().any(|task| matches!(task, Task::Node { .. })));
}
