//! The program: arguments, exit codes, signals.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::function::{echo, keeper, module};
use common::TempDir;

fn eyotd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eyotd"));
    command.args(args).env_remove("EYOT_LOG").stdin(Stdio::null());
    command
}

fn check(file: &Path) -> Output {
    eyotd(&["--config", file.to_str().unwrap(), "--check"]).output().unwrap()
}

const GOOD: &str = "[gateway]\nid = \"barn-7\"\ndata_dir = \"data\"\n[broker]\nurl = \"embedded://127.0.0.1:0\"\n\
                    [[function]]\npath = \"echo.wasm\"\n";

#[test]
fn check_says_ok_or_everything_that_is_wrong() {
    let dir = TempDir::new();
    echo(&dir);
    let output = check(&dir.write("gateway.toml", GOOD));
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ok\n"[..]), "{output:?}");

    let file = dir.write("gateway.toml", &GOOD.replace("barn-7", "a/b").replace("path", "paht"));
    let output = check(&file);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains(&format!("{}:2: gateway.id: ", file.display())), "{text}");
    assert!(text.contains("did you mean \"path\"?"), "{text}");

    let over = "name = \\\"greedy\\\"\\nversion = \\\"1.0.0\\\"\\n[limits]\\nmemory = \\\"1GiB\\\"\\n";
    module(&dir, "greedy.wasm", over);
    let more = "[[function]]\npath = \"greedy.wasm\"\n[[function]]\npath = \"nowhere.wasm\"\n\
                [[function]]\npath = \"echo.wasm\"\n";
    let output = check(&dir.write("gateway.toml", &format!("{GOOD}{more}")));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 3), "{text}");
    for (line, words) in [(9, "greedy.wasm is refused: "), (11, "nowhere.wasm cannot be read"), (13, "is named twice")]
    {
        assert!(text.contains(&format!("gateway.toml:{line}: function.path: ")) && text.contains(words), "{text}");
    }
    let both = format!("{GOOD}{more}").replace("barn-7", "a/b");
    for check in [&["--check"][..], &[]] {
        let file = dir.write("gateway.toml", &both);
        let output = eyotd(&[&["--config", file.to_str().unwrap()], check].concat()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 4), "all at once: {text}");
    }

    let odd = format!("{GOOD}[[uplink]]\nname = \"usb\"\nurl = \"file:///nowhere\"\ntopics = [\"#\"]\n");
    let output = check(&dir.write("gateway.toml", &odd));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ok\n"[..]), "{text}");
    assert!(text.starts_with("warning: ") && text.contains("gateway.toml:10: uplink.url: /nowhere does not"), "{text}");
}

#[test]
fn a_reducer_is_woken_by_no_message() {
    let dir = TempDir::new();
    echo(&dir);
    let file = dir.write("gateway.toml", &format!("{GOOD}[spool.reduce]\nfunction = \"echo\"\n"));
    let reason = "gateway.toml:9: spool.reduce.function: \"echo\" has the trigger \"sensors/+/raw\"";
    for args in [&["--check"][..], &[]] {
        let output = eyotd(&[&["--config", file.to_str().unwrap()], args].concat()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(reason) && text.contains("remove it from its function.toml"), "{text}");
    }
}

#[test]
fn a_reducer_has_little_fuel_for_one_output() {
    let dir = TempDir::new();
    echo(&dir);
    let with = |fuel: &str| {
        let manifest =
            r#"name = \"slow\"\nversion = \"1.0.0\"\n[limits]\nfuel = FUEL\n[allow]\nemit = [\"cloud/#\"]\n"#;
        module(&dir, "slow.wasm", &manifest.replace("FUEL", fuel));
        let reduce = "[[function]]\npath = \"slow.wasm\"\n[spool.reduce]\nfunction = \"slow\"\n";
        check(&dir.write("gateway.toml", &format!("{GOOD}{reduce}")))
    };
    let fits = with("10_000_000");
    assert_eq!(fits.status.code(), Some(0), "{fits:?}");
    let refused = with("10_000_001");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    let reason = "gateway.toml:11: spool.reduce.function: \"slow\" has [limits] fuel = 10000001, and messages wait";
    assert!(text.contains(reason) && text.contains("lower it to 10000000 or less"), "{text}");
}

