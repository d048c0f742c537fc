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
    ] {
        let output = folder.eyot(args).exits(2);
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    for command in ["new", "build", "run", "inspect", "keys", "sign", "verify", "completions"] {
        folder.eyot(&[command, "--help"]).exits(0).prints(&["Usage: ", "Examples:", &format!("eyot {command}")]);
    }
    folder.eyot(&["--help"]).exits(0).prints(&["Examples:", "Exit codes"]);
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
            "completions",
        ]);
    }
}
