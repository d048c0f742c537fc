//! Deployment under fire: bad links, hostile clients, kills, and no message lost meanwhile.

// Long because its tests share what they are under fire from, and the account of what must arrive.

use std::collections::BTreeSet;
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::proxy::{Proxy, State};
use eyot_test_e2e::site::balances;
use eyot_test_e2e::wait::{wait_for, STEP};
use eyot_wire::control::Command;
use serde_json::Value;

use crate::push::{echoes, function_topic, module, order, report, sha256, signer, site, stored, version, SEED};

/// So many random bytes behind the module that it is of about a megabyte, and no part like another.
pub fn megabyte(dir: &std::path::Path, version: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut manifest = Manifest::new("f");
    manifest.version = version.into();
    let mut module = std::fs::read(manifest.module(dir, &echo(&format!("out/{version}/")))).unwrap();
    // 1,000,000 bytes, in LEB128, of which the name takes four.
    module.extend_from_slice(&[0, 0xc0, 0x84, 0x3d, 3]);
    module.extend_from_slice(b"pad");
    module.extend(std::iter::repeat_with(|| random.u8(..)).take(1_000_000 - 4));
    signer(SEED).sign(&module).unwrap()
}

/// Cuts what passes through it every two seconds, for as long as it lives.
fn flapping(proxy: &Arc<Proxy>, ends: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (proxy, ends) = (Arc::clone(proxy), Arc::clone(ends));
    thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_secs(2));
            proxy.set(State::Cut);
            thread::sleep(Duration::from_millis(100));
            proxy.set(State::Open);
        }
    })
}

/// The link of the gateway and that of its author are cut every two seconds, and of what the author sends one in five is
/// lost. All he has is `mosquitto_pub`, and what the gateway says that it misses.
#[test]
fn a_megabyte_arrives_by_parts_through_a_link_that_loses_a_fifth_and_is_cut_every_two_seconds() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut site = site("lossy");
    let proxy = Arc::new(Proxy::new(site.broker.port()));
    let ends = Arc::new(AtomicBool::new(false));
    site.config.broker_url = proxy.url();
    let _daemon = site.start();
    let mut watch = site.client("watch");
    watch.subscribe("eyot/lossy/#");
    let module = megabyte(site.dir(), "1.0.0", &mut random);
    let push = sha256(&module);
    let parts: Vec<&[u8]> = module.chunks(10_000).collect();
    let flapping = flapping(&proxy, &ends);

    let file = site.dir().join("part");
    let mut send = |number: usize| {
        if random.u8(..5) == 0 {
            return;
        }
        std::fs::write(&file, parts[number]).unwrap();
        let topic = format!("eyot/lossy/push/{push}/{number}");
        let port = proxy.port().to_string();
        // It fails when the link is cut: so it is for the author.
        let mut sent = Process::new("mosquitto_pub");
        let _ = sent.args(["-p", &port, "-q", "1", "-t", &topic, "-f"]).arg(&file).output().unwrap();
    };
    (0..parts.len()).for_each(&mut send);
    let topic = format!("eyot/lossy/push/{push}");
    let deadline = Instant::now() + Duration::from_secs(180);
    let mut asked = 0;
    loop {
        assert!(Instant::now() < deadline, "it did not arrive");
        let Ok(Some(publish)) = watch.next(Duration::from_secs(5)) else {
            // The first and the last may be what is missing: only the author knows how many there are.
            (0..parts.len()).filter(|number| number % 7 == 0).for_each(&mut send);
            continue;
        };
        if publish.topic == b"eyot/lossy/function/f".as_slice() {
            break;
        }
        let Ok(report) = serde_json::from_slice::<Value>(&publish.payload) else { continue };
        if publish.topic != topic.as_bytes() || report["state"] != "receiving" {
            continue;
        }
        asked += 1;
        let missing = report["missing"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let tail = report["next"].as_u64().unwrap() as usize..parts.len();
        let again: BTreeSet<usize> = missing.map(|number| number as usize).chain(tail).collect();
        again.into_iter().for_each(&mut send);
    }
    ends.store(true, Ordering::Relaxed);
    flapping.join().unwrap();
    println!("it took {asked} requests for what was missing");
    assert!(asked > 0, "nothing was lost on the way");
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    site.await_status("the gateway to be back", |status| status["online"] == true && status["subscribed"] == true);
    echoes(&mut client, "1.0.0");
    wait_for("the parts to go", STEP, || stored(&site, "parts").is_empty().then_some(()));
}

