//! `max_bytes` and `when_full` are other ones after a restart: whatever the log held, messages are taken again.

use eyot_core::config::{Uplink, WhenFull};
use eyot_wire::code::DropReason;

use crate::bench::{Bench, CLOUD};

const POLICIES: [WhenFull; 3] = [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block];
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Longer than a disk that was full is left alone.
const PATIENCE_MS: u64 = 5000;

fn cloud() -> Vec<Uplink> {
    let uplink = |name: &str| Uplink {
        name: name.to_owned(),
        topics: vec![format!("{name}/#"), "both".to_owned()],
        ..Uplink::default()
    };
    vec![uplink("cloud"), uplink("far")]
}

/// Whether a message is taken and committed.
fn takes(bench: &mut Bench) -> bool {
    let acks = bench.acked.len();
    bench.message("none/of/them", "t") && bench.acked.len() > acks
}

#[test]
fn the_segments_of_a_larger_quota_go_when_nothing_is_pending() {
    for when_full in POLICIES {
        let mut bench = Bench::sized(cloud(), when_full, 512 * MIB);
        bench.connect(CLOUD, 100);
        for _ in 0..30 {
            assert!(bench.message("cloud/t", "21.5"));
            bench.take();
        }
        bench.wait_ms(PATIENCE_MS);
        assert_eq!(bench.core.ledger().messages.pending, 0);
        bench.resize(MIB, when_full);
        bench.wait_ms(PATIENCE_MS);
        assert!(takes(&mut bench), "{when_full:?}");
        let usage = bench.core.spool().usage();
        assert!(usage.bytes <= MIB, "{when_full:?}: {usage:?}");
    }
}

#[test]
fn what_is_pending_is_given_up_down_to_a_smaller_quota_or_waited_for() {
    for when_full in POLICIES {
        let mut bench = Bench::sized(cloud(), when_full, 512 * MIB);
        for _ in 0..30 {
            assert!(bench.message("cloud/t", vec![b'x'; 60_000]));
        }
        bench.resize(MIB, when_full);
        bench.wait_ms(PATIENCE_MS);
        let given_up = if when_full == WhenFull::DropOldest { 30 } else { 0 };
        assert_eq!(bench.stream("cloud").outputs.dropped(DropReason::SpoolFullOldest), given_up);
        assert_eq!(bench.core.accepts_messages(), when_full != WhenFull::Block, "{when_full:?}");
        bench.connect(CLOUD, 100);
        assert_eq!(bench.drain().len() as u64, 30 - given_up);
        bench.wait_ms(PATIENCE_MS);
        assert!(takes(&mut bench), "{when_full:?}");
        assert!(bench.core.spool().usage().bytes <= MIB);
    }
}

#[test]
fn what_is_pending_and_small_is_kept_over_any_number_of_restarts() {
    for when_full in POLICIES {
        let mut bench = Bench::sized(cloud(), when_full, 512 * MIB);
        for life in 0..30 {
            assert!(bench.message("cloud/t", "21.5"), "{when_full:?} life {life}");
            bench.resize(MIB, when_full);
            bench.wait_ms(PATIENCE_MS);
        }
        assert!(bench.core.spool().usage().bytes <= MIB);
        bench.connect(CLOUD, 100);
        assert_eq!(bench.drain().len(), 30, "{when_full:?}");
    }
}

struct History {
    seed: u64,
    rng: fastrand::Rng,
    bench: Bench,
    quota_bytes: u64,
    when_full: WhenFull,
}

impl History {
    fn new(seed: u64) -> Self {
        let (quota_bytes, when_full) = (64 * MIB, WhenFull::Block);
        let bench = Bench::sized(cloud(), when_full, quota_bytes);
        Self { seed, rng: fastrand::Rng::with_seed(seed), bench, quota_bytes, when_full }
    }

    fn resize(&mut self) {
        let quotas = [512 * KIB, 513 * KIB, 700 * KIB, MIB, 3 * MIB, 20 * MIB, 64 * MIB, 512 * MIB];
        self.quota_bytes = self.rng.choice(quotas).unwrap();
        self.when_full = self.rng.choice(POLICIES).unwrap();
        self.bench.resize(self.quota_bytes, self.when_full);
    }

    fn fill(&mut self) {
        for _ in 0..self.rng.u32(0..200) {
            let topic = self.rng.choice(["cloud/t", "far/t", "both", "none"]).unwrap();
            let most = if self.rng.u8(0..20) == 0 { 200 << 10 } else { 5000 };
            let bytes = self.rng.usize(1..most);
            self.bench.message(topic, vec![b'x'; bytes]);
        }
    }

    /// One or both uplinks take some of what waits, or all of it.
    fn deliver(&mut self) {
        let most = self.rng.choice([0, 10, 100_000]).unwrap();
        for index in 0..self.rng.u8(0..3) {
            let link = eyot_core::io::LinkId::uplink(index);
            self.bench.connect(link, 50);
            (0..most).map_while(|_| self.bench.take()).for_each(drop);
            self.bench.disconnect(link);
        }
    }

    /// Nothing is for ever: with drop-oldest messages are taken at once, else when all is delivered.
    fn settle(&mut self) {
        let Self { seed, quota_bytes, when_full, .. } = *self;
        self.bench.wait_ms(PATIENCE_MS);
        if when_full != WhenFull::DropOldest {
            for link in [eyot_core::io::LinkId::LOCAL, CLOUD, eyot_core::io::LinkId::uplink(1)] {
                self.bench.connect(link, 50);
                self.bench.drain();
                self.bench.disconnect(link);
            }
            self.bench.wait_ms(PATIENCE_MS);
        }
        let dropped = self.bench.core.ledger().messages.dropped(DropReason::SpoolFullNewest);
        let spool = self.bench.core.spool();
        let usage = spool.usage();
        assert!(takes(&mut self.bench), "seed {seed}: nothing is taken at {quota_bytes}, {when_full:?}, {usage:?}");
        let ledger = self.bench.core.ledger();
        assert_eq!(ledger.messages.dropped(DropReason::SpoolFullNewest), dropped, "seed {seed}: {usage:?}");
        assert_eq!(ledger.messages.dropped(DropReason::Corrupt), 0, "seed {seed}");
        assert!(usage.bytes <= quota_bytes, "seed {seed}: {usage:?} at {quota_bytes}");
    }
}

#[test]
fn after_any_change_of_the_quota_messages_are_taken_again() {
    let seeds = std::env::var("EYOT_CORE_SEEDS").map_or(8, |text| text.parse().unwrap());
    for seed in 0..seeds {
        let mut history = History::new(seed);
        for _ in 0..6 {
            history.fill();
            history.deliver();
            history.resize();
            history.settle();
        }
    }
}
