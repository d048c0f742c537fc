//! Dead letters: a failed message or a refused output, as JSON, with what is needed to replay it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::prelude::{Engine as _, BASE64_STANDARD};
use bytes::Bytes;
use eyot_wire::capture::CAPTURE_STATE_MAX_BYTES;
use eyot_wire::code::{DropReason, Failure};
use eyot_wire::manifest::Manifest;
use serde::Serialize;

use crate::active::Active;
use crate::functions::Waking;
use crate::ledger::{Ledger, StreamAccount};

/// The document published on `eyot/<gw>/dead/<function>`.
#[derive(Serialize)]
struct Letter<'a> {
    function: &'a str,
    version: String,
    sha256: String,
    /// One word: error, trap, fuel, memory, bad-alloc, payload-too-large, deadline.
    reason: &'static str,
    detail: String,
    /// The function's own error code, when the reason is `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    topic: &'a str,
    payload_base64: String,
    received_at_ms: i64,
    random_seed: u64,
    /// Configuration that is not the manifest's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    config: BTreeMap<&'a str, &'a str>,
    /// The state before the message, if the function has one: text as it is, other bytes as `base64:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<BTreeMap<String, String>>,
    /// It has a state that is not here, because it is too large, or one as large was in another letter just now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    state_left_out: bool,
}

/// Largest state, keys and values, that each letter has.
const STATE_BYTES: usize = 4 << 10;
/// Milliseconds from one letter of a function with a larger state, up to what a capture has, to the next: those that fail
/// often are not to fill the log with copies of it.
const LARGE_STATE_EVERY_MS: u64 = 1000;

/// Whether a letter has a state of so many bytes, if one had a large one at `last_ms`.
fn has_state_now(last_ms: &mut i64, bytes: usize, now_ms: i64) -> bool {
    if bytes <= STATE_BYTES {
        return true;
    }
    let has_state = bytes <= CAPTURE_STATE_MAX_BYTES && now_ms.abs_diff(*last_ms) >= LARGE_STATE_EVERY_MS;
    if has_state {
        *last_ms = now_ms;
    }
    has_state
}

/// Bytes in JSON. What would take many escapes is base64 as well, so that a document has no more than twice the bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(BASE64_PREFIX) && !text.contains(|c: char| c.is_ascii_control()) => {
            text.to_owned()
        }
        _ => format!("{BASE64_PREFIX}{}", BASE64_STANDARD.encode(bytes)),
    }
}

/// What is not text begins with it.
const BASE64_PREFIX: &str = "base64:";

/// A build of a function, with its configuration.
pub(crate) struct Maker {
    pub manifest: Arc<Manifest>,
    pub sha256: [u8; 32],
    /// What is not its manifest's.
    pub overrides: Vec<(String, String)>,
}

/// What one invocation failed by.
pub(crate) struct Failed<'a> {
    pub failure: &'a Failure,
    /// It was to run again, for which there was no memory.
    pub is_cut: bool,
}

/// Why a message was not run as often as its function's manifest says.
const CUT: &str = "not run again, because the memory for messages in flight was full";

/// Topic and payload of the dead letter for one invocation of `maker` that failed. The state must be as it was before the
/// message.
pub(crate) fn letter(
    gateway_id: &str,
    active: &mut Active,
    maker: &Maker,
    waking: &Waking<'_>,
    Failed { failure, is_cut }: &Failed<'_>,
) -> (String, Vec<u8>) {
    let has_state = active.instances.uses_state() && **failure != Failure::Quarantined;
    let state = Arc::clone(active.instances.state());
    let is_shown = has_state && has_state_now(&mut active.large_letter_ms, state.bytes(), waking.now_ms);
    let letter = Letter {
        function: &active.name,
        version: maker.manifest.version.to_string(),
        sha256: hex::encode(maker.sha256),
        reason: failure.word(),
        detail: if *is_cut { format!("{failure}; {CUT}") } else { failure.to_string() },
        code: failure.code(),
        topic: waking.topic,
        payload_base64: BASE64_STANDARD.encode(waking.payload),
        received_at_ms: waking.now_ms,
        random_seed: waking.seed,
        config: maker.overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        state: is_shown.then(|| state.iter().map(|(key, value)| (text(key), text(value))).collect()),
        state_left_out: has_state && !is_shown,
    };
    (format!("{}{}", prefix(gateway_id), active.name), serde_json::to_vec(&letter).unwrap_or_default())
}

/// An output that its destination refused for good.
#[derive(Debug)]
pub(crate) struct Refused {
    pub stream: u8,
    pub seq: u64,
    /// Topic and payload are parts of the record, which stays in memory as long as they do.
    pub topic: Bytes,
    pub payload: Bytes,
    /// Unix time its message arrived.
    pub received_at_ms: i64,
}

impl Refused {
    /// Bytes of topic and payload.
    pub fn bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64
    }

    /// Whether it is a dead letter itself: then there is none about it, or there would be no end.
    pub fn is_letter(&self, gateway_id: &str) -> bool {
        self.topic.starts_with(prefix(gateway_id).as_bytes())
    }
}

/// Takes what was refused, before the ledger has it as dropped.
pub(crate) type Keep<'a> = dyn FnMut(&Refused, &mut Ledger) + 'a;

/// The document published on `eyot/<gw>/dead/<uplink>`.
#[derive(Serialize)]
struct Refusal<'a> {
    uplink: &'a str,
    /// As in status and ledger.
    stream: &'a str,
    epoch: u64,
    seq: u64,
    /// One word: refused.
    reason: &'static str,
    topic: &'a str,
    payload_base64: String,
    received_at_ms: i64,
}

/// Topic and payload of the dead letter for one refused output of the stream `account` is of.
pub(crate) fn refusal(gateway_id: &str, account: &StreamAccount, refused: &Refused) -> (String, Vec<u8>) {
    let letter = Refusal {
        uplink: account.uplink(),
        stream: &account.name,
        epoch: account.epoch,
        seq: refused.seq,
        reason: DropReason::Refused.word(),
        topic: &String::from_utf8_lossy(&refused.topic),
        payload_base64: BASE64_STANDARD.encode(&refused.payload),
        received_at_ms: refused.received_at_ms,
    };
    (format!("{}{}", prefix(gateway_id), account.uplink()), serde_json::to_vec(&letter).unwrap_or_default())
}

fn prefix(gateway_id: &str) -> String {
    format!("eyot/{gateway_id}/dead/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_in_one_letter_a_second() {
        let mut last_ms = 0;
        let mut letter = |bytes, now_ms| has_state_now(&mut last_ms, bytes, now_ms);
        assert!(letter(STATE_BYTES + 1, 5000) && !letter(STATE_BYTES + 1, 5999) && letter(STATE_BYTES, 5999));
        assert!(letter(CAPTURE_STATE_MAX_BYTES, 6000) && !letter(CAPTURE_STATE_MAX_BYTES + 1, 9000));
        assert!(letter(STATE_BYTES + 1, 100), "a clock that was set back");
    }

    #[test]
    fn text_stays_text_and_comes_back() {
        for (bytes, expected) in [
            (&b"21 C"[..], "21 C"),
            (b"a\nb", "base64:YQpi"),
            (b"\xff", "base64:/w=="),
            (b"base64:", "base64:YmFzZTY0Og=="),
        ] {
            assert_eq!(text(bytes), expected);
        }
    }
}
