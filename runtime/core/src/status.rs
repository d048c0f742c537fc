//! The documents `eyot/<gw>/status` and `eyot/<gw>/function/<name>`.

use std::collections::VecDeque;

use eyot_wire::code::DropReason;
use eyot_wire::control::PushReport;
use eyot_wire::manifest::CanaryRun;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::active::Active;
use crate::canary::Canary;
use crate::capacity::{Capacity, Share};
use crate::deploy::plan::Document;
use crate::deploy::registry::Build;
use crate::finished::Finished;
use crate::functions::Functions;
use crate::ledger::{Account, Ledger};
use crate::node::NodeStatus;
use crate::sensor::SensorReport;

/// The document's shape; times in seconds or milliseconds as the names say, sizes in bytes.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    pub gateway: &'a str,
    /// What it also takes pushes and commands for, as `@<group>`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub groups: &'a [String],
    pub online: bool,
    /// The broker of the sensors has answered our subscriptions, on the connection we have now.
    pub subscribed: bool,
    pub version: &'a str,
    /// What the system says of itself, of a gateway that was flashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<&'a RawValue>,
    pub unix_ms: i64,
    pub uptime_s: u64,
    pub functions: FunctionList<'a>,
    pub capacity: Capacity,
    /// Messages whose functions have not ended, or that wait for others of their topic.
    pub in_flight: usize,
    pub spool: SpoolStatus,
    pub wear: WearStatus,
    pub uplinks: Vec<UplinkStatus<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus<'a>>,
    #[serde(skip_serializing_if = "<[SensorReport]>::is_empty")]
    pub sensors: &'a [SensorReport],
    /// Backlogs that are delivered and gone, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finished: Vec<FinishedStatus<'a>>,
    pub ledger: LedgerStatus<'a>,
    /// What became of the last pushes, the oldest first.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub pushes: &'a VecDeque<PushReport>,
    pub log_lines_dropped: u64,
    /// Refused outputs that no dead letter is kept of, over all starts.
    pub letters_dropped: u64,
    /// Pushes, parts of them and commands that were turned away because too many came at once, since the start.
    pub control_dropped: u64,
}

#[derive(Serialize)]
pub(crate) struct SpoolStatus {
    pub epoch: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    pub segments: u64,
    /// "ok", "full" or "failed".
    pub state: &'static str,
    /// Rewrites of old segments since the log was made.
    pub rewrites: u64,
    pub damaged_frames: u64,
    pub bytes_written: u64,
    pub commits: u64,
    pub sync_failures: u64,
    /// Segments of no more use that the disk did not remove, each time it was asked, since the start.
    pub removal_failures: u64,
}

/// What the flash took, by estimate: over the life of the log, and in this day of 24 hours.
#[derive(Serialize)]
pub(crate) struct WearStatus {
    pub device_bytes: u64,
    /// Topics and payloads of messages taken in.
    pub payload_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes_per_payload_byte: Option<f64>,
    pub day_bytes: u64,
    /// How much of the day is over.
    pub day_s: u64,
    pub projected_day_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_day_bytes: Option<u64>,
    /// How long a message waits for others to share its commit, at present.
    pub commit_window_ms: u64,
    /// "ok", "stretched" or "over".
    pub state: &'static str,
}

/// One route of an uplink, or the local broker.
#[derive(Serialize)]
pub(crate) struct UplinkStatus<'a> {
    pub name: &'a str,
    /// Of the outputs' stamps.
    pub epoch: u64,
    pub priority: &'static str,
    /// There is a connection, and if it says nothing by itself, it accepted an output.
    pub connected: bool,
    pub in_flight: usize,
    /// Those of this epoch.
    #[serde(flatten)]
    pub outputs: AccountStatus,
    pub pending_bytes: u64,
    /// Of the uplink, all routes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<BacklogStatus>,
    pub next_seq: u64,
}

/// The last of an epoch, in the words of [`UplinkStatus`].
#[derive(Serialize)]
pub(crate) struct FinishedStatus<'a> {
    name: &'a str,
    epoch: u64,
    #[serde(flatten)]
    outputs: AccountStatus,
    next_seq: u64,
}

impl<'a> FinishedStatus<'a> {
    pub fn new(finished: &'a Finished) -> Self {
        let Finished { name, epoch, next_seq, outputs } = finished;
        Self { name, epoch: *epoch, outputs: AccountStatus::new(outputs), next_seq: *next_seq }
    }
}

#[derive(Serialize)]
pub(crate) struct BacklogStatus {
    pub max_bytes: u64,
    pub full: bool,
}

/// Those that messages wake, and the one that reduces the backlog.
pub(crate) struct FunctionList<'a>(pub &'a Functions, pub Option<&'a Active>);

/// What a function's own topic says: which module is in force, and whether it is run. Its counters are in the status.
#[derive(Serialize)]
pub(crate) struct FunctionReport<'a> {
    name: &'a str,
    version: String,
    sha256: String,
    /// "active" or "quarantined".
    state: &'static str,
    /// One word: how it failed last, if it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl<'a> FunctionReport<'a> {
    pub fn new(active: &'a Active) -> Self {
        Self {
            name: &active.name,
            version: active.manifest.version.to_string(),
            sha256: hex::encode(active.sha256),
            state: if active.breaker.is_open() { "quarantined" } else { "active" },
            reason: active.last_failure.filter(|_| active.breaker.is_open()),
        }
    }
}

/// The version in force, where a function's topic says something else; or the one beside it.
#[derive(Serialize)]
pub(crate) struct InForce {
    version: String,
    sha256: String,
}

