//! Dead letters: a failed message or a refused output, as JSON, with what is needed to replay it.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use bytes::Bytes;
use eyot_wire::code::{DropReason, Failure};
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
}

/// Topic and payload of the dead letter for one failed invocation.
pub(crate) fn letter(gateway_id: &str, active: &Active, waking: &Waking<'_>, failure: &Failure) -> (String, Vec<u8>) {
    let letter = Letter {
        function: &active.name,
        version: active.manifest.version.to_string(),
        sha256: hex::encode(active.sha256),
        reason: failure.word(),
        detail: failure.to_string(),
        code: if let Failure::Code(code) = failure { Some(*code) } else { None },
        topic: waking.topic,
        payload_base64: BASE64_STANDARD.encode(waking.payload),
        received_at_ms: waking.now_ms,
        random_seed: waking.seed,
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