/// A sensor whose every twentieth message the new version cannot take.
#[test]
fn a_version_that_traps_on_one_message_in_twenty_is_out_within_a_hundred() {
    let site = site("twenty");
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("eyot/twenty/function/#");
    client.publish("eyot/twenty/push", version(site.dir(), "1.0.0"));
    function_topic(&mut client, "twenty", "active", "1.0.0");
    // Not without a history.
    for n in 0..100 {
        client.publish("in/a", if n % 20 == 19 { "!" } else { "x" });
    }
    let local = "(local $turns i32)";
    let trap = format!("{local} (if (i32.eq (i32.load8_u (local.get $pp)) (i32.const 33)) (then unreachable))");
    let wat = echo("out/1.1.0/").replace(local, &trap);
    client.publish("eyot/twenty/push", module(site.dir(), "1.1.0", &wat));
    function_topic(&mut client, "twenty", "active", "1.1.0");
    let mut out = site.client("out");
    out.subscribe("out/#");
    for n in 0..100 {
        client.publish("in/a", if n % 20 == 19 { "!" } else { "x" });
    }
    let document = function_topic(&mut client, "twenty", "rolled-back", "1.1.0");
    assert!(document["reason"].as_str().unwrap().contains("failed on 3 of its first 60"), "{document}");
    // The rest went to the version before, in order: 57 echoes of the new one, 40 of the old one.
    let mut from = Vec::new();
    while from.len() < 97 {
        let publish = out.next(STEP).unwrap().expect("all echoes come");
        from.push(publish.topic == b"out/1.1.0/in/a".as_slice());
    }
    assert_eq!((from.iter().filter(|new| **new).count(), from.is_sorted_by(|a, b| a >= b)), (57, true));
}

/// What a sensor sends until told to end, at so many messages a second: a number, and microseconds since `began`. Returns how
/// many it sent.
fn sensor(port: u16, per_s: u32, began: Instant, ends: &Arc<AtomicBool>) -> thread::JoinHandle<u32> {
    let ends = Arc::clone(ends);
    thread::spawn(move || {
        let mut sensor = Client::connect(port, "sensor");
        let (start, mut sent) = (Instant::now(), 0);
        while !ends.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * f64::from(per_s)) as u32;
            for n in sent..due {
                let payload = format!("{n} {}", began.elapsed().as_micros());
                sensor.send("in/a", payload.into(), 1, false).unwrap();
            }
            sent = due.max(sent);
            thread::sleep(Duration::from_millis(1));
        }
        // A connection that is closed too early takes what is in it along.
        let mut acks = 0;
        while acks < sent && matches!(sensor.next_ack(STEP), Ok(Some(_))) {
            acks += 1;
        }
        sent
    })
}

/// One echo: its number, and when its message was sent and it arrived, in microseconds since `began`.
type Echo = (u32, u64, u64);

/// Takes echoes until told how many there are.
fn echoes_of(mut cloud: Client, began: Instant, count: &Arc<OnceLock<u32>>) -> thread::JoinHandle<Vec<Echo>> {
    let count = Arc::clone(count);
    thread::spawn(move || {
        let (mut got, mut last) = (Vec::new(), Instant::now());
        while count.get().is_none_or(|count| got.len() < *count as usize) {
            match cloud.next(Duration::from_millis(200)).unwrap() {
                Some(publish) => {
                    let (text, now_us) =
                        (String::from_utf8(publish.payload.to_vec()).unwrap(), began.elapsed().as_micros());
                    let (number, sent_us) = text.split_once(' ').unwrap();
                    got.push((number.parse().unwrap(), sent_us.parse().unwrap(), now_us as u64));
                    last = Instant::now();
                }
                None => assert!(last.elapsed() < Duration::from_secs(60), "echoes are missing: {} came", got.len()),
            }
        }
        got
    })
}

