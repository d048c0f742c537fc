//! Canaries: versions that have a share of the messages, while the version in force has the others.
//!
//! What a canary does counts: its outputs, its dead letters, its changes of the state. Which of the two has a message follows
//! from a hash of the topic, so that a topic stays with one of them for as long as the run lasts, and its order is kept as it
//! always is. The share is one of the topics that wake both; what wakes one of them only is for the version in force.
//!
//! There is one state, that of the function, as there is from one version to the next within a major version. A canary that
//! keeps state is lent it for a message, and gives it back when the message is in the log or has failed; meanwhile the version
//! in force begins with nothing, and the other way round. So each message sees what all before it have left, and a canary can
//! come and go between any two messages. Of another major version, whose state is not the same, one that keeps state cannot be
//! a canary.
//!
//! It is on probation as long as it is one. With what shows that it does worse, it gets no further message: they are for the
//! version in force from then on, and the canary goes when nothing of it is under way.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use eyot_wire::canary::{CanaryReport, CanarySide, CanaryState};
use eyot_wire::manifest::{CanaryRun, Share};

use crate::active::{Active, Loaded};
use crate::deploy::guard::Guard;
use crate::deploy::registry::{Build, Trial};

/// Canaries at one time, at most: each is a version in memory.
pub const CANARIES_MAX: usize = 8;
/// Time from the first report of a run to the next; twice as long each time, up to the most: links may be metered.
const REPORT_EVERY_MIN_US: u64 = 1_000_000;
/// The most.
const REPORT_EVERY_MAX_US: u64 = 60_000_000;
/// Shares are in millionths.
const WHOLE_PPM: u64 = 1_000_000;

/// Which version of a function has a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    /// The one in force.
    #[default]
    InForce,
    /// The one beside it.
    Canary,
}

/// One of them.
pub(crate) struct Canary {
    pub version: Active,
    build: Build,
    rule: CanaryRun,
    /// It is to go: no message is for it any more.
    pub is_out: bool,
    /// It has had as many messages as it is to have, and somebody was told.
    is_over: bool,
    report_due_us: u64,
    report_every_us: u64,
    /// How many runs of both the last report was of.
    reported: Option<u64>,
}

impl Canary {
    pub fn new(loaded: Loaded, trial: &Trial, rule: CanaryRun, mono_us: u64) -> Self {
        let mut version = Active::new(loaded);
        version.guard = Some(Guard::of_canary());
        Self {
            version,
            build: trial.build.clone(),
            rule,
            is_out: false,
            is_over: false,
            report_due_us: mono_us,
            report_every_us: REPORT_EVERY_MIN_US,
            reported: None,
        }
    }

    /// Whether messages of this topic are for it, if they wake the version in force.
    pub fn has(&self, topic: &str) -> bool {
        let is_here = !self.is_out && !self.version.is_frozen;
        is_here && is_in_share(&self.build, self.rule.share, topic) && self.version.manifest.triggered_by(topic)
    }

    /// Whether what it remembers is what the version in force does.
    pub fn shares_state(&self) -> bool {
        self.version.instances.uses_state()
    }

    /// A message of it is in the log. True if that was the last it was to have.
    pub fn has_had_all(&mut self) -> bool {
        let is_over = self.rule.messages.is_some_and(|most| self.version.invocations >= u64::from(most));
        let has_passed = is_over && !self.is_over && !self.is_out && !self.version.is_frozen;
        self.is_over |= has_passed;
        has_passed
    }

    /// The build it is of.
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// How large its share is, and for how long.
    pub fn rule(&self) -> CanaryRun {
        self.rule
    }

    /// When the next report is due, if there is more to tell than in the last.
    pub fn report_due_us(&self, active: &Active) -> Option<u64> {
        (self.reported != Some(self.runs(active))).then_some(self.report_due_us)
    }

    fn runs(&self, active: &Active) -> u64 {
        self.version.invocations.wrapping_add(active.invocations)
    }

    /// A report is told.
    pub fn told(&mut self, active: &Active, mono_us: u64) {
        self.reported = Some(self.runs(active));
        self.report_due_us = mono_us.saturating_add(self.report_every_us);
        self.report_every_us = (2 * self.report_every_us).min(REPORT_EVERY_MAX_US);
    }

