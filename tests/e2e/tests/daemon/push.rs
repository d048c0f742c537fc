//! Functions pushed over MQTT, by nothing but an MQTT client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{self, echo, trapping, Manifest};
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::{wait_for, STEP};
use eyot_trust::command::seal;
use eyot_trust::sign::Signer;
use eyot_wire::control::{Command, Order};
use serde_json::Value;

pub const SEED: [u8; 32] = [7; 32];

pub fn signer(seed: [u8; 32]) -> Signer {
    Signer::from_seed(&seed, "ada@lab").unwrap()
}

/// A site that trusts one key.
pub fn site(id: &str) -> Site {
    let mut site = Site::new(id);
    site.config.trust_keys = vec![signer(SEED).public().to_openssh()];
    site.config.allow_unsigned = false;
    site
}

/// Version `version` of `f`, which echoes under `out/<version>/`, signed.
pub fn version(dir: &Path, version: &str) -> Vec<u8> {
    module(dir, version, &echo(&format!("out/{version}/")))
}

pub fn module(dir: &Path, version: &str, wat: &str) -> Vec<u8> {
    signed(dir, &Manifest { version: version.into(), ..Manifest::new("f") }, wat)
}

/// A module with this manifest, signed.
pub fn signed(dir: &Path, manifest: &Manifest, wat: &str) -> Vec<u8> {
    signer(SEED).sign(&std::fs::read(manifest.module(dir, wat)).unwrap()).unwrap()
}

/// The same with a custom section that makes it larger than any message of a sensor.
pub fn large(dir: &Path, version: &str) -> Vec<u8> {
    padded(dir, version, 500_000)
}

/// The same with a custom section of so many bytes.
pub fn padded(dir: &Path, version: &str, bytes: usize) -> Vec<u8> {
    let mut manifest = Manifest::new("f");
    manifest.version = version.into();
    let module = std::fs::read(manifest.module(dir, &echo(&format!("out/{version}/")))).unwrap();
    signer(SEED).sign(&guest::padded(&module, bytes)).unwrap()
}

pub fn function_topic(client: &mut Client, id: &str, state: &str, version: &str) -> Value {
    let topic = format!("eyot/{id}/function/f");
    client.await_message(&format!("{version} {state}"), |publish| {
        let document: Value = serde_json::from_slice(&publish.payload).ok()?;
        (publish.topic == topic.as_str() && document["state"] == state && document["version"] == version)
            .then_some(document)
    })
}

pub fn echoes(client: &mut Client, version: &str) {
    client.publish("in/a", "hello");
    client.await_topic(&format!("out/{version}/in/a"));
}

/// Files of the store under `kind`.
pub fn stored(site: &Site, kind: &str) -> Vec<PathBuf> {
    let dir = site.config.data_dir.join("functions").join(kind);
    std::fs::read_dir(dir).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
}

pub fn sha256(module: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn order(id: &str, nonce: &str, command: Command) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let order = Order { gateway: id.into(), nonce: nonce.into(), expires: now_s + 600, command };
    seal(&signer(SEED), &order).unwrap()
}

pub fn report(client: &mut Client, id: &str, nonce: &str) -> Value {
    serde_json::from_slice(&client.await_topic(&format!("eyot/{id}/command/{nonce}"))).unwrap()
}

