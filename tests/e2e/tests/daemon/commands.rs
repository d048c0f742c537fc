//! The `eyot` tool commands real gateways, follows their logs and records their messages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{echo, handler, Manifest};
use eyot_test_e2e::proxy::{Proxy, State};
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::{wait_for, STEP};
use eyot_wire::control::Command;
use serde_json::Value;

use crate::push::{echoes, function_topic, order, report, site, version};
use crate::tool::{barns, ended, module, run, tool};

/// A client, and versions of `f` that are pushed one after the other.
fn pushed(site: &Site, versions: &[&str]) -> Client {
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe(&format!("eyot/{}/#", site.config.id));
    for text in versions {
        client.publish(&format!("eyot/{}/push", site.config.id), version(site.dir(), text));
        function_topic(&mut client, &site.config.id, "active", text);
    }
    client
}

#[test]
fn commands_are_done_or_refused_with_the_reason() {
    let site = site("orders");
    let _daemon = site.start();
    let mut client = pushed(&site, &["1.0.0", "1.1.0"]);
    assert_eq!(run(&site, &["rollback", "f"], 0).stdout, "orders: done\n");
    echoes(&mut client, "1.0.0");
    let again = run(&site, &["rollback", "f", "--to", "9.9.9"], 1);
    assert!(again.stderr.contains("orders: rollback f: version 9.9.9 of \"f\" is not kept here"), "{}", again.stderr);
    let ran = run(&site, &["promote", "f", "--json"], 0).json();
    assert_eq!((&ran["command"], &ran["answers"][0]["state"]), (&"promote".into(), &"done".into()), "{ran}");
    echoes(&mut client, "1.1.0");
    let strange = run(&site, &["config", "set", "f", "unit=K"], 2).stderr;
    assert!(strange.contains("f: has no \"unit\" in its [config]") && strange.contains("--new"), "{strange}");
    run(&site, &["config", "set", "f", "unit=K", "rh_max=90", "--new"], 0);
    let slip = run(&site, &["config", "set", "f", "rhmax=80"], 2).stderr;
    assert!(slip.contains("did you mean \"rh_max\"?"), "{slip}");
    run(&site, &["config", "set", "f", "unit=F"], 0);
    run(&site, &["config", "set", "f", "unit=K"], 0);
    let shown = run(&site, &["config", "get", "f"], 0).stdout;
    assert!(shown.contains("unit=K  set here") && shown.contains("rh_max=90"), "{shown}");
    assert_eq!(run(&site, &["config", "get", "f", "unit"], 0).stdout, "K\n");
    let none = run(&site, &["config", "get", "f", "speed"], 1).stderr;
    assert!(none.contains("has no \"speed\"") && none.contains("rh_max, unit"), "{none}");
    let nobody = run(&site, &["config", "get", "nobody"], 1).stderr;
    assert!(nobody.contains("nobody: no gateway") && nobody.contains("eyot list"), "{nobody}");
    run(&site, &["config", "unset", "f", "unit"], 0);
    let config = capture(&site, &mut client, &["--out", "config.cap"]).1;
    assert!(config.contains("rh_max = 90") && !config.contains("unit"), "{config}");
    run(&site, &["remove", "f"], 0);
    site.await_status("no function", |status| status["functions"].as_array().is_some_and(Vec::is_empty));
    assert!(run(&site, &["remove", "f"], 1).stderr.contains("no function here is called"));
    assert!(run(&site, &["remove", "F"], 2).stderr.contains("name \"F\": no function can be called so"));
    let ran = run(&site, &["promote", "f", "--gateway", "nobody"], 1);
    assert!(ran.stderr.contains("nobody: no gateway of this id"), "{}", ran.stderr);
    let mut unsigned = tool(&site, &["remove", "f"]);
    let ran = ended(unsigned.env_remove("EYOT_KEY").output().unwrap(), 2);
    assert!(ran.stderr.contains("no key is named; give --key FILE"), "{}", ran.stderr);
}

#[test]
fn a_group_follows_a_command_each_for_itself() {
    let (one, _two, _daemons) = barns();
    run(&one, &["push", &module(one.dir(), "1.0.0"), "--group", "barns", "--wait"], 0);
    run(&one, &["push", &module(one.dir(), "1.1.0"), "--gateway", "barn-1", "--wait"], 0);
    let ran = run(&one, &["rollback", "f", "--group", "barns", "--json"], 1);
    let states: Vec<Value> = ran.json()["answers"].as_array().unwrap().iter().map(|a| a["state"].clone()).collect();
    assert_eq!(states, ["done", "refused"], "{}", ran.stdout);
    assert!(ran.stderr.contains("1 of 2 gateways refuse it"), "{}", ran.stderr);
}

