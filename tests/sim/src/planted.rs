//! Mistakes a gateway could make, made on purpose between the machine and its world: if no check finds one, the checks
//! are worth nothing.

use eyot_core::config::{Config, Priority, WhenFull};
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};
use eyot_wire::manifest::{CanaryRun, Rollout, Share};

use crate::faults::Faults;
use crate::guest::{Failing, Long};
use crate::scenario::Scenario;
use crate::way::Stage;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A sync is reported done that never happens: messages are acknowledged before they are durable.
    AckBeforeSync,
    /// The first two outputs after a reconnect change places.
    ReorderOnReconnect,
    /// A restart overlooks the oldest segment of the log.
    SkipSegment,
    /// Messages that find no room are acknowledged and forgotten.
    AckUnseen,
    /// What was on the wire when a connection broke counts as delivered.
    BelieveTheWire,
    /// After a deployment the old version runs beside the new one.
    MixVersions,
    /// A function that stops halfway gets away with half of its outputs.
    KeepHalf,
    /// The log takes twice its quota.
    OverQuota,
    /// The uplink's rate is not heeded.
    IgnoreRate,
    /// The age limit of outputs is not heeded.
    IgnoreTtl,
    /// What is on a worker is overtaken by the next of its topic.
    Overtake,
    /// Alarms have no priority.
    AlarmsFirst,
    /// The reducer keeps nothing.
    ReduceTooMuch,
    /// A restart knows nothing of what was pushed.
    ForgetPushes,
    /// What is to be on trial comes in force at once.
    NoTrials,
    /// What a shadow emits is not withheld.
    ShadowsSpeak,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::AckBeforeSync,
        Self::ReorderOnReconnect,
        Self::SkipSegment,
        Self::AckUnseen,
        Self::BelieveTheWire,
        Self::MixVersions,
        Self::KeepHalf,
        Self::OverQuota,
        Self::IgnoreRate,
        Self::IgnoreTtl,
        Self::Overtake,
        Self::AlarmsFirst,
        Self::ReduceTooMuch,
        Self::ForgetPushes,
        Self::NoTrials,
        Self::ShadowsSpeak,
    ];

    /// What the mistake needs to be one.
    pub(crate) fn prepare(self, scenario: &mut Scenario) {
        let setup = &mut scenario.setup;
        match self {
            Self::KeepHalf => setup.failing = Failing::Silently,
            Self::OverQuota => {
                setup.when_full = WhenFull::DropOldest;
                setup.max_bytes = 1 << 20;
            }
            Self::IgnoreRate => setup.rate_max_per_s = Some(50),
            Self::IgnoreTtl => {
                setup.ttl_ms = Some(10_000);
                scenario.faults.cut_mean_ms = 10_000;
                scenario.faults.outage_max_ms = 300_000;
                scenario.faults.clock_jump_mean_ms = 0;
                scenario.faults.no_rtc = false;
            }
            Self::Overtake => {
                setup.long = Long::WithoutState;
                setup.failing = Failing::Never;
            }
            Self::AlarmsFirst => {
                setup.when_full = WhenFull::DropOldest;
                setup.max_bytes = 1 << 20;
                setup.alarms = Some(Priority::High);
                setup.archive = false;
                scenario.publish_mean_ms = 20;
                (scenario.faults, scenario.is_offline) = (Faults::NONE, true);
            }
            Self::ReduceTooMuch => {
                setup.reduce_at_percent = Some(50);
                setup.max_bytes = 1 << 20;
                scenario.publish_mean_ms = 20;
                (scenario.faults, scenario.is_offline) = (Faults::NONE, true);
            }
            Self::ForgetPushes => {
                scenario.faults.push_mean_ms = 5_000;
                scenario.faults.kill_mean_ms = 20_000;
            }
            Self::NoTrials => {
                scenario.faults.push_mean_ms = 5_000;
                setup.canaries = true;
            }
            Self::ShadowsSpeak => {
                scenario.faults = Faults { push_mean_ms: 5_000, ..Faults::NONE };
                setup.shadows = true;
            }
            _ => {}
        }
    }

    /// Mistakes about how a version comes in force.
    pub(crate) fn mistake(self, rollout: Option<Rollout>) -> Option<Rollout> {
        match (self, rollout) {
            (Self::NoTrials, _) => None,
            (Self::ShadowsSpeak, Some(rollout)) if rollout.shadow.is_some() => {
                let all = CanaryRun { share: Share { ppm: 1_000_000 }, messages: None };
                Some(Rollout { shadow: None, canary: Some(all), ..rollout })
            }
            _ => rollout,
        }
    }

    /// What is told then of a version on trial.
    pub(crate) fn word_for(self, state: &'static str) -> &'static str {
        match self {
            Self::ShadowsSpeak => Stage::Shadow.word(),
            _ => state,
        }
    }

    /// Mistakes that are a wrong configuration.
    pub(crate) fn misconfigure(self, config: &mut Config, options: &mut Options) {
        match self {
            Self::OverQuota => *options = Options::for_quota(options.max_bytes * 2),
            Self::IgnoreRate => config.uplinks.iter_mut().for_each(|uplink| uplink.rate_max_per_s = None),
            Self::AlarmsFirst => {
                config
                    .uplinks
                    .iter_mut()
                    .flat_map(|uplink| &mut uplink.routes)
                    .for_each(|r| r.priority = Priority::Low);
            }
            Self::IgnoreTtl => config.uplinks.iter_mut().for_each(|uplink| uplink.ttl_ms = None),
            _ => {}
        }
    }
}

/// Removes the oldest segment, as long as there is another one.
pub(crate) fn overlook_oldest(storage: &MemoryStorage) {
    let mut names = storage.file_names();
    names.retain(|name| name.starts_with("segment"));
    if let [oldest, _, ..] = names.as_slice() {
        // A fault of the disk may keep it.
        let _ = storage.unlink(oldest);
    }
}
