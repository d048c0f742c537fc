//! Power cuts of a whole gateway, at any moment, while messages flow: it starts each time, and what was acknowledged arrives.
//!
//! `EYOT_BOOT_CUTS` is how many, and `EYOT_BOOT_SEED` repeats a run's moments, as far as the machine does.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::programs::root;
use eyot_test_e2e::site::{await_status, balances};
use eyot_test_e2e::wait::wait_for;
use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::board::{Board, PC};
use crate::machine::{build, Machine, BOOT, CARD_BYTES, HOST, ID};
use crate::volatile::Disk;

/// Unless `EYOT_BOOT_CUTS` says otherwise.
const CUTS: usize = 5;
/// Between two readings.
const PACE: Duration = Duration::from_millis(5);
/// Readings that wait at most, wherever.
const AHEAD_MAX: u64 = 2_000;
/// A gateway whose readings arrive runs on for so long at most.
const RUNS_MAX_MS: u64 = 4_000;
/// Of ten cuts, so many come at any moment of the start, and the others once readings arrive.
const AT_START_OF_TEN: u8 = 3;
/// How likely it is that a sector which was not flushed is kept: none, each by chance, all.
const KEPT: [f64; 3] = [0.0, 0.5, 1.0];

/// Readings, published without an end, and those that came to the cloud.
struct Flow {
    published: Arc<AtomicU64>,
    arrived: Arc<Mutex<HashSet<u64>>>,
    is_over: Arc<AtomicBool>,
    publisher: thread::JoinHandle<()>,
}

impl Flow {
    fn start(sensors: u16, cloud: u16) -> Self {
        let (published, arrived, is_over): (Arc<AtomicU64>, Arc<Mutex<HashSet<u64>>>, Arc<AtomicBool>) =
            Default::default();
        let mut receiver = Client::connect(cloud, "cloud");
        receiver.subscribe("processed/#");
        let came = Arc::clone(&arrived);
        thread::spawn(move || {
            while let Ok(publish) = receiver.next(Duration::from_secs(3600)) {
                let Some(publish) = publish else { continue };
                let reading: Value = serde_json::from_slice(&publish.payload).unwrap();
                came.lock().unwrap().insert(reading["ts"].as_u64().unwrap());
            }
        });
        let (counted, ended, came) = (Arc::clone(&published), Arc::clone(&is_over), Arc::clone(&arrived));
        let publisher = thread::spawn(move || {
            let mut sensor = Client::connect(sensors, "sensor");
            while !ended.load(Ordering::Relaxed) {
                let number = counted.load(Ordering::Relaxed);
                if number < AHEAD_MAX + came.lock().unwrap().len() as u64 {
                    let reading = format!("{{\"device\":\"7\",\"t\":21.5,\"rh\":40,\"ts\":{number}}}");
                    sensor.publish("sensors/7/raw", reading);
                    counted.store(number + 1, Ordering::Relaxed);
                }
                thread::sleep(PACE);
            }
        });
        Self { published, arrived, is_over, publisher }
    }

    /// Publishes no more, and waits until all has arrived; how many there were.
    fn finish(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.publisher.join().unwrap();
        let published = self.published.load(Ordering::Relaxed);
        let missing = || {
            let arrived = self.arrived.lock().unwrap();
            (0..published).filter(|number| !arrived.contains(number)).collect::<Vec<_>>()
        };
        let begin = Instant::now();
        while !missing().is_empty() {
            assert!(begin.elapsed() < BOOT, "of {published} readings these are lost: {:?}", missing());
            thread::sleep(PACE);
        }
        published
    }
}

#[test]
fn power_cuts_leave_it_bootable_and_lose_nothing() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cuts = number("EYOT_BOOT_CUTS").map_or(CUTS, |cuts| cuts as usize);
    let seed = number("EYOT_BOOT_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{cuts} power cuts, EYOT_BOOT_SEED={seed}");
    cut(&PC, cuts, Rng::with_seed(seed));
}

fn cut(board: &Board, cuts: usize, mut rng: Rng) {
    let Some(programs) = board.programs() else { return };
    let (broker, cloud) = (Mosquitto::persistent(), Mosquitto::persistent());
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::copy(root().join("functions/celsius/celsius.wasm"), at("celsius.wasm")).unwrap();
    let config = format!(
        "[gateway]\nid = \"{ID}\"\nstatus_interval = \"1s\"\n[broker]\nurl = \"mqtt://{HOST}:{}\"\n\
         [[uplink]]\nname = \"cloud\"\nurl = \"mqtt://{HOST}:{}\"\ntopics = [\"processed/#\"]\n\
         [[function]]\npath = \"celsius.wasm\"\n",
        broker.port(),
        cloud.port()
    );
    fs::write(at("gateway.toml"), config).unwrap();
    if build(board, &programs, &at("card.img"), &["--config", at("gateway.toml").to_str().unwrap()]).is_none() {
        return;
    }
    File::options().write(true).open(at("card.img")).unwrap().set_len(CARD_BYTES).unwrap();
    let disk = Disk::serve(&at("card.img"), dir.path());
    let start = || Machine::on(board, dir.path(), &at("card.img"), &disk.url());

    // The first start is not cut: the broker keeps for a gateway what comes after it was there once.
    let machine = start();
    machine.ready("first start");
    await_status(broker.port(), ID, "a gateway that listens", |status| status["subscribed"] == true);
    let mut to_ready = machine.age();
    machine.pull_plug();
    disk.cut(&mut rng, 0.5);
    let flow = Flow::start(broker.port(), cloud.port());
    let (mut with_readings, mut unflushed, begin) = (0, 0, Instant::now());
    for number in 1..=cuts {
        let machine = start();
        if rng.u8(..10) < AT_START_OF_TEN {
            thread::sleep(to_ready.mul_f64(rng.f64()));
        } else {
            machine.says("eyotd is ready");
            to_ready = machine.age();
            with_readings += 1;
            let before = flow.arrived.lock().unwrap().len();
            wait_for("readings in the cloud", BOOT, || (flow.arrived.lock().unwrap().len() > before).then_some(()));
            thread::sleep(Duration::from_millis(rng.u64(..RUNS_MAX_MS)));
        }
        machine.pull_plug();
        let chance = KEPT[rng.usize(..KEPT.len())];
        let sectors = disk.cut(&mut rng, chance);
        unflushed += sectors;
        let arrived = flow.arrived.lock().unwrap().len();
        println!("cut {number}: {sectors} sectors not flushed, {arrived} readings in the cloud");
    }
    let machine = start();
    machine.ready("after the last cut");
    let readings = flow.finish();
    let status = await_status(broker.port(), ID, "an empty log", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    println!(
        "{cuts} cuts in {} s, {with_readings} of them while readings arrived; {unflushed} sectors were not flushed, {} flushes; \
         {readings} readings, none lost",
        begin.elapsed().as_secs(),
        disk.flushes()
    );
    machine.press_button();
}
