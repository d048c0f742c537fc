//! Which functions a message wakes, and whose turn it is; `tries`: messages they are to run on again; `settle`: what comes of
//! it; `places`: functions that come, change and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use eyot_engine::{Effects, Invocation, StateOp, Usage};
use eyot_wire::code::Failure;
use eyot_wire::record::{Builder, Route};

use crate::active::{Active, Loaded, Shop, Start, Work, SLICES_HERE_MAX};
use crate::backlog::Quotas;
use crate::canary::By;
use crate::capture::Captures;
use crate::dead::{self, Maker};
use crate::job::{Ended, Job, Parcel};
use crate::ledger::Ledger;
use crate::shadow::Shadows;
use crate::streams::{Routed, Streams};
use crate::triggers::Triggers;

mod places;
mod settle;
mod tries;

pub(crate) use settle::Outcome;
pub(crate) use tries::Try;

/// Jobs on workers and on their way, of all functions together. What they bring back takes memory.
pub const JOBS_MAX: usize = 64;
/// Messages that wait for one function before QoS 0 messages for it are dropped, so that they do not fill up what all
/// functions share.
const WAITING_QOS0_MAX: usize = 64;

/// What one function makes of one message, as far as it has come.
pub(crate) struct Part {
    pub place: usize,
    pub progress: Progress,
    /// What it failed by, if another version has come in force since: its dead letter is about that.
    pub maker: Option<Arc<Maker>>,
}

/// How far that is.
pub(crate) enum Progress {
    Waiting,
    Away,
    Done(Ran),
}

/// How it ended.
pub(crate) struct Ran {
    pub by: By,
    pub result: Result<Usage, Failure>,
    /// They are in the version's first instance as long as they are not here.
    pub effects: Option<Box<Effects>>,
    /// Nanoseconds it had on workers, if it was on one.
    pub run_ns: Option<u64>,
    /// It failed, and was to run again, for which there was no memory.
    pub is_cut: bool,
}

impl Progress {
    /// Whether the function has run on the message, and may have to wait for that to be in the log.
    pub fn is_run(&self) -> bool {
        matches!(self, Self::Done(ran) if ran.result != Err(Failure::Quarantined))
    }
}

/// What the outputs of one message need to know about their destinations.
pub(crate) struct Outlets<'a> {
    pub streams: &'a Streams,
    pub quotas: &'a Quotas,
    pub gateway_id: &'a str,
}

impl Outlets<'_> {
    pub fn route(&self, topic: &str, payload: &[u8], ledger: &mut Ledger, routes: &mut Vec<Route>) -> Routed {
        let bytes = (topic.len() + payload.len()) as u64;
        self.streams.route(topic, bytes, self.quotas, ledger, routes)
    }
}

/// A message on its way through the functions.
#[derive(Clone, Copy)]
pub(crate) struct Waking<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub now_ms: i64,
    pub seed: u64,
}

impl Waking<'_> {
    fn invocation(&self) -> Invocation<'_> {
        Invocation { topic: self.topic, payload: self.payload, now_ms: self.now_ms, seed: self.seed }
    }

    /// On its own, to outlive where it came in.
    pub fn parcel(&self) -> Parcel {
        let (topic, payload) = (Bytes::copy_from_slice(self.topic.as_bytes()), Bytes::copy_from_slice(self.payload));
        Parcel { topic, payload, now_ms: self.now_ms, seed: self.seed }
    }
}

/// All functions of the gateway, in the order they are invoked: by name.
#[derive(Default)]
pub(crate) struct Functions {
    active: Vec<Active>,
    triggers: Triggers,
    /// Most instances of one function.
    workers: usize,
    /// Jobs that are away.
    away: usize,
    /// Jobs that leave.
    leaving: VecDeque<Box<Job>>,
    /// Functions that could go on if there were less in flight.
    starved: VecDeque<usize>,
    /// When a function is to run on a message again: that time, the message's ticket, the function's place.
    retries: BTreeSet<(u64, u64, usize)>,
    /// The functions that the message at hand wakes.
    parts: Vec<Part>,
    routes: Vec<Route>,
    pub captures: Captures,
    pub shadows: Shadows,
    /// Canaries that have had all messages they were to have.
    pub canaries_done: Vec<(Arc<str>, [u8; 32])>,
}

