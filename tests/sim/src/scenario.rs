//! What one history is made of: everything that may differ from seed to seed.

use eyot_core::config::{Order, Priority, Route, Uplink, WhenFull};

use crate::faults::Faults;
use crate::guest::{Failing, Long};
use crate::planted::Planted;

/// The gateway's configuration. It stays the same over restarts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Policy at the quota.
    pub when_full: WhenFull,
    /// Quota of the log.
    pub max_bytes: u64,
    /// Most bytes the flash should take in a day.
    pub wear_budget_day_bytes: Option<u64>,
    /// How the function fails.
    pub failing: Failing,
    /// What of it goes to workers.
    pub long: Long,
    /// Most publishes a second to the cloud.
    pub rate_max_per_s: Option<u32>,
    /// How long outputs are of use to the cloud.
    pub ttl_ms: Option<u64>,
    /// Most bytes that may wait for the cloud, and what happens then.
    pub backlog: Option<(u64, WhenFull)>,
    /// What becomes of parts `b`, which have a route of their own then.
    pub alarms: Option<Priority>,
    /// There is a second uplink, for parts `b`.
    pub archive: bool,
    /// What the cloud gets first after it was away.
    pub order: Order,
    /// From this part of the log's quota on, a function makes less of the backlog.
    pub reduce_at_percent: Option<u8>,
    /// Messages come down from the cloud.
    pub down: bool,
    /// The log has another quota each time the gateway starts.
    pub resizes: bool,
    /// Versions that are pushed may be shadows first.
    pub shadows: bool,
    /// They may be canaries.
    pub canaries: bool,
    /// Another function is pushed and removed, again and again.
    pub removes: bool,
}

impl Setup {
    /// As simple as can be, and nothing may be dropped.
    pub const PLAIN: Self = Self {
        when_full: WhenFull::Block,
        max_bytes: 64 << 20,
        wear_budget_day_bytes: None,
        failing: Failing::Never,
        long: Long::Never,
        rate_max_per_s: None,
        ttl_ms: None,
        backlog: None,
        alarms: None,
        archive: false,
        order: Order::OldestFirst,
        reduce_at_percent: None,
        down: false,
        resizes: false,
        shadows: false,
        canaries: false,
        removes: false,
    };

    /// The uplinks, in order.
    pub fn uplinks(&self) -> Vec<Uplink> {
        let alarms = self.alarms.map(|priority| Route {
            name: "alarms".to_owned(),
            topics: vec!["cloud/b".to_owned()],
            priority,
            ttl_ms: None,
        });
        let cloud = Uplink {
            name: "cloud".to_owned(),
            topics: vec!["cloud/#".to_owned()],
            routes: alarms.into_iter().collect(),
            rate_max_per_s: self.rate_max_per_s,
            ttl_ms: self.ttl_ms,
            backlog_max_bytes: self.backlog.map(|(bytes, _)| bytes),
            when_full: self.backlog.map(|(_, when_full)| when_full),
            order: self.order,
            down: if self.down { vec![DOWN_TOPICS.to_owned()] } else { Vec::new() },
            ..Uplink::default()
        };
        let archive = Uplink { name: "archive".to_owned(), topics: vec!["cloud/b".to_owned()], ..Uplink::default() };
        let mut uplinks = vec![cloud];
        uplinks.extend(self.archive.then_some(archive));
        uplinks
    }
}

/// One history, before it happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides whatever is left to chance.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// The gateway's configuration.
    pub setup: Setup,
    /// Sensors send every so often.
    pub publish_mean_ms: u64,
    /// Share of messages at QoS 0.
    pub qos0_percent: u32,
    /// Most messages the local broker sends unacknowledged.
    pub broker_inflight_max: usize,
    /// No cloud is there before everything heals.
    pub is_offline: bool,
    /// A mistake made on purpose, to see that the checks find it.
    pub planted: Option<Planted>,
}

/// Topics of what comes down from the cloud.
const DOWN_TOPICS: &str = "down/#";

const POLICIES: [WhenFull; 3] = [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block];

