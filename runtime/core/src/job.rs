//! One function at work on one message, on its way to a worker and back.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use eyot_engine::{Effects, Function, Invocation, Step, Usage};
use eyot_wire::code::Failure;

use crate::canary::By;
use crate::shadow::Beside;

/// Numbers of shadows, as functions, begin here.
const SHADOWS_FROM: usize = 1 << 20;

/// Makes another instance of a function that keeps no state, or says that it cannot. It may take milliseconds: workers
/// call it.
pub type Replica = Arc<dyn Fn() -> Option<Function> + Send + Sync>;

/// A message that does not end where it began: what functions see of it, on its own.
#[derive(Clone)]
pub(crate) struct Parcel {
    /// A valid topic.
    pub topic: Bytes,
    pub payload: Bytes,
    pub now_ms: i64,
    pub seed: u64,
}

impl Parcel {
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }

    pub fn invocation(&self) -> Invocation<'_> {
        Invocation { topic: self.topic(), payload: &self.payload, now_ms: self.now_ms, seed: self.seed }
    }
}

/// Where a job stands.
enum Stage {
    /// There is no instance yet.
    Unmade(Replica),
    Unbegun(Box<Function>),
    Paused(Box<Function>),
    Done(Box<Function>, Result<Usage, Failure>),
    /// No instance could be made: the message waits for one that is there.
    Unmakeable,
}

/// One function at work on one message.
///
/// Who gets it from [`Effect::Run`](crate::io::Effect::Run) calls [`step`](Self::step) on a thread with the engine's
/// [stack](eyot_engine::limits::GUEST_STACK_MIN_BYTES) until that says that it is done, may turn to other jobs in between,
/// and gives it back with [`Input::Ran`](crate::io::Input::Ran).
pub struct Job {
    pub(crate) ticket: u64,
    place: usize,
    /// Which version of the function it is of.
    pub(crate) by: By,
    name: Arc<str>,
    parcel: Parcel,
    stage: Stage,
    /// The function's first instance, which has its state.
    pub(crate) is_home: bool,
    deadline_ns: u64,
    /// Time on workers.
    pub(crate) ran_ns: u64,
    /// Slices, from the beginning.
    pub(crate) slices: u64,
    /// If it is a shadow's: what the version in force made of the message.
    beside: Option<Box<Beside>>,
}

/// What came of a job.
pub(crate) enum Ended {
    /// With effects if it is not a failure; log lines are in them in any case.
    Run(Box<Function>, Result<Usage, Failure>, Box<Effects>),
    Unmakeable,
}

impl Job {
    pub(crate) fn new(ticket: u64, place: usize, name: &Arc<str>, parcel: Parcel, deadline_ms: u64) -> Self {
        Self {
            ticket,
            place,
            by: By::InForce,
            name: Arc::clone(name),
            parcel,
            stage: Stage::Unmakeable,
            is_home: false,
            deadline_ns: deadline_ms.saturating_mul(1_000_000),
            ran_ns: 0,
            slices: 0,
            beside: None,
        }
    }

    /// Of a shadow of the function at this place.
    pub(crate) fn beside(
        place: usize,
        name: &Arc<str>,
        parcel: Parcel,
        deadline_ms: u64,
        function: Box<Function>,
        beside: Beside,
    ) -> Box<Self> {
        let job = Self::new(0, SHADOWS_FROM + place, name, parcel, deadline_ms);
        Box::new(Self { stage: Stage::Unbegun(function), beside: Some(Box::new(beside)), ..job })
    }

    /// The place of the function whose shadow it is of.
    pub(crate) fn place_beside(&self) -> usize {
        self.place.saturating_sub(SHADOWS_FROM)
    }

    /// Whether nobody waits for it: it is to run when nothing else is to.
    pub fn is_shadow(&self) -> bool {
        self.beside.is_some()
    }

    /// Goes on with an instance that has begun, and run so many slices.
    pub(crate) fn paused(self, function: Box<Function>, slices: u64) -> Box<Self> {
        Box::new(Self { stage: Stage::Paused(function), is_home: true, slices, ..self })
    }

    /// Begins with an instance that is ready.
    pub(crate) fn unbegun(self, function: Box<Function>, is_home: bool) -> Box<Self> {
        Box::new(Self { stage: Stage::Unbegun(function), is_home, ..self })
    }

    /// Makes an instance first.
    pub(crate) fn unmade(self, replica: &Replica) -> Box<Self> {
        Box::new(Self { stage: Stage::Unmade(Arc::clone(replica)), ..self })
    }

    /// The function's name.
    pub fn function(&self) -> &Arc<str> {
        &self.name
    }

    /// The message's topic.
    pub fn topic(&self) -> &str {
        self.parcel.topic()
    }

    /// The function's number: that of all its jobs, and of no others.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Runs a slice; true when the job is done.
    pub fn step(&mut self) -> bool {
        self.stage = match mem::replace(&mut self.stage, Stage::Unmakeable) {
            Stage::Unmade(replica) => replica().map_or(Stage::Unmakeable, |f| Stage::Unbegun(Box::new(f))),
            Stage::Unbegun(mut function) => {
                self.slices += 1;
                let step = function.begin(&self.parcel.invocation());
                after(step, function)
            }
            Stage::Paused(mut function) => {
                self.slices += 1;
                let step = function.resume();
                after(step, function)
            }
            done => done,
        };
        self.settle_beside();
        self.is_done()
    }

    fn settle_beside(&mut self) {
        if let (Some(beside), Stage::Done(function, result)) = (&mut self.beside, &mut self.stage) {
            beside.settle(function, result);
        }
    }

    /// Its last slices took this long; true if it is done, which it is when it is over its deadline.
    pub fn took(&mut self, ns: u64) -> bool {
        self.ran_ns = self.ran_ns.saturating_add(ns);
        if self.ran_ns >= self.deadline_ns {
            self.stage = match mem::replace(&mut self.stage, Stage::Unmakeable) {
                Stage::Paused(mut function) => {
                    function.abort();
                    Stage::Done(function, Err(Failure::Deadline))
                }
                other => other,
            };
        }
        self.is_done()
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done(..) | Stage::Unmakeable)
    }

    /// What came of a shadow's: the message, what both did, the shadow, and how it ended if it did.
    #[allow(clippy::type_complexity)] // taken apart at once
    pub(crate) fn end_beside(mut self) -> Option<(Parcel, Beside, Box<Function>, Option<Result<Usage, Failure>>)> {
        self.settle_beside();
        let (function, result) = match self.stage {
            Stage::Done(function, result) => (function, Some(result)),
            Stage::Unbegun(function) | Stage::Paused(function) => (function, None),
            Stage::Unmade(_) | Stage::Unmakeable => return None,
        };
        Some((self.parcel, *self.beside?, function, result))
    }

    /// What came of it, with the effects and the function they are of. A job that comes back early is run to its end here.
    pub(crate) fn end(mut self) -> Ended {
        while !self.step() {}
        match self.stage {
            Stage::Done(mut function, result) => {
                let mut effects = function.take_effects();
                effects.shrink();
                Ended::Run(function, result, Box::new(effects))
            }
            _ => Ended::Unmakeable,
        }
    }
}

fn after(step: Step, function: Box<Function>) -> Stage {
    match step {
        Step::Yield => Stage::Paused(function),
        Step::Done(result) => Stage::Done(function, result),
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("function", &self.name).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
