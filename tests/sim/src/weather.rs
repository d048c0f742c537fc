//! What befalls the world, and when.

use std::io;

use eyot_core::io::{Input, LinkId};
use eyot_spool::memory::{Fault, Operation};

use crate::faults::{strikes, Faults, Schedule};
use crate::planted::Planted;
use crate::world::World;

/// How long a clock that begins in 1970 stays there.
const NO_TIME_MAX_MS: u64 = 60_000;
/// In a world without pushes, versions of the function come in turn.
const VERSIONS: u8 = 9;
/// How many messages a storm of duplicates repeats.
const DUPLICATES: usize = 200;
/// How long a gateway that is to stop may take to drain before it is killed.
const STOP_MAX_MS: u64 = 5_000;

/// The next time of everything that happens by itself.
#[derive(Debug)]
pub(crate) struct Weather {
    cut: Schedule,
    power_cut: Schedule,
    kill: Schedule,
    deploy: Schedule,
    disk_error: Schedule,
    disk_full: Schedule,
    clock_jump: Schedule,
    duplicates: Schedule,
    /// The disk has room again.
    room_at_ms: Option<u64>,
    /// The network tells the time.
    time_at_ms: Option<u64>,
    /// A gateway that is to stop is killed.
    stop_at_ms: Option<u64>,
}

impl Weather {
    pub fn new(seed: u64, now_ms: u64, faults: &Faults) -> Self {
        let every = |kind, mean_ms| Schedule::new(seed, kind, now_ms, mean_ms);
        Self {
            cut: every(1, faults.cut_mean_ms),
            power_cut: every(2, faults.power_cut_mean_ms),
            kill: every(3, faults.kill_mean_ms),
            deploy: every(4, faults.deploy_mean_ms),
            disk_error: every(5, faults.disk_error_mean_ms),
            disk_full: every(6, faults.disk_full_mean_ms),
            clock_jump: every(7, faults.clock_jump_mean_ms),
            duplicates: every(8, faults.duplicates_mean_ms),
            room_at_ms: None,
            time_at_ms: faults.no_rtc.then_some(NO_TIME_MAX_MS),
            stop_at_ms: None,
        }
    }

    /// Nothing more befalls the world; a gateway that is to stop still does.
    pub fn calm_down(&mut self) {
        *self = Self { stop_at_ms: self.stop_at_ms, ..Self::new(0, 0, &Faults::NONE) };
    }

    pub fn next_ms(&self) -> u64 {
        let faults = [&self.cut, &self.power_cut, &self.kill, &self.deploy, &self.disk_error, &self.disk_full];
        faults
            .into_iter()
            .chain([&self.clock_jump, &self.duplicates])
            .map(Schedule::next_ms)
            .chain([self.room_at_ms, self.time_at_ms, self.stop_at_ms].into_iter().flatten())
            .min()
            .unwrap_or(u64::MAX)
    }
}

impl World {
    /// Faults of this moment.
    pub(crate) fn happen(&mut self) {
        let now_ms = self.ms();
        self.clocks(now_ms);
        self.disk(now_ms);
        if self.weather.duplicates.is_due(now_ms) {
            self.broker.repeat_last(DUPLICATES);
            self.met.strike("duplicates");
        }
        if self.weather.cut.is_due(now_ms) {
            let until_ms = now_ms + self.rng.u64(1..=self.faults.outage_max_ms);
            let silent = strikes(&mut self.rng, self.faults.half_open_ppm);
            match self.rng.usize(0..=self.clouds.len()) {
                0 => self.cut_intake(until_ms, silent),
                cloud => {
                    self.cuts(silent);
                    self.cut_cloud(cloud - 1, until_ms, silent);
                }
            }
        }
        self.notice_dead_links(now_ms);
        self.lives(now_ms);
    }

    fn clocks(&mut self, now_ms: u64) {
        if self.weather.clock_jump.is_due(now_ms) {
            self.clock_error_ms += self.rng.i64(-86_400_000..86_400_000);
            self.met.strike("clock-jump");
        }
        if self.weather.time_at_ms.take_if(|at| *at <= now_ms).is_some() {
            self.clock_error_ms = 0;
            self.met.strike("no-rtc");
        }
    }

    fn disk(&mut self, now_ms: u64) {
        if self.weather.disk_full.is_due(now_ms) {
            self.weather.room_at_ms = Some(now_ms + self.rng.u64(1..=self.faults.outage_max_ms));
            self.storage.set_capacity(Some(self.storage.used_bytes()));
            self.met.strike("disk-full");
        }
        if self.weather.room_at_ms.take_if(|at| *at <= now_ms).is_some() {
            self.storage.set_capacity(None);
        }
        if self.weather.disk_error.is_due(now_ms) {
            let operation = Operation::ALL[self.rng.usize(0..Operation::ALL.len())];
            let fault = match operation {
                Operation::WriteAt if self.rng.bool() => Fault::ShortWrite,
                Operation::SyncData => Fault::FailedSync,
                _ => Fault::Error(io::ErrorKind::Other),
            };
            self.storage.fail(operation, self.rng.u64(1..4), fault);
            self.met.strike("disk-error");
        }
    }

