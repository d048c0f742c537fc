//! `eyot replay`.

use eyot_wire::capture::{Capture, Outcome};
use eyot_wire::code::Failure;
use serde_json::{json, Value};

use crate::harness::{Folder, ECHO, REMEMBER};

/// A capture of [`REMEMBER`] with payload `21.5`, when `last` was `20`.
fn capture() -> Capture {
    Capture {
        function: "sample".into(),
        version: "1.2.3".into(),
        sha256: [7; 32],
        topic: "in/7".into(),
        payload: b"21.5".to_vec(),
        now_ms: 1_700_000_000_123,
        seed: 3,
        state: Some(vec![(b"last".to_vec(), b"20".to_vec())]),
        config: vec![("greeting".into(), "hi".into())],
        outcome: Outcome {
            result: Ok(()),
            emits: vec![("out/a".into(), b"20".to_vec())],
            state: vec![(b"last".to_vec(), Some(b"21.5".to_vec()))],
            logs: Vec::new(),
            emits_refused: 0,
        },
    }
}

fn file(captures: &[Capture]) -> Vec<u8> {
    captures.iter().flat_map(|capture| capture.encode().unwrap()).collect()
}

const WITH: [&str; 4] = ["replay", "a.cap", "--with", "fn.wasm"];

#[test]
fn what_does_the_same_is_as_recorded() {
    let folder = Folder::new();
    folder.function(REMEMBER);
    folder.write("a.cap", file(&[capture(), capture()]));
    let output = folder.eyot(&WITH).exits(0).prints(&["1: in/7, sample 1.2.3", "as recorded", "emit   out/a  20"]);
    output.prints(&["2: in/7", "another than the recorded one, 0707"]);
}

#[test]
fn without_a_function_the_recording_is_shown() {
    let folder = Folder::new();
    folder.write("a.cap", file(&[capture()]));
    let output = folder.eyot(&["replay", "a.cap"]).exits(0);
    output.prints(&["21.5", "greeting = hi", "last = 20", "emit   out/a  20", "state  set last = 21.5"]);
}

#[test]
fn what_does_something_else_is_told_line_by_line() {
    let folder = Folder::new();
    folder.function(ECHO);
    folder.write("a.cap", file(&[capture()]));
    let output = folder.eyot(&WITH).exits(1).says(&["a.cap: 1 of 1 messages"]);
    let output = output.prints(&["not as recorded", "- emit   out/a  20", "+ emit   out/a  21.5"]);
    output.prints(&["- state  set last = 21.5"]);
    folder.function("unreachable");
    folder.eyot(&WITH).exits(1).prints(&["- ends well", "+ fails: trap: "]);
}

#[test]
fn time_seed_and_configuration_are_those_of_the_recording() {
    let folder = Folder::new();
    // Emits the time, four random bytes, and the greeting.
    folder.function(
        "(i64.store (i32.const 512) (call $now_ms))
         (drop (call $random (i32.const 520) (i32.const 4)))
         (call $emit (i32.const 0) (i32.const 5) (i32.const 512) (i32.add (i32.const 12)
             (call $config_get (i32.const 32) (i32.const 8) (i32.const 524) (i32.const 8))))",
    );
    let emitted = |capture: &Capture| {
        folder.write("a.cap", file(std::slice::from_ref(capture)));
        folder.eyot(&["replay", "a.cap", "--with", "fn.wasm", "--json"]).json()["emits"].clone()
    };
    let other = |change: fn(&mut Capture)| {
        let mut capture = capture();
        change(&mut capture);
        emitted(&capture)
    };
    let first = emitted(&capture());
    assert_eq!(first, emitted(&capture()));
    assert_ne!(first, other(|capture| capture.now_ms += 1));
    assert_ne!(first, other(|capture| capture.seed += 1));
    assert_ne!(first, other(|capture| capture.config.clear()));
}

#[test]
fn each_message_has_its_own_configuration() {
    let folder = Folder::new();
    folder.function(
        "(call $emit (i32.const 0) (i32.const 5) (i32.const 512)
            (call $config_get (i32.const 32) (i32.const 8) (i32.const 512) (i32.const 64)))",
    );
    let other = Capture { config: vec![("greeting".into(), "ahoy".into())], ..capture() };
    folder.write("a.cap", file(&[capture(), other, Capture { config: Vec::new(), ..capture() }]));
    let output = folder.eyot(&WITH).exits(1);
    output.prints(&["emit   out/a  hi", "emit   out/a  ahoy", "emit   out/a  hello"]);
}

