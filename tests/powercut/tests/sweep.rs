//! A short sweep by the program itself: nothing is lost, and what does not sync is caught.
//!
//! `EYOT_POWERCUT_CUTS` sets how many cuts, `EYOT_POWERCUT_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

fn powercut(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_powercut"));
    let output = command.args(args).stderr(Stdio::inherit()).output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[test]
fn nothing_is_lost_and_what_does_not_sync_is_caught() {
    if let Some(missing) = eyot_test_powercut::namespace::missing() {
        // Past the capture of passing tests: nobody must take this for a proof.
        let _ = writeln!(std::io::stderr(), "SKIPPED power cuts: {missing}; nothing was tested");
        return;
    }
    let cuts = setting("EYOT_POWERCUT_CUTS", "300");
    let seed = setting("EYOT_POWERCUT_SEED", &fastrand::u64(..1_000_000).to_string());
    let keep = std::env::temp_dir().join("eyot-powercut-cases");
    let (code, stdout) = powercut(&["--json", "--cuts", &cuts, "--seed", &seed, "--keep", &keep.to_string_lossy()]);
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((report["holds"].as_bool(), report["failures"].as_u64()), (Some(true), Some(0)), "{report:#}");
    assert_eq!(report["cuts"].as_u64(), cuts.parse().ok());
    let sweeps = report["sweeps"].as_array().unwrap();
    let is_sound = |sweep: &&Value| sweep["control"] == "sound";
    for sweep in sweeps.iter().filter(is_sound) {
        for stage in sweep["stages"].as_array().unwrap() {
            assert!(stage["cuts"].as_u64() > Some(0), "a stage was never cut: {sweep:#}");
        }
    }
    for sweep in sweeps.iter().filter(|sweep| !is_sound(sweep)) {
        assert!(sweep["failures"].as_u64() > Some(0), "it does not sync, and nothing was lost: {sweep:#}");
    }
    assert_eq!(sweeps.iter().filter(is_sound).count(), 2, "the log and the daemon");
}

#[test]
fn bad_usage_is_told_apart() {
    assert_eq!(powercut(&["--cuts", "3"]).0, Some(2));
    assert_eq!(powercut(&["--replay", "x", "--json"]).0, Some(2));
}