/// Deploys so many versions in a row under two thousand messages a second, after so much time without; all echoes, and when
/// the first version was pushed.
fn deploy_under_load(id: &str, quiet: Duration, count: u32) -> (Vec<Echo>, u64) {
    let site = site(id);
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe(&format!("eyot/{id}/function/#"));
    let push = format!("eyot/{id}/push");
    client.publish(&push, module(site.dir(), "1.0.0", &echo("out/")));
    function_topic(&mut client, id, "active", "1.0.0");
    // Signed before the clock starts.
    let texts = (1..=count).map(|minor| format!("1.{minor}.0"));
    let versions: Vec<_> = texts.map(|text| (module(site.dir(), &text, &echo("out/")), text)).collect();
    let mut cloud = site.client("cloud");
    cloud.subscribe("out/#");
    let (began, ends, sent) = (Instant::now(), Arc::default(), Arc::new(OnceLock::new()));
    let echoes = echoes_of(cloud, began, &sent);
    let sensor = sensor(site.broker.port(), 2000, began, &ends);
    thread::sleep(quiet);
    let first_us = began.elapsed().as_micros() as u64;
    for (module, text) in versions {
        client.publish(&push, module);
        function_topic(&mut client, id, "active", &text);
    }
    println!("{count} versions took {:.1} s", began.elapsed().as_secs_f64() - first_us as f64 / 1e6);
    ends.store(true, Ordering::Relaxed);
    sent.set(sensor.join().unwrap()).unwrap();
    let echoes = echoes.join().unwrap();
    let status = site.await_status("all delivered", |status| status["ledger"]["pending"] == 0 && balances(status));
    assert_eq!(status["ledger"]["dropped"], 0, "{status}");
    wait_for("the parts to go", STEP, || stored(&site, "parts").is_empty().then_some(()));
    assert_eq!(stored(&site, "modules").len(), 3, "the one in force and two before it");
    (echoes, first_us)
}

#[test]
fn two_hundred_versions_in_a_row_lose_no_message() {
    let (echoes, _) = deploy_under_load("many", Duration::ZERO, 200);
    assert!(echoes.iter().map(|(number, ..)| *number).eq(0..echoes.len() as u32), "each once, in order");
}

/// The slowest of a hundred echoes, in microseconds.
fn p99_us(echoes: &[&Echo]) -> u64 {
    let mut took_us: Vec<_> = echoes.iter().map(|(_, sent_us, came_us)| came_us - sent_us).collect();
    took_us.sort_unstable();
    took_us[took_us.len() * 99 / 100]
}

/// Of two things on one machine at one time: how long messages take without deployments, and with one after the other.
#[test]
#[ignore = "a measurement: it wants a machine to itself, and --release"]
fn two_hundred_versions_in_a_row_keep_no_message_waiting() {
    let (echoes, first_us) = deploy_under_load("quick", Duration::from_secs(20), 200);
    let (warm_us, last_us) = (5_000_000, echoes.last().unwrap().1);
    let during = |from_us, to_us| -> Vec<&Echo> {
        echoes.iter().filter(|(_, sent_us, _)| (from_us..to_us).contains(sent_us)).collect()
    };
    let (without_us, with_us) = (p99_us(&during(warm_us, first_us)), p99_us(&during(first_us, last_us)));
    println!("p99 without deployments {without_us} us, with 200 in a row {with_us} us");
    assert!(with_us < without_us + 10_000, "{with_us} us, and {without_us} us without");
}