#[test]
fn two_versions_are_compared_with_each_other() {
    let folder = Folder::new();
    folder.function(ECHO);
    std::fs::rename(folder.path().join("fn.wasm"), folder.path().join("new.wasm")).unwrap();
    folder.function(REMEMBER);
    folder.write("a.cap", file(&[capture()]));
    let same = [&WITH[..], &["--diff", "fn.wasm"]].concat();
    folder.eyot(&same).exits(0).prints(&["both do the same"]);
    let differ = [&WITH[..], &["--diff", "new.wasm"]].concat();
    folder.eyot(&differ).exits(1).prints(&["they differ", "- emit   out/a  20", "+ emit   out/a  21.5"]);
}

#[test]
fn a_dead_letter_fails_again_and_then_does_not() {
    let folder = Folder::new();
    folder.function("i32.const 42");
    let letter = json!({
        "function": "sample", "version": "1.2.3", "sha256": "07", "reason": "error",
        "detail": Failure::Code(42).to_string(), "code": 42, "topic": "in/7", "payload_base64": "MjEuNQ==",
        "received_at_ms": 1, "random_seed": 2, "state": {"last": "base64:/wA="}, "config": {"greeting": "hi"},
    });
    let stream = format!("{letter}\n{letter}\n");
    let args = ["replay", "-", "--with", "fn.wasm"];
    folder.eyot_reading(stream.as_bytes(), &args).exits(0).prints(&["2: in/7", "as recorded", "error code 42"]);
    folder.function(REMEMBER);
    let fixed = folder.eyot_reading(stream.as_bytes(), &args).exits(1);
    fixed.prints(&["- fails: ", "+ ends well", "+ emit   out/a  base64:/wA="]);
}

#[test]
fn what_depends_on_the_machine_is_not_compared() {
    let folder = Folder::new();
    folder.function(ECHO);
    let late = Outcome { result: Err(Failure::Deadline), emits: Vec::new(), ..capture().outcome };
    folder.write("a.cap", file(&[Capture { outcome: late, ..capture() }]));
    folder.eyot(&WITH).exits(0).prints(&["not compared", "depends on the machine"]);
    folder.write("a.cap", file(&[Capture { state: None, ..capture() }]));
    folder.eyot(&WITH).exits(0).prints(&["not compared", "too large"]);
}

#[test]
fn json_has_a_line_for_each_message() {
    let folder = Folder::new();
    folder.function(ECHO);
    folder.write("a.cap", file(&[capture(), capture()]));
    let output = folder.eyot(&[&WITH[..], &["--json"]].concat()).exits(1);
    let lines: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["number"], &lines[1]["same"]), (&json!(2), &json!(false)));
    assert_eq!(lines[1]["emits"], json!([{"topic": "out/a", "payload": "21.5"}]));
    assert_eq!(lines[1]["differences"][0], "- emit   out/a  20");
}

#[test]
fn what_is_no_recording_is_refused_with_its_place() {
    let folder = Folder::new();
    folder.function(ECHO);
    let good = file(&[capture()]);
    for (bytes, needle) in [
        (Vec::new(), "does not begin with EyC"),
        (good[..good.len() - 1].to_vec(), "ends in the middle"),
        ([&good[..], b"x"].concat(), "number 2"),
        (b"{\"topic\": \"in/+\"}".to_vec(), "topic"),
        (b"{\"topic\": 1}".to_vec(), "line 1"),
        (b"{\"topic\": \"in/7\", \"uplink\": \"cloud\"}".to_vec(), "uplink"),
        (b"{\"topic\": \"in/7\", \"state\": {\"k\": \"base64:?\"}}".to_vec(), "base64"),
    ] {
        folder.write("a.cap", bytes);
        folder.eyot(&WITH).exits(2).says(&["a.cap", needle, "; "]);
    }
    folder.eyot(&["replay", "gone"]).exits(2).says(&["gone: cannot be read"]);
    // As mosquitto_sub without -N writes it.
    folder.write("a.cap", [&good[..], b"\n", &good, b"\n"].concat());
    folder.eyot(&["replay", "a.cap"]).exits(0).prints(&["2: in/7"]);
}
