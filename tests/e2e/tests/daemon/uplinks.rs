//! Uplinks that are no brokers, over `kill -9`: HTTP, S3, files.
//!
//! `EYOT_E2E_SEED` repeats a run.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_test_e2e::checker::{verify, Arrival, Summary};
use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;
use eyot_test_e2e::wait::{wait_for, STEP};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::Value;

use crate::servers::{Faults, Http, Server, POISON};

const MESSAGES: u64 = 2_400;
const TOPICS: u64 = 4;
const INTERVAL: Duration = Duration::from_millis(2);
/// Fewer prove nothing.
const KILLS_AT_LEAST: u32 = 4;
const BATCHES: &str = "batch_max = 100\nlinger = \"50ms\"\n";

/// A gateway whose only uplink is this one.
fn site(id: &str, url: String, more: &str) -> Site {
    let mut site = Site::with_broker(id, Mosquitto::persistent())
        .function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    site.config.uplinks = vec![Uplink { more: format!("{BATCHES}{more}"), ..Uplink::cloud(url) }];
    site
}

/// Publishes numbered messages at a steady pace; all are acknowledged when it returns.
fn publish(port: u16) {
    let mut sensor = Client::connect(port, "sensor");
    let (started, mut acknowledged) = (Instant::now(), 0);
    for index in 0..MESSAGES {
        let (topic, payload) = (format!("in/{}", index % TOPICS), format!(r#"{{"n":{index}}}"#));
        sensor.send(&topic, payload.into(), 1, false).unwrap();
        let next = started + INTERVAL * (index as u32 + 1);
        while let Some(ack) = sensor.next_ack(next.saturating_duration_since(Instant::now())).unwrap() {
            assert_eq!(ack.reason, PubAckReason::Success, "the gateway's subscription is gone");
            acknowledged += 1;
        }
    }
    while acknowledged < MESSAGES {
        let ack = sensor.next_ack(STEP).unwrap().expect("the local broker acknowledges");
        assert_eq!(ack.reason, PubAckReason::Success, "the gateway's subscription is gone");
        acknowledged += 1;
    }
}

/// Publishes, kills the daemon all the while, and waits until everything is at the other end, as `lines` shows it.
/// Returns what arrived, and the daemon.
fn storm(site: &Site, lines: impl Fn() -> Vec<Arrival>) -> (Vec<Arrival>, Eyotd) {
    let seed = std::env::var("EYOT_E2E_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    println!("EYOT_E2E_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut daemon = site.start();
    let mut kills = 0;
    thread::scope(|scope| {
        let sensor = scope.spawn(|| publish(site.broker.port()));
        while !sensor.is_finished() {
            // This much of the load passes before the next kill: there is nothing to wait for.
            thread::sleep(Duration::from_millis(random.u64(300..1_000)));
            daemon.kill();
            daemon = Eyotd::start(&site.config);
            kills += 1;
        }
    });
    assert!(kills >= KILLS_AT_LEAST, "{kills} kills");
    wait_for("every message at the other end", 2 * STEP, || {
        let mut seen = vec![false; MESSAGES as usize];
        lines().iter().for_each(|arrival| seen[arrival.index as usize] = true);
        seen.iter().all(|seen| *seen).then_some(())
    });
    let settled = |status: &Value| status["online"] == true && status["ledger"]["pending"] == 0;
    let status = site.await_status("everything settled", settled);
    assert!(balances(&status), "{status}");
    assert_eq!(status["ledger"]["dropped"], 0, "{status}");
    let arrived = lines();
    let distinct = arrived.iter().map(|arrival| arrival.stamp.seq).max().unwrap();
    let delivered = status["ledger"]["streams"]["cloud"]["delivered"].as_u64().unwrap();
    assert!(delivered >= MESSAGES && delivered <= distinct, "{distinct} arrived: {status}");
    (arrived, daemon)
}

#[track_caller]
fn check(arrived: &[Arrival]) -> Summary {
    let summary = verify(arrived, MESSAGES).unwrap_or_else(|breach| panic!("{breach}"));
    println!("{} arrivals: {summary:?}", arrived.len());
    summary
}

/// A line of JSON as the uplinks write it.
fn arrival(line: &str) -> Arrival {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line:?}"));
    let index = record["payload"]["n"].as_u64().unwrap();
    let topic = record["topic"].as_str().unwrap().to_owned();
    assert_eq!(topic, format!("cloud/in/{}", index % TOPICS));
    let (gateway, epoch) = (record["gateway"].as_str().unwrap().to_owned(), record["epoch"].to_string());
    let stamp = Stamp { gateway, epoch, seq: record["seq"].as_u64().unwrap() };
    Arrival { topic, index, stamp, payload: Bytes::copy_from_slice(line.as_bytes()) }
}

/// The lines of whole bodies.
fn arrivals<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Arrival> {
    let whole = |text: &'t str| {
        assert!(text.ends_with('\n'), "torn: {:?}", text.lines().last());
        text.lines()
    };
    texts.into_iter().filter(|text| !text.is_empty()).flat_map(whole).map(arrival).collect()
}

#[test]
fn http_gets_everything_over_kill_minus_nine_busy_answers_and_lost_ones() {
    let http = Http::start(Faults { cycle: 20, busy: 7, cut: 13 });
    let site = site("http", format!("http://{}/in", http.server.addr), "");
    let (arrived, _daemon) = storm(&site, || {
        let taken = http.taken();
        arrivals(taken.iter().map(|taken| std::str::from_utf8(&taken.body).unwrap()))
    });
    let summary = check(&arrived);
    let (busy, cut) = http.faults();
    assert!(busy >= 1 && cut >= 1, "{busy} busy answers, {cut} lost ones");
    assert!(summary.retried >= cut, "what was cut is sent again");
    // A server may throw away what comes again under a key it knows.
    let mut bodies = HashMap::new();
    for taken in http.taken() {
        let before = bodies.insert(taken.idempotency_key.clone(), taken.body.clone());
        assert!(before.is_none_or(|before| before == taken.body), "{} has two bodies", taken.idempotency_key);
    }
}

#[test]
fn what_a_server_refuses_is_found_in_its_batch_and_kept_as_a_dead_letter() {
    let http = Http::start(Faults { cycle: usize::MAX, busy: usize::MAX, cut: usize::MAX });
    let site = site("refused", format!("http://{}/in", http.server.addr), "");
    let mut daemon = site.start();
    let mut sensor = site.client("sensor");
    sensor.subscribe("eyot/refused/dead/cloud");
    let payload = |n: u64| if n == 13 { format!(r#""{POISON}""#) } else { format!(r#"{{"n":{n}}}"#) };
    for n in 0..20 {
        sensor.publish(&format!("in/{}", n % TOPICS), payload(n));
    }
    let letter: Value = serde_json::from_slice(&sensor.await_topic("eyot/refused/dead/cloud")).unwrap();
    let expected = (Value::from("cloud"), Value::from("cloud/in/1"), Value::from("InBvaXNvbiI="));
    assert_eq!(
        (&letter["uplink"], &letter["topic"], &letter["payload_base64"]),
        (&expected.0, &expected.1, &expected.2)
    );
    let status = site.await_status("everything settled", |status| status["ledger"]["pending"] == 0);
    let cloud = &status["ledger"]["streams"]["cloud"];
    assert_eq!((&cloud["delivered"], &cloud["dropped_by_reason"]["refused"]), (&19.into(), &1.into()), "{status}");
    assert!(balances(&status), "{status}");
    let mut taken = arrivals(http.taken().iter().map(|taken| std::str::from_utf8(&taken.body).unwrap()));
    taken.sort_by_key(|arrival| arrival.index);
    assert_eq!(taken.iter().map(|a| a.index).collect::<Vec<_>>(), (0..20).filter(|n| *n != 13).collect::<Vec<_>>());
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn an_object_store_gets_everything_over_kill_minus_nine_and_cut_connections() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("readings")).unwrap();
    let server = Server::s3(root.path());
    let mut site = site("s3", "s3://readings/farm".into(), "compress = \"none\"\naccess_key = \"barn\"\n");
    let secret = site.dir().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    site.config.uplinks[0].more += &format!("secret_key_file = {secret:?}\nendpoint = \"http://{}\"\n", server.addr);
    let (arrived, _daemon) = storm(&site, || {
        // Days and ranges in the keys are of fixed width: their order is that of time.
        let mut keys = files(&root.path().join("readings"));
        keys.sort();
        arrivals(keys.iter().map(|key| fs::read_to_string(key).unwrap()).collect::<Vec<_>>().iter().map(String::as_str))
    });
    check(&arrived);
}

#[test]
fn a_file_holds_everything_once_over_kill_minus_nine_and_no_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let site = site("file", format!("file://{}", dir.path().display()), "rotate_bytes = \"64KiB\"\n");
    let read = || {
        // While a line is written it is not whole; when all is read at the end it must be.
        texts(dir.path())
            .iter()
            .flat_map(|text| text.split_inclusive('\n'))
            .filter(|l| l.ends_with('\n'))
            .map(arrival)
            .collect()
    };
    let (_, mut daemon) = storm(&site, read);
    daemon.terminate();
    let texts = texts(dir.path());
    assert!(texts.len() > 2, "{} files: it was rotated", texts.len());
    let summary = check(&arrivals(texts.iter().map(String::as_str)));
    assert_eq!(summary.retried, 0, "a file repeats nothing");
}

/// Texts of the files of an uplink, in order.
fn texts(dir: &Path) -> Vec<String> {
    // The number at the end of a rotated one's name is that of its first record; the active one has none and is last.
    let first = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        stem.strip_prefix("file-cloud-").map_or(u64::MAX, |rest| rest.rsplit('-').next().unwrap().parse().unwrap())
    };
    let mut paths = files(dir);
    paths.sort_by_key(first);
    paths.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