    /// The broker sees the end of the connection at once; the gateway, if it is `silent`, at `until_ms`.
    fn cut_intake(&mut self, until_ms: u64, silent: bool) {
        if self.intake.is_none() || self.intake_dead_until_ms.is_some() {
            return;
        }
        let forget = strikes(&mut self.rng, self.faults.forget_session_ppm);
        self.broker.disconnected(forget);
        self.met.add("forget-session", u64::from(forget));
        self.cuts(silent);
        if silent {
            self.intake_dead_until_ms = Some(until_ms);
        } else {
            self.intake_down_until_ms = until_ms;
            self.intake_is_down();
        }
    }

    fn cuts(&mut self, silent: bool) {
        self.met.strike("cut");
        self.met.add("half-open", u64::from(silent));
    }

    fn intake_is_down(&mut self) {
        self.intake_dead_until_ms = None;
        if let (Some(conn), Some(gateway)) = (self.intake.take(), &mut self.gateway) {
            gateway.handle(self.now, Input::LinkDown { link: LinkId::INTAKE, conn }, 1);
        }
    }

    /// The connection breaks: some of what is on the wire arrives still, and no answer comes back. The gateway sees it at
    /// once or, if it is `silent`, at `until_ms`.
    pub(crate) fn cut_cloud(&mut self, index: usize, until_ms: u64, silent: bool) {
        let cloud = &mut self.clouds[index];
        let Some(conn) = cloud.conn.filter(|_| cloud.dead_until_ms.is_none()) else { return };
        let link = cloud.link;
        let wire = cloud.break_wire();
        if link == LinkId::uplink(0) {
            self.downs.disconnected(false);
        }
        let arrive = self.rng.usize(0..=wire.len());
        for (at, (_, publish)) in wire.into_iter().enumerate() {
            if at < arrive {
                self.see(&publish);
            } else if let (Some(Planted::BelieveTheWire), Some(gateway)) = (self.scenario.planted, &mut self.gateway) {
                gateway.handle(self.now, Input::Published { link, conn, token: publish.token, accepted: true }, 1);
            }
        }
        if silent {
            self.clouds[index].dead_until_ms = Some(until_ms);
        } else {
            self.cloud_is_down(index, until_ms);
        }
    }

    fn cloud_is_down(&mut self, index: usize, until_ms: u64) {
        let cloud = &mut self.clouds[index];
        let link = cloud.link;
        if let (Some(conn), Some(gateway)) = (cloud.is_down(until_ms), &mut self.gateway) {
            gateway.handle(self.now, Input::LinkDown { link, conn }, 1);
        }
    }

    /// Takes the cloud at the end of `link` away for `span_ms`.
    pub fn cut_off(&mut self, link: LinkId, span_ms: u64) {
        let until_ms = self.ms() + span_ms;
        if let Some(index) = self.clouds.iter().position(|c| c.link == link) {
            self.clouds[index].down_until_ms = until_ms;
            self.cut_cloud(index, until_ms, false);
        }
    }

    fn notice_dead_links(&mut self, now_ms: u64) {
        if self.intake_dead_until_ms.is_some_and(|at| at <= now_ms) {
            self.intake_is_down();
        }
        for index in 0..self.clouds.len() {
            if self.clouds[index].dead_until_ms.is_some_and(|at| at <= now_ms) {
                self.cloud_is_down(index, now_ms);
            }
        }
    }

    /// Begin and end of the gateway's lives.
    fn lives(&mut self, now_ms: u64) {
        let Some(gateway) = &mut self.gateway else { return };
        if self.weather.power_cut.is_due(now_ms) {
            self.cut_power();
        } else if self.weather.kill.is_due(now_ms) {
            self.met.strike("kill");
            self.kill();
        } else if self.weather.deploy.is_due(now_ms) {
            gateway.handle(self.now, Input::Drain, 1);
            self.weather.stop_at_ms = Some(now_ms + STOP_MAX_MS);
            self.met.strike("deploy");
        } else if let Some(at_ms) = self.weather.stop_at_ms {
            if gateway.drained || now_ms >= at_ms {
                self.version = match self.scenario.faults.push_mean_ms {
                    0 => 1 + self.version % VERSIONS,
                    _ => self.operator.next_version().unwrap_or(self.version),
                };
                self.kill();
            }
        }
    }

    /// The power fails.
    pub fn cut_power(&mut self) {
        self.kill();
        self.met.strike("power-cut");
        self.storage.crash();
        self.shelf.crash(&mut self.rng);
        if self.faults.no_rtc {
            self.clock_error_ms -= self.now.unix_ms;
            self.weather.time_at_ms = Some(self.ms() + self.rng.u64(1..NO_TIME_MAX_MS));
        }
    }

    /// The process ends where it is; what it wrote stays in the page cache.
    fn kill(&mut self) {
        let now_ms = self.ms();
        if let Some(mut gateway) = self.gateway.take() {
            gateway.end();
            self.met.merge(std::mem::take(&mut gateway.met));
        }
        for index in 0..self.clouds.len() {
            self.cut_cloud(index, now_ms, false);
            self.clouds[index].is_down(now_ms);
        }
        self.weather.stop_at_ms = None;
        self.boots_at_ms = now_ms + self.rng.u64(1..200);
        if self.intake.take().is_some() && self.intake_dead_until_ms.take().is_none() {
            self.broker.disconnected(false);
        }
    }
}
