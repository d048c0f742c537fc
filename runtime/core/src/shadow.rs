//! Shadows: versions that see what the one in force sees, and whose effects are withheld.
//!
//! When the version in force is done with a message and that is being written down, its shadow is given the same one, with the
//! same time, seed and configuration, on a worker that has nothing else to do; `compare`: whether the same came of it, `tally`:
//! what that comes to. Nothing waits for a shadow: what it is too slow for is skipped, and counted.
//!
//! It has a state of its own, in memory only, which begins as that of the version in force. After messages that were skipped it
//! begins so again, no more than once a second, because without them it would not know what the other one knows. Across major
//! versions it begins as a promotion would let it, and goes on by itself. In the end the state is forgotten: what is promoted
//! takes over that of the version in force. After a restart the run begins anew, with counts of 0.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eyot_engine::{Effects, Function, State, Usage};
use eyot_wire::code::Failure;
use eyot_wire::manifest::Manifest;
use eyot_wire::shadow::{ShadowReport, ShadowState};

use crate::active::Active;
use crate::deploy::registry::{Build, Trial};
use crate::functions::Waking;
use crate::job::{Job, Parcel};

mod compare;
mod tally;

use compare::{compare, Likeness, Outcome};
use tally::{Tally, Used};

/// Shadows at one time, at most: each is an instance in memory.
pub const SHADOWS_MAX: usize = 8;
/// Messages that wait for one shadow, at most.
const WAITING_MAX: usize = 64;
/// Bytes of them and of what the version in force made of them; one message waits in any case.
const WAITING_MAX_BYTES: usize = 256 << 10;
/// Jobs of shadows on workers, at most, with those of shadows that are gone.
const AWAY_MAX: usize = 2 * SHADOWS_MAX;
/// Shortest time from one copy of the other version's state to the next: it is made where messages are taken.
const STATE_EVERY_US: u64 = 1_000_000;
/// Time from the first report of a run to the next; twice as long each time, up to the most: links may be metered.
const REPORT_EVERY_MIN_US: u64 = 1_000_000;
/// The most.
const REPORT_EVERY_MAX_US: u64 = 60_000_000;

/// What the version in force made of a message, and then what its shadow did: goes with the job.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Of all shadows, which one's: one that is gone is not another one that came in its place.
    number: u64,
    active: Outcome,
    used: Used,
    shadow: Option<(Outcome, Likeness)>,
}

impl Beside {
    /// The shadow has done: compares, and makes what it did its state. Meant for a worker.
    pub fn settle(&mut self, function: &mut Function, result: &Result<Usage, Failure>) {
        if self.shadow.is_some() {
            return;
        }
        let outcome = Outcome::new(result, Some(function.effects()));
        if outcome.result.is_ok() {
            function.keep();
        }
        let likeness = compare(&self.active, &outcome);
        self.shadow = Some((outcome, likeness));
    }
}

/// A message that waits for a shadow.
struct Waiting {
    parcel: Parcel,
    active: Outcome,
    used: Used,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.parcel.topic.len() + self.parcel.payload.len() + self.active.bytes()
    }
}

/// One of them.
pub(crate) struct Shadow {
    number: u64,
    name: Arc<str>,
    trial: Trial,
    /// The version in force.
    against: String,
    manifest: Arc<Manifest>,
    /// None while it is away.
    function: Option<Box<Function>>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Its state is to be what that of the version in force is, but for what the two do differently.
    follows: bool,
    /// Messages were skipped since it had that.
    is_behind: bool,
    state_due_us: u64,
    tally: Tally,
    /// The run has come to an end, and waits for what is to become of it.
    is_over: bool,
    /// There is more to report.
    has_news: bool,
    report_due_us: u64,
    report_every_us: u64,
}

/// The end of a run: function, SHA-256 of the shadow's module, and whether it may come in force or why not.
pub(crate) type Concluded = (Arc<str>, [u8; 32], Result<(), String>);

/// All of them.
#[derive(Default)]
pub(crate) struct Shadows {
    /// By the place of the function.
    by_place: BTreeMap<usize, Shadow>,
    next_number: u64,
    away: usize,
    leaving: VecDeque<Box<Job>>,
    /// Runs that have come to an end.
    pub concluded: Vec<Concluded>,
    /// Now, as far as it matters here.
    pub mono_us: u64,
}