#[test]
fn a_function_pushed_by_mosquitto_pub_runs_and_survives_a_kill() {
    let site = site("push");
    let mut daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/push/function/#");
    let file = site.dir().join("signed.wasm");
    std::fs::write(&file, version(site.dir(), "1.0.0")).unwrap();
    let port = site.broker.port().to_string();
    let sent = Process::new("mosquitto_pub")
        .args(["-p", &port, "-q", "1", "-t", "eyot/push/push", "-f"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(sent.success());
    function_topic(&mut client, "push", "active", "1.0.0");
    echoes(&mut client, "1.0.0");
    client.publish("eyot/push/push", large(site.dir(), "1.1.0"));
    function_topic(&mut client, "push", "active", "1.1.0");
    daemon.kill();
    drop(daemon);
    let _daemon = site.start();
    echoes(&mut client, "1.1.0");
    // The kill may have come before the parts were removed: then they are tried once more, and lead to nothing new.
    wait_for("the parts to go", STEP, || stored(&site, "parts").is_empty().then_some(()));
    assert_eq!(stored(&site, "modules").len(), 2);
    let audit = std::fs::read_to_string(site.config.data_dir.join("audit.ndjson")).unwrap();
    assert_eq!(audit.matches("\"action\":\"push\",\"function\":\"f\"").count(), 2, "{audit}");
}

#[test]
fn what_may_not_come_is_refused_with_the_reason_and_leaves_nothing() {
    let site = site("refuse");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/refuse/#");
    client.publish("eyot/refuse/push", version(site.dir(), "1.1.0"));
    function_topic(&mut client, "refuse", "active", "1.1.0");

    let mut manifest = Manifest::new("f");
    manifest.version = "2.0.0".into();
    let unsigned = std::fs::read(manifest.module(site.dir(), &echo("out/"))).unwrap();
    let stranger = signer([9; 32]).sign(&unsigned).unwrap();
    let mut altered = version(site.dir(), "2.0.0");
    *altered.last_mut().unwrap() ^= 1;
    let older = version(site.dir(), "1.0.0");
    for (bytes, reason) in [
        (unsigned, "not signed"),
        (stranger, "no key that is trusted here"),
        (altered, ""),
        (older, "older than 1.1.0"),
        (b"nonsense".to_vec(), ""),
    ] {
        if reason.starts_with("older") {
            // What was refused so far no trusted key has signed.
            let mut late = site.client("late");
            late.subscribe("eyot/refuse/function/f");
            function_topic(&mut late, "refuse", "active", "1.1.0");
        }
        let topic = format!("eyot/refuse/push/{}", sha256(&bytes));
        client.publish("eyot/refuse/push", bytes);
        let document = client.await_message("the refusal", |publish| {
            let document: Value = serde_json::from_slice(&publish.payload).ok()?;
            (publish.topic == topic.as_str() && document["state"] == "rejected").then_some(document)
        });
        assert!(document["reason"].as_str().is_some_and(|text| text.contains(reason)), "{document}");
    }
    // What takes a retained push back is none.
    client.publish("eyot/refuse/push", "");
    // Parts that claim to be 4 GB.
    let bomb = "ab".repeat(32);
    client.publish(&format!("eyot/refuse/push/{bomb}/4294967295"), "x");
    client.await_topic(&format!("eyot/refuse/push/{bomb}"));
    echoes(&mut client, "1.1.0");
    assert_eq!((stored(&site, "parts").len(), stored(&site, "modules").len()), (0, 1));
    let status = site.await_status("the refusals", |status| status["pushes"].as_array().is_some_and(|p| p.len() >= 6));
    assert!(!status["pushes"].to_string().contains(&sha256(b"")), "{status}");
}

#[test]
fn parts_come_in_any_order_and_what_is_missing_is_asked_for() {
    let site = site("parts");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/parts/#");
    let module = version(site.dir(), "1.0.0");
    let topic = format!("eyot/parts/push/{}", sha256(&module));
    let parts: Vec<&[u8]> = module.chunks(100).collect();
    for number in (0..parts.len()).rev().filter(|number| *number != 2) {
        client.publish(&format!("{topic}/{number}"), parts[number].to_vec());
    }
    client.await_message("a request for part 2", |publish| {
        let report: Value = serde_json::from_slice(&publish.payload).ok()?;
        (publish.topic == topic.as_str() && report["missing"] == serde_json::json!([2])).then_some(())
    });
    client.publish(&format!("{topic}/2"), parts[2].to_vec());
    function_topic(&mut client, "parts", "active", "1.0.0");
    echoes(&mut client, "1.0.0");
    wait_for("the parts to go", STEP, || stored(&site, "parts").is_empty().then_some(()));
}

#[test]
fn parts_may_be_larger_than_any_message_of_a_sensor() {
    let site = site("slabs");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/slabs/#");
    let module = large(site.dir(), "1.0.0");
    let topic = format!("eyot/slabs/push/{}", sha256(&module));
    for (number, part) in module.chunks(400_000).enumerate() {
        client.publish(&format!("{topic}/{number}"), part.to_vec());
    }
    function_topic(&mut client, "slabs", "active", "1.0.0");
    echoes(&mut client, "1.0.0");
}

#[test]
fn a_version_that_traps_is_out_by_itself_and_why_is_retained() {
    let site = site("guard");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/guard/function/#");
    client.publish("eyot/guard/push", version(site.dir(), "1.0.0"));
    function_topic(&mut client, "guard", "active", "1.0.0");
    echoes(&mut client, "1.0.0");
    client.publish("eyot/guard/push", module(site.dir(), "1.1.0", &trapping()));
    function_topic(&mut client, "guard", "active", "1.1.0");
    for n in 0..10 {
        client.publish("in/a", n.to_string());
    }
    let document = function_topic(&mut client, "guard", "rolled-back", "1.1.0");
    assert!(document["reason"].as_str().unwrap().contains("failed on 3 of its first 3"), "{document}");
    assert_eq!(document["active"]["version"], "1.0.0", "{document}");
    // What waited meanwhile was not given to the version that was on its way out.
    for n in 3..10 {
        client.await_message("the echo", |p| (p.topic == "out/1.0.0/in/a" && p.payload == n.to_string()).then_some(()));
    }
    let mut late = site.client("late");
    late.subscribe("eyot/guard/function/f");
    function_topic(&mut late, "guard", "rolled-back", "1.1.0");
    client.publish("eyot/guard/push", module(site.dir(), "1.1.0", &trapping()));
    let document = function_topic(&mut client, "guard", "rejected", "1.1.0");
    assert!(document["reason"].as_str().unwrap().contains("rolled back"), "{document}");
}

#[test]
fn signed_commands_roll_back_configure_and_remove_once_each() {
    let site = site("command");
    let daemon = site.start();
    let mut client = site.client("operator");
    client.subscribe("out/#");
    client.subscribe("eyot/command/#");
    for text in ["1.0.0", "1.1.0"] {
        client.publish("eyot/command/push", version(site.dir(), text));
        function_topic(&mut client, "command", "active", text);
    }
    let function = || "f".to_owned();
    let back = order("command", "rollback-1", Command::Rollback { function: function(), to: None });
    client.publish("eyot/command/command", back.clone());
    function_topic(&mut client, "command", "rolled-back", "1.1.0");
    assert_eq!(report(&mut client, "command", "rollback-1")["done"], true);
    echoes(&mut client, "1.0.0");
    client.publish("eyot/command/command", back);
    let again = report(&mut client, "command", "rollback-1");
    assert!(again["reason"].as_str().unwrap().contains("was done already"), "{again}");

    let set = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let set = Command::Config { function: function(), set, unset: Vec::new() };
    client.publish("eyot/command/command", order("command", "config-01", set));
    assert_eq!(report(&mut client, "command", "config-01")["done"], true);
    echoes(&mut client, "1.0.0");

    client.publish("eyot/command/command", order("command", "remove-01", Command::Remove { function: function() }));
    assert_eq!(report(&mut client, "command", "remove-01")["done"], true);
    site.await_status("no function", |status| status["functions"].as_array().is_some_and(Vec::is_empty));
    let stranger = Order {
        gateway: "command".into(),
        nonce: "stranger-1".into(),
        expires: u64::MAX,
        command: Command::Remove { function: function() },
    };
    if let Ok(text) = seal(&signer([9; 32]), &stranger) {
        client.publish("eyot/command/command", text);
        assert_eq!(report(&mut client, "command", "stranger-1")["done"], false);
    }
    // The answer to UNSUBSCRIBE was understood.
    assert!(!daemon.log().contains("no connection"), "{}", daemon.log());
}

/// What came with the configuration file is the first version, and the way back leads there, also when the file is gone.
#[test]
fn a_push_replaces_what_the_configuration_file_names() {
    let mut site = site("first").function(|dir| Manifest::new("f").module(dir, &echo("out/1.0.0/")));
    let mut daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/first/#");
    echoes(&mut client, "1.0.0");
    // Its author builds where the configured file is: the gateway has a copy of what it was.
    client.publish("eyot/first/push", version(site.dir(), "1.1.0"));
    function_topic(&mut client, "first", "active", "1.1.0");
    daemon.kill();
    drop(daemon);
    site.config.functions.clear();
    let _daemon = site.start();
    echoes(&mut client, "1.1.0");
    let back = Command::Rollback { function: "f".to_owned(), to: Some("1.0.0".to_owned()) };
    client.publish("eyot/first/command", order("first", "rollback-1", back));
    assert_eq!(report(&mut client, "first", "rollback-1")["done"], true);
    echoes(&mut client, "1.0.0");
}

/// Messages go on while versions change: none is lost, and none is run twice.
#[test]
fn versions_change_between_two_messages() {
    let site = site("swap");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("eyot/swap/function/#");
    client.publish("eyot/swap/push", version(site.dir(), "1.0.0"));
    function_topic(&mut client, "swap", "active", "1.0.0");
    let mut cloud = site.client("cloud");
    cloud.subscribe("out/#");
    let port = site.broker.port();
    let sensor = std::thread::spawn(move || {
        let mut sensor = Client::connect(port, "sensor");
        for n in 0..2000_u32 {
            sensor.publish("in/a", n.to_string());
        }
    });
    for minor in 1..=20 {
        let text = format!("1.{minor}.0");
        client.publish("eyot/swap/push", version(site.dir(), &text));
        function_topic(&mut client, "swap", "active", &text);
    }
    sensor.join().unwrap();
    let mut got = Vec::new();
    while got.len() < 2000 {
        let publish = cloud.next(Duration::from_secs(30)).unwrap().expect("all echoes come");
        got.push(std::str::from_utf8(&publish.payload).unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
}