    /// What is to be told of it.
    pub fn report(&self, active: &Active, state: CanaryState, reason: Option<&str>) -> CanaryReport {
        CanaryReport {
            function: active.name.to_string(),
            state,
            reason: reason.map(str::to_owned),
            version: self.build.version.to_string(),
            sha256: hex::encode(self.build.sha256),
            against: active.manifest.version.to_string(),
            rule: self.rule,
            active: side(active),
            canary: side(&self.version),
        }
    }
}

/// Which topics these are is another matter with each build, so that it is not always the same sensors.
fn is_in_share(build: &Build, share: Share, topic: &str) -> bool {
    let mut hasher = DefaultHasher::new();
    hasher.write(&build.sha256);
    hasher.write(topic.as_bytes());
    hasher.finish() % WHOLE_PPM < u64::from(share.ppm)
}

fn side(version: &Active) -> CanarySide {
    CanarySide {
        messages: version.invocations,
        failures: version.failures,
        last_failure: version.last_failure.map(str::to_owned),
        fuel_mean: version.fuel / version.invocations.max(1),
    }
}

/// What a function does by way of one of its versions.
impl Active {
    /// Which of them has messages of this topic.
    pub fn by(&self, topic: &str) -> By {
        match &self.canary {
            Some(canary) if canary.has(topic) => By::Canary,
            _ => By::InForce,
        }
    }

    /// That one; the one in force if there is no other any more.
    pub fn version(&self, by: By) -> &Active {
        match &self.canary {
            Some(canary) if by == By::Canary => &canary.version,
            _ => self,
        }
    }

    /// Does something with it. It knows what the function has tried meanwhile, and how the version in force does.
    pub fn with<R>(&mut self, by: By, act: impl FnOnce(&mut Active) -> R) -> R {
        let baseline = self.baseline();
        match &mut self.canary {
            Some(canary) if by == By::Canary => {
                let version = &mut canary.version;
                if let Some(guard) = &mut version.guard {
                    guard.compare_with(baseline);
                }
                std::mem::swap(&mut self.tries, &mut version.tries);
                let result = act(version);
                std::mem::swap(&mut self.tries, &mut version.tries);
                result
            }
            _ => act(self),
        }
    }

    /// Lends the state to the version that is to run, as far as there are two. False if the other one has it at present.
    pub fn lend(&mut self, by: By) -> bool {
        let Some(canary) = self.canary.as_deref_mut().filter(|canary| canary.shares_state()) else { return true };
        let other = if by == By::Canary { &self.instances } else { &canary.version.instances };
        if !other.are_quiet() {
            return false;
        }
        if by == By::Canary {
            canary.version.instances.borrow(Arc::clone(self.instances.state()));
        }
        true
    }

    /// The state is back with the version in force.
    pub fn give_back(&mut self, by: By) {
        if let Some(canary) = self.canary.as_deref_mut().filter(|canary| by == By::Canary && canary.shares_state()) {
            canary.version.instances.borrow(Arc::default());
        }
    }

    /// If the canary has just had the last message it was to have: the function, and SHA-256 of the canary's module.
    pub fn canary_done(&mut self) -> Option<(Arc<str>, [u8; 32])> {
        let canary = self.canary.as_deref_mut()?;
        canary.has_had_all().then(|| (Arc::clone(&self.name), canary.build.sha256))
    }

    /// What a message led to becomes part of the state: these effects, or those of the version that has just run.
    pub fn keep(&mut self, by: By, taken: Option<&eyot_engine::Effects>) {
        self.give_back(by);
        match (self.canary.as_deref().filter(|_| by == By::Canary), taken) {
            (Some(canary), taken) if canary.shares_state() => {
                if let Some(effects) = taken.or_else(|| canary.version.instances.effects()) {
                    self.instances.keep_taken(effects);
                }
            }
            (Some(_), _) => {}
            (None, Some(effects)) => self.instances.keep_taken(effects),
            (None, None) => self.instances.keep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_about_as_large_as_they_are_to_be_and_others_for_another_build() {
        let share = |byte: u8, ppm: u32| {
            let (version, sha256) = (semver::Version::new(1, 0, 0), [byte; 32]);
            let build = Build { version, sha256, content_sha256: sha256 };
            let topics = (0..10_000).map(|number| format!("sensors/{number}/raw"));
            topics.filter(|topic| is_in_share(&build, Share { ppm }, topic)).collect::<Vec<_>>()
        };
        assert!((900..1100).contains(&share(1, 100_000).len()));
        assert_eq!(share(1, 1_000_000).len(), 10_000);
        assert_ne!(share(1, 100_000), share(2, 100_000));
    }
}
