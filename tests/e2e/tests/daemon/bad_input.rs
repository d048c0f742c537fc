//! What a user may get wrong. Each mistake ends with exit code 2 and a message that names it.

use std::fs;
use std::path::Path;
use std::process::Command;

use eyot_test_e2e::config::{Config, Uplink};
use eyot_test_e2e::daemon::{check, check_file, Ended, Eyotd};
use eyot_test_e2e::guest::{echo, save, with_manifest, Manifest};
use eyot_test_e2e::programs::{eyot, eyotd};
use tempfile::TempDir;

fn config(dir: &Path) -> Config {
    Config::new("checked", &dir.join("data"), "mqtt://127.0.0.1:1".into())
}

#[track_caller]
fn refused(ended: &Ended, needles: &[&str]) {
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for needle in needles {
        assert!(ended.log.to_lowercase().contains(&needle.to_lowercase()), "no {needle:?} in:\n{}", ended.log);
    }
}

/// Refused by `--check` and by a start alike.
#[track_caller]
fn refused_config(dir: &Path, text: &str, needles: &[&str]) {
    refused(&check(dir, text), needles);
    let path = dir.join("gateway.toml");
    refused(&Eyotd::spawn(Command::new(eyotd()).arg("--config").arg(path)).ended(), needles);
}

