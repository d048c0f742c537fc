//! One function: where a message begins, and what is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eyot_engine::{Effects, Function, Invocation, Step, Usage};
use eyot_wire::code::Failure;
use eyot_wire::manifest::{Manifest, OnError};

use crate::breaker::{Breaker, Change};
use crate::canary::{By, Canary};
use crate::dead::Maker;
use crate::deploy::guard::{Baseline, Guard};
use crate::functions::Try;
use crate::instances::{Free, Instances};
use crate::job::{Job, Parcel, Replica};
use crate::notices::Notices;
use crate::streams::Streams;

/// Slices of a message that run where it arrives. What takes longer goes to a worker: that costs about as much.
pub(crate) const SLICES_HERE_MAX: u64 = 2;
/// The failure of a reducer, in one word, that emits to where the output was not going.
const MISROUTED: &str = "misrouted";

/// A function ready to run.
pub struct Loaded {
    /// The engine's instance of it: 2 KB, and a thousand of them go from list to list.
    pub function: Box<Function>,
    /// SHA-256 of its module.
    pub sha256: [u8; 32],
    /// The same, without the module's signatures.
    pub content_sha256: [u8; 32],
    /// Makes more instances of the same module, for as many cores. Of no use if it keeps state.
    pub replica: Option<Replica>,
}

/// A function with its counters.
pub(crate) struct Active {
    pub name: Arc<str>,
    pub manifest: Arc<Manifest>,
    pub sha256: [u8; 32],
    pub instances: Instances,
    /// Messages that wait for it, by their tickets, in the order they arrived.
    pub waiting: VecDeque<u64>,
    /// Its last message took more than a few slices: the next begins on a worker.
    pub is_long: bool,
    pub invocations: u64,
    pub failures: u64,
    /// Of all messages, whether they ended well or not.
    pub fuel: u64,
    /// Time it has had on workers.
    pub worker_ns: u64,
    pub emits_refused: u64,
    pub last_failure: Option<&'static str>,
    /// Messages that are to be run again, by their tickets. No other begins meanwhile: it would overtake them.
    pub tries: BTreeMap<u64, Try>,
    /// Runs that were not to be the last of their message.
    pub retries: u64,
    /// Messages that were not run again after all, because nothing more fitted in flight.
    pub retries_cut: u64,
    /// Messages it failed on, or was not run on, that went on without it.
    pub passed: u64,
    /// Messages it was not run on.
    pub held_back: u64,
    pub breaker: Breaker,
    pub content_sha256: [u8; 32],
    /// Configuration that is not its manifest's.
    pub overrides: Vec<(String, String)>,
    /// Unix time at which a dead letter last had a large state, in milliseconds.
    pub large_letter_ms: i64,
    /// It begins with nothing: it is to be changed as soon as nothing of it is under way.
    pub is_frozen: bool,
    /// It is gone, and only its place is left.
    pub is_gone: bool,
    /// While it is on probation.
    pub guard: Option<Guard>,
    /// A version that has a share of its messages.
    pub canary: Option<Box<Canary>>,
}

/// What a reducer makes of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reduced {
    /// It failed: the output stays as it is.
    Failed,
    /// It is not worth keeping.
    Nothing,
    /// This topic and payload in its place.
    To(String, Vec<u8>),
}

/// What functions need of the machine while they run.
pub(crate) struct Shop<'a> {
    pub mono_us: u64,
    pub notices: &'a mut Notices,
}

/// A function and a message, and what is possible.
pub(crate) struct Work {
    pub ticket: u64,
    pub place: usize,
    pub by: By,
    /// Instances, at most.
    pub most: usize,
    pub may_leave: bool,
}

/// What a beginning comes to.
pub(crate) enum Start {
    Done(Result<Usage, Failure>),
    /// It failed, and is to be run again then.
    Retry(u64),
    Leaves(Box<Job>),
    /// No instance is free.
    Busy,
    /// There are too many jobs.
    Starved,
}

impl Active {
    pub fn new(loaded: Loaded) -> Self {
        let manifest = Arc::clone(loaded.function.manifest());
        let overrides = loaded.function.overrides().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self {
            name: Arc::from(manifest.name.as_str()),
            manifest,
            sha256: loaded.sha256,
            instances: Instances::new(loaded.function, loaded.replica),
            waiting: VecDeque::new(),
            is_long: false,
            invocations: 0,
            failures: 0,
            fuel: 0,
            worker_ns: 0,
            emits_refused: 0,
            last_failure: None,
            tries: BTreeMap::new(),
            retries: 0,
            retries_cut: 0,
            passed: 0,
            held_back: 0,
            breaker: Breaker::new(),
            content_sha256: loaded.content_sha256,
            overrides,
            large_letter_ms: 0,
            is_frozen: false,
            is_gone: false,
            guard: None,
            canary: None,
        }
    }

