//! The clock and the order of events. One step is a millisecond.

use eyot_core::config::WhenFull;
use eyot_core::io::{ConnId, Input, LinkId, Now};
use eyot_spool::memory::MemoryStorage;

use crate::broker::{Broker, Published};
use crate::check::Checks;
use crate::cloud::Cloud;
use crate::faults::{strikes, Faults};
use crate::gateway::{Gateway, Outside, Setup};

/// Sensors in the world.
pub const TOPICS: u32 = 5;

/// One history.
pub struct World {
    seed: u64,
    rng: fastrand::Rng,
    faults: Faults,
    setup: Setup,
    now: Now,
    storage: MemoryStorage,
    gateway: Option<Gateway>,
    boots_at_ms: u64,
    broker: Broker,
    intake: Option<ConnId>,
    intake_down_until_ms: u64,
    clouds: Vec<Cloud>,
    next_conn: ConnId,
    numbers: [u64; TOPICS as usize],
    publishing: bool,
    qos0_share: u32,
    disk_full_until_ms: u64,
    checks: Checks,
    /// Times the power failed.
    pub crashes: u64,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = Faults::draw(&mut rng);
        let when_full = [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block][rng.usize(0..3)];
        let setup =
            Setup { when_full, max_bytes: if rng.bool() { 1 << 20 } else { 64 << 20 }, traps: rng.u32(0..4) == 0 };
        let storage = MemoryStorage::new(rng.u64(..));
        Self {
            seed,
            broker: Broker::new(if rng.bool() { 20 } else { 1000 }),
            qos0_share: if rng.u32(0..4) == 0 { 30 } else { 0 },
            rng,
            faults,
            setup,
            now: Now { mono_us: 0, unix_ms: 1_700_000_000_000 },
            storage,
            gateway: None,
            boots_at_ms: 0,
            intake: None,
            intake_down_until_ms: 0,
            clouds: vec![Cloud::new(LinkId::LOCAL), Cloud::new(LinkId::uplink(0))],
            next_conn: 0,
            numbers: [0; TOPICS as usize],
            publishing: true,
            disk_full_until_ms: 0,
            checks: Checks::default(),
            crashes: 0,
        }
    }

    fn ms(&self) -> u64 {
        self.now.mono_us / 1000
    }

    /// Runs `busy_ms` with sensors and faults, then lets everything heal and checks the end.
    pub fn run(&mut self, busy_ms: u64) {
        for _ in 0..busy_ms {
            self.step();
        }
        self.publishing = false;
        self.faults = Faults::NONE;
        self.storage.set_capacity(None);
        self.disk_full_until_ms = 0;
        for _ in 0..120_000 {
            self.step();
            if self.is_quiet() {
                break;
            }
        }
        assert!(self.is_quiet(), "the backlog does not drain: {}", self.describe());
        self.finish();
    }

    fn is_quiet(&self) -> bool {
        self.broker.backlog() == 0
            && self.gateway.as_ref().is_some_and(|g| g.inbox.is_empty() && g.core.ledger().messages.pending == 0)
    }

    fn describe(&self) -> String {
        let status = self.gateway.as_ref().map(|g| String::from_utf8_lossy(&g.core.status_json()).into_owned());
        format!("seed {} broker backlog {} {:?} {:?}", self.seed, self.broker.backlog(), self.setup, status)
    }

    fn finish(&mut self) {
        let gateway = self.gateway.as_ref().expect("the world is healed");
        let cloud = self.clouds.iter().find(|c| c.link == LinkId::uplink(0)).expect("there is a cloud");
        self.checks.finally(&self.setup, &gateway.core, &self.broker, &self.numbers, &cloud.arrivals);
    }

    /// Everything that came of this history, to compare two runs.
    pub fn fingerprint(&self) -> String {
        let ledger = self.gateway.as_ref().map(|g| g.core.ledger());
        format!("{ledger:?} {:?} {:?}", self.clouds, self.broker)
    }

    /// One millisecond.
    pub fn step(&mut self) {
        self.now.mono_us += 1000;
        self.now.unix_ms += 1;
        self.happen();
        self.sensors();
        self.power();
        self.connect();
        self.deliver();
        let fail = strikes(&mut self.rng, self.faults.sync_error_ppm);
        let sync_ms = self.rng.u64(0..self.faults.sync_max_ms);
        if let Some(gateway) = &mut self.gateway {
            gateway.step(self.now, sync_ms, fail);
        }
        self.carry_out();
        self.arrive(sync_ms);
        if let Some(gateway) = &self.gateway {
            self.checks.always(&self.setup, &gateway.core, self.seed);
        }
    }

    /// Faults of this step.
    fn happen(&mut self) {
        if strikes(&mut self.rng, self.faults.clock_jump_ppm) {
            self.now.unix_ms += self.rng.i64(-86_400_000..86_400_000);
        }
        if strikes(&mut self.rng, self.faults.disk_full_ppm) {
            self.disk_full_until_ms = self.ms() + self.rng.u64(1..=self.faults.outage_max_ms);
            self.storage.set_capacity(Some(self.storage.used_bytes()));
        } else if self.ms() == self.disk_full_until_ms {
            self.storage.set_capacity(None);
        }
        if strikes(&mut self.rng, self.faults.cut_ppm) {
            let until = self.ms() + self.rng.u64(1..=self.faults.outage_max_ms);
            match self.rng.usize(0..3) {
                0 => self.cut_intake(until),
                other => self.cut_cloud(other - 1, until),
            }
        }
        if self.gateway.is_some() && strikes(&mut self.rng, self.faults.crash_ppm) {
            self.crash();
        }
    }

    fn cut_intake(&mut self, until_ms: u64) {
        let Some(conn) = self.intake.take() else { return };
        self.intake_down_until_ms = until_ms;
        self.broker.disconnected(strikes(&mut self.rng, self.faults.forget_session_ppm));
        if let Some(gateway) = &mut self.gateway {
            gateway.handle(self.now, Input::LinkDown { link: LinkId::INTAKE, conn }, 1);
        }
    }

    fn cut_cloud(&mut self, index: usize, until_ms: u64) {
        let cloud = &mut self.clouds[index];
        let Some(conn) = cloud.cut(until_ms) else { return };
        if let Some(gateway) = &mut self.gateway {
            gateway.handle(self.now, Input::LinkDown { link: cloud.link, conn }, 1);
        }
    }

    fn crash(&mut self) {
        self.gateway = None;
        self.crashes += 1;
        self.storage.crash();
        let now = self.ms();
        self.boots_at_ms = now + self.rng.u64(1..200);
        if self.intake.take().is_some() {
            self.broker.disconnected(false);
        }
        for cloud in &mut self.clouds {
            cloud.cut(now);
        }
    }

    fn sensors(&mut self) {
        if !self.publishing || self.broker.backlog() > 2000 {
            return;
        }
        let burst = if self.rng.u32(0..500) == 0 { 100 } else { self.rng.u32(0..3) };
        for _ in 0..burst {
            let topic = self.rng.u32(0..TOPICS);
            let qos = u8::from(self.rng.u32(0..100) >= self.qos0_share);
            if qos == 0 && self.intake.is_none() {
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
                assert!(self.faults.disk_full_ppm > 0, "seed {}: boot failed: {error}", self.seed);
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
        let (Some(gateway), Some(conn)) = (&mut self.gateway, self.intake) else { return };
        for _ in 0..self.rng.u32(0..200) {
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
        let Some(gateway) = &mut self.gateway else { return };
        for outside in gateway.outside() {
            match outside {
                Outside::Ack { conn, packet_id } if self.intake == Some(conn) => self.broker.ack(packet_id),
                Outside::Ack { .. } => {}
                Outside::Publish(publish) => {
                    if let Some(cloud) = self.clouds.iter_mut().find(|c| c.link == publish.link) {
                        cloud.send(publish);
                    }
                }
            }
        }
    }

    /// Publishes reach their brokers, answers reach the machine.
    fn arrive(&mut self, sync_ms: u64) {
        for index in 0..self.clouds.len() {
            for _ in 0..self.rng.u32(0..50) {
                let cloud = &mut self.clouds[index];
                let Some(token) = cloud.receive() else { break };
                if strikes(&mut self.rng, self.faults.lost_ack_ppm) {
                    let until = self.ms() + 1;
                    self.cut_cloud(index, until);
                    break;
                }
                let (link, conn) = (self.clouds[index].link, self.clouds[index].conn);
                let (Some(gateway), Some(conn), true) = (&mut self.gateway, conn, token != 0) else { continue };
                let answer = Input::Published { link, conn, token, accepted: true };
                gateway.handle(self.now, answer, sync_ms);
            }
        }
    }
}