/// A full backlog holds up the sensors, and a command comes down the uplink: what the cloud acknowledges on it must be heard.
#[test]
fn a_command_from_the_cloud_is_done_while_sensors_wait() {
    let mut site = site("blocked");
    let cloud = Mosquitto::forgetful();
    let proxy = Proxy::new(cloud.port());
    let mut uplink = Uplink::cloud(proxy.url());
    uplink.more = "max_backlog = \"1MiB\"\nwhen_full = \"block\"\n".into();
    site.config.uplinks = vec![uplink];
    let _daemon = site.start();
    let mut operator = Client::connect(cloud.port(), "operator");
    operator.subscribe("eyot/blocked/#");
    let mut author = site.client("author");
    author.subscribe("eyot/blocked/function/#");
    author.publish("eyot/blocked/push", module(site.dir(), "1.0.0", &echo("cloud/")));
    function_topic(&mut author, "blocked", "active", "1.0.0");
    site.await_status("the uplink", |status| status["uplinks"].to_string().contains("\"connected\":true"));
    proxy.set(State::Cut);
    // More than the backlog and the queue take.
    for n in 0..200_u32 {
        let mut payload = vec![b'.'; 60_000];
        payload[..4].copy_from_slice(&n.to_le_bytes());
        author.publish("in/a", payload);
    }
    site.await_status("a full backlog", |status| status["uplinks"].to_string().contains("\"full\":true"));
    let set =
        Command::Config { function: "f".into(), set: [("k".to_owned(), "v".to_owned())].into(), unset: Vec::new() };
    operator.publish("eyot/blocked/command", order("blocked", "config-01", set));
    let mut collector = Client::connect(cloud.port(), "collector");
    collector.subscribe("cloud/#");
    proxy.set(State::Open);
    assert_eq!(report(&mut operator, "blocked", "config-01")["done"], true);
    let mut got = BTreeSet::new();
    while got.len() < 200 {
        let publish = collector.next(STEP).unwrap().expect("all come");
        got.insert(publish.payload[..4].to_vec());
    }
}

/// Wherever the kill comes, the version is the old one or the new one, what was acknowledged is done, and the next start is
/// like any other.
#[test]
fn kills_at_any_moment_of_a_deployment_leave_the_old_version_or_the_new_one() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = site("kills");
    let mut daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("eyot/kills/#");
    client.subscribe("out/#");
    client.publish("eyot/kills/push", version(site.dir(), "1.0.0"));
    function_topic(&mut client, "kills", "active", "1.0.0");
    for round in 1..=25 {
        let text = format!("1.{round}.0");
        let module = version(site.dir(), &text);
        if random.bool() {
            client.publish("eyot/kills/push", module);
        } else {
            let push = sha256(&module);
            for (number, part) in module.chunks(200).enumerate() {
                client.publish(&format!("eyot/kills/push/{push}/{number}"), part.to_vec());
            }
        }
        let nonce = format!("config-{round:03}");
        let set = [("k".to_owned(), round.to_string())].into();
        let config = Command::Config { function: "f".to_owned(), set, unset: Vec::new() };
        client.publish("eyot/kills/command", order("kills", &nonce, config));
        thread::sleep(Duration::from_micros(random.u64(..120_000)));
        daemon.kill();
        daemon = site.start();
        // Whatever the broker had taken comes to its end: in this life or the one before.
        site.await_status(&text, |status| status["functions"][0]["version"] == text.as_str());
    }
    let done =
        order("kills", "config-end", Command::Config { function: "f".into(), set: [].into(), unset: vec!["k".into()] });
    client.publish("eyot/kills/command", done);
    assert_eq!(report(&mut client, "kills", "config-end")["done"], true);
    echoes(&mut client, "1.25.0");
    // A command is answered before the store forgets it.
    let is_empty = |what| stored(&site, what).is_empty();
    wait_for("parts and commands to go", STEP, || (is_empty("parts") && is_empty("commands")).then_some(()));
    assert_eq!(stored(&site, "modules").len(), 3);
    let audit = std::fs::read_to_string(site.config.data_dir.join("audit.ndjson")).unwrap();
    for action in ["push", "config"] {
        let count = audit.matches(&format!("\"action\":\"{action}\"")).count();
        assert_eq!(count, 26, "each {action} was done once: {audit}");
    }
}
