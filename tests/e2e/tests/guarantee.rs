//! The guarantee, as section 4 of the design states it: whatever the local broker acknowledged to a sensor arrives at
//! the cloud, in order per topic, however often the daemon is killed and the cloud is away.
//!
//! `EYOT_E2E_MESSAGES` sets how many messages, `EYOT_E2E_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use eyot_test_e2e::checker::{verify, Arrival};
use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{example_with, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;
use eyot_test_e2e::wait::STEP;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish};

const SENSORS: u64 = 20;
/// Publishes on their way to the local broker.
const UNACKNOWLEDGED: u64 = 1_000;
/// Longest time without a new message at the cloud while everything is up.
const SILENCE: Duration = Duration::from_secs(30);
/// Fewer kills prove nothing.
const KILLS_AT_LEAST: u32 = 5;

#[test]
fn what_was_acknowledged_arrives_in_order_over_kill_minus_nine_and_cut_uplinks() {
    let messages = setting("EYOT_E2E_MESSAGES").unwrap_or(if cfg!(debug_assertions) { 20_000 } else { 100_000 });
    let seed = setting("EYOT_E2E_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("EYOT_E2E_SEED={seed} EYOT_E2E_MESSAGES={messages}");
    let mut cloud = Mosquitto::persistent();
    let site = site(&cloud);
    let mut daemon = site.start();
    let stop = AtomicBool::new(false);
    // The collector's session is there before the first output: its thread can be later than that.
    Client::resume(cloud.port(), "collector").expect("the cloud is up").subscribe("cloud/#");
    let (to_test, arrivals) = mpsc::channel();
    thread::scope(|scope| {
        let (cloud_port, local_port) = (cloud.port(), site.broker.port());
        let stopping = StopOnDrop(&stop);
        let collector = scope.spawn({
            let stop = &stop;
            move || collect(cloud_port, stop, to_test)
        });
        let publisher = scope.spawn(move || publish(local_port, messages));
        let mut storm = Storm::new(seed, messages);
        let arrived = storm.rage(&site, &mut daemon, &mut cloud, &arrivals);
        drop(stopping);
        collector.join().unwrap();
        assert_eq!(publisher.join().unwrap(), messages, "the local broker acknowledged everything");
        println!("{} kills, {} arrivals for {messages} messages", storm.kills, arrived.len());
        assert!(storm.kills >= KILLS_AT_LEAST, "{} kills; use more messages", storm.kills);
        let summary = verify(&arrived, messages).unwrap_or_else(|breach| panic!("{breach}"));
        println!("{summary:?}");
    });
    let status = site.await_status("an empty backlog", |status| {
        status["online"] == true && status["ledger"]["pending"] == 0 && balances(status)
    });
    assert_eq!(status["ledger"]["dropped"], 0, "{status}");
    assert_eq!(status["ledger"]["delivered"], status["ledger"]["received"], "{status}");
}

/// The scope waits for the collector, also when the test fails in between.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// The example `celsius`, told to emit to the cloud.
fn site(cloud: &Mosquitto) -> Site {
    let mut manifest = Manifest::new("celsius");
    manifest.triggers = vec!["sensors/+/raw".into()];
    manifest.config = "out = \"cloud\"\nrh_max = \"95\"".into();
    let mut site = Site::with_broker("storm", Mosquitto::persistent())
        .function(|dir| example_with(dir, "celsius", &manifest.text()));
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    site
}

/// Publishes everything; returns how many messages the broker acknowledged as handed on to the gateway's session.
fn publish(port: u16, messages: u64) -> u64 {
    let mut client = Client::connect(port, "sensors");
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < UNACKNOWLEDGED {
            let sensor = sent % SENSORS;
            let payload = format!(r#"{{"device":"s{sensor}","t":20.5,"rh":40.0,"ts":{sent}}}"#);
            client.send(&format!("sensors/s{sensor}/raw"), payload.into(), 1, false).unwrap();
            sent += 1;
        }
        let ack = client.next_ack(STEP).unwrap().expect("the local broker acknowledges");
        assert_eq!(ack.reason, PubAckReason::Success, "the gateway's subscription is gone");
        acknowledged += 1;
    }
    acknowledged
}

/// Collects at the cloud, over as many connections as that takes.
fn collect(port: u16, stop: &AtomicBool, to_test: Sender<Arrival>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::resume(port, "collector") else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if !client.session_present() {
            client.subscribe("cloud/#");
        }
        while let (Ok(publish), false) = (client.next(Duration::from_millis(100)), stop.load(Ordering::Relaxed)) {
            if publish.is_some_and(|publish| to_test.send(arrival(&publish)).is_err()) {
                return;
            }
        }
    }
}