impl InForce {
    pub fn new(active: &Active) -> Self {
        Self { version: active.manifest.version.to_string(), sha256: hex::encode(active.sha256) }
    }

    fn of(build: &Build) -> Self {
        Self { version: build.version.to_string(), sha256: hex::encode(build.sha256) }
    }
}

/// What a function's own topic says in place of [`FunctionReport`].
#[derive(Serialize)]
pub(crate) struct Told<'a> {
    #[serde(flatten)]
    pub document: &'a Document,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<InForce>,
}

/// A line on `eyot/<gw>/log/<name>`.
#[derive(Serialize)]
pub(crate) struct LogLine<'a> {
    pub function: &'a str,
    pub level: &'a str,
    pub line: &'a str,
    pub unix_ms: i64,
}

/// A line of the audit log.
#[derive(Serialize)]
pub(crate) struct AuditLine<'a> {
    pub unix_ms: i64,
    /// "push", "rollback" or another command.
    pub action: &'a str,
    pub function: &'a str,
    /// Short names of the keys that signed it, "unsigned", or "probation", "shadow" or "canary" for what the gateway did by itself.
    pub by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Refusals before it that are not in the log, because too many came.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands it over so
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct FunctionStatus<'a> {
    #[serde(flatten)]
    report: FunctionReport<'a>,
    invocations: u64,
    failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<&'static str>,
    /// Of the failures, those after which it ran on the message again.
    retries: u64,
    /// Messages that it did not run on again after all, because nothing more fitted in flight.
    retries_cut: u64,
    /// Of the failures, those whose messages went on without it.
    passed: u64,
    quarantined: bool,
    /// Messages it was not run on.
    held_back: u64,
    fuel: u64,
    /// Of the fuel of all functions since the start, in percent.
    share_percent: u64,
    /// Time on workers.
    worker_ms: u64,
    /// Messages that wait for it.
    waiting: usize,
    emits_refused: u64,
    state_bytes: usize,
    /// What of the capacity it has; none of a reducer.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// The version that runs as its shadow.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<InForce>,
    /// The version that has a share of its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryStatus>,
}

#[derive(Serialize)]
struct CanaryStatus {
    #[serde(flatten)]
    version: InForce,
    /// As in `[rollout]`.
    rule: CanaryRun,
    invocations: u64,
    failures: u64,
}

impl CanaryStatus {
    fn new(canary: &Canary) -> Self {
        let Active { invocations, failures, .. } = canary.version;
        Self { version: InForce::of(canary.build()), rule: canary.rule(), invocations, failures }
    }
}

impl Serialize for FunctionList<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut list = s.serialize_seq(None)?;
        let fuel = self.0.iter().chain(self.1).map(|active| active.fuel).sum::<u64>();
        for active in self.0.iter() {
            let (shadow, share) = (self.0.shadows.of(&active.name).map(InForce::of), Some(Share::of(active)));
            list.serialize_element(&FunctionStatus { shadow, share, ..function(active, fuel) })?;
        }
        if let Some(reducer) = self.1 {
            list.serialize_element(&function(reducer, fuel))?;
        }
        list.end()
    }
}

fn function(active: &Active, all_fuel: u64) -> FunctionStatus<'_> {
    FunctionStatus {
        report: FunctionReport::new(active),
        invocations: active.invocations,
        failures: active.failures,
        last_failure: active.last_failure,
        retries: active.retries,
        retries_cut: active.retries_cut,
        passed: active.passed,
        quarantined: active.breaker.is_open(),
        held_back: active.held_back,
        fuel: active.fuel,
        share_percent: active.fuel.saturating_mul(100) / all_fuel.max(1),
        worker_ms: active.worker_ns / 1_000_000,
        waiting: active.waiting(),
        emits_refused: active.emits_refused,
        state_bytes: active.instances.state().bytes(),
        share: None,
        shadow: None,
        canary: active.canary.as_deref().map(CanaryStatus::new),
    }
}

/// The ledger as operators read it.
#[derive(Serialize)]
pub(crate) struct LedgerStatus<'a> {
    #[serde(flatten)]
    messages: AccountStatus,
    without_output: u64,
    redelivered: u64,
    balanced: bool,
    streams: Streams<'a>,
}

impl<'a> LedgerStatus<'a> {
    pub fn new(ledger: &'a Ledger) -> Self {
        Self {
            messages: AccountStatus::new(&ledger.messages),
            without_output: ledger.without_output,
            redelivered: ledger.redelivered,
            balanced: ledger.is_balanced(),
            streams: Streams(ledger),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct AccountStatus {
    received: u64,
    delivered: u64,
    pending: u64,
    dropped: u64,
    dropped_by_reason: Reasons,
}

impl AccountStatus {
    pub fn new(account: &Account) -> Self {
        Self {
            received: account.received,
            delivered: account.delivered,
            pending: account.pending,
            dropped: account.dropped_total(),
            dropped_by_reason: Reasons(account.clone()),
        }
    }
}

struct Reasons(Account);

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        for reason in DropReason::ALL {
            let count = self.0.dropped(reason);
            if count > 0 {
                map.serialize_entry(reason.word(), &count)?;
            }
        }
        map.end()
    }
}

struct Streams<'a>(&'a Ledger);

impl Serialize for Streams<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        for stream in &self.0.streams {
            map.serialize_entry(&stream.name, &AccountStatus::new(&stream.total()))?;
        }
        map.end()
    }
}
