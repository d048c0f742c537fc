//! Nodes: a microcontroller in QEMU at the real daemon.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{example, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::qemu::{firmware, Qemu};
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::wait::STEP;
use serde_json::Value;

/// What the firmware calls its samples.
const SAMPLES: &str = "sensors/sim/raw";

/// A gateway whose uplink takes what nodes send, with the node `north` on this line, and its function if it is to have one.
fn site(cloud: &Mosquitto, url: &str, function: Option<&Path>) -> Site {
    let mut site = Site::with_broker("nodes", Mosquitto::persistent());
    let uplink = Uplink { topics: vec!["nodes/#".into()], ..Uplink::cloud(cloud.url()) };
    site.config.uplinks = vec![uplink];
    let function = function.map_or_else(String::new, |path| format!("function = {path:?}\n"));
    site.config.more = format!("\n[[node]]\nid = \"north\"\nport = {url:?}\n{function}");
    site
}

pub fn watch(cloud: &Mosquitto) -> Client {
    let mut watch = Client::resume(cloud.port(), "watch").unwrap();
    watch.subscribe("nodes/#");
    watch
}

/// The node's own document, once `good` holds.
#[track_caller]
fn await_node(site: &Site, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let status = site.await_status(what, |status| good(&status["nodes"][0]));
    status["nodes"][0].clone()
}

