//! The clock and the order of events. Time leaps from one event to the next, so that a month costs what happens in it.

use eyot_core::config::WhenFull;
use eyot_core::io::{ConnId, Input, LinkId, Now};
use eyot_spool::memory::MemoryStorage;

use crate::broker::{Broker, Published};
use crate::check::Checks;
use crate::cloud::Cloud;
use crate::faults::{strikes, Faults, Schedule};
use crate::gateway::{Gateway, Outside, Planted, Setup};
use crate::weather::Weather;

/// Sensors in the world.
pub const TOPICS: u32 = 5;
/// When the world begins, on its wall clocks.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// Messages the local broker keeps at most.
const BACKLOG_MAX: usize = 2000;
/// Most time for everything to heal.
const HEALING_MAX_MS: u64 = 6 * 3_600_000;
/// Sensors send in bursts of this many now and then.
const BURST: u32 = 100;

/// One history.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) faults: Faults,
    pub(crate) weather: Weather,
    pub(crate) setup: Setup,
    pub(crate) now: Now,
    /// What the gateway's wall clock is wrong by.
    pub(crate) clock_error_ms: i64,
    pub(crate) storage: MemoryStorage,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) boots_at_ms: u64,
    pub(crate) broker: Broker,
    /// The intake's connection, as the gateway sees it.
    pub(crate) intake: Option<ConnId>,
    /// It is dead, and the gateway finds out then.
    pub(crate) intake_dead_until_ms: Option<u64>,
    pub(crate) intake_down_until_ms: u64,
    pub(crate) clouds: Vec<Cloud>,
    next_conn: ConnId,
    numbers: [u64; TOPICS as usize],
    publish: Schedule,
    qos0_share: u32,
    checks: Checks,
    /// Times the power failed.
    pub crashes: u64,
}