#[test]
fn the_state_of_all_functions_is_an_eighth_of_the_log_at_most() {
    let dir = TempDir::new();
    echo(&dir);
    let with = |max_bytes: &str, count: u32| {
        let function = |n| {
            keeper(&dir, &format!("keeper-{n}"));
            format!("[[function]]\npath = \"keeper-{n}.wasm\"\n")
        };
        let functions: String = (0..count).map(function).collect();
        check(&dir.write("gateway.toml", &format!("{GOOD}{functions}[spool]\nmax_bytes = \"{max_bytes}\"\n")))
    };
    let fits = with("1MiB", 2);
    assert_eq!(fits.status.code(), Some(0), "{fits:?}");
    let text = String::from_utf8(with("1MiB", 3).stderr).unwrap();
    let needles =
        ["gateway.toml:13: function.path: ", "65536 bytes", "196608 with the 131072", "131072, an eighth", "\"2MiB\""];
    assert!(needles.iter().all(|needle| text.contains(needle)) && text.lines().count() == 1, "{text}");
}

#[test]
fn what_all_functions_come_to_by_their_rates_is_within_the_fuel_budget() {
    let dir = TempDir::new();
    let with = |rates: &[&str]| {
        let function = |(n, rate): (usize, &&str)| {
            let rate = if rate.is_empty() { String::new() } else { format!("rate = \\\"{rate}\\\"") };
            let limits = "[limits]\\nfuel = 50_000\\n";
            let trigger = format!("[[trigger]]\\nmqtt = \\\"a/{n}\\\"\\n{rate}");
            let manifest = format!("name = \\\"f{n}\\\"\\nversion = \\\"1.0.0\\\"\\n{limits}{trigger}");
            module(&dir, &format!("f{n}.wasm"), &manifest);
            format!("[[function]]\npath = \"f{n}.wasm\"\n")
        };
        let functions: String = rates.iter().enumerate().map(function).collect();
        let without = GOOD.replace("[[function]]\npath = \"echo.wasm\"\n", "");
        check(&dir.write("gateway.toml", &format!("{without}{functions}[run]\nfuel_budget = \"10_000_000/s\"\n")))
    };
    let fits = with(&["100/s", "5999/min"]);
    assert_eq!(fits.status.code(), Some(0), "{fits:?}");
    let text = String::from_utf8(with(&["100/s", "6000/min"]).stderr).unwrap();
    let needles = [
        "gateway.toml:9: function.path: ",
        "50000 fuel, and 2 to start anew, for each of 360000 messages in an hour: 5000200 in a second",
        "makes 10000400 with the 5000200 of other functions; [run] fuel_budget is 10000000",
    ];
    assert!(needles.iter().all(|needle| text.contains(needle)) && text.lines().count() == 1, "{text}");
    let text = String::from_utf8(with(&[""]).stderr).unwrap();
    assert!(text.contains("gateway.toml:7: function.path: ") && text.contains("trigger \"a/0\" expects"), "{text}");
}

#[test]
fn bad_usage_and_failures_have_their_exit_codes() {
    assert_eq!(eyotd(&["--no-such-thing"]).output().unwrap().status.code(), Some(2));
    assert_eq!(eyotd(&["--config", "/nowhere"]).output().unwrap().status.code(), Some(2));
    let help = String::from_utf8(eyotd(&["--help"]).output().unwrap().stdout).unwrap();
    assert!(help.contains("--check") && help.contains("Examples:"), "{help}");

    let dir = TempDir::new();
    let file = dir.write("gateway.toml", GOOD);
    echo(&dir);
    // What keeps the log from being opened only shows when it is: here, its lock cannot be.
    std::fs::create_dir_all(dir.0.join("data").join("lock")).unwrap();
    let output = eyotd(&["--config", file.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("data_dir") && text.contains("writable"), "{text}");
    let output = eyotd(&["--config", file.to_str().unwrap(), "--log-level", "loud=="]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Runs until a line with `words` is in the log.
fn run_until(file: &Path, words: &str) -> (Child, impl Iterator<Item = String>) {
    let args = ["--config", file.to_str().unwrap(), "--log", "json"];
    let mut child = eyotd(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(words)), "the log says {words}");
    (child, lines)
}

#[test]
fn sigterm_and_sigint_end_it_in_good_order() {
    for signal in ["TERM", "INT"] {
        let dir = TempDir::new();
        echo(&dir);
        let (mut child, mut lines) = run_until(&dir.write("gateway.toml", GOOD), "\"connected\"");
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let last = lines.by_ref().last().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{last}");
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!((last["message"].as_str(), last["level"].as_str()), (Some("stopped"), Some("INFO")));
    }
}