impl Functions {
    pub fn new(loaded: Vec<Loaded>, workers: usize) -> Self {
        let mut active: Vec<Active> = loaded.into_iter().map(Active::new).collect();
        active.sort_by(|a, b| a.name.cmp(&b.name));
        Self { triggers: Triggers::of(&active), active, workers: workers.max(1), ..Self::default() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Active> {
        self.active.iter().filter(|active| !active.is_gone)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Active> {
        self.active.iter_mut()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Active> {
        self.iter().find(|active| *active.name == *name)
    }

    /// Of these functions, takes the one that reduces backlogs: no message wakes it.
    pub fn take(&mut self, name: &str) -> Option<Active> {
        let index = self.active.iter().position(|a| *a.name == *name)?;
        let taken = self.active.remove(index);
        self.triggers = Triggers::of(&self.active);
        Some(taken)
    }

    /// Finds the functions that `topic` triggers; they are at hand from here on.
    pub fn wake(&mut self, topic: &str) {
        self.parts.clear();
        let woken = self.triggers.woken(topic);
        self.parts.extend(woken.map(|place| Part { place, progress: Progress::Waiting, maker: None }));
    }

    /// Whether so many messages wait for one of the functions at hand that a QoS 0 message for it is not taken.
    pub fn is_behind(&self) -> bool {
        let waiting = |part: &Part| self.active.get(part.place).map_or(0, |active| active.waiting.len());
        self.parts.iter().any(|part| waiting(part) >= WAITING_QOS0_MAX)
    }

    /// Begins with the functions at hand. If all of them are done, true, and they are to be [settled](Self::settle_here);
    /// otherwise they are to be [parked](Self::park).
    pub fn begin(
        &mut self,
        waking: &Waking<'_>,
        ticket: u64,
        parcel: &mut Option<Parcel>,
        shop: &mut Shop<'_>,
    ) -> bool {
        let mut all_done = true;
        let mut parts = std::mem::take(&mut self.parts);
        for part in &mut parts {
            let Some(active) = self.active.get(part.place) else { continue };
            let is_first = active.waiting.is_empty() && active.tries.is_empty();
            let mut pack = || parcel.get_or_insert_with(|| waking.parcel()).clone();
            let work = self.work(part.place, ticket, waking.topic, true);
            let begun = is_first.then(|| self.start(&work, &waking.invocation(), &mut pack, shop)).flatten();
            match (begun, self.active.get_mut(part.place)) {
                (Some(progress), _) => part.progress = progress,
                (None, Some(active)) => active.waiting.push_back(ticket),
                (None, None) => {}
            }
            all_done &= matches!(part.progress, Progress::Done(..));
        }
        self.parts = parts;
        all_done
    }

    /// The functions at hand, with what they have done so far; what keeps state is held until that is in the log.
    pub fn park(&mut self) -> Vec<Part> {
        let mut parts = std::mem::take(&mut self.parts);
        for part in &mut parts {
            self.set_aside(part.place, &mut part.progress);
        }
        parts
    }

    /// If a function has just run, its effects do not stay in the instance, which others may need.
    fn set_aside(&mut self, place: usize, progress: &mut Progress) {
        let is_run = progress.is_run();
        let Some(active) = self.active.get_mut(place).filter(|_| is_run) else { return };
        if let Progress::Done(ran) = progress {
            active.with(ran.by, |version| {
                ran.effects = Some(Box::new(version.instances.take_effects()));
                version.instances.hold();
            });
        }
    }

    /// The first message that waits for a function.
    pub fn first_waiting(&self, place: usize) -> Option<u64> {
        self.active.get(place)?.waiting.front().copied()
    }

    /// Begins with the first message that waits for a function, if that can be. `may_leave`: there is room for what it will
    /// bring back.
    pub fn begin_waiting(
        &mut self,
        place: usize,
        parcel: &Parcel,
        may_leave: bool,
        shop: &mut Shop<'_>,
    ) -> Option<Progress> {
        let active = self.active.get_mut(place)?;
        let ticket = *active.waiting.front()?;
        if !active.tries.is_empty() && !active.tries.contains_key(&ticket) {
            return None;
        }
        let progress = self.start_parked(place, ticket, parcel, may_leave, shop)?;
        self.active.get_mut(place)?.waiting.pop_front();
        Some(progress)
    }

    /// Begins with a message that is parked. None if it cannot begin yet.
    fn start_parked(
        &mut self,
        place: usize,
        ticket: u64,
        parcel: &Parcel,
        may_leave: bool,
        shop: &mut Shop<'_>,
    ) -> Option<Progress> {
        let work = self.work(place, ticket, parcel.topic(), may_leave);
        let mut progress = self.start(&work, &parcel.invocation(), &mut || parcel.clone(), shop)?;
        self.set_aside(place, &mut progress);
        Some(progress)
    }

    fn work(&self, place: usize, ticket: u64, topic: &str, may_leave: bool) -> Work {
        let by = self.active.get(place).map(|active| active.by(topic)).unwrap_or_default();
        Work { ticket, place, by, most: self.workers, may_leave: may_leave && self.away < JOBS_MAX }
    }

    /// None if it cannot begin yet. Effects stay in the instance.
    fn start(
        &mut self,
        work: &Work,
        invocation: &Invocation<'_>,
        pack: &mut dyn FnMut() -> Parcel,
        shop: &mut Shop<'_>,
    ) -> Option<Progress> {
        match self.active.get_mut(work.place)?.start(work, invocation, pack, shop) {
            Start::Done(result) => {
                let by = work.by;
                Some(Progress::Done(Ran { by, result, effects: None, run_ns: None, is_cut: false }))
            }
            Start::Retry(at_us) => {
                self.retries.insert((at_us, work.ticket, work.place));
                Some(Progress::Waiting)
            }
            Start::Leaves(job) => {
                self.leaving.push_back(job);
                self.away += 1;
                Some(Progress::Away)
            }
            Start::Busy => None,
            Start::Starved => {
                self.starved.push_back(work.place);
                None
            }
        }
    }

    /// Functions that were kept from going on by what was in flight.
    pub fn take_starved(&mut self) -> Vec<usize> {
        self.starved.drain(..).collect()
    }

    /// The next job that leaves.
    pub fn next_leaving(&mut self) -> Option<Box<Job>> {
        self.leaving.pop_front()
    }

    /// Whether no job is away.
    pub fn all_are_here(&self) -> bool {
        self.away == 0
    }

    /// A job is back. Returns what the function has done for its message; if it has to wait for an instance again, that.
    pub fn came_back(&mut self, job: Job, shop: &mut Shop<'_>) -> Progress {
        self.away = self.away.saturating_sub(1);
        let Some(active) = self.active.get_mut(job.place()) else { return Progress::Waiting };
        let (ticket, place, by, is_home, ran_ns) = (job.ticket, job.place(), job.by, job.is_home, job.ran_ns);
        active.with(by, |version| {
            version.is_long = job.slices > SLICES_HERE_MAX;
            version.worker_ns = version.worker_ns.saturating_add(ran_ns);
        });
        match job.end() {
            Ended::Run(function, result, effects) => {
                let retry_at_us = active.with(by, |version| {
                    let retry_at_us = version.note(ticket, &result, function.fuel_spent(), &effects, shop);
                    version.instances.put(function, is_home);
                    retry_at_us
                });
                if let Some(at_us) = retry_at_us {
                    active.give_back(by);
                    self.retries.insert((at_us, ticket, place));
                    return Progress::Waiting;
                }
                active.with(by, |version| version.instances.hold());
                Progress::Done(Ran { by, result, effects: Some(effects), run_ns: Some(ran_ns), is_cut: false })
            }
            Ended::Unmakeable => {
                active.with(by, |version| {
                    version.instances.unmakeable();
                    version.breaker.undone(shop.mono_us);
                });
                active.waiting.push_front(ticket);
                Progress::Waiting
            }
        }
    }

    /// A parked message is in the log: the function may go on with the next. True if one waits.
    pub fn release(&mut self, part: &Part) -> bool {
        let Some(active) = self.active.get_mut(part.place) else { return false };
        if let Progress::Done(ran) = &part.progress {
            active.with(ran.by, |version| version.instances.release());
        }
        !active.waiting.is_empty()
    }

    /// Nothing is in flight any more: what was in it is not in the log and never will be.
    pub fn forget_waiting(&mut self) {
        self.starved.clear();
        self.retries.clear();
        for active in &mut self.active {
            active.tries.clear();
            active.waiting.clear();
            active.instances.release();
            active.with(By::Canary, |version| version.instances.release());
            active.give_back(By::Canary);
        }
    }

    /// Gives up the instances that nothing needs now.
    pub fn give_up_spare(&mut self) {
        for active in self.active.iter_mut().filter(|active| active.waiting.is_empty()) {
            active.instances.give_up_spare();
            active.with(By::Canary, |version| version.instances.give_up_spare());
        }
    }
}

/// State by function name: what recovery found, until the functions take their share.
pub(crate) type States = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;
