//! `eyot test`.

use std::fs;
use std::path::Path;

use eyot_wire::capture::{Capture, Outcome};
use serde_json::{json, Value};

use crate::harness::{module, with_manifest, Folder, ECHO, MANIFEST, REMEMBER};

/// A folder `f` with a function that has this body.
fn folder(body: &str) -> Folder {
    let folder = Folder::new();
    folder.write("f/function.toml", MANIFEST);
    folder.write("f/sample.wasm", with_manifest(&module(body), MANIFEST));
    folder
}

fn case(folder: &Folder, name: &str, case: &Value) {
    folder.write(&format!("f/tests/{name}.json"), case.to_string());
}

#[test]
fn a_case_comes_out_or_says_where_it_does_not() {
    let folder = folder(REMEMBER);
    let good = json!({
        "topic": "in/7", "payload": "21.5", "state": {"last": "20"},
        "expect": {
            "emits": [{"topic": "out/a", "payload": "20"}],
            "state": [{"op": "set", "key": "last", "value": "21.5"}],
        },
    });
    case(&folder, "good", &good);
    folder.eyot(&["test", "f"]).exits(0).prints(&["ok      f/tests/good.json", "1 case of sample"]);
    let mut bad = good;
    bad["expect"]["emits"][0]["payload"] = json!("21");
    case(&folder, "bad", &bad);
    let output = folder.eyot(&["test", "f"]).exits(1).says(&["f: 1 of 2 cases", "--update"]);
    output.prints(&[
        "failed  f/tests/bad.json",
        "- emit   out/a  21",
        "+ emit   out/a  20",
        "ok      f/tests/good.json",
    ]);
}

#[test]
fn what_is_not_said_is_not_compared_but_the_end() {
    let folder = folder(REMEMBER);
    case(&folder, "a", &json!({"topic": "in/7"}));
    folder.eyot(&["test", "f"]).exits(0);
    folder.write("f/sample.wasm", with_manifest(&module("i32.const 7"), MANIFEST));
    folder.eyot(&["test", "f"]).exits(1).prints(&["- ends well", "+ fails: eyot_handle returned error code 7"]);
    case(&folder, "a", &json!({"topic": "in/7", "expect": {"error": {"kind": "error", "code": 7}}}));
    folder.eyot(&["test", "f"]).exits(0);
    case(&folder, "a", &json!({"topic": "in/7", "expect": {"error": {"kind": "error", "code": 8}}}));
    folder.eyot(&["test", "f"]).exits(1).prints(&["- fails: error 8"]);
}