/// A module for the small memory of a node, whose `body` emits to `topic`, of nine letters.
pub fn wat(topic: &str, body: &str) -> String {
    format!(
        r#"(module
        (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2048 (pagesize 1))
        (data (i32.const 16) "{topic}")
        (func (export "eyot_abi") (result i32) i32.const 1)
        (func (export "eyot_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) {body}))"#
    )
}

/// A function of such a module.
fn small(dir: &Path, body: &str) -> PathBuf {
    let manifest =
        Manifest { triggers: vec!["sensors/+/raw".into()], emit: vec!["small/#".into()], ..Manifest::new("small") };
    manifest.module(dir, &wat("small/out", body))
}

/// What such a function does with a sample.
pub const ECHO: &str = "(drop (call $emit (i32.const 16) (i32.const 9) (local.get 2) (local.get 3))) (i32.const 0)";

fn count(payload: &[u8]) -> u64 {
    let sample: Value = serde_json::from_slice(payload).unwrap_or_else(|e| panic!("{e}: {payload:?}"));
    sample["ts"].as_u64().unwrap()
}

#[test]
fn samples_go_through_the_node_s_function_and_the_gateway_s_log_to_the_cloud() {
    let Some(firmware) = firmware("nodes") else { return };
    let (cloud, qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = watch(&cloud);
    let dir = tempfile::tempdir().unwrap();
    let module = small(dir.path(), ECHO);
    let site = site(&cloud, &qemu.url(), Some(&module));
    let mut daemon = site.start();
    // Until the function is there, samples are outputs themselves; then its outputs are, and none is missing between.
    let mut last = 0;
    let mut seen = 0;
    while seen < 20 {
        let (topic, payload) = watch.await_message("a reading", |p| Some((p.topic.clone(), p.payload.clone())));
        let number = count(&payload);
        assert!(number == last + 1 || number <= last, "{number} after {last}");
        last = last.max(number);
        match &topic[..] {
            b"nodes/north/small/out" => seen += 1,
            _ => assert_eq!((&topic[..], seen), (format!("nodes/north/{SAMPLES}").as_bytes(), 0)),
        }
    }
    let node = await_node(&site, "an account of the node", |node| node["ledger"]["invoked"].as_u64() > Some(10));
    assert_eq!(
        (&node["online"], &node["restarts"], &node["reason"]),
        (&true.into(), &0.into(), &Value::Null),
        "{node}"
    );
    println!("node: heap {} of {} bytes, {} fuel", node["heap_used_bytes"], node["heap_bytes"], node["fuel"]);
    // A gateway that is killed finds the node as it left it.
    daemon.kill();
    let _daemon = site.start();
    let until = last + 20;
    while last < until {
        let number = count(&watch.await_message("a reading", |p| Some(p.payload.clone())));
        assert!(number == last + 1 || number <= last, "{number} after {last}");
        last = last.max(number);
    }
    site.await_status("a ledger that balances", balances);
}

/// Numbers begin anew with each start of the node.
fn note(runs: &mut Vec<Vec<u64>>, number: u64) {
    match runs.last_mut().filter(|run| run.last().is_some_and(|last| number > *last)) {
        Some(run) => run.push(number),
        None => runs.push(vec![number]),
    }
}

#[test]
fn power_cuts_of_the_node_lose_nothing_that_was_acknowledged() {
    let Some(firmware) = firmware("power cuts of nodes") else { return };
    let (cloud, mut qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = watch(&cloud);
    let site = site(&cloud, &qemu.url(), None);
    let _daemon = site.start();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut runs: Vec<Vec<u64>> = Vec::new();
    let mut cuts = 0;
    let mut next_cut = Instant::now() + Duration::from_millis(3000);
    while cuts < 5 || Instant::now() < next_cut {
        if cuts < 5 && Instant::now() >= next_cut {
            qemu.power_cycle(&firmware);
            cuts += 1;
            next_cut = Instant::now() + Duration::from_millis(random.u64(1500..5000));
        }
        let Ok(Some(publish)) = watch.next(Duration::from_millis(100)) else { continue };
        note(&mut runs, count(&publish.payload));
    }
    let node = await_node(&site, "an account of the node", |node| {
        node["online"] == true && node["ledger"]["acked"].as_u64() > Some(0)
    });
    let acked = node["ledger"]["acked"].as_u64().unwrap();
    while runs.last().and_then(|run| run.last()).is_none_or(|last| *last < acked) {
        let publish =
            watch.next(STEP).unwrap().unwrap_or_else(|| panic!("{acked} were acknowledged, seed {seed}: {runs:?}"));
        // It may be the first of the last start.
        note(&mut runs, count(&publish.payload));
    }
    for run in &runs {
        let expected: Vec<u64> = (1..=run.len() as u64).collect();
        assert_eq!(run, &expected, "seed {seed}: what came of one start has no gap");
    }
    assert!(runs.len() > 1 && node["restarts"].as_u64() >= Some(1), "no cut hit: {node}");
}

#[test]
fn the_same_module_makes_the_same_of_the_same_samples_on_node_and_gateway() {
    let Some(firmware) = firmware("equal functions") else { return };
    let (cloud, qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = watch(&cloud);
    let celsius = example("celsius");
    let mut site = site(&cloud, &qemu.url(), Some(&celsius));
    site.config.functions.push(celsius);
    let _daemon = site.start();
    let mut here = site.client("here");
    here.subscribe("processed/sim");
    // What the node had before it had the function shows what its sensor gives.
    let mut samples = Vec::new();
    let mut compared = 0;
    while compared < 10 {
        let (topic, payload) = watch.await_message("a reading", |p| Some((p.topic.clone(), p.payload.clone())));
        if topic == format!("nodes/north/{SAMPLES}") {
            samples.push(payload);
            continue;
        }
        assert_eq!(topic, "nodes/north/processed/sim");
        here.publish("sensors/sim/raw", sample(count(&payload)));
        assert_eq!(here.await_topic("processed/sim"), payload);
        compared += 1;
    }
    assert!(!samples.is_empty(), "the sensor's own were not seen");
    for payload in samples {
        assert_eq!(payload, sample(count(&payload)), "the test knows the sensor");
    }
    let node = await_node(&site, "an account", |node| node["ledger"]["invoked"].as_u64() > Some(0));
    println!(
        "node with celsius: heap {} of {} bytes, {} fuel",
        node["heap_used_bytes"], node["heap_bytes"], node["fuel"]
    );
}

/// What the firmware's sensor gives for its `number`-th sample.
fn sample(number: u64) -> String {
    let (t, rh) = (1500 + number * 37 % 1700, 400 + number * 13 % 500);
    let (t, rh) = (format!("{}.{:02}", t / 100, t % 100), format!("{}.{}", rh / 10, rh % 10));
    format!(r#"{{"device":"mps2-an505","t":{t},"rh":{rh},"ts":{number}}}"#)
}

#[test]
fn a_function_that_never_ends_does_not_take_the_node_with_it() {
    let Some(firmware) = firmware("hostile functions on nodes") else { return };
    let (cloud, qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let dir = tempfile::tempdir().unwrap();
    let module = small(dir.path(), "(loop (br 0)) (i32.const 0)");
    let site = site(&cloud, &qemu.url(), Some(&module));
    let _daemon = site.start();
    let node = await_node(&site, "failures", |node| node["ledger"]["failed"].as_u64() > Some(3));
    assert_eq!(
        (&node["online"], &node["restarts"], &node["ledger"]["invoked"]),
        (&true.into(), &0.into(), &0.into()),
        "{node}"
    );
}

#[test]
fn a_function_that_a_node_refuses_is_told_of_and_samples_go_on() {
    let Some(firmware) = firmware("refused functions on nodes") else { return };
    let (cloud, qemu) = (Mosquitto::persistent(), Qemu::start(&firmware));
    let mut watch = watch(&cloud);
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("no.wasm");
    std::fs::write(&module, b"\0asm and nothing more").unwrap();
    let site = site(&cloud, &qemu.url(), Some(&module));
    let _daemon = site.start();
    let node = await_node(&site, "a reason", |node| node["reason"].is_string());
    assert!(node["reason"].as_str().unwrap().contains("WebAssembly"), "{node}");
    watch.await_topic(&format!("nodes/north/{SAMPLES}"));
}
