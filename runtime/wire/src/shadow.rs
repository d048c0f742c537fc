//! What a shadow run has shown: the document on `eyot/<gw>/function/<name>/shadow`, retained.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::manifest::Rollout;

/// Most messages with other outputs that a report shows.
pub const SAMPLES_MAX: usize = 4;
/// Most bytes of a topic that it shows of them.
pub const SAMPLE_TOPIC_MAX_BYTES: usize = 96;
/// Most bytes of a payload.
pub const SAMPLE_PAYLOAD_MAX_BYTES: usize = 192;

/// How far a shadow run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowState {
    /// It goes on.
    Shadow,
    /// The version is in force now.
    Promoted,
    /// The version has a share of the messages now.
    Canary,
    /// The version did not do what its rule asks for, and is gone.
    Rejected,
    /// The version is gone for another reason.
    Dropped,
}

/// Of one shadow run: a version beside the one in force, and what became of the same messages in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Name of the function.
    pub function: String,
    /// How far it is.
    pub state: ShadowState,
    /// Why it was rejected or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that runs as a shadow.
    pub version: String,
    /// SHA-256 of its module, as 64 hexadecimal digits.
    pub sha256: String,
    /// The version in force.
    pub against: String,
    /// What it has to do.
    pub rule: Rollout,
    /// Messages that both have seen since this run began.
    pub messages: u64,
    /// Of these, those with the same outputs, topics and payloads byte for byte in the same order, or that both failed on in
    /// the same way.
    pub same: u64,
    /// Of these, those whose payloads differ but are the same JSON: the order of keys, white space and ways to write a number
    /// do not matter.
    pub same_json: u64,
    /// All others.
    pub different: u64,
    /// Of these, those that only the shadow failed on.
    pub failed_alone: u64,
    /// Messages that only the version in force has seen, because the gateway had better things to do.
    pub skipped: u64,
    /// How the version in force did with these messages. Its times are of those that took long enough to leave for a worker.
    pub active: ShadowSide,
    /// How the shadow did.
    pub shadow: ShadowSide,
    /// The first that came out differently.
    #[serde(default)]
    pub samples: Vec<ShadowSample>,
}

/// How one of the two did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowSide {
    /// Messages for which it returned an error code.
    pub errors: u64,
    /// Messages it failed on in any other way.
    pub traps: u64,
    /// How it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Mean fuel of those that ended well.
    pub fuel_mean: u64,
    /// Most.
    pub fuel_max: u64,
    /// Mean time it ran, in microseconds, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_us_mean: Option<u64>,
    /// Most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_us_max: Option<u64>,
}

/// A message with other outputs. Texts are cut; bytes that are no text stand behind `base64:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowSample {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Unix time it arrived, in milliseconds.
    pub received_at_ms: i64,
    /// The number of the first output that differs, from 0; none if one of the two failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<usize>,
    /// What the version in force did there.
    pub active: ShadowOutcome,
    /// What the shadow did.
    pub shadow: ShadowOutcome,
}

/// What became of a message, or of one of its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowOutcome {
    /// An output.
    Output {
        /// Topic.
        topic: String,
        /// Payload.
        payload: String,
    },
    /// It has fewer outputs than the other one.
    Nothing,
    /// So many outputs, where the other one failed.
    Outputs(usize),
    /// It failed like this.
    Failure(String),
}
