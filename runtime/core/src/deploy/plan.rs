//! Changes that are asked for, and the one under way: one at a time, in the order they came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eyot_wire::canary::CanaryReport;
use eyot_wire::control::{OrderReport, PushReport};
use eyot_wire::shadow::ShadowReport;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::active::Loaded;
use crate::deploy::registry::{Build, Registry, Trial};
use crate::deploy::staging::{Staging, PUSHES_MAX};
use crate::io::LinkId;
use crate::task::{Authorized, Task, TASKS_MAX};

/// Changes that wait, at most; commands beyond are refused.
pub const WAITING_MAX: usize = 64;
/// Outcomes of pushes that the status document shows.
pub const OUTCOMES_MAX: usize = 8;
/// Functions that are not here whose rejection is retained on their topic, over the life of the process: names come from
/// strangers.
pub const REJECTED_MAX: usize = 32;
/// Refusals of what no trusted key has signed that are written down in a minute; the others are counted in the next line.
const REFUSALS_PER_MIN_MAX: u32 = 20;
/// The same in a day of running time: each is a write to the flash.
const REFUSALS_PER_DAY_MAX: u32 = 1000;
/// Refusals of pushes that are published in a second.
const REJECTIONS_PER_S_MAX: u32 = 64;
/// Answers to commands that were turned away because too many came, in a second.
const BUSY_ANSWERS_PER_S_MAX: u32 = 16;

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Request {
    /// A push that may be whole, of so many parts.
    Push([u8; 32], u32),
    /// A command.
    Order(Authorized),
    /// The build with this SHA-256 does worse than the version before, and is to go; why.
    TakeBack(Arc<str>, [u8; 32], String),
    /// The build with this SHA-256 has shown on trial that it may go a step on, or why not.
    Conclude(Arc<str>, [u8; 32], Result<(), String>),
    /// A trial begins again, because of another configuration.
    TryAgain(String),
}

/// Who asked for a change, and is to hear of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The push it is.
    pub push: Option<[u8; 32]>,
    /// The command it is.
    pub order: Option<Authorized>,
    /// For the audit log: key or cause.
    pub by: String,
}

/// What is to become of a function.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// This build comes in force.
    Advance(Build),
    /// This one runs beside the one in force.
    Try(Trial),
    /// The one beside it goes; why.
    Drop(Build, String),
    /// The one in force is taken back for this one; why.
    TakeBack(Build, String),
    /// Its configuration is this.
    Configure(Vec<(String, String)>),
    /// It goes.
    Remove,
}

impl Change {
    /// Whether the version in force goes on as it is.
    pub fn is_beside(&self) -> bool {
        matches!(self, Self::Try(_) | Self::Drop(..))
    }
}

/// A change under way.
pub(crate) enum Stage {
    /// Parts are put together and verified.
    Taking,
    /// An instance is being made.
    Loading { name: String, sha256: [u8; 32], change: Change, origin: Origin },
    /// It waits for the moment between two messages.
    Ready { name: String, change: Change, origin: Origin, loaded: Option<Box<Loaded>> },
    /// A function is to be removed: no message is taken in before it is idle and gone, or stays because that took too long.
    Leaving { name: String, origin: Origin, until_us: u64 },
    /// It is in the log, which is durable with this batch.
    Committing {
        name: String,
        change: Change,
        origin: Origin,
        batch: u64,
        number: u64,
        is_new: bool,
        gone: Vec<[u8; 32]>,
    },
}

/// What a function's own topic says while it is not simply "active".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    pub name: String,
    pub version: String,
    pub sha256: String,
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An acknowledgement that waits for a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub link: LinkId,
    pub place: Option<u64>,
    pub bytes: u64,
    /// It is a whole module.
    pub is_one_piece: bool,
}

/// Lines of the audit log that are not there yet, by the number of the change, the oldest first; at most [`WAITING_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Audits(VecDeque<(u64, String)>);

impl Audits {
    /// One more.
    pub fn push(&mut self, number: u64, line: String) {
        self.0.push_back((number, line));
        while self.0.len() > WAITING_MAX {
            self.0.pop_front();
        }
    }

    /// All of them.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, line)| line.as_str())
    }

    /// That of a change.
    pub fn of(&self, number: u64) -> Option<&str> {
        self.0.iter().find(|(of, _)| *of == number).map(|(_, line)| line.as_str())
    }

    /// Those of a change, and of all before it, are in the audit log.
    pub fn kept(&mut self, number: u64) {
        self.0.retain(|(of, _)| *of > number);
    }
}

/// How many of a kind come within a time.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    period_us: u64,
    ends_us: u64,
    count: u32,
}

impl Rate {
    fn per_s(most: u32) -> Self {
        Self { most, period_us: 1_000_000, ends_us: 0, count: 0 }
    }

    fn per_day(most: u32) -> Self {
        Self { period_us: 86_400_000_000, ..Self::per_s(most) }
    }

    fn per_min(most: u32) -> Self {
        Self { period_us: 60_000_000, ..Self::per_s(most) }
    }

