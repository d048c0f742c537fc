//! What gateways publish, as far as it is read here. What is not understood is as if it were not there: gateways may be
//! younger than this program.

use std::collections::BTreeMap;

use eyot_trust::policy::CLOCK_SET_FROM_S;
use serde::{Deserialize, Serialize};

/// Retained on `eyot/<gw>/status`.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    #[serde(default)]
    pub groups: Vec<String>,
    pub online: bool,
    #[serde(default)]
    pub version: String,
    pub unix_ms: Option<i64>,
    pub uptime_s: Option<u64>,
    #[serde(default)]
    pub subscribed: bool,
    #[serde(default)]
    pub functions: Vec<FunctionStatus>,
    pub capacity: Option<Capacity>,
    #[serde(default)]
    pub uplinks: Vec<Uplink>,
    #[serde(default)]
    pub sensors: Vec<Sensor>,
    pub spool: Option<Spool>,
    pub wear: Option<Wear>,
    pub ledger: Option<Ledger>,
    pub system: Option<SystemStatus>,
}

/// What all functions together may come to, at most.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Capacity {
    pub functions: usize,
    pub fuel_per_s: Option<u64>,
}

/// What the system of a gateway that was flashed says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SystemStatus {
    pub board: String,
    pub version: String,
    pub update: Option<UpdateStatus>,
}

/// The update that came last.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpdateStatus {
    /// Empty of a node's program.
    #[serde(default)]
    pub version: String,
    pub sha256: String,
    pub state: String,
    #[serde(default)]
    pub reason: String,
}

impl Status {
    /// Whether the gateway knows what time it is; commands, which expire, are refused where it does not.
    pub fn has_clock(&self) -> bool {
        self.unix_ms.is_none_or(|ms| u64::try_from(ms).is_ok_and(|ms| ms / 1000 >= CLOCK_SET_FROM_S))
    }
}

/// A function in the status.
#[derive(Clone, Debug, Deserialize)]
pub struct FunctionStatus {
    pub name: String,
    pub version: String,
    pub sha256: String,
    pub state: String,
    #[serde(default)]
    pub invocations: u64,
    #[serde(default)]
    pub failures: u64,
    pub last_failure: Option<String>,
    #[serde(default)]
    pub share_percent: u64,
    #[serde(default)]
    pub waiting: u64,
    #[serde(default)]
    pub state_bytes: u64,
    /// What of the capacity it has; none of a reducer.
    pub state_max_bytes: Option<u64>,
    /// The same; none if its triggers do not say how many messages they expect.
    pub fuel_per_s: Option<u64>,
    pub canary: Option<Canary>,
}

/// A version that has a share of a function's messages.
#[derive(Clone, Debug, Deserialize)]
pub struct Canary {
    pub version: String,
    pub rule: String,
    #[serde(default)]
    pub invocations: u64,
    #[serde(default)]
    pub failures: u64,
}

/// A stream of outputs in the status.
#[derive(Clone, Debug, Deserialize)]
pub struct Uplink {
    pub name: String,
    pub connected: bool,
    #[serde(default)]
    pub delivered: u64,
    #[serde(default)]
    pub pending: u64,
    #[serde(default)]
    pub dropped: u64,
}

/// A sensor at the gateway in the status.
#[derive(Clone, Debug, Deserialize)]
pub struct Sensor {
    pub topic: String,
    pub kind: String,
    pub at: String,
    pub answers: Option<bool>,
    pub reason: Option<String>,
    #[serde(default)]
    pub samples: u64,
    #[serde(default)]
    pub errors: u64,
}

/// The log in the status.
#[derive(Clone, Debug, Deserialize)]
pub struct Spool {
    pub bytes: u64,
    pub max_bytes: u64,
    pub state: String,
}

/// What the flash takes.
#[derive(Clone, Debug, Deserialize)]
pub struct Wear {
    pub day_bytes: u64,
    pub projected_day_bytes: u64,
}

/// The account of all messages.
#[derive(Clone, Debug, Deserialize)]
pub struct Ledger {
    pub received: u64,
    pub delivered: u64,
    pub pending: u64,
    pub dropped: u64,
    #[serde(default)]
    pub dropped_by_reason: BTreeMap<String, u64>,
    pub balanced: bool,
}

/// Retained on `eyot/<gw>/function/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FunctionDocument {
    pub name: String,
    pub version: String,
    pub sha256: String,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version in force, where the document is about another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<InForce>,
    /// Of a node, what it is to run and does not, where the document is about another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<InForce>,
}

/// Retained on `eyot/<gw>/node/<id>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeDocument {
    pub node: String,
    /// None if the configuration of its gateway does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    pub online: bool,
    /// 0 if it was never here.
    #[serde(default)]
    pub heap_bytes: u64,
    #[serde(default)]
    pub heap_used_bytes: u64,
    /// What it is to run, or what became of that; none if nothing is known of it.
    #[serde(flatten)]
    pub deployed: Option<FunctionDocument>,
}

/// A version in force.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct InForce {
    /// Of a node, whose document may be about another function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub version: String,
    pub sha256: String,
}

/// On `eyot/<gw>/log/<name>`.
#[derive(Clone, Debug, Deserialize)]
pub struct LogLine {
    pub level: String,
    pub line: String,
    pub unix_ms: i64,
}

/// On `eyot/<gw>/dead/<function>`.
#[derive(Clone, Debug, Deserialize)]
pub struct DeadLetter {
    pub reason: String,
    pub detail: String,
    pub topic: String,
    pub received_at_ms: i64,
}

/// The gateway and the rest of a topic `eyot/<gw>/…`.
pub fn split(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix("eyot/")?.split_once('/')
}
