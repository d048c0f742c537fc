//! Everything at once, by seed: routes, quotas, live-first, refusals, cut links, power cuts. `EYOT_STORM_SEEDS` sets how
//! many histories, `EYOT_STORM_SEED` replays one.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::config::{Order, Priority, Route, Uplink, WhenFull};
use eyot_core::io::Publish;
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

const STEPS: u32 = 1_000;
const TOPICS: [&str; 4] = ["up/alarm", "up/debug", "up/t", "here"];

struct Storm {
    rng: fastrand::Rng,
    bench: Bench,
    uplink: Uplink,
    published: u64,
    /// Numbers that arrived and were accepted.
    arrived: BTreeSet<u64>,
    refused: u64,
    /// Epochs and numbers that dead letters came about.
    letters: BTreeSet<(u64, u64)>,
    /// Highest number of each epoch that arrived.
    highest: BTreeMap<u64, u64>,
}

fn uplink(rng: &mut fastrand::Rng) -> Uplink {
    let route = |name: &str, priority| Route {
        name: name.to_owned(),
        topics: vec![format!("up/{name}")],
        priority,
        ttl_ms: None,
    };
    let mut routes = vec![route("alarm", Priority::High), route("debug", Priority::Low)];
    routes.truncate(rng.usize(0..3));
    Uplink {
        name: "cloud".to_owned(),
        topics: vec!["up/#".to_owned()],
        routes,
        order: if rng.bool() { Order::LiveFirst } else { Order::OldestFirst },
        rate_max_per_s: rng.bool().then(|| rng.u32(5..200)),
        backlog_max_bytes: rng.bool().then(|| rng.u64(1..20) * 1000),
        when_full: Some([WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block][rng.usize(0..3)]),
        ttl_ms: rng.bool().then(|| rng.u64(1..60) * 1000),
        ..Uplink::default()
    }
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let uplink = uplink(&mut rng);
        // Every life begins a segment: there is to be room for all of them.
        let bench = Bench::sized(vec![uplink.clone()], WhenFull::DropOldest, 1 << 30);
        let (arrived, letters, highest) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { rng, bench, uplink, published: 0, arrived, refused: 0, letters, highest }
    }

    fn rage(&mut self) {
        for _ in 0..STEPS {
            match self.rng.u32(0..100) {
                0..=49 => self.publish(),
                50..=89 => self.answer(),
                90..=93 => {
                    let (window, bytes) = (self.rng.u16(1..30), self.rng.u64(0..400));
                    self.bench.connect_within(CLOUD, window, bytes);
                    self.bench.sent.clear();
                    self.bench.disconnect(CLOUD);
                    self.bench.connect_within(CLOUD, window, bytes);
                }
                94..=96 => self.bench.disconnect(CLOUD),
                97 => self.bench.restart(),
                98 => self.reconfigure(),
                _ => self.bench.wait_ms(self.rng.u64(1..3000)),
            }
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.rng.usize(0..TOPICS.len())];
        let padding = self.rng.usize(0..500);
        let payload = format!("{:<padding$}", self.published);
        self.published += u64::from(self.bench.message(topic, payload));
    }

    /// The same routes, in other order, or with another policy.
    fn reconfigure(&mut self) {
        self.uplink.order = if self.rng.bool() { Order::LiveFirst } else { Order::OldestFirst };
        self.rng.shuffle(&mut self.uplink.routes);
        self.bench.crash(vec![self.uplink.clone()]);
    }

    /// One of the first publishes on the wire arrives, and the answer too, if nothing happens to it.
    fn answer(&mut self) {
        if self.bench.sent.is_empty() {
            return;
        }
        let publish = self.bench.sent.remove(0);
        let accepted = self.rng.u32(0..20) > 0;
        if accepted {
            self.note(&publish);
        } else {
            self.refused += 1;
        }
        self.bench.answer(&publish, accepted);
    }

    fn note(&mut self, publish: &Publish) {
        let stamp = publish.stamp.expect("an output");
        if publish.topic == "eyot/bench/dead/cloud" {
            let letter: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
            self.letters.insert((letter["epoch"].as_u64().unwrap(), letter["seq"].as_u64().unwrap()));
            return;
        }
        let text = std::str::from_utf8(&publish.payload).unwrap();
        let highest = self.highest.entry(stamp.epoch).or_default();
        if stamp.seq > *highest {
            *highest = stamp.seq;
            assert!(self.arrived.insert(text.trim_end().parse().unwrap()), "{text} came under two numbers");
        }
    }

    fn heal(&mut self) {
        self.bench.connect(CLOUD, 50);
        self.bench.connect(eyot_core::io::LinkId::LOCAL, 50);
        let mut idle = 0;
        while idle < 20 {
            idle = if self.bench.sent.is_empty() { idle + 1 } else { 0 };
            while !self.bench.sent.is_empty() {
                let publish = self.bench.sent.remove(0);
                self.note(&publish);
                self.bench.answer(&publish, true);
            }
            self.bench.wait_ms(500);
        }
    }

    fn check(&self) {
        let ledger = self.bench.core.ledger();
        assert_eq!((ledger.messages.received, ledger.messages.pending), (self.published, 0));
        let (mut dropped, mut refused) = (0, 0);
        for stream in &ledger.streams {
            assert_eq!((stream.outputs.pending, stream.pending_bytes), (0, 0), "{}", stream.name);
            let total = stream.total();
            assert_eq!(total.dropped(DropReason::Corrupt), 0, "{}", stream.name);
            dropped += total.dropped_total();
            refused += total.dropped(DropReason::Refused);
        }
        let letters = self.letters.len() as u64;
        assert!(
            (refused..=self.refused).contains(&letters),
            "{refused} of {} refused, {letters} letters",
            self.refused
        );
        let absent = self.published - self.arrived.len() as u64;
        // What was refused once and sent again after a cut may have been accepted then.
        assert!(absent <= dropped, "{absent} never arrived, {dropped} were dropped");
        let unlimited = self.uplink.backlog_max_bytes.is_none() || self.uplink.when_full == Some(WhenFull::Block);
        if unlimited && self.uplink.ttl_ms.is_none() {
            assert!(dropped <= self.refused, "{dropped} dropped, {} refused: {ledger:?}", self.refused);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_each_output_arrives_or_is_accounted_for() {
    let seeds = match number("EYOT_STORM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EYOT_STORM_SEEDS").unwrap_or(6),
    };
    for seed in seeds {
        println!("EYOT_STORM_SEED={seed}");
        let mut storm = Storm::new(seed);
        storm.rage();
        storm.heal();
        storm.check();
    }
}
