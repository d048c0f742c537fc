//! `eyot run`, as text.

use eyot_wire::module::PAYLOAD_MAX_BYTES;

use crate::harness::{module, Folder, ECHO, REMEMBER};

const RUN: [&str; 6] = ["run", "fn.wasm", "--topic", "in/7", "--payload", "21.5"];

fn run_with(more: &[&'static str]) -> Vec<&'static str> {
    RUN.iter().chain(more).copied().collect()
}

#[test]
fn effects_are_shown() {
    let folder = Folder::new();
    folder.function(&format!("{REMEMBER} drop (call $log (i32.const 2) (i32.const 16) (i32.const 4)) {ECHO}"));
    let output = folder.eyot(&RUN).exits(0);
    assert_eq!(output.stderr, "");
    output.prints(&["sample 1.2.3: done", "out/a  21.5", "set last = 21.5", "info: last", "fuel ", "512.0 KiB"]);
}

#[test]
fn a_failure_is_exit_code_1_with_its_reason() {
    for (body, reason) in
        [("unreachable", "trap: "), ("(loop br 0) i32.const 0", "out of fuel"), ("i32.const 42", "error code 42")]
    {
        let folder = Folder::new();
        folder.function(body);
        folder.eyot(&RUN).exits(1).says(&["fn.wasm: ", reason, "; "]).prints(&["sample 1.2.3: failed"]);
    }
}

#[test]
fn a_refused_emit_is_shown_although_the_function_hides_it() {
    let folder = Folder::new();
    folder.function(
        "(drop (call $emit (local.get $topic) (local.get $topic_len) (i32.const 0) (i32.const 0))) i32.const 0",
    );
    folder.eyot(&RUN).exits(0).prints(&["1 emits", "allow.emit"]);
}

#[test]
fn a_module_that_is_refused_is_exit_code_2() {
    let folder = Folder::new();
    folder.write("fn.wasm", wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
    folder.eyot(&RUN).exits(2).says(&["fn.wasm: ", "eyot_abi", "missing"]);
    folder.write("fn.wasm", "hello");
    folder.eyot(&RUN).exits(2).says(&["fn.wasm: "]);
}

#[test]
fn a_file_that_cannot_be_read_is_exit_code_2() {
    Folder::new().eyot(&RUN).exits(2).says(&["fn.wasm: cannot be read"]);
    let folder = Folder::new();
    folder.function(ECHO);
    folder.eyot(&["run", "fn.wasm", "-t", "in/7", "--file", "gone"]).exits(2).says(&["gone: cannot be read"]);
}

#[test]
fn a_bad_topic_is_exit_code_2() {
    let folder = Folder::new();
    folder.function(ECHO);
    for topic in ["", "in/+", "in/#"] {
        folder.eyot(&["run", "fn.wasm", "-t", topic, "-p", ""]).exits(2).says(&["topic \"", "; "]);
    }
}

#[test]
fn a_payload_over_the_limit_is_exit_code_2() {
    let folder = Folder::new();
    folder.function("i32.const 0");
    let args = ["run", "fn.wasm", "-t", "in/7", "--file", "payload"];
    folder.write("payload", vec![b'x'; PAYLOAD_MAX_BYTES]);
    folder.eyot(&args).exits(0);
    folder.write("payload", vec![b'x'; PAYLOAD_MAX_BYTES + 1]);
    folder.eyot(&args).exits(2).says(&["payload", "262144 bytes"]);
    folder.eyot(&[&args[..], &["--lines"]].concat()).exits(2).says(&["payload:1", "262144 bytes"]);
}

#[test]
fn without_a_manifest_it_runs_under_the_default_limits() {
    let folder = Folder::new();
    folder.write("fn.wasm", module(ECHO));
    let output = folder.eyot(&RUN).exits(0).prints(&["fn 0.0.0: done", "out/a  21.5"]);
    assert!(output.stderr.contains("warning: fn.wasm: has no manifest"), "{}", output.stderr);
}

#[test]
fn a_topic_that_no_trigger_matches_is_told() {
    let folder = Folder::new();
    folder.function(ECHO);
    let output = folder.eyot(&["run", "fn.wasm", "-t", "elsewhere", "-p", "x"]).exits(0);
    assert!(output.stderr.contains("no trigger"), "{}", output.stderr);
}

#[test]
fn configuration_replaces_that_of_the_manifest() {
    let folder = Folder::new();
    folder.function(
        "(call $emit (i32.const 0) (i32.const 5) (i32.const 512)
            (call $config_get (i32.const 32) (i32.const 8) (i32.const 512) (i32.const 64)))",
    );
    folder.eyot(&RUN).exits(0).prints(&["out/a  hello"]);
    folder.eyot(&run_with(&["--config", "greeting=a=b"])).exits(0).prints(&["out/a  a=b"]);
    folder.eyot(&run_with(&["--config", "greeting"])).exits(2).says(&["KEY=VALUE"]);
}

#[test]
fn state_is_kept_in_its_file() {
    let folder = Folder::new();
    folder.function(REMEMBER);
    let state = ["--state", "state.json"];
    let first = folder.eyot(&run_with(&state)).exits(0);
    assert!(!first.stdout.contains("emit"), "{}", first.stdout);
    assert_eq!(folder.read("state.json"), b"{\n  \"last\": \"21.5\"\n}\n");
    folder.eyot(&run_with(&state)).exits(0).prints(&["out/a  21.5"]);
    folder.write("state.json", r#"{"last": "base64:/wA="}"#);
    folder.eyot(&run_with(&state)).exits(0).prints(&["out/a  base64:/wA="]);
    for bad in ["[]", "{\"last\": 1}", "{\"last\": \"base64:?\"}", "{"] {
        folder.write("state.json", bad);
        folder.eyot(&run_with(&state)).exits(2).says(&["state.json: ", "; "]);
        assert_eq!(folder.read("state.json"), bad.as_bytes(), "a state that was not understood is left alone");
    }
}

#[test]
fn a_failed_message_leaves_the_state_as_it_was() {
    let folder = Folder::new();
    folder.function(&format!("{REMEMBER} drop unreachable"));
    folder.write("state.json", "{\"last\":\"kept\"}");
    folder.eyot(&run_with(&["--state", "state.json"])).exits(1).says(&["trap"]);
    assert_eq!(folder.read("state.json"), b"{\n  \"last\": \"kept\"\n}\n");
}

#[test]
fn recorded_lines_share_their_state() {
    let folder = Folder::new();
    folder.function(REMEMBER);
    folder.write("recorded", "one\n\ntwo\r\nthree");
    let output =
        folder.eyot(&["run", "fn.wasm", "-t", "in/7", "-f", "recorded", "--lines", "--state", "s.json"]).exits(0);
    let output = output.prints(&["line 1: done", "line 3: done", "out/a  one", "line 4: done", "out/a  two"]);
    assert!(!output.stdout.contains("line 2"), "{}", output.stdout);
    assert_eq!(folder.read("s.json"), b"{\n  \"last\": \"three\"\n}\n");
}

#[test]
fn one_failed_line_does_not_stop_the_others() {
    let folder = Folder::new();
    folder.function("(i32.eq (local.get $payload_len) (i32.const 3))");
    let args = ["run", "fn.wasm", "-t", "in/7", "-f", "-", "--lines"];
    let output = folder.eyot_reading(b"one\nthree\ntwo\n", &args).exits(1).says(&["2 of 3 messages", "error code 1"]);
    output.prints(&["line 1: failed", "line 2: done", "line 3: failed"]);
}

#[test]
fn what_a_function_emits_cannot_steer_the_terminal() {
    let folder = Folder::new();
    folder.function(ECHO);
    let output = folder.eyot(&["run", "fn.wasm", "-t", "in/7", "-p", "\u{1b}[2J\nnext"]).exits(0);
    output.prints(&["out/a  \\u{1b}[2J\\nnext"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    folder.function(ECHO);
    folder.write("recorded", "message\n".repeat(20_000));
    let mut command = folder.command(&["run", "fn.wasm", "-t", "in/7", "-f", "recorded", "--lines"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
