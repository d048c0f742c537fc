//! The clock and the order of events. Time leaps from one event to the next, so that a month costs what happens in it.

use std::io;

use eyot_core::io::{ConnId, LinkId, Now};
use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::broker::{Broker, Published};
use crate::check::Checks;
use crate::cloud::Cloud;
use crate::faults::{strikes, Faults, Schedule};
use crate::gateway::Gateway;
use crate::operator::Operator;
use crate::scenario::Scenario;
use crate::shelf::Shelf;
use crate::tally::Met;
use crate::weather::Weather;

/// Sensors in the world.
pub const TOPICS: u32 = 5;
/// When the world begins, on its wall clocks.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// Messages the local broker keeps at most.
pub(crate) const BACKLOG_MAX: usize = 2000;
/// Most time for everything to heal.
const HEALING_MAX_MS: u64 = 6 * 3_600_000;
/// Sensors send in bursts of this many now and then.
const BURST: u32 = 100;
/// Something comes down from the cloud every so often.
const DOWN_MEAN_MS: u64 = 3_000;
/// Most messages that the broker of the cloud sends unacknowledged.
const DOWN_INFLIGHT_MAX: usize = 20;
/// Quotas of a log that has another one each time.
const QUOTAS_BYTES: [u64; 3] = [1 << 20, 3 << 20, 64 << 20];

/// One history.
pub struct World {
    pub(crate) scenario: Scenario,
    /// What goes wrong at present.
    pub(crate) faults: Faults,
    pub(crate) rng: fastrand::Rng,
    pub(crate) weather: Weather,
    pub(crate) now: Now,
    /// What the gateway's wall clock is wrong by.
    pub(crate) clock_error_ms: i64,
    pub(crate) storage: MemoryStorage,
    pub(crate) gateway: Option<Gateway>,
    /// Version of the function that the next start has in its configuration file.
    pub(crate) version: u8,
    /// Modules that were pushed.
    pub(crate) shelf: Shelf,
    pub(crate) operator: Operator,
    pub(crate) boots_at_ms: u64,
    pub(crate) broker: Broker,
    /// What the broker of the first cloud has for the gateway.
    pub(crate) downs: Broker,
    pub(crate) down: Schedule,
    /// The intake's connection, as the gateway sees it.
    pub(crate) intake: Option<ConnId>,
    /// It is dead, and the gateway finds out then.
    pub(crate) intake_dead_until_ms: Option<u64>,
    pub(crate) intake_down_until_ms: u64,
    pub(crate) clouds: Vec<Cloud>,
    pub(crate) next_conn: ConnId,
    pub(crate) numbers: [u64; TOPICS as usize + 1],
    publish: Schedule,
    pub(crate) checks: Checks,
    pub(crate) boots: u64,
    /// Messages the sensors sent at QoS 0.
    pub(crate) qos0: u64,
    /// Quota of the log at the last start.
    quota_bytes: u64,
    pub(crate) met: Met,
}

impl World {
    /// The world of `scenario`, at its beginning.
    pub fn new(scenario: Scenario) -> Self {
        let mut rng = fastrand::Rng::with_seed(!scenario.seed);
        let uplinks = scenario.setup.uplinks().len() as u8;
        let mut clouds: Vec<Cloud> =
            std::iter::once(LinkId::LOCAL).chain((0..uplinks).map(LinkId::uplink)).map(Cloud::new).collect();
        if scenario.is_offline {
            clouds.iter_mut().for_each(|cloud| cloud.down_until_ms = u64::MAX);
        }
        Self {
            storage: MemoryStorage::new(rng.u64(..)),
            broker: Broker::new(scenario.broker_inflight_max),
            weather: Weather::new(scenario.seed, 0, &scenario.faults),
            publish: Schedule::new(scenario.seed, 0, 0, scenario.publish_mean_ms),
            rng,
            faults: scenario.faults,
            now: Now { mono_us: 0, unix_ms: 0 },
            clock_error_ms: if scenario.faults.no_rtc { -BEGIN_MS } else { 0 },
            gateway: None,
            version: 1,
            shelf: Shelf::new(scenario.planted),
            operator: Operator::new(&scenario),
            downs: Broker::new(DOWN_INFLIGHT_MAX),
            down: Schedule::new(scenario.seed, 10, 0, if scenario.setup.down { DOWN_MEAN_MS } else { 0 }),
            boots_at_ms: 0,
            intake: None,
            intake_dead_until_ms: None,
            intake_down_until_ms: 0,
            clouds,
            next_conn: 0,
            numbers: [0; TOPICS as usize + 1],
            checks: Checks::new(&scenario),
            boots: 0,
            qos0: 0,
            quota_bytes: 0,
            met: Met::default(),
            scenario,
        }
    }

