//! `eyot ledger` on what the real daemon wrote, and on what is left of it when somebody takes lines away.

use std::fs;
use std::path::Path;
use std::process::Command;

use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::programs::eyot;
use eyot_test_e2e::site::{balances, Site};
use serde_json::Value;

const MESSAGES: u64 = 500;

/// Exit code, and the report.
fn audit(dump: &Path, status: Option<&Path>) -> (Option<i32>, Value) {
    let mut command = Command::new(eyot());
    command.args(["ledger", "--json", "--from"]).arg(dump);
    if let Some(status) = status {
        command.arg("--status").arg(status).args(["--uplink", "cloud"]);
    }
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&shown);
    (output.status.code(), report.unwrap_or_else(|e| panic!("{e}: {shown}{}", String::from_utf8_lossy(&output.stderr))))
}

#[test]
fn a_gap_in_the_files_of_an_uplink_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let mut site = Site::new("audited").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    site.config.uplinks = vec![Uplink {
        more: "batch_max = 50\nlinger = \"50ms\"\n".to_owned(),
        ..Uplink::cloud(format!("file://{}", files.display()))
    }];
    let _daemon = site.start();
    let mut sensor = site.client("sensor");
    for number in 0..MESSAGES {
        sensor.publish("in/x", number.to_string());
    }
    let settled = |status: &Value| status["ledger"]["delivered"] == MESSAGES && status["ledger"]["pending"] == 0;
    let status = site.await_status("everything in the files", settled);
    assert!(balances(&status), "{status}");
    let status_file = dir.path().join("status.json");
    fs::write(&status_file, status.to_string()).unwrap();

    let paths: Vec<_> = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = &paths[..] else { panic!("one file, as it is small: {paths:?}") };
    for status in [None, Some(&*status_file)] {
        let (code, report) = audit(path, status);
        assert_eq!((code, &report["ok"], &report["streams"][0]["distinct"]), (Some(0), &true.into(), &MESSAGES.into()));
    }

    let text = fs::read_to_string(path).unwrap();
    let planted = [120..123, 400..401, 498..500];
    let is_kept = |n: u64| !planted.iter().any(|gap| gap.contains(&n));
    let kept: String =
        (0..).zip(text.split_inclusive('\n')).filter(|(n, _)| is_kept(*n)).map(|(_, line)| line).collect();
    let dump = dir.path().join("dump.ndjson");
    fs::write(&dump, kept).unwrap();
    // Lines are counted from 0 here, outputs from 1. What is missing at the end, only the status tells.
    let gap = |first: u64, last: u64| serde_json::json!({"first": first, "last": last});
    let gaps = [gap(121, 123), gap(401, 401), gap(499, 500)];
    for (status, missing) in [(None, &gaps[..2]), (Some(&*status_file), &gaps[..])] {
        let (code, report) = audit(&dump, status);
        let stream = &report["streams"][0];
        assert_eq!((code, &report["ok"]), (Some(1), &false.into()), "{report}");
        assert_eq!(stream["missing_ranges"], Value::from(missing), "{report}");
        assert_eq!(stream["unexplained"], stream["missing"], "the gateway says it delivered all: {report}");
    }
}