impl World {
    /// The world of `seed`: faults, sensors and configuration are drawn from it.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = Faults::draw(&mut rng);
        let setup = Setup {
            when_full: [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block][rng.usize(0..3)],
            max_bytes: if rng.bool() { 1 << 20 } else { 64 << 20 },
            traps: rng.u32(0..4) == 0,
            rate_max_per_s: (rng.u32(0..4) == 0).then_some(50),
            ttl_ms: (rng.u32(0..4) == 0).then_some(120_000),
            wear_budget_day_bytes: (rng.u32(0..4) == 0).then_some(64 << 20),
            planted: None,
        };
        let publish_mean_ms = [50, 200, 2000][rng.usize(0..3)];
        Self::with(seed, rng, faults, setup, publish_mean_ms)
    }

    /// As [`new`](Self::new), with a mistake that the checks must find.
    pub fn with_planted(seed: u64, planted: Planted) -> Self {
        let mut world = Self::new(seed);
        world.setup = Setup { planted: Some(planted), when_full: WhenFull::Block, ttl_ms: None, ..world.setup };
        world
    }

    /// A quiet world of given configuration, with a message every `publish_mean_ms`.
    pub fn quiet(seed: u64, setup: Setup, publish_mean_ms: u64) -> Self {
        Self::with(seed, fastrand::Rng::with_seed(seed), Faults::NONE, setup, publish_mean_ms)
    }

    fn with(seed: u64, mut rng: fastrand::Rng, faults: Faults, setup: Setup, publish_mean_ms: u64) -> Self {
        Self {
            seed,
            storage: MemoryStorage::new(rng.u64(..)),
            broker: Broker::new(if rng.bool() { 20 } else { 1000 }),
            qos0_share: if rng.u32(0..4) == 0 { 30 } else { 0 },
            weather: Weather::new(&mut rng, 0, &faults),
            publish: Schedule::new(&mut rng, 0, publish_mean_ms),
            rng,
            faults,
            setup,
            now: Now { mono_us: 0, unix_ms: BEGIN_MS },
            clock_error_ms: 0,
            gateway: None,
            boots_at_ms: 0,
            intake: None,
            intake_dead_until_ms: None,
            intake_down_until_ms: 0,
            clouds: vec![Cloud::new(LinkId::LOCAL), Cloud::new(LinkId::uplink(0))],
            next_conn: 0,
            numbers: [0; TOPICS as usize],
            checks: Checks::default(),
            crashes: 0,
        }
    }

    /// Something else takes the disk but for `bytes`, or leaves it.
    pub fn limit_disk(&self, bytes: Option<u64>) {
        self.storage.set_capacity(bytes);
    }

    /// Simulated milliseconds since the beginning.
    pub fn ms(&self) -> u64 {
        self.now.mono_us / 1000
    }

    /// Messages the sensors have sent.
    pub fn published(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Runs `busy_ms` with sensors and faults, then lets everything heal and checks the end.
    pub fn run(&mut self, busy_ms: u64) {
        self.advance(busy_ms);
        self.heal();
    }

    /// Lets `span_ms` pass.
    pub fn advance(&mut self, span_ms: u64) {
        let until_ms = self.ms() + span_ms;
        while self.ms() < until_ms {
            self.step();
        }
    }

    /// Ends sensors and faults, waits until the backlog is gone, and checks what must hold in the end.
    pub fn heal(&mut self) {
        self.publish = Schedule::new(&mut self.rng, 0, 0);
        self.faults = Faults::NONE;
        self.weather = Weather::new(&mut self.rng, 0, &self.faults);
        self.storage.set_capacity(None);
        self.intake_down_until_ms = self.intake_down_until_ms.min(self.ms());
        for cloud in &mut self.clouds {
            cloud.down_until_ms = cloud.down_until_ms.min(self.now.mono_us / 1000);
        }
        let until_ms = self.ms() + HEALING_MAX_MS;
        while !self.is_quiet() {
            assert!(self.ms() < until_ms, "the backlog does not drain: {}", self.describe());
            self.step();
        }
        let gateway = self.gateway.as_ref().expect("the world is healed");
        let cloud = self.clouds.iter().find(|c| c.link == LinkId::uplink(0)).expect("there is a cloud");
        self.checks.finally(&self.setup, &gateway.core, &self.broker, &self.numbers, &cloud.arrivals);
    }

    fn is_quiet(&self) -> bool {
        self.broker.backlog() == 0
            && self.gateway.as_ref().is_some_and(|g| g.inbox.is_empty() && g.core.ledger().messages.pending == 0)
    }

    fn describe(&self) -> String {
        let status = self.gateway.as_ref().map(|g| String::from_utf8_lossy(&g.core.status_json()).into_owned());
        format!("seed {} broker backlog {} {:?} {:?}", self.seed, self.broker.backlog(), self.setup, status)
    }

    /// Everything that came of this history, to compare two runs.
    pub fn fingerprint(&self) -> String {
        let ledger = self.gateway.as_ref().map(|g| g.core.ledger());
        format!("{ledger:?} {:?} {:?}", self.clouds, self.broker)
    }

    /// The gateway's status document; empty while it is off.
    pub fn status(&self) -> Vec<u8> {
        self.gateway.as_ref().map_or_else(Vec::new, |gateway| gateway.core.status_json())
    }

    /// Outputs that arrived at the cloud, repetitions included.
    pub fn arrivals(&self) -> usize {
        self.clouds.iter().filter(|c| c.link == LinkId::uplink(0)).map(|c| c.arrivals.len()).sum()
    }

    /// Leaps to the next event and lets it happen.
    pub fn step(&mut self) {
        self.leap();
        self.happen();
        self.sensors();
        self.power();
        self.connect();
        self.deliver();
        let sync_ms = self.sync_ms();
        let fail = strikes(&mut self.rng, self.faults.sync_error_ppm);
        if let Some(gateway) = &mut self.gateway {
            gateway.step(self.now, sync_ms, fail);
        }
        self.carry_out();
        self.arrive();
        if let Some(gateway) = &self.gateway {
            self.checks.always(&self.setup, &gateway.core, self.seed);
        }
    }

    fn leap(&mut self) {
        let down = self.intake.is_none().then_some(self.intake_down_until_ms);
        let boot = self.gateway.is_none().then_some(self.boots_at_ms);
        let events_ms = [self.publish.next_ms(), self.weather.next_ms()]
            .into_iter()
            .chain([down, boot, self.intake_dead_until_ms].into_iter().flatten())
            .chain(self.clouds.iter().map(Cloud::next_ms));
        // What the broker could not deliver because of its limit goes on after acknowledgements.
        let next_us = events_ms.min().unwrap_or(u64::MAX).saturating_mul(1000);
        let next_us = self.gateway.as_ref().map_or(next_us, |gateway| next_us.min(gateway.next_us()));
        // An idle world looks around once a minute.
        let leap_us = next_us.saturating_sub(self.now.mono_us).clamp(1000, 60_000_000);
        self.now.mono_us += leap_us;
        self.now.unix_ms = BEGIN_MS + self.clock_error_ms + (self.now.mono_us / 1000) as i64;
    }

    pub(crate) fn sync_ms(&mut self) -> u64 {
        self.rng.u64(0..self.faults.sync_max_ms)
    }

    fn sensors(&mut self) {
        let now_ms = self.ms();
        if !self.publish.is_due(&mut self.rng, now_ms) || self.broker.backlog() > BACKLOG_MAX {
            return;
        }
        let count = if self.rng.u32(0..500) == 0 { BURST } else { self.rng.u32(1..3) };
        for _ in 0..count {
            let topic = self.rng.u32(0..TOPICS);
            let qos = u8::from(self.rng.u32(0..100) >= self.qos0_share);
            if qos == 0 && (self.intake.is_none() || self.intake_dead_until_ms.is_some()) {
                continue;
            }
            let number = &mut self.numbers[topic as usize];
            *number += 1;
            self.broker.publish(Published { topic, number: *number, qos });
        }
    }

    fn power(&mut self) {
        if self.gateway.is_some() || self.ms() < self.boots_at_ms {
            return;
        }
        let seed = self.rng.u64(..);
        match Gateway::boot(&self.setup, &self.storage, self.now, seed) {
            Ok(gateway) => {
                self.checks.booted(&self.setup, &gateway.core);
                self.gateway = Some(gateway);
            }
            // The disk may be full or failing at boot; an init system tries again.
            Err(error) => {
                assert!(self.faults.disk_full_mean_ms > 0, "seed {}: boot failed: {error}", self.seed);
                self.boots_at_ms = self.ms() + 100;
            }
        }
    }

    fn connect(&mut self) {
        let now_ms = self.ms();
        let Some(gateway) = &mut self.gateway else { return };
        if self.intake.is_none() && now_ms >= self.intake_down_until_ms {
            self.next_conn += 1;
            self.intake = Some(self.next_conn);
            // What the machine did not take in its last connection died with it.
            gateway.inbox.clear();
            let up = Input::LinkUp { link: LinkId::INTAKE, conn: self.next_conn, inflight_max: 65_535 };
            gateway.handle(self.now, up, 1);
        }
        for cloud in &mut self.clouds {
            if cloud.conn.is_none() && now_ms >= cloud.down_until_ms {
                self.next_conn += 1;
                cloud.conn = Some(self.next_conn);
                let up = Input::LinkUp { link: cloud.link, conn: self.next_conn, inflight_max: 65_535 };
                gateway.handle(self.now, up, 1);
            }
        }
    }

    fn deliver(&mut self) {
        if self.intake_dead_until_ms.is_some() {
            return;
        }
        let (Some(gateway), Some(conn)) = (&mut self.gateway, self.intake) else { return };
        for _ in 0..self.rng.u32(1..200) {
            if gateway.inbox.len() >= 100 {
                break;
            }
            let Some(message) = self.broker.deliver(conn) else { break };
            if gateway.core.accepts_messages() && gateway.inbox.is_empty() {
                gateway.handle(self.now, Input::Message(message), 1 + self.rng.u64(0..self.faults.sync_max_ms));
            } else {
                gateway.inbox.push_back(message);
            }
        }
    }

    /// Does what the machine asked for.
    fn carry_out(&mut self) {
        let now_ms = self.ms();
        let Some(gateway) = &mut self.gateway else { return };
        let dead = self.intake_dead_until_ms.is_some();
        for outside in gateway.outside() {
            match outside {
                Outside::Ack { conn, packet_id } if self.intake == Some(conn) && !dead => self.broker.ack(packet_id),
                Outside::Ack { .. } => {}
                Outside::Publish(publish) => {
                    if let Some(cloud) = self.clouds.iter_mut().find(|c| c.link == publish.link) {
                        cloud.send(publish, now_ms + self.rng.u64(0..self.faults.latency_max_ms));
                    }
                }
            }
        }
    }

    /// Publishes reach their brokers, answers reach the machine.
    fn arrive(&mut self) {
        let now_ms = self.ms();
        for index in 0..self.clouds.len() {
            for _ in 0..self.rng.u32(1..50) {
                let cloud = &mut self.clouds[index];
                let Some(token) = cloud.receive(now_ms) else { break };
                if strikes(&mut self.rng, self.faults.lost_ack_ppm) {
                    self.cut_cloud(index, now_ms + 1);
                    break;
                }
                let times = 1 + u32::from(strikes(&mut self.rng, self.faults.double_ack_ppm));
                let (link, conn) = (self.clouds[index].link, self.clouds[index].conn);
                let sync_ms = self.sync_ms();
                let (Some(gateway), Some(conn), true) = (&mut self.gateway, conn, token != 0) else { continue };
                for _ in 0..times {
                    gateway.handle(self.now, Input::Published { link, conn, token, accepted: true }, sync_ms);
                }
            }
        }
    }
}