    /// Something else takes the disk but for `bytes`, or leaves it.
    pub fn limit_disk(&self, bytes: Option<u64>) {
        self.storage.set_capacity(bytes);
    }

    /// The next call of this operation on the disk fails.
    pub fn fail_disk(&self, operation: Operation) {
        self.storage.fail(operation, 1, Fault::Error(io::ErrorKind::Other));
    }

    /// The platter loses the last `bytes` of what was written of the newest segment.
    pub fn damage_log_end(&self, bytes: usize) {
        let names = self.storage.file_names();
        let newest = names.iter().rfind(|name| name.starts_with("segment")).expect("there is a log");
        let file = self.storage.open(newest).expect("it is there");
        let mut content = vec![0; self.storage.written_len(newest)];
        self.storage.read_at(&file, 0, &mut content).expect("it can be read");
        let end = content.iter().rposition(|byte| *byte != 0).expect("it holds something");
        for offset in end - bytes..end {
            assert!(self.storage.corrupt(newest, offset, 0x55));
        }
    }

    /// Simulated milliseconds since the beginning.
    pub fn ms(&self) -> u64 {
        self.now.mono_us / 1000
    }

    /// Messages the sensors have sent.
    pub fn published(&self) -> u64 {
        self.numbers.iter().sum()
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
        self.publish = Schedule::new(0, 0, 0, 0);
        self.down = Schedule::new(0, 0, 0, 0);
        self.operator.calm_down(self.ms());
        self.faults = Faults::NONE;
        self.weather.calm_down();
        self.clock_error_ms = 0;
        self.storage.set_capacity(None);
        self.storage.disarm();
        self.intake_down_until_ms = self.intake_down_until_ms.min(self.ms());
        let now_ms = self.ms();
        for cloud in &mut self.clouds {
            cloud.down_until_ms = cloud.down_until_ms.min(now_ms);
        }
        let until_ms = self.ms() + HEALING_MAX_MS;
        while !self.is_quiet() {
            assert!(self.ms() < until_ms, "the backlog does not drain: {}", self.describe());
            self.step();
        }
        let gateway = self.gateway.as_ref().expect("the world is healed");
        self.checks.finally(&self.scenario, &gateway.core, (&self.broker, &self.downs));
    }

    fn is_quiet(&self) -> bool {
        self.broker.backlog() + self.downs.backlog() == 0
            && self.operator.is_idle()
            && self.gateway.as_ref().is_some_and(|g| {
                let ledger = g.core.ledger();
                let waiting = ledger.messages.pending + ledger.streams.iter().map(|s| s.outputs.pending).sum::<u64>();
                g.inbox.is_empty() && waiting == 0 && g.core.in_flight() == 0
            })
    }

    fn describe(&self) -> String {
        let status = self.gateway.as_ref().map(|g| String::from_utf8_lossy(&g.core.status_json()).into_owned());
        format!("broker backlog {}, {:?} {status:?}", self.broker.backlog(), self.operator)
    }

    /// Everything that came of this history, to compare two runs.
    pub fn fingerprint(&self) -> String {
        let ledger = self.gateway.as_ref().map(|g| g.core.ledger());
        format!("{ledger:?} {:?} {:?}", self.checks, self.broker)
    }

    /// The gateway's status document; empty while it is off.
    pub fn status(&self) -> Vec<u8> {
        self.gateway.as_ref().map_or_else(Vec::new, |gateway| gateway.core.status_json())
    }

