//! What was recorded in the field does the same on a laptop.

use std::fs::{self, File};
use std::process::{Child, Command as Process, Stdio};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{echo, failing, Manifest};
use eyot_test_e2e::programs::eyot;
use eyot_test_e2e::site::Site;
use eyot_wire::control::Command;

use crate::push::{order, report, site};

/// `mosquitto_sub` as the README has it, writing to `file`.
fn record(site: &Site, args: &[&str], file: &str) -> Child {
    let port = site.broker.port().to_string();
    let file = File::create(site.dir().join(file)).unwrap();
    Process::new("mosquitto_sub").args(["-p", &port]).args(args).stdout(Stdio::from(file)).spawn().unwrap()
}

/// Publishes until that has heard enough.
fn publish_until_done(client: &mut Client, mut recorder: Child, answer: &str) {
    for number in 0.. {
        if let Some(status) = recorder.try_wait().unwrap() {
            assert!(status.success());
            return;
        }
        client.publish("in/a", format!("{{\"n\":{number}}}"));
        client.await_topic(answer);
    }
}

fn replay(site: &Site, args: &[&str]) -> (bool, String) {
    let output = Process::new(eyot()).current_dir(site.dir()).env("NO_COLOR", "1").arg("replay").args(args).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

#[test]
fn captures_and_dead_letters_are_replayed() {
    let site = site("field");
    let good = Manifest::new("f").module(site.dir(), &echo("out/"));
    let bad = Manifest::new("bad").module(site.dir(), &failing(42));
    let site = site.function(|_| good.clone()).function(|_| bad.clone());
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/field/command/#");
    let command = Command::Capture { function: "f".to_owned(), count: 10_000, on_error: false };
    client.publish("eyot/field/command", order("field", "capture-01", command));
    assert_eq!(report(&mut client, "field", "capture-01")["done"], true);
    let captures = record(&site, &["-N", "-t", "eyot/field/capture/f", "-C", "3"], "f.cap");
    publish_until_done(&mut client, captures, "out/in/a");
    let letters = record(&site, &["-t", "eyot/field/dead/bad", "-C", "2"], "letters.json");
    publish_until_done(&mut client, letters, "out/in/a");

    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let (same, text) = replay(&site, &["f.cap", "--with", good]);
    assert!(same && text.matches("as recorded").count() == 3, "{text}");
    assert!(!text.contains("another than the recorded one"), "{text}");
    let (same, text) = replay(&site, &["f.cap", "--with", bad]);
    assert!(!same && text.matches("- emit   out/in/a  {\"n\":").count() == 3, "{text}");
    let (same, text) = replay(&site, &["letters.json", "--with", bad]);
    assert!(same && text.matches("error code 42").count() >= 2, "{text}");
    assert!(!fs::read(site.dir().join("letters.json")).unwrap().is_empty());
}
