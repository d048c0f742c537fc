//! The `eyot` tool against real gateways: push, list, status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};

use eyot_test_e2e::certs::Authority;
use eyot_test_e2e::client::Client;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{self, echo, Manifest};
use eyot_test_e2e::mosquitto::{Mosquitto, TlsFiles};
use eyot_test_e2e::programs::eyot;
use eyot_test_e2e::proxy::{Proxy, State};
use eyot_test_e2e::site::{await_status, Site};
use serde_json::Value;

use crate::push::{echoes, function_topic, signer, site, SEED};

/// What a run of the tool left behind.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// `eyot` in the site's directory, with the site's broker, gateway and key as they come from the environment.
pub fn tool(site: &Site, args: &[&str]) -> Process {
    let key = site.dir().join("ada");
    fs::write(&key, [&[0x81][..], &SEED, signer(SEED).public().as_bytes()].concat()).unwrap();
    let mut command = Process::new(eyot());
    command.args(args).current_dir(site.dir()).stdin(Stdio::null()).env("NO_COLOR", "1");
    command.env("EYOT_BROKER", site.broker.url()).env("EYOT_GATEWAY", &site.config.id).env("EYOT_KEY", key);
    command
}

#[track_caller]
pub fn ended(output: Output, code: i32) -> Ran {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    Ran { stdout, stderr }
}

#[track_caller]
pub fn run(site: &Site, args: &[&str], code: i32) -> Ran {
    ended(tool(site, args).output().unwrap(), code)
}

