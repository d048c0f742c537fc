//! What goes wrong, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::daemon::Eyotd;
use crate::disk::SmallDisk;
use crate::mosquitto::Mosquitto;
use crate::proxy::{Proxy, State};
use crate::site::Site;

use super::running;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of the daemon.
    Kill,
    /// The sensors' broker is stopped.
    BrokerStop,
    /// The cloud's broker is stopped.
    CloudStop,
    /// The uplink's connection is closed, and nobody answers.
    LinkCut,
    /// The uplink's connection stands, and nothing comes through.
    LinkStall,
    /// Something else takes all space on the disk.
    DiskFull,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::Kill, Self::BrokerStop, Self::CloudStop, Self::LinkCut, Self::LinkStall, Self::DiskFull];

    /// As the report writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of eyotd",
            Self::BrokerStop => "local broker stopped",
            Self::CloudStop => "cloud broker stopped",
            Self::LinkCut => "uplink cut",
            Self::LinkStall => "uplink stalled",
            Self::DiskFull => "disk full",
        }
    }

    /// How long it lasts at least and at most, in milliseconds.
    const fn lasts_ms(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Kill => 0..=1_500,
            Self::BrokerStop => 300..=4_000,
            Self::CloudStop => 500..=12_000,
            Self::LinkCut => 200..=15_000,
            Self::LinkStall => 500..=15_000,
            Self::DiskFull => 3_000..=20_000,
        }
    }
}

/// Between the beginnings of two faults, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 300..=4_000;

/// How often one fault struck, and for how long in all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Times.
    pub times: u64,
    /// Together.
    pub lasted: Duration,
}

/// Decides what goes wrong, and sees to it.
pub struct Weather<'a> {
    random: fastrand::Rng,
    disk: Option<&'a SmallDisk>,
    proxy: &'a Proxy,
    tell: &'a mut dyn FnMut(&str),
    began: Instant,
    next: Instant,
    /// Each fault comes once before any comes twice.
    still_to_come: Vec<Fault>,
    /// What is wrong now: since when, and until when.
    active: BTreeMap<Fault, (Instant, Instant)>,
    /// What went wrong so far.
    pub counts: BTreeMap<Fault, Count>,
    /// How often a daemon, before it was killed, told that its log was full: without it a full disk proves nothing.
    pub log_was_full: u64,
}

/// What the daemon says when its log is full.
const FULL: &str = "the spool is full";

impl<'a> Weather<'a> {
    /// Fine, for now.
    pub fn new(seed: u64, disk: Option<&'a SmallDisk>, proxy: &'a Proxy, tell: &'a mut dyn FnMut(&str)) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut still_to_come: Vec<Fault> =
            Fault::ALL.into_iter().filter(|fault| disk.is_some() || *fault != Fault::DiskFull).collect();
        let counts = still_to_come.iter().map(|fault| (*fault, Count::default())).collect();
        random.shuffle(&mut still_to_come);
        let now = Instant::now();
        let active = BTreeMap::new();
        Self { random, disk, proxy, tell, began: now, next: now, still_to_come, active, counts, log_was_full: 0 }
    }

    /// Ends what is over and begins what is due.
    ///
    /// # Errors
    /// The daemon ended by itself.
    pub fn turn(&mut self, site: &mut Site, daemon: &mut Eyotd, cloud: &mut Mosquitto) -> Result<(), String> {
        let now = Instant::now();
        let over: Vec<Fault> = self.active.iter().filter(|(_, (_, until))| *until <= now).map(|(f, _)| *f).collect();
        for fault in over {
            self.end(fault, site, daemon, cloud);
        }
        if !self.active.contains_key(&Fault::Kill) {
            running(daemon)?;
        }
        if self.next <= now {
            self.next = now + Duration::from_millis(self.random.u64(PAUSE_MS));
            let fault = self.still_to_come.pop().or_else(|| self.random.choice(self.counts.keys().copied()));
            if let Some(fault) = fault.filter(|fault| !self.active.contains_key(fault)) {
                self.begin(fault, site, daemon, cloud);
            }
        }
        Ok(())
    }

    /// Ends everything.
    ///
    /// # Errors
    /// The daemon ended by itself.
    pub fn heal(&mut self, site: &mut Site, daemon: &mut Eyotd, cloud: &mut Mosquitto) -> Result<(), String> {
        while let Some(fault) = self.active.keys().next().copied() {
            self.end(fault, site, daemon, cloud);
        }
        running(daemon)
    }

    fn begin(&mut self, fault: Fault, site: &mut Site, daemon: &mut Eyotd, cloud: &mut Mosquitto) {
        let now = Instant::now();
        let lasts = Duration::from_millis(self.random.u64(fault.lasts_ms()));
        let at = self.began.elapsed().as_secs_f64();
        (self.tell)(&format!("{at:7.1} s: {} for {:.1} s", fault.name(), lasts.as_secs_f64()));
        match fault {
            Fault::Kill => {
                self.log_was_full += daemon.log().matches(FULL).count() as u64;
                daemon.kill();
            }
            Fault::BrokerStop => site.broker.stop(),
            Fault::CloudStop => cloud.stop(),
            Fault::LinkCut | Fault::LinkStall => {}
            Fault::DiskFull => self.disk.expect("there is a disk to fill").fill(),
        }
        self.active.insert(fault, (now, now + lasts));
        self.set_link();
    }

    fn end(&mut self, fault: Fault, site: &mut Site, daemon: &mut Eyotd, cloud: &mut Mosquitto) {
        let Some((since, _)) = self.active.remove(&fault) else { return };
        match fault {
            Fault::Kill => *daemon = Eyotd::start(&site.config),
            Fault::BrokerStop => site.broker.resume(),
            Fault::CloudStop => cloud.resume(),
            Fault::LinkCut | Fault::LinkStall => self.set_link(),
            Fault::DiskFull => self.disk.expect("there is a disk to free").free(),
        }
        let count = self.counts.entry(fault).or_default();
        count.times += 1;
        count.lasted += since.elapsed();
    }

    fn set_link(&self) {
        let is = |fault| self.active.contains_key(&fault);
        self.proxy.set(match (is(Fault::LinkCut), is(Fault::LinkStall)) {
            (true, _) => State::Cut,
            (false, true) => State::Stalled,
            (false, false) => State::Open,
        });
    }
}
