//! How a version does with its share of the messages: the document on `eyot/<gw>/function/<name>/canary`, retained.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::manifest::CanaryRun;

/// How far a canary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryState {
    /// It goes on.
    Canary,
    /// The version is in force now.
    Promoted,
    /// The version did worse than the one in force, and is gone.
    Rejected,
    /// The version is gone for another reason.
    Dropped,
}

/// Of one canary: a version that has a share of the messages, beside the one in force, which has the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryReport {
    /// Name of the function.
    pub function: String,
    /// How far it is.
    pub state: CanaryState,
    /// Why it was rejected or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that has a share.
    pub version: String,
    /// SHA-256 of its module, as 64 hexadecimal digits.
    pub sha256: String,
    /// The version in force.
    pub against: String,
    /// How large the share is, and for how long.
    pub rule: CanaryRun,
    /// How the version in force has done since it is.
    pub active: CanarySide,
    /// How the canary has done since this run began.
    pub canary: CanarySide,
}

/// How one of the two did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySide {
    /// Messages it was run on, each time counted.
    pub messages: u64,
    /// Of these, those it failed on.
    pub failures: u64,
    /// One word: how it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Mean fuel of them.
    pub fuel_mean: u64,
}