    /// Whether it may still be taken back by itself, or is about to be.
    pub fn is_on_probation(&self, mono_us: u64) -> bool {
        self.is_frozen || self.guard.as_ref().is_some_and(|guard| !guard.is_over(mono_us))
    }

    /// Nothing of it is under way: it can be changed.
    pub fn is_quiet(&self) -> bool {
        self.instances.are_quiet() && self.is_canary_quiet()
    }

    /// Nothing of its canary is.
    pub fn is_canary_quiet(&self) -> bool {
        self.canary.as_ref().is_none_or(|canary| canary.version.instances.are_quiet())
    }

    /// Nothing waits for it either: it can go.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.waiting.is_empty() && self.tries.is_empty()
    }

    /// What runs here.
    pub fn maker(&self) -> Maker {
        let (manifest, overrides) = (Arc::clone(&self.manifest), self.overrides.clone());
        Maker { manifest, sha256: self.sha256, overrides }
    }

    /// How it did.
    pub fn baseline(&self) -> Baseline {
        Baseline { messages: self.invocations, failures: self.failures, fuel: self.fuel }
    }

    /// Another version, or another configuration, takes its place: with what waits for it, and without its history.
    pub fn become_new(&mut self, loaded: Loaded) -> Option<Loaded> {
        let (function, replica) = self.instances.dissolve()?;
        let (sha256, content_sha256) = (self.sha256, self.content_sha256);
        let new = Self {
            waiting: std::mem::take(&mut self.waiting),
            tries: std::mem::take(&mut self.tries),
            is_frozen: self.is_frozen,
            ..Self::new(loaded)
        };
        *self = new;
        Some(Loaded { function, sha256, content_sha256, replica })
    }

    /// A message begins, with the version that has its topic.
    pub fn start(
        &mut self,
        work: &Work,
        invocation: &Invocation<'_>,
        pack: &mut dyn FnMut() -> Parcel,
        shop: &mut Shop<'_>,
    ) -> Start {
        if self.is_frozen || !self.lend(work.by) {
            return Start::Busy;
        }
        let start = self.with(work.by, |version| version.begin(work, invocation, pack, shop));
        if !matches!(start, Start::Done(_) | Start::Leaves(_)) {
            self.give_back(work.by);
        }
        start
    }

    /// It begins here, if the last one was short, and ends here if it is short.
    fn begin(
        &mut self,
        work: &Work,
        invocation: &Invocation<'_>,
        pack: &mut dyn FnMut() -> Parcel,
        shop: &mut Shop<'_>,
    ) -> Start {
        if !self.breaker.admits(shop.mono_us) {
            self.held_back += 1;
            self.tries.remove(&work.ticket);
            return Start::Done(Err(Failure::Quarantined));
        }
        let mut is_paused = false;
        if let Some(home) = self.instances.home_mut().filter(|_| !self.is_long) {
            let mut step = home.begin(invocation);
            for _ in 1..SLICES_HERE_MAX {
                if step == Step::Yield {
                    step = home.resume();
                }
            }
            match step {
                Step::Done(result) => {
                    self.breaker.begun();
                    let retry_at_us = self.note_here(work.ticket, &result, shop);
                    return retry_at_us.map_or(Start::Done(result), Start::Retry);
                }
                Step::Yield => (self.is_long, is_paused) = (true, true),
            }
        }
        if !work.may_leave {
            return Start::Starved;
        }
        let Some(free) = self.instances.take(work.most) else { return Start::Busy };
        self.breaker.begun();
        let mut job = Job::new(work.ticket, work.place, &self.name, pack(), self.manifest.limits.deadline_ms);
        job.by = work.by;
        Start::Leaves(match free {
            Free::Home(function) if is_paused => job.paused(function, SLICES_HERE_MAX),
            Free::Home(function) => job.unbegun(function, true),
            Free::Spare(function) => job.unbegun(function, false),
            Free::Unmade(replica) => job.unmade(&replica),
        })
    }

    /// Shows an output to a reducer; returns what it makes of it, and the fuel that took. It may emit once, and only to
    /// where the output was going.
    pub fn reduce(&mut self, invocation: &Invocation<'_>, streams: &Streams, shop: &mut Shop<'_>) -> (Reduced, u64) {
        let Some(function) = self.instances.home_mut() else { return (Reduced::Failed, 0) };
        let result = function.invoke(invocation);
        self.invocations += 1;
        let Some(effects) = self.instances.effects() else { return (Reduced::Failed, 0) };
        self.emits_refused += note_logs(&self.name, effects, shop);
        let usage = match result {
            Ok(usage) => usage,
            Err(failure) => {
                self.reducer_failed(failure.word(), &failure.to_string(), shop);
                return (Reduced::Failed, self.manifest.limits.fuel);
            }
        };
        self.fuel += usage.fuel;
        let mut emits = effects.emits();
        let made = emits.next().map(|e| Reduced::To(e.topic.to_owned(), e.payload.to_vec()));
        let refused = emits.count() as u64;
        if refused > 0 {
            self.emits_refused += refused;
            shop.notices.emit_refused(&self.name, refused, shop.mono_us);
        }
        if let Some(Reduced::To(topic, _)) = &made {
            if !streams.are_alike(invocation.topic, topic) {
                let failure = format!("it emitted to \"{topic}\", which goes elsewhere than \"{}\"", invocation.topic);
                self.reducer_failed(MISROUTED, &failure, shop);
                return (Reduced::Failed, usage.fuel);
            }
        }
        (made.unwrap_or(Reduced::Nothing), usage.fuel)
    }

    fn reducer_failed(&mut self, word: &'static str, failure: &str, shop: &mut Shop<'_>) {
        self.failures += 1;
        self.last_failure = Some(word);
        shop.notices.reducer_failed(&self.name, failure, shop.mono_us);
    }

    /// A message has ended in the first instance.
    fn note_here(&mut self, ticket: u64, result: &Result<Usage, Failure>, shop: &mut Shop<'_>) -> Option<u64> {
        let effects = self.instances.effects()?;
        let refused = note_logs(&self.name, effects, shop);
        self.count(ticket, result, self.instances.fuel_spent(), refused, shop)
    }

    /// A message has ended, for which so much fuel was used. Returns when it is to be run again, if that was not the last of
    /// it.
    pub fn note(
        &mut self,
        ticket: u64,
        result: &Result<Usage, Failure>,
        fuel: u64,
        effects: &Effects,
        shop: &mut Shop<'_>,
    ) -> Option<u64> {
        let refused = note_logs(&self.name, effects, shop);
        self.count(ticket, result, fuel, refused, shop)
    }

    fn count(
        &mut self,
        ticket: u64,
        result: &Result<Usage, Failure>,
        fuel: u64,
        emits_refused: u64,
        shop: &mut Shop<'_>,
    ) -> Option<u64> {
        self.invocations += 1;
        self.fuel += fuel;
        self.emits_refused += emits_refused;
        self.watch(result.as_ref().err().map(Failure::word), fuel, shop);
        if let Err(failure) = result {
            self.failures += 1;
            self.last_failure = Some(failure.word());
            if let Some(backoff_ms) = self.backoff_ms(ticket, failure) {
                self.retries += 1;
                return Some(shop.mono_us.saturating_add(backoff_ms * 1000));
            }
        }
        self.over(ticket, result.as_ref().err(), shop);
        None
    }

    /// It is over with a message, by this failure or well.
    pub fn over(&mut self, ticket: u64, failure: Option<&Failure>, shop: &mut Shop<'_>) {
        if let Some(failure) = failure {
            shop.notices.function_failed(&self.name, failure, self.passes(), shop.mono_us);
        }
        self.tries.remove(&ticket);
        match self.breaker.ended(failure.is_none(), shop.mono_us) {
            Some(Change::Opened) => shop.notices.quarantined(&self.name, shop.mono_us),
            Some(Change::Closed(held_back)) => shop.notices.released(&self.name, held_back, shop.mono_us),
            None => {}
        }
    }

    /// While it is on probation, finds out whether it has to go; then it begins with nothing more.
    fn watch(&mut self, failure: Option<&'static str>, fuel: u64, shop: &mut Shop<'_>) {
        let Some(guard) = &mut self.guard else { return };
        if guard.is_over(shop.mono_us) {
            self.guard = None;
        } else if let Some(reason) = guard.note(failure, fuel) {
            (self.guard, self.is_frozen) = (None, true);
            shop.notices.tripped.push((Arc::clone(&self.name), self.sha256, reason));
        }
    }

    /// Whether what it fails on goes on without it.
    pub fn passes(&self) -> bool {
        self.manifest.on_error == OnError::Pass
    }

    /// Messages that wait for it.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Passes on what a function logged; returns how many of its emits were refused.
fn note_logs(name: &Arc<str>, effects: &Effects, shop: &mut Shop<'_>) -> u64 {
    for line in effects.logs() {
        shop.notices.function_log(name, line.level, line.text, shop.mono_us);
    }
    let refused = effects.refused_emits().total();
    if refused > 0 {
        shop.notices.emit_refused(name, refused, shop.mono_us);
    }
    refused
}
