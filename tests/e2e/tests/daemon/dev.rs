//! `eyot dev`: a file changes, and the gateway runs what it says now.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::{wait_for, STEP};
use rustix::process::{kill_process, Pid, Signal};

use crate::push::site;
use crate::tool::tool;

/// Patience with cargo, which compiles what functions are made of for the first time here.
const BUILD: Duration = Duration::from_secs(240);

/// A running `eyot dev`, with the lines it writes.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Dev {
    fn start(site: &Site, args: &[&str]) -> Self {
        Self::run(tool(site, &[&["dev", "f", "--wasm", "out.wasm"], args].concat()))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let more = sender.clone();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || BufReader::new(stdout).lines().for_each(|line| drop(sender.send(line.unwrap()))));
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(|line| drop(more.send(line.unwrap()))));
        Self { child, lines }
    }

    /// Waits for a line with all of these.
    #[track_caller]
    fn says(&self, needles: &[&str]) {
        self.says_all(&[needles], STEP);
    }

    /// Waits for lines like that in any order, as one may be on standard output and the other on standard error.
    #[track_caller]
    fn says_all(&self, lines: &[&[&str]], patience: Duration) {
        let (mut missing, mut seen) = (lines.to_vec(), Vec::new());
        while !missing.is_empty() {
            let Ok(line) = self.lines.recv_timeout(patience) else {
                panic!("waited for {missing:?}, in vain: {seen:#?}");
            };
            missing.retain(|needles| !needles.iter().all(|needle| line.contains(needle)));
            seen.push(line);
        }
    }

    /// Ctrl-C.
    #[track_caller]
    fn interrupted(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = wait_for("eyot dev to end", STEP, || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it is to run from now on, replaced in one step as builds do.
fn write(site: &Site, prefix: &str) {
    let beside = site.dir().join("beside.wasm");
    fs::write(&beside, wat::parse_str(echo(prefix)).unwrap()).unwrap();
    fs::rename(beside, site.dir().join("out.wasm")).unwrap();
}

fn case(site: &Site, topic: &str) {
    let text = format!(
        r#"{{"topic": "in/a", "payload": "x", "expect": {{"emits": [{{"topic": "{topic}", "payload": "x"}}]}}}}"#
    );
    fs::write(site.dir().join("f/tests/echo.json"), text).unwrap();
}

/// A folder with a function and a case.
fn folder(site: &Site) {
    fs::create_dir_all(site.dir().join("f/tests")).unwrap();
    fs::write(site.dir().join("f/function.toml"), Manifest::new("f").text()).unwrap();
    case(site, "out/1/in/a");
    write(site, "out/1/");
}

#[test]
fn what_is_written_runs_when_its_cases_come_out_on_a_gateway_of_its_own() {
    let site = site("unused");
    folder(&site);
    let port = free_port();
    let dev = Dev::start(&site, &["--port", &port.to_string()]);
    dev.says(&["a gateway for the time being", &format!("-p {port} -t in/1")]);
    dev.says(&["pushed f 1.0.0-dev."]);
    dev.says(&["dev: active"]);
    let mut client = Client::connect(port, "sensor");
    client.publish("in/a", "one");
    dev.says(&["out/1/in/a", "one"]);

    // Not what its case says: it stays what it is, until that says so too.
    write(&site, "out/2/");
    dev.says_all(&[&["- emit   out/1/in/a"], &["1 of 1 cases do not come out"]], STEP);
    client.publish("in/a", "two");
    dev.says(&["out/1/in/a", "two"]);
    case(&site, "out/2/in/a");
    dev.says(&["pushed f 1.0.0-dev."]);
    dev.says(&["dev: active"]);
    client.publish("in/a", "three");
    dev.says(&["out/2/in/a", "three"]);

    // A manifest that is no more than half written, and then one with another version.
    fs::write(site.dir().join("f/function.toml"), "name = \"f").unwrap();
    dev.says(&["error", "function.toml"]);
    let next = Manifest { version: "1.1.0".into(), ..Manifest::new("f") };
    fs::write(site.dir().join("f/function.toml"), next.text()).unwrap();
    dev.says(&["pushed f 1.1.0-dev."]);
    dev.says(&["dev: active"]);
    dev.interrupted();
}

#[test]
fn a_gateway_elsewhere_takes_each_build_and_then_the_release() {
    let site = site("field");
    folder(&site);
    let _daemon = site.start();
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    let dev = Dev::start(&site, &["--gateway", "field", "--no-test"]);
    dev.says(&["field: active"]);
    for version in ["2", "3"] {
        write(&site, &format!("out/{version}/"));
        dev.says(&["pushed f 1.0.0-dev."]);
        dev.says(&["field: active"]);
        client.publish("in/a", version);
        client.await_topic(&format!("out/{version}/in/a"));
        dev.says(&[&format!("out/{version}/in/a")]);
    }
    dev.interrupted();
    let built = crate::tool::run(&site, &["build", "f", "--wasm", "out.wasm"], 0);
    assert!(built.stdout.contains("(f 1.0.0)"), "function.toml is as it was: {}", built.stdout);
    crate::tool::run(&site, &["push", "f/f.wasm", "--wait"], 0);
    // It is there now: what is built from the same version comes after it.
    let dev = Dev::start(&site, &["--gateway", "field", "--no-test"]);
    dev.says(&["pushed f 1.0.1-dev."]);
    dev.says(&["field: active"]);
    dev.interrupted();
}

/// A crate whose word a function emits.
fn word(site: &Site, word: &str) {
    fs::create_dir_all(site.dir().join("words/src")).unwrap();
    let source = format!("#![no_std]\npub const WORD: &str = \"{word}\";\n");
    fs::write(site.dir().join("words/src/lib.rs"), source).unwrap();
}

#[test]
fn a_crate_that_a_function_depends_on_by_its_path_is_watched_too() {
    let site = site("unused");
    crate::tool::run(&site, &["new", "f"], 0);
    fs::remove_dir_all(site.dir().join("f/tests")).unwrap();
    let manifest = "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[lib]\n";
    word(&site, "once");
    fs::write(site.dir().join("words/Cargo.toml"), manifest).unwrap();
    let mut cargo = fs::read_to_string(site.dir().join("f/Cargo.toml")).unwrap();
    cargo = cargo.replace("[dependencies]\n", "[dependencies]\nwords = { path = \"../words\" }\n");
    fs::write(site.dir().join("f/Cargo.toml"), cargo).unwrap();
    fs::write(site.dir().join("f/function.toml"), Manifest::new("f").text()).unwrap();
    let source = "#![no_std]\nuse eyot_sdk::prelude::*;\neyot_sdk::function!(handle);\n\
                  fn handle(_: &Message<'_>) -> Result<(), Error> { emit(\"out/word\", words::WORD.as_bytes()) }\n";
    fs::write(site.dir().join("f/src/lib.rs"), source).unwrap();
    let port = free_port();
    let mut command = tool(&site, &["dev", "f", "--no-test", "--port", &port.to_string()]);
    command.env("CARGO_TARGET_DIR", site.dir().join("target"));
    let dev = Dev::run(command);
    dev.says_all(&[&["dev: active"]], BUILD);
    let mut client = Client::connect(port, "sensor");
    client.publish("in/a", "one");
    dev.says(&["out/word", "once"]);
    word(&site, "twice");
    dev.says_all(&[&["dev: active"]], BUILD);
    client.publish("in/a", "two");
    dev.says(&["out/word", "twice"]);
    dev.interrupted();
}
