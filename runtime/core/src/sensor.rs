//! Sensors at the gateway itself: how they are, for people to read. Their samples are messages.

use serde::Serialize;

/// Most sensors of one gateway.
pub const SENSORS_MAX: usize = 32;

/// One sensor, as it stands in the status document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SensorReport {
    /// What its samples are messages on: no two have the same.
    pub topic: String,
    /// What it is, as in the configuration.
    pub kind: &'static str,
    /// Where it is.
    pub at: String,
    /// Whether there was a sample, when it was asked last; none before that.
    pub answers: Option<bool>,
    /// Why not, and the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Samples since the start.
    pub samples: u64,
    /// Times it was asked and gave none.
    pub errors: u64,
}
