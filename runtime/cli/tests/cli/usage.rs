//! What holds for every command.

use crate::harness::Folder;

#[test]
fn bad_usage_is_exit_code_2() {
    let folder = Folder::new();
    for args in [
        &[][..],
        &["fly"],
        &["run"],
        &["run", "fn.wasm", "-t", "a"],
        &["run", "fn.wasm", "-t", "a", "-p", "x", "-f", "y"],
        &["run", "fn.wasm", "-t", "a", "-p", "x", "--repeat", "0"],
        &["run", "fn.wasm", "-t", "a", "-p", "x", "--lines"],
        &["completions", "cobol"],
        &["push"],
        &["push", "fn.wasm"],
        &["push", "fn.wasm", "--gateway", "a/b"],
        &["push", "fn.wasm", "--gateway", "g", "--group", "h"],
        &["push", "fn.wasm", "--gateway", "g", "--parts", "7"],
        &["push", "fn.wasm", "--gateway", "g", "--parts", "7KB", "--retain"],
        &["status"],
        &["list", "--broker", "http://host"],
        &["list", "--broker", "mqtt://host", "--ca", "ca.pem"],
        &["list", "--broker", "mqtts://host", "--ca", "none.pem"],
        &["list", "--broker", "mqtts://host", "--cert", "cert.pem"],
        &["list", "--timeout", "7"],
        &["list", "--protocol", "3"],
        &["list", "--password-file", "none"],
        &["logs", "--gateway", "g", "--level", "loud"],
        &["rollback", "f", "--gateway", "g"],
        &["rollback", "f", "--gateway", "g", "--key", "none"],
        &["config", "set", "f", "--gateway", "g"],
        &["config", "set", "f", "novalue", "--gateway", "g"],
        &["capture", "f", "--gateway", "g"],
        &["capture", "f", "--gateway", "g", "--out", "f.cap", "--count", "0"],
    ] {
        let output = folder.eyot(args).exits(2);
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

/// What is for a gateway elsewhere would do nothing here, and whoever gives it would not know.
#[test]
fn options_that_would_do_nothing_without_a_gateway_are_refused() {
    let folder = Folder::new();
    let place: &[&str] = &["place", "fn.wasm"];
    for (command, options) in [
        (place, &[["--broker", "mqtt://host"], ["--username", "ada"], ["--protocol", "4"], ["--timeout", "9s"]][..]),
        (&["dev"], &[["--broker", "mqtt://host"], ["--ca", "ca.pem"], ["--key", "ada"]]),
    ] {
        for option in options {
            folder.eyot(&[command, option].concat()).exits(2).says(&["required", "--gateway <ID>"]);
        }
    }
    // Those that a command has by default, or makes use of, are no mistake.
    folder.eyot(&["place", "none.wasm"]).exits(2).says(&["none.wasm"]);
    folder.eyot(&["dev", "none", "--timeout", "9s"]).exits(2).says(&["none"]);
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    let all =
        "new build run test dev replay inspect keys sign verify push list status logs rollback promote remove config \
               capture ledger demo completions";
    for command in all.split(' ') {
        folder.eyot(&[command, "--help"]).exits(0).prints(&["Usage: ", "Examples:", &format!("eyot {command}")]);
    }
    folder.eyot(&["--help"]).exits(0).prints(&["Examples:", "Exit codes"]);
}

/// Other users of the machine see the arguments of a process.
#[test]
fn a_password_in_the_url_is_refused_and_not_repeated() {
    let output = Folder::new().eyot(&["list", "--broker", "mqtt://ada:secret@host"]).exits(2);
    let output = output.says(&["--broker: has a password", "--password-file", "EYOT_PASSWORD"]);
    assert!(!output.stderr.contains("secret"));
}

#[test]
fn a_broker_that_is_not_there_is_told_with_its_url() {
    // Nobody listens on port 1 of this machine.
    let output = Folder::new().eyot(&["list", "--broker", "mqtt://127.0.0.1:1", "--json"]).exits(1);
    assert_eq!(output.json()["error"]["kind"], "failed");
    output.says(&["mqtt://127.0.0.1:1: ", "refused", "--broker"]);
}

#[test]
fn the_version_is_that_of_the_crate() {
    let output = Folder::new().eyot(&["--version"]).exits(0);
    assert_eq!(output.stdout, format!("eyot {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        Folder::new().eyot(&["completions", shell]).exits(0).prints(&[
            "eyot",
            "inspect",
            "keys",
            "sign",
            "verify",
            "push",
            "rollback",
            "completions",
        ]);
    }
}