    /// Outputs that arrived in the stream of this name, repetitions included.
    pub fn arrivals(&self, stream: &str) -> u64 {
        self.gateway.as_ref().map_or(0, |g| self.checks.arrivals(g.core.ledger(), stream))
    }

    /// Messages the gateway has dropped, but for those it failed on and answered with a dead letter.
    pub fn lost(&self) -> u64 {
        self.gateway.as_ref().map_or(0, |g| {
            let messages = &g.core.ledger().messages;
            messages.dropped_total() - messages.dropped(DropReason::DeadLetter)
        })
    }

    /// Leaps to the next event and lets it happen.
    pub fn step(&mut self) {
        self.leap();
        self.happen();
        self.sensors();
        self.operate();
        self.power();
        self.connect();
        self.deliver();
        self.bring_down();
        let sync_ms = self.sync_ms();
        let fail = strikes(&mut self.rng, self.faults.sync_error_ppm);
        if let Some(gateway) = &mut self.gateway {
            gateway.step(self.now, sync_ms, fail);
        }
        self.carry_out();
        self.arrive();
        self.carry_out();
        if let Some(gateway) = &self.gateway {
            let is_offline = self.clouds.iter().all(|cloud| cloud.conn.is_none());
            self.checks.always(&self.scenario, &gateway.core, gateway.max_bytes, &self.downs, is_offline);
        }
        self.counts_along();
    }

    fn leap(&mut self) {
        let down = self.intake.is_none().then_some(self.intake_down_until_ms);
        let boot = self.gateway.is_none().then_some(self.boots_at_ms);
        let events_ms = [self.publish.next_ms(), self.down.next_ms(), self.operator.next_ms(), self.weather.next_ms()]
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

    pub(crate) fn latency_ms(&mut self) -> u64 {
        self.rng.u64(0..self.faults.latency_max_ms)
    }

    fn sensors(&mut self) {
        let now_ms = self.ms();
        if !self.publish.is_due(now_ms) || self.broker.backlog() > BACKLOG_MAX {
            return;
        }
        let count = if self.rng.u32(0..500) == 0 { BURST } else { self.rng.u32(1..3) };
        for _ in 0..count {
            let topic = self.rng.u32(0..TOPICS);
            let qos = u8::from(self.rng.u32(0..100) >= self.scenario.qos0_percent);
            if qos == 0 && (self.intake.is_none() || self.intake_dead_until_ms.is_some()) {
                continue;
            }
            let number = &mut self.numbers[topic as usize];
            *number += 1;
            self.qos0 += u64::from(qos == 0);
            self.broker.publish(Published { topic, number: *number, qos, control: None });
        }
    }

    fn power(&mut self) {
        if self.gateway.is_some() || self.ms() < self.boots_at_ms {
            return;
        }
        let seed = self.rng.u64(..);
        let quota_bytes = match self.scenario.setup.resizes {
            true => QUOTAS_BYTES[seed as usize % QUOTAS_BYTES.len()],
            false => self.scenario.setup.max_bytes,
        };
        let config = (self.version, quota_bytes);
        match Gateway::boot(&self.scenario, config, &self.storage, &self.shelf, self.now, seed) {
            Ok(gateway) => {
                self.boots += 1;
                if quota_bytes < std::mem::replace(&mut self.quota_bytes, quota_bytes) {
                    self.met.strike("resize");
                }
                let (versions, brokers) = ((self.version, self.operator.asked()), (&self.broker, &self.downs));
                self.checks.booted(&self.scenario, &gateway.core, versions, brokers);
                self.checks.extra.booted();
                self.gateway = Some(gateway);
            }
            // The disk may be full or failing at boot; an init system tries again.
            Err(error) => {
                let Faults { disk_full_mean_ms, disk_error_mean_ms, .. } = self.faults;
                assert!(disk_full_mean_ms + disk_error_mean_ms > 0, "it does not start: {error}");
                self.boots_at_ms = self.ms() + 100;
            }
        }
    }
}