    /// Counts one more; false if it is one too many.
    pub fn admit(&mut self, mono_us: u64) -> bool {
        if mono_us >= self.ends_us {
            (self.ends_us, self.count) = (mono_us.saturating_add(self.period_us), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.most
    }
}

/// All of it.
pub(crate) struct Deployer {
    /// What this gateway is called on control topics.
    pub ids: Vec<String>,
    pub registry: Registry,
    pub staging: Staging,
    pub waiting: VecDeque<Request>,
    pub stage: Option<Stage>,
    pub receipts: BTreeMap<u64, Receipt>,
    pub next_ticket: u64,
    /// Answers to commands there was no time for.
    pub busy_answers: Rate,
    pub tasks: VecDeque<Task>,
    pub audits: Audits,
    /// Rejections of pushes that are published.
    pub rejections: Rate,
    /// Refusals that are written down, and how many were left out since the last.
    pub refusals: Rate,
    pub refusals_of_day: Rate,
    pub refusals_left_out: u64,
    pub outcomes: VecDeque<PushReport>,
    /// Answers to commands that came when there was no connection; at most [`WAITING_MAX`].
    pub untold: VecDeque<OrderReport>,
    /// By function, what its topic says in place of "active".
    pub documents: BTreeMap<String, Document>,
    /// The version before, ready to run, while the present one is on probation.
    pub warm: BTreeMap<String, Box<Loaded>>,
    /// What shadows have shown whose run is over, the oldest first.
    pub ended: VecDeque<ShadowReport>,
    /// The same of canaries.
    pub ended_canaries: VecDeque<CanaryReport>,
    /// The filters that the intake is subscribed to.
    pub subscribed: Vec<String>,
    /// What the system says of itself: a JSON object.
    pub system: Option<Box<RawValue>>,
}

impl Deployer {
    pub fn new(ids: Vec<String>, registry: Registry, staging: Staging) -> Self {
        Self {
            ids,
            registry,
            staging,
            waiting: VecDeque::new(),
            stage: None,
            receipts: BTreeMap::new(),
            next_ticket: 1,
            busy_answers: Rate::per_s(BUSY_ANSWERS_PER_S_MAX),
            tasks: VecDeque::new(),
            audits: Audits::default(),
            refusals: Rate::per_min(REFUSALS_PER_MIN_MAX),
            refusals_of_day: Rate::per_day(REFUSALS_PER_DAY_MAX),
            rejections: Rate::per_s(REJECTIONS_PER_S_MAX),
            refusals_left_out: 0,
            outcomes: VecDeque::new(),
            untold: VecDeque::new(),
            documents: BTreeMap::new(),
            warm: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_canaries: VecDeque::new(),
            subscribed: Vec::new(),
            system: None,
        }
    }

    /// If a function is to be removed and not gone yet: until when that may take.
    pub fn leaves_until_us(&self) -> Option<u64> {
        match self.stage {
            Some(Stage::Leaving { until_us, .. }) => Some(until_us),
            _ => None,
        }
    }

    /// Whether the store can be given one more control message. `bytes_max` is what all that is on its way there may have, and
    /// what all modules may have that came in one piece and wait for their turn; one that is larger is taken alone.
    pub fn has_room_for(&self, new: &Receipt, bytes_max: u64) -> bool {
        let bytes_max = bytes_max.max(new.bytes);
        let bytes =
            |receipts: &mut dyn Iterator<Item = &Receipt>| -> u64 { receipts.map(|receipt| receipt.bytes).sum() };
        if self.receipts.len() >= TASKS_MAX || bytes(&mut self.receipts.values()).saturating_add(new.bytes) > bytes_max
        {
            return false;
        }
        let pieces = || self.receipts.values().filter(|receipt| receipt.is_one_piece);
        let (count, staged_bytes) = self.staging.one_piece();
        let sum_bytes = staged_bytes.saturating_add(bytes(&mut pieces())).saturating_add(new.bytes);
        !new.is_one_piece || count + pieces().count() < PUSHES_MAX && sum_bytes <= bytes_max
    }

    /// Remembers what became of a push.
    pub fn remember(&mut self, report: PushReport) {
        self.outcomes.retain(|known| (&known.sha256, &known.node) != (&report.sha256, &report.node));
        self.outcomes.push_back(report);
        while self.outcomes.len() > OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
    }

    /// Whether a command with this nonce waits, or is being done and not in the log yet.
    pub fn is_on_its_way(&self, nonce: &str) -> bool {
        let is_it = |authorized: &Authorized| authorized.order.nonce == nonce;
        let is_waiting = |request: &Request| matches!(request, Request::Order(authorized) if is_it(authorized));
        let origin = match &self.stage {
            Some(
                Stage::Loading { origin, .. }
                | Stage::Ready { origin, .. }
                | Stage::Leaving { origin, .. }
                | Stage::Committing { origin, .. },
            ) => Some(origin),
            Some(Stage::Taking) | None => None,
        };
        self.waiting.iter().any(is_waiting) || origin.and_then(|origin| origin.order.as_ref()).is_some_and(is_it)
    }

    /// Whether this push is in the log, and not durable there yet: until it is, nobody is told that it is in force.
    pub fn is_committing(&self, push: &[u8; 32]) -> bool {
        matches!(&self.stage, Some(Stage::Committing { origin, .. }) if origin.push.as_ref() == Some(push))
    }

    /// Whether a rejection may be retained under this name.
    pub fn may_reject(&self, name: &str) -> bool {
        self.registry.functions.contains_key(name)
            || self.documents.contains_key(name)
            || self.documents.len() < REJECTED_MAX
    }
}
