//! `eyot run --json`: the shape that programs rely on.

use serde_json::{json, Value};

use crate::harness::{Folder, ECHO, REMEMBER};

const RUN: [&str; 7] = ["run", "fn.wasm", "--topic", "in/7", "--payload", "21.5", "--json"];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_message_that_ended_well() {
    let folder = Folder::new();
    folder.function(&format!(
        "{REMEMBER} drop {ECHO} drop (call $emit (i32.const 0) (i32.const 5) (i32.const 48) (i32.const 2))"
    ));
    let report = folder.eyot(&RUN).exits(0).json();
    assert_eq!(report["function"]["name"], "sample");
    assert_eq!(report["function"]["version"], "1.2.3");
    assert_eq!(report["function"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&report["topic"], &report["triggered"], &report["ok"]), (&json!("in/7"), &json!(true), &json!(true)));
    let emits = json!([{"topic": "out/a", "payload": "21.5"}, {"topic": "out/a", "payload_base64": "/wA="}]);
    assert_eq!(report["emits"], emits);
    assert_eq!(report["state"], json!([{"op": "set", "key": "last", "value": "21.5"}]));
    assert_eq!(report["logs"], json!([]));
    assert_eq!(report["refused_emits"], json!({"not_allowed": 0, "malformed": 0, "over_limit": 0}));
    assert!(report["fuel"].as_u64().unwrap() > 0);
    assert_eq!((&report["fuel_limit"], &report["memory_bytes"]), (&json!(1_000_000), &json!(524_288)));
    assert_eq!((&report["random_used"], &report["repeat"]), (&json!(false), &json!(1)));
    assert_eq!(keys(&report["time_ns"]), ["max", "mean", "min"]);
    assert!(report.get("error").is_none() && report.get("line").is_none());
}

#[test]
fn a_failed_message_is_one_object_with_what_was_logged() {
    let folder = Folder::new();
    folder.function("(call $log (i32.const 0) (i32.const 16) (i32.const 4)) i32.const 7");
    let report = folder.eyot(&RUN).exits(1).says(&["error code 7"]).json();
    assert_eq!(report["ok"], false);
    assert_eq!((&report["error"]["kind"], &report["error"]["code"]), (&json!("error"), &json!(7)));
    assert!(report["error"]["message"].as_str().unwrap().contains('7'));
    assert_eq!(report["logs"], json!([{"level": "error", "text": "last"}]));
    assert_eq!((&report["fuel"], &report["emits"]), (&Value::Null, &json!([])));
}

#[test]
fn a_refusal_is_an_error_object() {
    let folder = Folder::new();
    let report = folder.eyot(&RUN).exits(2).says(&["fn.wasm"]).json();
    assert_eq!(keys(&report), ["error"]);
    assert_eq!(report["error"]["kind"], "bad-input");
    assert!(report["error"]["message"].as_str().unwrap().starts_with("fn.wasm: cannot be read"));
}

#[test]
fn each_line_is_an_object() {
    let folder = Folder::new();
    folder.function(ECHO);
    let args = ["run", "fn.wasm", "-t", "in/7", "-f", "-", "--lines", "--json"];
    let output = folder.eyot_reading(b"{\"t\":1}\n{\"t\":2}\n", &args).exits(0);
    let reports: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 2);
    assert_eq!((&reports[1]["line"], &reports[1]["emits"][0]["payload"]), (&json!(2), &json!("{\"t\":2}")));
}

#[test]
fn time_and_seed_are_inputs() {
    let folder = Folder::new();
    folder.function(
        "(i64.store (i32.const 512) (call $now_ms)) (drop (call $random (i32.const 520) (i32.const 8)))
        (call $emit (i32.const 0) (i32.const 5) (i32.const 512) (i32.const 16))",
    );
    let emitted = |more: &[&str]| {
        let report = folder.eyot(&[&RUN[..], more].concat()).exits(0).json();
        assert_eq!(report["random_used"], true);
        report["emits"][0].clone()
    };
    let fixed = ["--now-ms", "1700000000123", "--seed", "7"];
    assert_eq!(emitted(&fixed), emitted(&fixed));
    assert_ne!(emitted(&fixed), emitted(&["--now-ms", "1700000000123", "--seed", "8"]));
    assert_ne!(emitted(&fixed), emitted(&["--now-ms", "-1", "--seed", "7"]));
}

#[test]
fn repetitions_carry_the_state_on() {
    let folder = Folder::new();
    folder.function(REMEMBER);
    let report = folder.eyot(&[&RUN[..], &["--repeat", "50"]].concat()).exits(0).json();
    assert_eq!((&report["repeat"], &report["emits"][0]["payload"]), (&json!(50), &json!("21.5")));
    let time = &report["time_ns"];
    assert!(time["min"].as_u64() <= time["mean"].as_u64() && time["mean"].as_u64() <= time["max"].as_u64());
}
