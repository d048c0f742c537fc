//! Functions pushed to a node: a microcontroller in QEMU behind the real daemon, and nothing but an MQTT client.

use std::path::Path;
use std::process::Command as Process;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{example_with, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::qemu::{firmware, Qemu};
use eyot_test_e2e::site::{balances, Site};
use serde_json::Value;

use crate::node::{self, ECHO};
use crate::push::{sha256, signed, signer, SEED};
use crate::tool;

const TRAP: &str = "unreachable";

/// A gateway that trusts one key, whose uplink takes what nodes send, with the node `north` on this line.
fn site(cloud: &Mosquitto, qemu: &Qemu) -> Site {
    let mut site = Site::with_broker("nodes", Mosquitto::persistent());
    site.config.uplinks = vec![Uplink { topics: vec!["nodes/#".into()], ..Uplink::cloud(cloud.url()) }];
    site.config.trust_keys = vec![signer(SEED).public().to_openssh()];
    site.config.allow_unsigned = false;
    site.config.more = format!("\n[[node]]\nid = \"north\"\nport = {:?}\nboard = \"mps2-an505\"\n", qemu.url());
    site
}

fn manifest(version: &str) -> Manifest {
    let (triggers, emit) = (vec!["sensors/+/raw".into()], vec!["trim/#".into()]);
    Manifest { version: version.into(), triggers, emit, ..Manifest::new("trim") }
}

/// A version for the small memory of a node, which emits to `trim/<tag>`.
fn trim(dir: &Path, version: &str, tag: &str, body: &str) -> Vec<u8> {
    signed(dir, &manifest(version), &wat(tag, body))
}

fn wat(tag: &str, body: &str) -> String {
    node::wat(&format!("trim/{tag:4}"), body)
}

/// An author at the local broker, who hears of the node and of pushes to it.
fn author(site: &Site) -> Client {
    let mut author = site.client("author");
    author.subscribe("eyot/nodes/node/north");
    author.subscribe("eyot/nodes/node/north/push/+");
    author
}

#[track_caller]
fn await_node(author: &mut Client, state: &str, version: &str) -> Value {
    author.await_message(&format!("{version} {state}"), |publish| {
        let document: Value = serde_json::from_slice(&publish.payload).ok()?;
        let is_it =
            publish.topic == "eyot/nodes/node/north" && document["state"] == state && document["version"] == version;
        is_it.then_some(document)
    })
}

#[track_caller]
fn await_report(author: &mut Client, module: &[u8], state: &str) -> Value {
    let topic = format!("eyot/nodes/node/north/push/{}", sha256(module));
    author.await_message(&format!("{state} of a push"), |publish| {
        let report: Value = serde_json::from_slice(&publish.payload).ok()?;
        (publish.topic == topic.as_str() && report["state"] == state).then_some(report)
    })
}

/// `mosquitto_pub`, as the README has it.
fn mosquitto_pub(site: &Site, module: &[u8]) {
    let file = site.dir().join("pushed.wasm");
    std::fs::write(&file, module).unwrap();
    let port = site.broker.port().to_string();
    let topic = "eyot/nodes/node/north/push";
    let sent = Process::new("mosquitto_pub").args(["-p", &port, "-q", "1", "-t", topic, "-f"]).arg(&file).status();
    assert!(sent.unwrap().success());
}

/// What the tool shows of the node that runs 1.3.0.
#[track_caller]
fn shows_node(shown: &str) {
    let has_node = shown.lines().any(|line| line.contains("north  online  trim  1.3.0 active"));
    assert!(has_node, "{shown}");
}

#[test]
fn a_function_pushed_by_mosquitto_pub_runs_on_the_node_and_what_does_worse_goes_back() {
    let Some(firmware) = firmware("pushes to nodes") else { return };
    let (cloud, qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = node::watch(&cloud);
    let site = site(&cloud, &qemu);
    let mut daemon = site.start();
    let mut author = author(&site);
    let first = trim(site.dir(), "1.0.0", "one", ECHO);
    mosquitto_pub(&site, &first);
    await_report(&mut author, &first, "active");
    watch.await_topic("nodes/north/trim/one ");
    let second = trim(site.dir(), "1.1.0", "two", ECHO);
    let (head, tail) = second.split_at(second.len() / 2);
    for (number, part) in [(1, tail), (0, head)] {
        author.publish(&format!("eyot/nodes/node/north/push/{}/{number}", sha256(&second)), part.to_vec());
    }
    await_node(&mut author, "active", "1.1.0");
    watch.await_topic("nodes/north/trim/two ");

    let unsigned = std::fs::read(manifest("2.0.0").module(site.dir(), &wat("bad", ECHO))).unwrap();
    let stranger = signer([9; 32]).sign(&unsigned).unwrap();
    let large = signed(site.dir(), &manifest("2.0.0"), &wat("bad", &"(drop (i32.const 7)) ".repeat(40_000)));
    let mut greedy = manifest("2.0.0");
    greedy.limits = "fuel = 5_000_000".into();
    let greedy = signed(site.dir(), &greedy, &wat("bad", ECHO));
    let other = Manifest { name: "other".into(), ..manifest("2.0.0") };
    let other = signed(site.dir(), &other, &wat("bad", ECHO));
    for (module, reason) in [
        (unsigned, "not signed"),
        (stranger, "no key that is trusted here"),
        (first.clone(), "older than 1.1.0"),
        (large, "more than the 98304"),
        (greedy, "fuel: 5000000 more than the 1000000"),
        (other, "`eyot remove trim --node north`"),
    ] {
        mosquitto_pub(&site, &module);
        let report = await_report(&mut author, &module, "rejected");
        assert!(report["reason"].as_str().unwrap().contains(reason), "{reason}: {report}");
    }
    watch.await_topic("nodes/north/trim/two ");

    let trapping = trim(site.dir(), "1.2.0", "bad", TRAP);
    mosquitto_pub(&site, &trapping);
    let node = await_node(&mut author, "rolled-back", "1.2.0");
    assert_eq!(node["active"]["version"], "1.1.0");
    assert!(node["reason"].as_str().unwrap().contains("failed on"), "{node}");
    watch.await_topic("nodes/north/trim/two ");
    mosquitto_pub(&site, &trapping);
    let report = await_report(&mut author, &trapping, "rejected");
    assert!(report["reason"].as_str().unwrap().contains("was taken back"), "{report}");

    // What is in force is so after a kill, and the tool leads back to what was before it.
    daemon.kill();
    let _daemon = site.start();
    await_node(&mut author, "rolled-back", "1.2.0");
    let eyot = |args: &[&str]| tool::run(&site, args, 0).stdout;
    eyot(&["rollback", "trim", "--node", "north"]);
    await_node(&mut author, "rolled-back", "1.1.0");
    watch.await_topic("nodes/north/trim/one ");
    let third = site.dir().join("third.wasm");
    std::fs::write(&third, trim(site.dir(), "1.3.0", "tri", ECHO)).unwrap();
    let said = eyot(&["push", third.to_str().unwrap(), "--node", "north", "--wait"]);
    assert!(said.contains("active"), "{said}");
    watch.await_topic("nodes/north/trim/tri ");
    ["status", "list"].into_iter().for_each(|command| shows_node(&eyot(&[command])));
    place_knows_what_the_node_has_left(&site, &third);
    eyot(&["remove", "trim", "--node", "north"]);
    watch.await_topic("nodes/north/sensors/sim/raw");
    site.await_status("a ledger that balances", balances);
}

/// Another name is one function too many for the node; the gateway has room.
fn place_knows_what_the_node_has_left(site: &Site, third: &Path) {
    let place = |module: &Path| {
        let report = tool::run(site, &["place", module.to_str().unwrap(), "-g", "nodes", "--json"], 0).json();
        let north = report["places"].as_array().unwrap().iter().find(|place| place["name"] == "north").cloned();
        north.unwrap_or_else(|| panic!("{report}"))
    };
    let north = place(third);
    assert!(north["fits"] == true && north["note"].as_str().unwrap().contains("of its heap are free"), "{north}");
    let other = Manifest { name: "other".into(), ..manifest("1.0.0") }.module(site.dir(), &wat("bad", ECHO));
    let north = place(&other);
    assert!(north["fits"] == false && north["reason"].as_str().unwrap().contains("eyot remove trim"), "{north}");
}

#[test]
fn kills_and_power_cuts_in_the_middle_of_an_installation_leave_the_old_version_or_the_new_one() {
    let Some(firmware) = firmware("installations that are cut") else { return };
    let (cloud, mut qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = node::watch(&cloud);
    let site = site(&cloud, &qemu);
    let mut daemon = site.start();
    let mut author = author(&site);
    let first = trim(site.dir(), "1.0.0", "one", ECHO);
    mosquitto_pub(&site, &first);
    await_node(&mut author, "active", "1.0.0");
    watch.await_topic("nodes/north/trim/one ");
    // 80 KB, 150 chunks.
    let config = "rh_max = \"95\"\nout = \"processed\"".into();
    let second = Manifest { emit: vec!["processed/#".into()], config, ..manifest("1.1.0") };
    let second = std::fs::read(example_with(site.dir(), "celsius", &second.text())).unwrap();
    let second = signer(SEED).sign(&second).unwrap();
    mosquitto_pub(&site, &second);
    await_report(&mut author, &second, "staged");
    daemon.kill();
    let mut daemon = site.start();
    qemu.power_cycle(&firmware);
    await_node(&mut author, "active", "1.1.0");
    watch.await_topic("nodes/north/processed/sim");
    // A node that is away gets it when it is back, whatever happens to the gateway until then.
    qemu.power_cycle(&firmware);
    daemon.kill();
    let third = signed(site.dir(), &manifest("1.2.0"), &wat("tri", ECHO));
    let mut daemon = site.start();
    mosquitto_pub(&site, &third);
    await_report(&mut author, &third, "staged");
    daemon.kill();
    let _daemon = site.start();
    await_node(&mut author, "active", "1.2.0");
    watch.await_topic("nodes/north/trim/tri ");
}