impl Shadows {
    /// Whether one more can be, or one for this place.
    pub fn has_room_for(&self, place: Option<usize>) -> bool {
        self.by_place.len() < SHADOWS_MAX || place.is_some_and(|place| self.by_place.contains_key(&place))
    }

    /// The build that is the shadow of the function of this name.
    pub fn of(&self, name: &str) -> Option<&Build> {
        self.by_place.values().find(|shadow| *shadow.name == *name).map(|shadow| &shadow.trial.build)
    }

    /// Begins with a shadow of the function at this place, which has `state`.
    pub fn begin(&mut self, place: usize, active: &Active, trial: Trial, mut function: Box<Function>, state: State) {
        self.next_number += 1;
        let follows = function.uses_state() && trial.build.version.major == active.manifest.version.major;
        *function.state_mut() = state;
        let shadow = Shadow {
            number: self.next_number,
            name: Arc::clone(&active.name),
            trial,
            against: active.manifest.version.to_string(),
            manifest: Arc::clone(function.manifest()),
            function: Some(function),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            follows,
            is_behind: false,
            state_due_us: self.mono_us.saturating_add(STATE_EVERY_US),
            tally: Tally::default(),
            is_over: false,
            has_news: true,
            report_due_us: self.mono_us,
            report_every_us: REPORT_EVERY_MIN_US,
        };
        self.by_place.insert(place, shadow);
    }

    /// Ends it; it may be on a worker, from where it does not come back.
    pub fn end(&mut self, place: usize) -> Option<Shadow> {
        self.by_place.remove(&place)
    }

    /// The version in force is done with a message. Its state must be as it was before that.
    pub fn see(
        &mut self,
        place: usize,
        active: &Active,
        waking: &Waking<'_>,
        result: &Result<Usage, Failure>,
        effects: Option<&Effects>,
        run_ns: Option<u64>,
    ) {
        let Some(shadow) = self.by_place.get_mut(&place).filter(|shadow| !shadow.is_over) else { return };
        shadow.has_news = true;
        if *result == Err(Failure::Quarantined) {
            shadow.tally.skipped += 1;
            return;
        }
        let used = Used { fuel: result.as_ref().ok().map(|usage| usage.fuel), run_ns };
        let outcome = || Outcome::new(result, effects);
        if !shadow.manifest.triggered_by(waking.topic) {
            // It does not wake the shadow, and so nothing comes of it there.
            let (active, shadow_did) = (outcome(), Outcome::nothing());
            let likeness = compare(&active, &shadow_did);
            shadow.tally.add(&waking.parcel(), likeness, (&active, used), (&shadow_did, Used::default()));
            self.conclude(place);
            return;
        }
        let bytes = waking.topic.len() + waking.payload.len() + effects.map_or(0, Effects::emit_bytes);
        if !shadow.has_room_for(bytes) || !shadow.catches_up(active.instances.state(), self.mono_us) {
            shadow.tally.skipped += 1;
            shadow.is_behind = shadow.follows;
            return;
        }
        let waiting = Waiting { parcel: waking.parcel(), active: outcome(), used };
        shadow.waiting_bytes += waiting.bytes();
        shadow.waiting.push_back(waiting);
        self.go_on(place);
    }

    /// Begins with what waits for a shadow, if it is here.
    fn go_on(&mut self, place: usize) {
        if self.away >= AWAY_MAX {
            return;
        }
        let Some(shadow) = self.by_place.get_mut(&place).filter(|s| s.function.is_some() && !s.is_over) else { return };
        let Some(waiting) = shadow.waiting.pop_front() else { return };
        shadow.waiting_bytes -= waiting.bytes();
        let Waiting { parcel, active, used } = waiting;
        let Some(function) = shadow.function.take() else { return };
        let beside = Beside { number: shadow.number, active, used, shadow: None };
        let deadline_ms = shadow.manifest.limits.deadline_ms;
        self.leaving.push_back(Job::beside(place, &shadow.name, parcel, deadline_ms, function, beside));
        self.away += 1;
    }

    /// The next job that leaves.
    pub fn next_leaving(&mut self) -> Option<Box<Job>> {
        self.leaving.pop_front()
    }