/// Version `version` of `f`, not signed, as a file.
pub fn module(dir: &Path, version: &str) -> String {
    let mut manifest = Manifest::new("f");
    manifest.version = version.into();
    let made: PathBuf = manifest.module(dir, &echo(&format!("out/{version}/")));
    let path = dir.join(format!("f-{version}.wasm"));
    fs::rename(made, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_push_ends_when_it_runs_or_with_the_reason_why_not() {
    let site = site("tool");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let first = module(site.dir(), "1.1.0");
    let ran = run(&site, &["push", &first, "--wait"], 0);
    assert!(ran.stdout.contains("f 1.1.0  ") && ran.stdout.contains("tool: active"), "{}", ran.stdout);
    echoes(&mut client, "1.1.0");
    // It is told at once, whatever the function's topic still says.
    let ran = run(&site, &["push", &first, "--wait", "--json"], 0).json();
    assert_eq!((&ran["outcomes"][0]["state"], &ran["parts"]), (&"unchanged".into(), &1.into()), "{ran}");

    let older = module(site.dir(), "1.0.0");
    for _ in 0..2 {
        let ran = run(&site, &["push", &older, "--wait"], 1);
        assert!(
            ran.stderr.contains("tool: f 1.0.0, rejected: ") && ran.stderr.contains("older than 1.1.0"),
            "{}",
            ran.stderr
        );
    }
    let mut unsigned = tool(&site, &["push", &module(site.dir(), "2.0.0"), "--wait", "--json"]);
    let ran = ended(unsigned.env_remove("EYOT_KEY").output().unwrap(), 1);
    assert!(ran.stderr.contains("is not signed; only gateways with allow_unsigned"), "{}", ran.stderr);
    let reason = ran.json()["outcomes"][0]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("not signed"), "{reason}");
    fs::write(site.dir().join("no.wasm"), "hello").unwrap();
    assert!(run(&site, &["push", "no.wasm"], 2).stderr.contains("no.wasm: is not"));
    echoes(&mut client, "1.1.0");
}

/// The same, with so many bytes besides that mean nothing.
fn padded(dir: &Path, version: &str, bytes: usize) -> String {
    let path = module(dir, version);
    fs::write(&path, guest::padded(&fs::read(&path).unwrap(), bytes)).unwrap();
    path
}

#[test]
fn parts_are_made_as_small_as_the_broker_wants_them() {
    let mut site = Site::with_broker("small", Mosquitto::with_settings("max_packet_size 4000"));
    site.config.trust_keys = vec![signer(SEED).public().to_openssh()];
    site.config.allow_unsigned = false;
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let ran = run(&site, &["push", &padded(site.dir(), "1.0.0", 10_000), "--wait", "--json"], 0).json();
    assert_eq!((&ran["outcomes"][0]["state"], &ran["parts"]), (&"active".into(), &3.into()), "{ran}");
    echoes(&mut client, "1.0.0");
    let larger = padded(site.dir(), "1.1.0", 10_000);
    let ran = run(&site, &["push", &larger, "--retain"], 1);
    assert!(ran.stderr.contains("--retain: the broker takes at most 3.9 KiB"), "{}", ran.stderr);
    let ran = run(&site, &["push", &larger, "--parts", "5KB"], 2);
    assert!(ran.stderr.contains("--parts: parts of 4.9 KiB do not go through"), "{}", ran.stderr);
    // Nobody waits for it to run, and still all of it gets there.
    client.subscribe("eyot/small/function/#");
    let ran = run(&site, &["push", &larger, "--parts", "1KiB", "--json"], 0).json();
    assert_eq!(ran["parts"], 11, "{ran}");
    function_topic(&mut client, "small", "active", "1.1.0");
    echoes(&mut client, "1.1.0");
}

#[test]
fn a_push_in_parts_gets_there_over_a_link_that_is_cut() {
    let site = site("cuts");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    let first = module(site.dir(), "1.0.0");
    let proxy = Proxy::new(site.broker.port());
    let args = ["push", &first, "--wait", "--parts", "10B", "--broker", &proxy.url()];
    let pushing = tool(&site, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut watch = site.client("watch");
    watch.subscribe("eyot/cuts/push/+/+");
    for _ in 0..3 {
        watch.await_message("parts", |publish| publish.topic.ends_with(b"0").then_some(()));
        proxy.set(State::Cut);
        std::thread::sleep(std::time::Duration::from_millis(50));
        proxy.set(State::Open);
    }
    let ran = ended(pushing.wait_with_output().unwrap(), 0);
    assert!(ran.stdout.contains("cuts: active") && ran.stderr.contains("trying again"), "{}{}", ran.stdout, ran.stderr);
    echoes(&mut client, "1.0.0");
}

/// The part of a gateway is played here: one that loses parts.
#[test]
fn what_a_gateway_misses_is_sent_to_it_again_and_to_nobody_else() {
    let site = site("loses");
    let mut gateway = site.client("gateway");
    gateway.subscribe("eyot/+/push/+/+");
    let status = r#"{"gateway":"loses","groups":["barns"],"online":true,"version":"99.0.0","what":"is new"}"#;
    gateway.send("eyot/loses/status", status.into(), 1, true).unwrap();
    let args = ["push", &padded(site.dir(), "1.0.0", 1000), "--group", "barns", "--parts", "200B", "--wait"];
    let pushing = tool(&site, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let topic = gateway.await_message("part 4", |publish| {
        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
        topic.ends_with("/4").then_some(topic)
    });
    let sha256 = topic.strip_prefix("eyot/@barns/push/").unwrap().strip_suffix("/4").unwrap();
    let report = |state: &str, more: &str| format!("{{\"sha256\":\"{sha256}\",\"state\":\"{state}\"{more}}}");
    let mut again = Vec::new();
    while !again.contains(&1) || !again.contains(&6) {
        gateway.publish(&format!("eyot/loses/push/{sha256}"), report("receiving", ",\"missing\":[1],\"next\":6"));
        while let Ok(Some(publish)) = gateway.next(std::time::Duration::from_millis(100)) {
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            let number = topic.strip_prefix(&format!("eyot/loses/push/{sha256}/"));
            again.extend(number.map(|number| number.parse::<u32>().unwrap()));
        }
    }
    assert!(!again.contains(&0) && !again.contains(&5), "{again:?}");
    gateway.publish(&format!("eyot/loses/push/{sha256}"), report("active", ""));
    assert!(ended(pushing.wait_with_output().unwrap(), 0).stdout.contains("loses: active"));
}

#[test]
fn a_gateway_that_was_never_there_finds_what_is_left_for_it() {
    let site = site("later");
    let first = module(site.dir(), "1.0.0");
    let ran = run(&site, &["push", &first], 1);
    assert!(ran.stderr.contains("later: no gateway of this id") && ran.stderr.contains("--retain"), "{}", ran.stderr);
    let ran = run(&site, &["push", &first, "--retain"], 0);
    assert!(ran.stdout.contains("later: offline; it takes it when it is back"), "{}", ran.stdout);
    let daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/later/function/#");
    function_topic(&mut client, "later", "active", "1.0.0");
    echoes(&mut client, "1.0.0");
    // Once it is there, and somebody waited for that, nothing is left to come again.
    run(&site, &["push", &module(site.dir(), "1.1.0"), "--retain", "--wait"], 0);
    let mut late = site.client("late");
    late.subscribe("eyot/later/push");
    late.publish("eyot/later/push", "");
    assert!(late.await_topic("eyot/later/push").is_empty(), "the push is still retained");
    drop(daemon);
}

/// Two gateways of a group at one broker.
pub fn barns() -> (Site, Site, [Eyotd; 2]) {
    let mut one = site("barn-1");
    let mut two = site("barn-2");
    two.config.broker_url = one.broker.url();
    for site in [&mut one, &mut two] {
        site.config.groups = vec!["barns".to_owned()];
    }
    let daemons = [Eyotd::start(&one.config), Eyotd::start(&two.config)];
    for id in ["barn-1", "barn-2"] {
        await_status(one.broker.port(), id, "the gateway to be online", |status| status["online"] == true);
    }
    (one, two, daemons)
}

fn states(ran: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ran["outcomes"].as_array().unwrap().iter().map(|o| (text(&o["gateway"]), text(&o["state"]))).collect()
}

#[test]
fn a_group_is_pushed_to_as_one_and_answers_each_for_itself() {
    let (one, _two, mut daemons) = barns();
    let pairs = |a: &str, b: &str| vec![("barn-1".to_owned(), a.to_owned()), ("barn-2".to_owned(), b.to_owned())];
    run(&one, &["push", &module(one.dir(), "1.1.0"), "--gateway", "barn-1", "--wait"], 0);
    let group = |file: &str, more: &[&str], code| {
        run(&one, &[&["push", file, "--group", "barns", "--wait", "--json"], more].concat(), code).json()
    };
    let ran = group(&module(one.dir(), "1.0.0"), &[], 1);
    assert_eq!(states(&ran), pairs("rejected", "active"), "{ran}");
    let ran = group(&module(one.dir(), "1.2.0"), &["--parts", "200B"], 0);
    assert_eq!(states(&ran), pairs("active", "active"), "{ran}");
    daemons[1].kill();
    await_status(one.broker.port(), "barn-2", "the will", |status| status["online"] == false);
    let ran = group(&module(one.dir(), "1.3.0"), &[], 0);
    assert_eq!(states(&ran), pairs("active", "offline"), "{ran}");
    let ran = run(&one, &["push", &module(one.dir(), "1.4.0"), "--group", "sheds"], 1);
    assert!(ran.stderr.contains("group sheds: no gateway"), "{}", ran.stderr);

    let list = run(&one, &["list"], 0).stdout;
    assert!(list.contains("barn-1  online") && list.contains("barn-2  offline") && list.contains("@barns"), "{list}");
    let list = run(&one, &["list", "--group", "barns", "--json"], 0).json();
    let versions: Vec<&Value> = list.as_array().unwrap().iter().map(|row| &row["functions"][0]["version"]).collect();
    assert_eq!(versions, ["1.3.0", "1.2.0"], "{list}");
    let ran = run(&one, &["status", "barn-2"], 1);
    assert!(ran.stdout.contains("offline") && ran.stderr.contains("barn-2: is offline"), "{}", ran.stderr);
}

#[test]
fn the_status_is_for_people_or_as_the_gateway_wrote_it() {
    let site = site("well").function(|dir| Manifest::new("f").module(dir, &echo("out/1.0.0/")));
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    echoes(&mut client, "1.0.0");
    site.await_status("the message", |status| status["ledger"]["received"] == 1 && status["ledger"]["pending"] == 0);
    let text = run(&site, &["status"], 0).stdout;
    for needle in ["well  online", "f  1.0.0 active  1 messages, 0 failed", "1 received = 1 delivered", "balanced"] {
        assert!(text.contains(needle), "no {needle:?} in {text}");
    }
    let json = run(&site, &["status", "--json"], 0).json();
    assert_eq!((&json["gateway"], &json["functions"][0]["name"]), (&"well".into(), &"f".into()));
    let ran = run(&site, &["status", "ill"], 1);
    assert!(ran.stderr.contains("ill: no gateway of this id") && ran.stderr.contains("eyot list"), "{}", ran.stderr);
    let nobody = Mosquitto::forgetful();
    let ran = run(&site, &["list", "--broker", &nobody.url(), "--json"], 0);
    assert_eq!(ran.json(), serde_json::json!([]));
    let gone = nobody.url();
    drop(nobody);
    let ran = run(&site, &["list", "--broker", &gone], 1);
    assert!(ran.stderr.contains(&gone) && ran.stderr.contains("refused"), "{}", ran.stderr);
    let _ = Client::connect(site.broker.port(), "still-there");
}

#[test]
fn a_broker_is_shown_who_is_there_and_shows_who_it_is() {
    let site = site("unused");
    let authority = Authority::new(site.dir(), "lab");
    let (cert, key) = authority.client("ada", true);
    let files = TlsFiles { client_ca: Some(authority.ca()), ..authority.server() };
    let broker = Mosquitto::with_tls(&files);
    let (url, ca) = (broker.tls_url(), authority.ca());
    let [ca, cert, key] = [&ca, &cert, &key].map(|path| path.to_str().unwrap());
    let list = |more: &[&str], code| run(&site, &[&["list", "--broker", &url], more].concat(), code).stderr;
    list(&["--ca", ca, "--cert", cert, "--key-file", key], 0);
    list(&["--ca", ca, "--cert", cert, "--key-file", key, "--protocol", "4"], 0);
    let refused = list(&["--ca", ca], 1);
    assert!(refused.contains(&url), "{refused}");
    let unknown = list(&["--cert", cert, "--key-file", key], 1);
    assert!(unknown.to_lowercase().contains("certificate"), "{unknown}");

    let passwords = site.dir().join("passwords");
    let made = Process::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["ada", "secret"]).status();
    assert!(made.unwrap().success());
    let broker = Mosquitto::with_settings(&format!("allow_anonymous false\npassword_file {}", passwords.display()));
    let url = broker.url().replace("://", "://ada@");
    fs::write(site.dir().join("pw"), "secret\n").unwrap();
    run(&site, &["list", "--broker", &url, "--password-file", "pw"], 0);
    let mut by_environment = tool(&site, &["list", "--broker", &broker.url(), "--username", "ada"]);
    ended(by_environment.env("EYOT_PASSWORD", "secret").output().unwrap(), 0);
    let refused = run(&site, &["list", "--broker", &url], 1).stderr;
    assert!(refused.contains("not authorized") && refused.contains("password"), "{refused}");
}
