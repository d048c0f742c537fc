//! Canaries: how they begin, what is told of them, and how they end. See [`crate::canary`].

use eyot_wire::canary::{CanaryReport, CanaryState};
use eyot_wire::manifest::CanaryRun;

use super::trial::{ENDED_MAX, REPLACED};
use super::*;
use crate::canary::CANARIES_MAX;
use crate::deploy::plan::{Change, Origin, Request};
use crate::deploy::registry::Trial;

impl<S: Storage> Core<S> {
    /// Whether there may be one more, or one of the function of this name.
    pub(super) fn has_room_for_canary(&self, name: &str) -> Result<(), String> {
        let others = self.functions.canaries().filter(|(active, _)| *active.name != *name).count();
        if others < CANARIES_MAX {
            return Ok(());
        }
        Err(format!(
            "is one canary too many: {CANARIES_MAX} versions have a share of the messages; promote one or take it back, or push it \
             again later"
        ))
    }

    /// Whether a version can have messages while the one in force has others.
    pub(super) fn may_share(&self, name: &str, trial: &Trial, loaded: &Loaded) -> Result<(), String> {
        let Some(active) = self.functions.get(name).filter(|_| trial.rollout.canary.is_some()) else { return Ok(()) };
        let (from, to) = (active.manifest.version.major, trial.build.version.major);
        if from == to || !loaded.function.uses_state() {
            return Ok(());
        }
        Err(format!(
            "cannot be a canary: it keeps state, which it would share with the version in force, and that of {to} is another than \
             that of {from}; leave canary out of [rollout] in its function.toml"
        ))
    }

    /// From here on it has its share.
    pub(super) fn begin_canary(&mut self, name: &str, trial: &Trial, rule: CanaryRun, loaded: Loaded) {
        if let Some(place) = self.functions.place(name) {
            self.deployer.ended_canaries.retain(|report| report.function != name);
            self.functions.begin_canary(place, trial, rule, loaded, self.now.mono_us);
            self.more = true;
        }
    }

    /// No message is for the canary of this function any more, or they are again.
    pub(super) fn set_canary_out(&mut self, name: &str, is_out: bool) {
        let place = self.functions.place(name);
        let active = place.and_then(|place| self.functions.at_mut(place));
        if let Some(canary) = active.and_then(|active| active.canary.as_deref_mut()) {
            canary.is_out = is_out;
        }
    }

    /// The canary goes, because of this change: nothing of it is under way. What it came to is told when that is durable.
    pub(super) fn end_canary(&mut self, name: &str, change: &Change, origin: &Origin) {
        let place = self.functions.place(name);
        let Some(active) = place.and_then(|place| self.functions.at_mut(place)) else { return };
        let Some(canary) = active.canary.take() else { return };
        let (state, reason) = match change {
            Change::Advance(build) if canary.build() == build => (CanaryState::Promoted, None),
            Change::Drop(_, reason) if origin.order.is_none() => (CanaryState::Rejected, Some(reason.as_str())),
            Change::Drop(_, reason) => (CanaryState::Dropped, Some(reason.as_str())),
            Change::Remove => (CanaryState::Dropped, Some("the function was removed")),
            // It begins again.
            Change::Configure(_) => return,
            Change::Try(trial) if canary.build() == &trial.build => return,
            Change::Try(_) => (CanaryState::Dropped, Some("another version is on trial in its place")),
            Change::Advance(_) | Change::TakeBack(..) => (CanaryState::Dropped, Some(REPLACED)),
        };
        let report = canary.report(active, state, reason);
        self.deployer.ended_canaries.push_back(report);
        while self.deployer.ended_canaries.len() > ENDED_MAX {
            self.deployer.ended_canaries.pop_front();
        }
    }

    /// Passes on what canaries have come to.
    pub(super) fn tend_canaries(&mut self) {
        for (name, sha256) in std::mem::take(&mut self.functions.canaries_done) {
            self.deployer.waiting.push_back(Request::Conclude(name, sha256, Ok(())));
            self.more = true;
        }
        let mono_us = self.now.mono_us;
        let mut due = Vec::new();
        for active in self.functions.iter_mut() {
            let due_us = active.canary.as_ref().and_then(|canary| canary.report_due_us(active));
            if let Some(mut canary) = active.canary.take_if(|_| due_us.is_some_and(|due_us| due_us <= mono_us)) {
                canary.told(active, mono_us);
                due.push(canary.report(active, CanaryState::Canary, None));
                active.canary = Some(canary);
            }
        }
        due.iter().for_each(|report| self.publish_canary(report));
    }

    /// When the next report is due.
    pub(super) fn canary_due_us(&self) -> Option<u64> {
        self.functions.canaries().filter_map(|(active, canary)| canary.report_due_us(active)).min()
    }

    fn publish_canary(&mut self, report: &CanaryReport) {
        self.publish_control(&format!("function/{}/canary", report.function), report, true);
    }

    /// All of them, and the last that are over.
    pub(super) fn canary_reports(&self) -> Vec<CanaryReport> {
        let going_on =
            self.functions.canaries().map(|(active, canary)| canary.report(active, CanaryState::Canary, None));
        going_on.chain(self.deployer.ended_canaries.iter().cloned()).collect()
    }

    /// A change that a canary went with, if one did, is durable.
    pub(super) fn tell_canary(&mut self, name: &str, change: &Change) {
        if let Some(report) = self.deployer.ended_canaries.iter().rfind(|report| report.function == name).cloned() {
            self.publish_canary(&report);
        }
        if matches!(change, Change::Remove) {
            self.deployer.ended_canaries.retain(|report| report.function != name);
            self.publish_nothing(&format!("function/{name}/canary"));
        }
    }
}