    /// A job is back.
    pub fn came_back(&mut self, job: Job) {
        self.away = self.away.saturating_sub(1);
        let (place, run_ns) = (job.place_beside(), job.ran_ns);
        let Some((parcel, beside, function, result)) = job.end_beside() else { return };
        if let Some(shadow) = self.by_place.get_mut(&place).filter(|shadow| shadow.number == beside.number) {
            shadow.function = Some(function);
            shadow.has_news = true;
            match (beside.shadow, result) {
                (Some((outcome, likeness)), Some(result)) => {
                    let used = Used { fuel: result.ok().map(|usage| usage.fuel), run_ns: Some(run_ns) };
                    shadow.tally.add(&parcel, likeness, (&beside.active, beside.used), (&outcome, used));
                }
                _ => {
                    // There was no thread for it.
                    shadow.tally.skipped += 1;
                    shadow.is_behind = shadow.follows;
                }
            }
            self.conclude(place);
        }
        // Also those that waited for a job of another one to come back.
        let places: Vec<usize> = self.by_place.keys().copied().collect();
        places.into_iter().for_each(|place| self.go_on(place));
    }

    fn conclude(&mut self, place: usize) {
        let Some(shadow) = self.by_place.get_mut(&place).filter(|shadow| !shadow.is_over) else { return };
        if let Some(verdict) = shadow.tally.verdict(&shadow.trial.rollout) {
            shadow.is_over = true;
            self.concluded.push((Arc::clone(&shadow.name), shadow.trial.build.sha256, verdict));
        }
    }

    /// When the next report is due.
    pub fn due_us(&self) -> Option<u64> {
        self.by_place.values().filter(|shadow| shadow.has_news).map(|shadow| shadow.report_due_us).min()
    }

    /// The reports that are due.
    pub fn take_reports(&mut self) -> Vec<ShadowReport> {
        let mono_us = self.mono_us;
        let is_due = |shadow: &&mut Shadow| shadow.has_news && mono_us >= shadow.report_due_us;
        let due = self.by_place.values_mut().filter(is_due);
        due.map(|shadow| {
            (shadow.has_news, shadow.report_due_us) = (false, mono_us.saturating_add(shadow.report_every_us));
            shadow.report_every_us = (2 * shadow.report_every_us).min(REPORT_EVERY_MAX_US);
            shadow.report(ShadowState::Shadow, None)
        })
        .collect()
    }

    /// All runs, for who has just come.
    pub fn reports(&self) -> impl Iterator<Item = ShadowReport> + '_ {
        self.by_place.values().map(|shadow| shadow.report(ShadowState::Shadow, None))
    }
}

impl Shadow {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.waiting.is_empty()
            || self.waiting.len() < WAITING_MAX && self.waiting_bytes.saturating_add(bytes) <= WAITING_MAX_BYTES
    }

    /// Whether it knows all that it has to know before the message at hand; after messages that were skipped, only when it has
    /// done what came before them.
    fn catches_up(&mut self, state: &State, mono_us: u64) -> bool {
        if !self.is_behind {
            return true;
        }
        let Some(function) = self.function.as_mut().filter(|_| self.waiting.is_empty()) else { return false };
        if mono_us < self.state_due_us {
            return false;
        }
        *function.state_mut() = state.clone();
        (self.is_behind, self.state_due_us) = (false, mono_us.saturating_add(STATE_EVERY_US));
        true
    }

    /// Whether it is of this build.
    pub fn is_of(&self, build: &Build) -> bool {
        self.trial.build.sha256 == build.sha256
    }

    /// What is to be told of it.
    pub fn report(&self, state: ShadowState, reason: Option<&str>) -> ShadowReport {
        let Self { name, trial, against, tally, .. } = self;
        ShadowReport {
            function: name.to_string(),
            state,
            reason: reason.map(str::to_owned),
            version: trial.build.version.to_string(),
            sha256: hex::encode(trial.build.sha256),
            against: against.clone(),
            rule: trial.rollout,
            messages: tally.messages,
            same: tally.same,
            same_json: tally.same_json,
            different: tally.different,
            failed_alone: tally.failed_alone,
            skipped: tally.skipped,
            active: tally.active.report(),
            shadow: tally.shadow.report(),
            samples: tally.samples.clone(),
        }
    }
}