/// A kind of trouble, by the name it has on the command line, and how to take it out of a scenario.
type Kind = (&'static str, fn(&mut Scenario));

/// What can be taken out of a scenario to make it simpler.
pub const KINDS: [Kind; 32] = [
    ("power-cut", |s| s.faults.power_cut_mean_ms = 0),
    ("kill", |s| s.faults.kill_mean_ms = 0),
    ("cut", |s| s.faults.cut_mean_ms = 0),
    ("half-open", |s| s.faults.half_open_ppm = 0),
    ("deploy", |s| s.faults.deploy_mean_ms = 0),
    ("push", |s| s.faults.push_mean_ms = 0),
    ("no-rtc", |s| s.faults.no_rtc = false),
    ("clock-jump", |s| s.faults.clock_jump_mean_ms = 0),
    ("forget-session", |s| s.faults.forget_session_ppm = 0),
    ("sync-error", |s| s.faults.sync_error_ppm = 0),
    ("disk-error", |s| s.faults.disk_error_mean_ms = 0),
    ("disk-full", |s| s.faults.disk_full_mean_ms = 0),
    ("lost-answer", |s| s.faults.lost_answer_ppm = 0),
    ("double-answer", |s| s.faults.double_answer_ppm = 0),
    ("refuse", |s| s.faults.refuse_ppm = 0),
    ("duplicates", |s| s.faults.duplicates_mean_ms = 0),
    ("qos0", |s| s.qos0_percent = 0),
    ("traps", |s| s.setup.failing = Failing::Never),
    ("long", |s| s.setup.long = Long::Never),
    ("rate", |s| s.setup.rate_max_per_s = None),
    ("ttl", |s| s.setup.ttl_ms = None),
    ("backlog", |s| s.setup.backlog = None),
    ("wear", |s| s.setup.wear_budget_day_bytes = None),
    ("alarms", |s| s.setup.alarms = None),
    ("archive", |s| s.setup.archive = false),
    ("live-first", |s| s.setup.order = Order::OldestFirst),
    ("reduce", |s| s.setup.reduce_at_percent = None),
    ("down", |s| s.setup.down = false),
    ("resize", |s| s.setup.resizes = false),
    ("shadow", |s| s.setup.shadows = false),
    ("canary", |s| s.setup.canaries = false),
    ("remove", |s| s.setup.removes = false),
];

impl Scenario {
    /// The scenario of `seed`.
    pub fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = Faults::draw(&mut rng);
        let one_in = |rng: &mut fastrand::Rng, n: u32| rng.u32(0..n) == 0;
        let setup = Setup {
            when_full: POLICIES[rng.usize(0..3)],
            max_bytes: if rng.bool() { 1 << 20 } else { 64 << 20 },
            wear_budget_day_bytes: one_in(&mut rng, 4).then_some(64 << 20),
            failing: if one_in(&mut rng, 4) { Failing::AtRandom } else { Failing::Never },
            rate_max_per_s: one_in(&mut rng, 4).then_some(50),
            ttl_ms: one_in(&mut rng, 4).then_some(120_000),
            backlog: [None, None, None, Some((50_000, POLICIES[rng.usize(0..3)]))][rng.usize(0..4)],
            alarms: [None, Some(Priority::High), Some(Priority::Low)][rng.usize(0..3)],
            archive: one_in(&mut rng, 4),
            order: if one_in(&mut rng, 3) { Order::LiveFirst } else { Order::OldestFirst },
            long: [Long::Never, Long::Sometimes, Long::WithoutState][rng.usize(0..3)],
            reduce_at_percent: one_in(&mut rng, 3).then_some(50),
            ..Setup::PLAIN
        };
        let scenario = Self {
            seed,
            faults,
            setup,
            publish_mean_ms: [50, 200, 2000][rng.usize(0..3)],
            qos0_percent: if one_in(&mut rng, 4) { 30 } else { 0 },
            broker_inflight_max: if rng.bool() { 20 } else { 1000 },
            is_offline: false,
            planted: None,
        };
        scenario.with_more()
    }

    /// With what was added later, drawn on its own: all else of a seed stays as it was.
    fn with_more(mut self) -> Self {
        let mut rng = fastrand::Rng::with_seed(self.seed.rotate_left(16));
        self.faults.push_mean_ms = [0, 0, 300_000, 30_000][rng.usize(0..4)];
        self.setup.down = rng.u32(0..4) == 0;
        self.setup.resizes = rng.u32(0..6) == 0;
        let mut rng = fastrand::Rng::with_seed(self.seed.rotate_left(24));
        (self.setup.shadows, self.setup.canaries, self.setup.removes) = (rng.bool(), rng.bool(), rng.bool());
        self
    }

    /// Nothing goes wrong, and a message comes every `publish_mean_ms`.
    pub fn quiet(seed: u64, setup: Setup, publish_mean_ms: u64) -> Self {
        let faults = Faults::NONE;
        Self {
            seed,
            faults,
            setup,
            publish_mean_ms,
            qos0_percent: 0,
            broker_inflight_max: 20,
            is_offline: false,
            planted: None,
        }
    }

    /// The scenario of `seed`, in which the gateway makes this mistake and may not drop anything.
    pub fn with_planted(seed: u64, planted: Planted) -> Self {
        let mut scenario = Self { planted: Some(planted), ..Self::draw(seed) };
        scenario.setup.when_full = WhenFull::Block;
        scenario.setup.ttl_ms = None;
        scenario.setup.backlog = None;
        scenario.setup.reduce_at_percent = None;
        (scenario.setup.down, scenario.setup.resizes) = (false, false);
        (scenario.setup.shadows, scenario.setup.canaries, scenario.setup.removes) = (false, false, false);
        (scenario.faults.refuse_ppm, scenario.faults.push_mean_ms) = (0, 0);
        planted.prepare(&mut scenario);
        scenario
    }

    /// Takes a kind of trouble out; false if there is no such kind.
    pub fn remove(&mut self, kind: &str) -> bool {
        match KINDS.iter().find(|(name, _)| *name == kind) {
            Some((_, remove)) => {
                remove(self);
                true
            }
            None => false,
        }
    }
}