fn arrival(publish: &Publish) -> Arrival {
    let value: serde_json::Value = serde_json::from_slice(&publish.payload).expect("celsius emits JSON");
    let stamp = Stamp::of(publish).unwrap_or_else(|| panic!("an output without a stamp: {publish:?}"));
    let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
    let index = value["ts"].as_u64().unwrap();
    assert_eq!(topic, format!("cloud/s{}", index % SENSORS));
    assert_eq!(
        value["t"].as_f64().map(|t| (t * 10.0).round()),
        Some(689.0),
        "20.5 degrees Celsius are 68.9 Fahrenheit"
    );
    Arrival { topic, index, stamp, payload: publish.payload.clone() }
}

/// Which messages and which of the gateway's own numbers did not come: with a gap in these it was lost behind the log, and
/// without one before it.
fn missing(arrived: &[Arrival], distinct: &HashSet<u64>, messages: u64) -> String {
    let seqs: HashSet<u64> = arrived.iter().map(|arrival| arrival.stamp.seq).collect();
    let last = seqs.iter().max().copied().unwrap_or(0);
    let lost = runs((0..messages).filter(|index| !distinct.contains(index)));
    format!("messages {lost}, numbers {} of {last}", runs((1..=last).filter(|seq| !seqs.contains(seq))))
}

/// At most eight runs of consecutive numbers.
fn runs(numbers: impl Iterator<Item = u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let shown: Vec<String> = runs.iter().take(8).map(|(first, last)| format!("{first}..={last}")).collect();
    format!("[{}] in {} runs", shown.join(", "), runs.len())
}

/// What befalls daemon and uplink, and when.
struct Storm {
    random: fastrand::Rng,
    messages: u64,
    kills: u32,
    next_kill: Instant,
    /// Numbers of distinct arrivals at which the cloud goes away; ascending.
    cuts: Vec<usize>,
    cloud_back: Option<Instant>,
}

impl Storm {
    fn new(seed: u64, messages: u64) -> Self {
        let cuts = vec![messages as usize / 4, messages as usize / 2];
        let random = fastrand::Rng::with_seed(seed);
        Self { random, messages, kills: 0, next_kill: Instant::now(), cuts, cloud_back: None }
    }

    /// Kills and cuts until every message has arrived.
    fn rage(
        &mut self,
        site: &Site,
        daemon: &mut Eyotd,
        cloud: &mut Mosquitto,
        arrivals: &Receiver<Arrival>,
    ) -> Vec<Arrival> {
        let mut arrived = Vec::new();
        let mut distinct = HashSet::new();
        let mut last_news = Instant::now();
        self.plan_kill();
        while (distinct.len() as u64) < self.messages {
            match arrivals.recv_timeout(Duration::from_millis(10)) {
                Ok(arrival) => {
                    // Only news counts: outputs sent again for ever would be a standstill too.
                    if distinct.insert(arrival.index) {
                        last_news = Instant::now();
                    }
                    arrived.push(arrival);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the collector ended"),
            }
            self.weather(site, daemon, cloud, distinct.len());
            if self.cloud_back.is_some() {
                last_news = Instant::now();
            }
            assert!(
                last_news.elapsed() < SILENCE,
                "{} of {} messages came, in {} arrivals over {} kills, then no other for {SILENCE:?}; {}",
                distinct.len(),
                self.messages,
                arrived.len(),
                self.kills,
                missing(&arrived, &distinct, self.messages)
            );
        }
        arrived
    }

    fn weather(&mut self, site: &Site, daemon: &mut Eyotd, cloud: &mut Mosquitto, distinct: usize) {
        let now = Instant::now();
        if self.cloud_back.is_some_and(|back| back <= now) {
            cloud.resume();
            self.cloud_back = None;
        }
        if self.cuts.first().is_some_and(|cut| *cut <= distinct) {
            self.cuts.remove(0);
            cloud.stop();
            self.cloud_back = Some(now + Duration::from_millis(self.random.u64(500..2_000)));
        }
        if self.next_kill <= now {
            daemon.kill();
            *daemon = Eyotd::start(&site.config);
            self.kills += 1;
            self.plan_kill();
        }
    }

    fn plan_kill(&mut self) {
        self.next_kill = Instant::now() + Duration::from_millis(self.random.u64(150..800));
    }
}