#[test]
fn the_contract_example_is_accepted() {
    let dir = TempDir::new().unwrap();
    let module = Manifest::new("echo").module(dir.path(), &echo("out/"));
    let (data_dir, ca) = (dir.path().join("data"), dir.path().join("ca.pem"));
    fs::copy(eyot_test_e2e::certs::Authority::new(dir.path(), "ca").ca(), &ca).unwrap();
    let text = format!(
        r#"
[gateway]
id = "barn-7"
data_dir = {data_dir:?}

[broker]
url = "mqtt://127.0.0.1:1883"
protocol = 5

[[uplink]]
name = "cloud"
url = "mqtts://cloud.example:8883"
topics = ["cloud/#"]
[uplink.tls]
ca = {ca:?}

[spool]
max_bytes = "512MiB"
when_full = "drop-oldest"
commit_window = "10ms"

[trust]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada@lab"]
allow_unsigned = true

[[function]]
path = {module:?}
"#
    );
    let ended = check(dir.path(), &text);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    refused(&check_file(&dir.path().join("missing.toml")), &["missing.toml"]);
    refused(&check_file(dir.path()), &[&dir.path().to_string_lossy()]);
    fs::write(dir.path().join("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    refused(&check_file(&dir.path().join("binary.toml")), &["binary.toml", "utf-8"]);
}

#[test]
fn a_mistake_in_the_config_is_named_with_its_file_line_and_key() {
    let dir = TempDir::new().unwrap();
    let good = config(dir.path());
    let text = good.text();
    let (broker_line, data_dir) = ("url = \"mqtt://127.0.0.1:1\"", format!("{:?}", good.data_dir));
    for (broken, needles) in [
        ("[gateway\n".to_owned(), &["gateway.toml", "1"][..]),
        (text.replace("protocol", "protocoll"), &["gateway.toml", "protocoll", ":9:"]),
        (text.replace("[broker]", "[brokr]"), &["gateway.toml", "brokr"]),
        (text.replace("protocol = 5", "protocol = 3"), &["gateway.toml", "protocol", ":9:"]),
        (text.replace("protocol = 5", "protocol = \"5\""), &["gateway.toml", "protocol", ":9:"]),
        (text.replace(broker_line, "url = \"127.0.0.1\""), &["gateway.toml", "url"]),
        (text.replace(broker_line, "url = \"gopher://x:1\""), &["gateway.toml", "url", "gopher"]),
        (text.replace(broker_line, "url = \"mqtt://x:99999\""), &["gateway.toml", "url"]),
        (text.replace(broker_line, ""), &["gateway.toml", "url"]),
        (text.replace(&data_dir, "7"), &["gateway.toml", "data_dir", "4"]),
        (text.replace("\"checked\"", "\"a/b\""), &["gateway.toml", "id", "2"]),
        (text.replace("\"checked\"", "\"\""), &["gateway.toml", "id", "2"]),
        (text.replace("\"checked\"", "\"+\""), &["gateway.toml", "id", "2"]),
        (text.clone() + "[spool]\nmax_bytes = \"512\"\n", &["gateway.toml", "max_bytes", "unit"]),
        (text.clone() + "[spool]\nmax_bytes = 512\n", &["gateway.toml", "max_bytes"]),
        (text.clone() + "[spool]\nmax_bytes = \"1KiB\"\n", &["gateway.toml", "max_bytes"]),
        (text.clone() + "[spool]\nwhen_full = \"drop\"\n", &["gateway.toml", "when_full", "drop-oldest"]),
        (text.clone() + "[spool]\ncommit_window = \"10\"\n", &["gateway.toml", "commit_window"]),
        (text.clone() + "[spool]\ncommit_window = \"1h\"\n", &["gateway.toml", "commit_window"]),
        (text.clone() + "[[uplink]]\nname = \"c\"\ntopics = [\"c/#\"]\n", &["gateway.toml", "url"]),
        (text.replace("allow_unsigned = true", "keys = [\"ssh-rsa AAAA\"]"), &["gateway.toml", "keys"]),
        (text.replace("[trust]", "[trust]\nkeys = [\"nonsense\"]"), &["gateway.toml", "keys"]),
    ] {
        assert_ne!(broken, text, "the case breaks nothing");
        refused_config(dir.path(), &broken, needles);
    }
}

#[test]
fn a_mistake_in_an_uplink_is_named() {
    let dir = TempDir::new().unwrap();
    let cloud = Uplink::cloud("mqtt://127.0.0.1:2".into());
    for (uplinks, needles) in [
        (vec![cloud.clone(), cloud.clone()], &["gateway.toml", "name", "cloud"][..]),
        (vec![Uplink { topics: vec!["cloud/#/x".into()], ..cloud.clone() }], &["gateway.toml", "topics", "wildcard"]),
        (vec![Uplink { name: String::new(), ..cloud.clone() }], &["gateway.toml", "name"]),
        (vec![Uplink { url: "mqtts://h".into(), ca: Some("/nowhere/ca.pem".into()), ..cloud }], &["/nowhere/ca.pem"]),
    ] {
        let text = Config { uplinks, ..config(dir.path()) }.text();
        refused_config(dir.path(), &text, needles);
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let dir = TempDir::new().unwrap();
    let text = config(dir.path()).text().replace("protocol = 5", "protocol = 9").replace("\"checked\"", "\"a/b\"")
        + "[spool]\nwhen_full = \"drop\"\n";
    refused_config(dir.path(), &text, &["id", "protocol", "when_full"]);
}

#[test]
fn a_function_that_cannot_be_loaded_is_named() {
    let dir = TempDir::new().unwrap();
    let wasm = wat::parse_str(echo("out/")).unwrap();
    let manifest = Manifest::new("echo").text();
    let module = |wat: &str| with_manifest(&wat::parse_str(wat).unwrap(), &manifest);
    let without = |export: &str| module(&echo("out/").replace(&format!("(export \"{export}\")"), ""));
    for (name, bytes, needles) in [
        ("empty", vec![], &["empty.wasm"][..]),
        ("text", b"not a module".to_vec(), &["text.wasm"]),
        ("cut", with_manifest(&wasm, &manifest)[..60].to_vec(), &["cut.wasm"]),
        ("bare", wasm.clone(), &["bare.wasm", "eyot.manifest"]),
        ("no-memory", without("memory"), &["no-memory.wasm", "memory"]),
        ("no-abi", without("eyot_abi"), &["no-abi.wasm", "eyot_abi"]),
        ("no-alloc", without("eyot_alloc"), &["no-alloc.wasm", "eyot_alloc"]),
        ("no-handle", without("eyot_handle"), &["no-handle.wasm", "eyot_handle"]),
        ("abi-2", module(&echo("out/").replace("(i32.const 1))", "(i32.const 2))")), &["abi-2.wasm", "2"]),
        ("wasi", module("(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))"), &["wasi.wasm", "wasi"]),
        ("name", with_manifest(&wasm, &manifest.replace("\"echo\"", "\"Echo!\"")), &["name.wasm", "a-z"]),
        ("key", with_manifest(&wasm, &format!("nmae = \"x\"\n{manifest}")), &["key.wasm", "nmae"]),
        ("greedy", with_manifest(&wasm, &manifest.replace("[limits]", "[limits]\nmemory = \"1GiB\"")), &["memory"]),
    ] {
        let path = save(dir.path(), name, &bytes);
        let text = Config { functions: vec![path], ..config(dir.path()) }.text();
        refused_config(dir.path(), &text, needles);
    }
}

#[test]
fn a_function_file_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let text = Config { functions: vec![dir.path().join("nowhere.wasm")], ..config(dir.path()) }.text();
    refused_config(dir.path(), &text, &["nowhere.wasm"]);
}

#[test]
fn a_function_that_the_configuration_names_needs_no_signature() {
    let dir = TempDir::new().unwrap();
    let functions = vec![Manifest::new("echo").module(dir.path(), &echo("out/"))];
    let text = Config { functions, allow_unsigned: false, ..config(dir.path()) }.text();
    assert_eq!(check(dir.path(), &text).code, Some(0));
}

#[test]
fn two_functions_of_one_name_are_refused() {
    let dir = TempDir::new().unwrap();
    let first = Manifest::new("echo").module(dir.path(), &echo("out/"));
    let second = dir.path().join("second.wasm");
    fs::copy(&first, &second).unwrap();
    let text = Config { functions: vec![first, second], ..config(dir.path()) }.text();
    refused_config(dir.path(), &text, &["echo", "second.wasm"]);
}

#[test]
fn bad_usage_of_a_program_is_named_with_a_remedy() {
    for program in [eyotd(), eyot()] {
        for args in [&["--no-such-option"][..], &["--config"][..]] {
            refused(&Eyotd::spawn(Command::new(&program).args(args)).ended(), &[args[0], "--help"]);
        }
    }
}
