//! `[deploy]`: room for pushes that are not whole yet, and how versions come in force that say nothing of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use eyot_core::config::{PARTS_TTL_US_DEFAULT, STAGING_MAX_BYTES_DEFAULT, VAIN_DAY_BYTES_DEFAULT};

use eyot_wire::manifest::{CanaryRun, Rollout, ShadowRun, Share};

use super::section::{size, Reader, Section};

/// What may be set: a module of a usual size must fit, and all of it stays on the disk.
const STAGING_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
/// From one module of the largest size.
const VAIN_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 40;
const TTLS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);

/// `[deploy]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Most bytes of all parts together.
    pub staging_max_bytes: u64,
    /// How long parts are kept after the last one came.
    pub parts_ttl: Duration,
    /// Most bytes of the flash in a day for pushes that come to nothing.
    pub vain_day_bytes: u64,
    /// How versions come in force whose manifest says nothing of it; at once if none.
    pub rollout: Option<Rollout>,
}

/// The section, or its defaults.
pub fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Deploy {
    let mut section = root.table(r, "deploy");
    let staging_max_bytes =
        section.parsed(r, "staging_max", STAGING_MAX_BYTES_DEFAULT, |text| size(text, &STAGING_BYTES));
    let parts_ttl = section.duration(r, "parts_ttl", Duration::from_micros(PARTS_TTL_US_DEFAULT), TTLS);
    let vain_day_bytes = section.parsed(r, "vain_per_day", VAIN_DAY_BYTES_DEFAULT, |text| size(text, &VAIN_BYTES));
    let mut rollout = section.table(r, "rollout");
    let is_present = rollout.is_present();
    let shadow = rollout.parsed(r, "shadow", None, |text| ShadowRun::try_from(text.to_owned()).map(Some));
    let failures = u32::from(rollout.number(r, "failures", 0..=u16::MAX, 0));
    let different = rollout.parsed(r, "different", Share::default(), |text| Share::try_from(text.to_owned()));
    let canary = rollout.parsed(r, "canary", None, |text| CanaryRun::try_from(text.to_owned()).map(Some));
    rollout.finish(r);
    section.finish(r);
    let rollout = is_present.then_some(Rollout { shadow, failures, different, canary });
    Deploy { staging_max_bytes, parts_ttl, vain_day_bytes, rollout }
}