#[test]
fn json_payloads_are_given_as_written_and_compared_as_documents() {
    let folder = folder(ECHO);
    let text = |expected: &str| {
        format!(
            r#"{{"topic": "in/7", "payload": {{"b":1.50, "a":[1]}}, "expect": {{"emits": [{{"topic": "out/a", "payload": {expected}}}]}}}}"#
        )
    };
    folder.write("f/tests/a.json", text(r#"{"a": [1], "b": 1.5}"#));
    folder.eyot(&["test", "f"]).exits(0);
    folder.write("f/tests/a.json", text(r#""{\"b\":1.50, \"a\":[1]}""#));
    folder.eyot(&["test", "f"]).exits(0);
    folder.write("f/tests/a.json", text(r#"{"a": [1], "b": 2}"#));
    folder.eyot(&["test", "f"]).exits(1).prints(&[r#"- emit   out/a  {"a":[1],"b":2}"#]);
}

#[test]
fn update_writes_what_came_out_and_keeps_the_rest() {
    let folder = folder(REMEMBER);
    folder.write(
        "f/tests/a.json",
        r#"{"topic": "in/7", "payload": {"b":1.50, "a":1}, "state": {"last": "{\"t\":1.0}"}}"#,
    );
    case(
        &folder,
        "b",
        &json!({"topic": "in/7", "payload_base64": "/w==", "expect": {"logs": [], "emits": [{"topic": "x"}]}}),
    );
    folder.eyot(&["test", "f", "--update"]).exits(0).prints(&["updated f/tests/b.json"]);
    folder.eyot(&["test", "f"]).exits(0);
    let read = |name: &str| String::from_utf8(folder.read(name)).unwrap();
    let a = read("f/tests/a.json");
    assert!(a.contains(r#""payload": {"b":1.50, "a":1}"#), "{a}");
    assert!(a.contains(r#""payload": {"t":1.0}"#) && !a.contains("logs") && !a.contains("seed"), "{a}");
    let b: Value = serde_json::from_str(&read("f/tests/b.json")).unwrap();
    assert_eq!(
        b["expect"],
        json!({"emits": [], "state": [{"op": "set", "key": "last", "value_base64": "/w=="}], "logs": []})
    );
    folder.write("f/sample.wasm", with_manifest(&module("i32.const 7"), MANIFEST));
    folder.eyot(&["test", "f", "--update"]).exits(0);
    let a: Value = serde_json::from_str(&read("f/tests/a.json")).unwrap();
    assert_eq!(a["expect"], json!({"error": {"kind": "error", "code": 7}}));
    folder.eyot(&["test", "f"]).exits(0);
}

#[test]
fn captures_must_come_out_as_recorded_and_dead_letters_well() {
    let folder = folder(ECHO);
    let capture = Capture {
        function: "sample".into(),
        version: "1.0.0".into(),
        sha256: [0; 32],
        topic: "in/7".into(),
        payload: b"x".to_vec(),
        now_ms: 1,
        seed: 1,
        state: Some(Vec::new()),
        config: Vec::new(),
        outcome: Outcome { result: Ok(()), emits: Vec::new(), state: Vec::new(), logs: Vec::new(), emits_refused: 0 },
    };
    folder.write("f/tests/a.cap", [capture.encode().unwrap(), capture.encode().unwrap()].concat());
    case(
        &folder,
        "letter",
        &json!({"function": "sample", "reason": "trap", "detail": "trap: x", "topic": "in/7",
        "payload_base64": "eA==", "received_at_ms": 1, "random_seed": 2}),
    );
    let output = folder.eyot(&["test", "f"]).exits(1).says(&["2 of 3 cases"]);
    output.prints(&["failed  f/tests/a.cap, 2", "+ emit   out/a  x", "ok      f/tests/letter.json"]);
    folder.eyot(&["test", "f", "--update"]).exits(0);
    folder.eyot(&["test", "f"]).exits(0);
    let letter: Value = serde_json::from_slice(&folder.read("f/tests/letter.json")).unwrap();
    assert_eq!(letter["expect"]["emits"], json!([{"topic": "out/a", "payload": "x"}]));
    assert!(letter.get("reason").is_none(), "{letter}");
}

#[test]
fn what_cannot_be_used_is_exit_code_2() {
    let folder = folder(ECHO);
    folder.eyot(&["test", "f"]).exits(2).says(&["f/tests: ", "has no cases"]);
    folder.write("f/tests/a.json", "{");
    folder.eyot(&["test", "f"]).exits(2).says(&["f/tests/a.json: ", "line 1"]);
    folder.write("f/tests/a.json", r#"{"topic": "in/7", "expects": {}}"#);
    folder.eyot(&["test", "f"]).exits(2).says(&["f/tests/a.json: ", "expects"]);
    folder.write("f/tests/a.json", r#"{"topic": "in/7", "payload": "x", "payload_base64": ""}"#);
    folder.eyot(&["test", "f"]).exits(2).says(&["payload_base64; leave one out"]);
    fs::remove_file(folder.path().join("f/sample.wasm")).unwrap();
    folder.eyot(&["test", "f"]).exits(2).says(&["f/sample.wasm: is not there", "eyot build f"]);
    folder.eyot(&["test", "g"]).exits(2).says(&["g/function.toml: "]);
}

#[test]
fn the_cases_of_the_examples_come_out() {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    for name in ["alarm", "celsius", "smooth", "thin"] {
        Folder::new().eyot(&["test", functions.join(name).to_str().unwrap()]).exits(0).prints(&["case"]);
    }
}
