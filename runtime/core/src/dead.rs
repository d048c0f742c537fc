//! Dead letters: a failed message, as JSON, with what is needed to replay it.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_wire::code::Failure;
use serde::Serialize;

use crate::functions::{Active, Waking};

/// The document published on `eyot/<gw>/dead/<name>`.
#[derive(Serialize)]
struct Letter<'a> {
    function: &'a str,
    version: String,
    sha256: String,
    /// One word: error, trap, fuel, memory, bad-alloc, payload-too-large.
    reason: &'static str,
    detail: String,
    /// The function's own error code, when the reason is `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    topic: &'a str,
    payload_base64: String,
    received_at_ms: i64,
    random_seed: u64,
}

/// Topic and payload of the dead letter for one failed invocation.
pub(crate) fn letter(gateway_id: &str, active: &Active, waking: &Waking<'_>, failure: &Failure) -> (String, Vec<u8>) {
    let letter = Letter {
        function: &active.name,
        version: active.function.manifest().version.to_string(),
        sha256: hex::encode(active.sha256),
        reason: failure.word(),
        detail: failure.to_string(),
        code: if let Failure::Code(code) = failure { Some(*code) } else { None },
        topic: waking.topic,
        payload_base64: BASE64_STANDARD.encode(waking.payload),
        received_at_ms: waking.now_ms,
        random_seed: waking.seed,
    };
    (format!("eyot/{gateway_id}/dead/{}", active.name), serde_json::to_vec(&letter).unwrap_or_default())
}
