//! What befalls the world, and when.

use eyot_core::io::{Input, LinkId};

use crate::faults::{strikes, Faults, Schedule};
use crate::world::World;

/// How long a clock that begins in 1970 stays there.
const NO_TIME_MAX_MS: u64 = 60_000;
/// How many messages a storm of duplicates repeats.
const DUPLICATES: usize = 200;

/// The next time of everything that happens by itself.
#[derive(Debug)]
pub(crate) struct Weather {
    cut: Schedule,
    crash: Schedule,
    disk_full: Schedule,
    clock_jump: Schedule,
    duplicates: Schedule,
    /// The disk has room again.
    room_at_ms: Option<u64>,
    /// The network tells the time.
    time_at_ms: Option<u64>,
}

impl Weather {
    pub fn new(rng: &mut fastrand::Rng, now_ms: u64, faults: &Faults) -> Self {
        let mut every = |mean_ms| Schedule::new(rng, now_ms, mean_ms);
        Self {
            cut: every(faults.cut_mean_ms),
            crash: every(faults.crash_mean_ms),
            disk_full: every(faults.disk_full_mean_ms),
            clock_jump: every(faults.clock_jump_mean_ms),
            duplicates: every(faults.duplicates_mean_ms),
            room_at_ms: None,
            time_at_ms: None,
        }
    }

    pub fn next_ms(&self) -> u64 {
        [&self.cut, &self.crash, &self.disk_full, &self.clock_jump, &self.duplicates]
            .into_iter()
            .map(Schedule::next_ms)
            .chain([self.room_at_ms, self.time_at_ms].into_iter().flatten())
            .min()
            .unwrap_or(u64::MAX)
    }
}

impl World {
    /// Faults of this moment.
    pub(crate) fn happen(&mut self) {
        let now_ms = self.ms();
        self.clocks(now_ms);
        if self.weather.disk_full.is_due(&mut self.rng, now_ms) {
            self.weather.room_at_ms = Some(now_ms + self.rng.u64(1..=self.faults.outage_max_ms));
            self.storage.set_capacity(Some(self.storage.used_bytes()));
        }
        if self.weather.room_at_ms.take_if(|at| *at <= now_ms).is_some() {
            self.storage.set_capacity(None);
        }
        if self.weather.duplicates.is_due(&mut self.rng, now_ms) {
            self.broker.repeat_last(DUPLICATES);
        }
        if self.weather.cut.is_due(&mut self.rng, now_ms) {
            let until_ms = now_ms + self.rng.u64(1..=self.faults.outage_max_ms);
            let silent = strikes(&mut self.rng, self.faults.half_open_ppm);
            match self.rng.usize(0..3) {
                0 => self.cut_intake(until_ms, silent),
                cloud if silent => self.clouds[cloud - 1].go_silent(until_ms),
                cloud => self.cut_cloud(cloud - 1, until_ms),
            }
        }
        self.notice_dead_links(now_ms);
        if self.gateway.is_some() && self.weather.crash.is_due(&mut self.rng, now_ms) {
            self.crash();
        }
    }

    fn clocks(&mut self, now_ms: u64) {
        if self.weather.clock_jump.is_due(&mut self.rng, now_ms) {
            self.clock_error_ms += self.rng.i64(-86_400_000..86_400_000);
        }
        if self.weather.time_at_ms.take_if(|at| *at <= now_ms).is_some() {
            self.clock_error_ms = 0;
        }
    }

    /// The broker sees the end of the connection at once; the gateway, if it is `silent`, at `until_ms`.
    fn cut_intake(&mut self, until_ms: u64, silent: bool) {
        if self.intake.is_none() || self.intake_dead_until_ms.is_some() {
            return;
        }
        self.broker.disconnected(strikes(&mut self.rng, self.faults.forget_session_ppm));
        if silent {
            self.intake_dead_until_ms = Some(until_ms);
        } else {
            self.intake_down_until_ms = until_ms;
            self.intake_is_down();
        }
    }

    fn intake_is_down(&mut self) {
        self.intake_dead_until_ms = None;
        if let (Some(conn), Some(gateway)) = (self.intake.take(), &mut self.gateway) {
            gateway.handle(self.now, Input::LinkDown { link: LinkId::INTAKE, conn }, 1);
        }
    }

    pub(crate) fn cut_cloud(&mut self, index: usize, until_ms: u64) {
        let cloud = &mut self.clouds[index];
        let Some(conn) = cloud.cut(until_ms) else { return };
        if let Some(gateway) = &mut self.gateway {
            gateway.handle(self.now, Input::LinkDown { link: cloud.link, conn }, 1);
        }
    }

    /// Takes the cloud at the end of `link` away for `span_ms`.
    pub fn cut_off(&mut self, link: LinkId, span_ms: u64) {
        let until_ms = self.ms() + span_ms;
        if let Some(index) = self.clouds.iter().position(|c| c.link == link) {
            self.clouds[index].down_until_ms = until_ms;
            self.cut_cloud(index, until_ms);
        }
    }

    fn notice_dead_links(&mut self, now_ms: u64) {
        if self.intake_dead_until_ms.is_some_and(|at| at <= now_ms) {
            self.intake_is_down();
        }
        for index in 0..self.clouds.len() {
            if self.clouds[index].dead_until_ms.is_some_and(|at| at <= now_ms) {
                self.cut_cloud(index, now_ms);
            }
        }
    }

    /// The power fails.
    pub fn crash(&mut self) {
        self.gateway = None;
        self.crashes += 1;
        self.storage.crash();
        let now_ms = self.ms();
        self.boots_at_ms = now_ms + self.rng.u64(1..200);
        if self.intake.take().is_some() && self.intake_dead_until_ms.take().is_none() {
            self.broker.disconnected(false);
        }
        for cloud in &mut self.clouds {
            cloud.cut(now_ms);
        }
        if self.faults.no_rtc {
            self.clock_error_ms -= self.now.unix_ms;
            self.weather.time_at_ms = Some(now_ms + self.rng.u64(1..NO_TIME_MAX_MS));
        }
    }
}