/// The answer goes by while nobody is there to hear it.
#[test]
fn a_command_whose_answer_is_lost_is_given_again_and_followed_once() {
    let site = site("answer");
    let daemon = site.start();
    let mut client = pushed(&site, &["1.0.0", "1.1.0", "1.2.0"]);
    drop(daemon);
    site.await_status("the will", |status| status["online"] == false);
    let proxy = Proxy::new(site.broker.port());
    let args = ["rollback", "f", "--broker", &proxy.url(), "--timeout", "60s"];
    let rolling_back = tool(&site, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    client.await_topic("eyot/answer/command");
    proxy.set(State::Cut);
    let _daemon = site.start();
    function_topic(&mut client, "answer", "rolled-back", "1.2.0");
    client.await_message("the answer", |p| p.topic.starts_with(b"eyot/answer/command/").then_some(()));
    proxy.set(State::Open);
    let ran = ended(rolling_back.wait_with_output().unwrap(), 0);
    assert_eq!(ran.stdout, "answer: done\n", "{}", ran.stderr);
    echoes(&mut client, "1.1.0");
}

#[test]
fn a_command_that_comes_twice_at_once_is_followed_once() {
    let site = site("twice");
    let _daemon = site.start();
    let mut client = pushed(&site, &["1.0.0", "1.1.0", "1.2.0"]);
    let back = order("twice", "rollback-2", Command::Rollback { function: "f".to_owned(), to: None });
    for _ in 0..3 {
        client.send("eyot/twice/command", back.clone().into(), 1, false).unwrap();
    }
    let mut answers = [(); 3].map(|()| report(&mut client, "twice", "rollback-2"));
    answers.sort_by_key(|answer| answer["done"].as_bool());
    assert_eq!(answers.map(|answer| answer["done"] == true), [false, false, true]);
    echoes(&mut client, "1.1.0");
}

#[test]
fn logs_come_line_by_line_with_what_failed() {
    let log = |level: u8, text: &str, result: u8| {
        let body =
            format!("(call $log (i32.const {level}) (i32.const 1024) (i32.const {})) (i32.const {result})", text.len());
        handler(&format!("(data (i32.const 1024) {text:?})"), &body)
    };
    let site = site("talk")
        .function(|dir| Manifest::new("f").module(dir, &log(1, "too warm", 0)))
        .function(|dir| Manifest::new("quiet").module(dir, &log(3, "nothing", 7)));
    let _daemon = site.start();
    let mut client = site.client("author");
    let mut lines = |args: &[&str]| {
        let args = [&["logs", "-f", "--json"], args].concat();
        let mut following = tool(&site, &args).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let stdout = following.stdout.take().unwrap();
        std::thread::spawn(move || BufReader::new(stdout).lines().for_each(|line| drop(sender.send(line.unwrap()))));
        let first = wait_for("a line", STEP, || {
            client.publish("in/a", "x");
            lines.recv_timeout(Duration::from_millis(100)).ok()
        });
        following.kill().unwrap();
        following.wait().unwrap();
        serde_json::from_str::<Value>(&first).unwrap()
    };
    let line = lines(&["f"]);
    assert_eq!((&line["gateway"], &line["level"], &line["line"]), (&"talk".into(), &"warn".into(), &"too warm".into()));
    let line = lines(&["quiet", "--level", "info"]);
    assert_eq!((&line["function"], &line["level"]), (&"quiet".into(), &"failed".into()), "debug is below info");
    assert!(line["line"].as_str().unwrap().starts_with("error on in/a: "), "{line}");
}

/// Captures with these options while messages come, and what `eyot replay` shows of the file.
fn capture(site: &Site, client: &mut Client, args: &[&str]) -> (i32, String) {
    let args = [&["capture", "f", "-n", "3", "--for", "20s"], args].concat();
    let mut capturing: Child = tool(site, &args).spawn().unwrap();
    let status = wait_for("the captures", Duration::from_secs(30), || {
        client.publish("in/a", "x");
        capturing.try_wait().unwrap()
    });
    let file = args.iter().find(|arg| arg.ends_with(".cap")).unwrap();
    let shown = if site.dir().join(file).exists() { run(site, &["replay", file], 0).stdout } else { String::new() };
    (status.code().unwrap(), shown)
}

#[test]
fn what_is_captured_replays_as_it_was() {
    let site = site("record").function(|dir| Manifest::new("f").module(dir, &echo("out/1.0.0/")));
    let _daemon = site.start();
    let mut client = site.client("author");
    let (code, shown) = capture(&site, &mut client, &["--out", "f.cap"]);
    assert_eq!((code, shown.matches("out/1.0.0/in/a").count()), (0, 3), "{shown}");
    let with = site.config.functions[0].to_str().unwrap();
    let replayed = run(&site, &["replay", "f.cap", "--with", with], 0).stdout;
    assert_eq!(replayed.matches("as recorded").count(), 3, "{replayed}");
    let ran = run(&site, &["capture", "f", "--out", "f.cap"], 2);
    assert!(ran.stderr.contains("f.cap: cannot be made") && ran.stderr.contains("exists"), "{}", ran.stderr);
    let ran = run(&site, &["capture", "f", "--on-error", "--for", "1s", "--out", "no.cap", "--json"], 1);
    assert_eq!(ran.json()["captures"], 0);
    assert!(ran.stderr.contains("f: 0 of 10 came in 1s") && !fs::exists(site.dir().join("no.cap")).unwrap());
    let ran = run(&site, &["capture", "f", "--group", "g", "--out", "g.cap"], 2);
    assert!(ran.stderr.contains("a capture is of one gateway"), "{}", ran.stderr);
}
