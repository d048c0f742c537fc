//! Cases, dead letters and effects as JSON. Effects are written as `eyot run --json` writes them.

use std::collections::BTreeMap;

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_wire::capture::Outcome;
use eyot_wire::code::Failure;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::case::{level_word, Case, Expected, Payload, RecordedBy, NOW_MS_DEFAULT};
use crate::run::state;

/// A case as its file has it, or a dead letter, which is one that says nothing of what is to come.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    topic: String,
    /// Text stands for its bytes, any other JSON for itself as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(alias = "received_at_ms", skip_serializing_if = "Option::is_none")]
    now_ms: Option<i64>,
    #[serde(alias = "random_seed", skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    state: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    state_left_out: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    config: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Effects>,
    // Only in dead letters.
    #[serde(skip_serializing)]
    function: Option<String>,
    #[serde(skip_serializing)]
    version: Option<String>,
    #[serde(skip_serializing)]
    sha256: Option<String>,
    #[serde(skip_serializing)]
    reason: Option<String>,
    #[serde(skip_serializing)]
    detail: Option<String>,
    #[serde(skip_serializing)]
    code: Option<i32>,
}

/// What a message did, or is to do: what is not said is not compared, but that it ends well if no error is named.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Effects {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emits: Option<Vec<Emit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Vec<Op>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<Log>>,
}

/// How a message failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Error {
    /// One word.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The function's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    topic: String,
    /// Text stands for its bytes, any other JSON for all documents that are equal to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Op {
    Set(Set),
    Delete(Delete),
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Set {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Delete {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Log {
    level: String,
    text: String,
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        Self { kind: failure.word().to_owned(), message: Some(failure.to_string()), code: failure.code() }
    }
}

impl Error {
    /// Whether a failure is this one, as far as it is told.
    pub fn is(&self, failure: &Error) -> bool {
        self.kind == failure.kind
            && (self.code.is_none() || self.code == failure.code)
            && (self.message.is_none() || self.message == failure.message)
    }

    /// For people.
    pub fn shown(&self) -> String {
        match (&self.message, self.code) {
            (Some(message), _) => message.clone(),
            (None, Some(code)) => format!("{} {code}", self.kind),
            (None, None) => self.kind.clone(),
        }
    }

    /// Whether it depends on the machine or on what was before, not on the message.
    pub fn is_of_its_time(&self) -> bool {
        self.kind == Failure::Deadline.word() || self.kind == Failure::Quarantined.word()
    }
}

/// Bytes of `text` or `base64`, of which at most one may be given.
fn bytes(what: &str, text: Option<String>, base64: Option<&str>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("has both {what} and {what}_base64; leave one out")),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).map_err(|e| format!("{what}_base64: {e}")),
        (None, None) => Ok(Vec::new()),
    }
}

/// The text that a JSON string stands for.
fn as_text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

impl Document {
    /// The case. A dead letter expects what it tells if `as_recorded`, and otherwise that the message ends well.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn case(&self, as_recorded: bool) -> Result<Case, String> {
        let text = self.payload.as_ref().map(|raw| as_text(raw).unwrap_or_else(|| raw.get().to_owned()));
        let decoded = |text: &str| state::decode(text).map_err(|e| format!("state: {text:?}: {e}"));
        let state = self.state.iter().map(|(key, value)| Ok((decoded(key)?, decoded(value)?)));
        let expected = match (&self.expect, &self.reason) {
            (Some(effects), _) => effects.expected()?,
            (None, Some(reason)) if as_recorded => Expected {
                ending: Some(Err(Error { kind: reason.clone(), message: self.detail.clone(), code: self.code })),
                emits: Some(Vec::new()),
                state: Some(Vec::new()),
                logs: None,
            },
            (None, None) if as_recorded => Expected::default(),
            (None, _) => Expected { ending: Some(Ok(())), ..Expected::default() },
        };
        Ok(Case {
            recorded_by: RecordedBy {
                function: self.function.clone(),
                version: self.version.clone(),
                sha256: self.sha256.clone(),
            },
            topic: self.topic.clone(),
            payload: bytes("payload", text, self.payload_base64.as_deref())?,
            now_ms: self.now_ms.unwrap_or(NOW_MS_DEFAULT),
            seed: self.seed.unwrap_or_default(),
            state: state.collect::<Result<_, String>>()?,
            state_left_out: self.state_left_out,
            config: self.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            expected,
        })
    }

    /// Makes what came out what is to come. Log lines only if they were compared before: they change with every word.
    pub fn update(&mut self, outcome: &Outcome) {
        let had = self.expect.as_ref();
        let has_logs = had.is_some_and(|effects| effects.logs.is_some());
        let has_state = had.is_some_and(|effects| effects.state.is_some());
        let mut effects = Effects::from(outcome);
        effects.logs = effects.logs.filter(|_| has_logs);
        effects.state = effects.state.filter(|ops| has_state || !ops.is_empty());
        if let Some(error) = &mut effects.error {
            error.message = None;
            (effects.emits, effects.state) = (None, None);
        }
        self.expect = Some(effects);
    }
}

impl Effects {
    fn expected(&self) -> Result<Expected, String> {
        let emits = self.emits.as_ref().map(|emits| emits.iter().map(Emit::expected).collect::<Result<_, _>>());
        let state = self.state.as_ref().map(|ops| ops.iter().map(Op::read).collect::<Result<_, _>>());
        let logs = self.logs.as_ref();
        Ok(Expected {
            ending: Some(self.error.clone().map_or(Ok(()), Err)),
            emits: emits.transpose()?,
            state: state.transpose()?,
            logs: logs.map(|logs| logs.iter().map(|log| (log.level.clone(), log.text.clone())).collect()),
        })
    }
}

impl Emit {
    fn expected(&self) -> Result<(String, Payload), String> {
        let payload = match &self.payload {
            Some(raw) if as_text(raw).is_none() && self.payload_base64.is_none() => {
                Payload::Json(serde_json::from_str(raw.get()).map_err(|e| e.to_string())?)
            }
            raw => {
                let text = raw.as_ref().and_then(|raw| as_text(raw));
                Payload::Bytes(bytes("payload", text, self.payload_base64.as_deref())?)
            }
        };
        Ok((self.topic.clone(), payload))
    }
}

impl Op {
    fn read(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
        match self {
            Self::Set(set) => {
                let value = bytes("value", set.value.clone(), set.value_base64.as_deref())?;
                Ok((bytes("key", set.key.clone(), set.key_base64.as_deref())?, Some(value)))
            }
            Self::Delete(delete) => Ok((bytes("key", delete.key.clone(), delete.key_base64.as_deref())?, None)),
        }
    }
}

/// Text, or base64 if it is none that people read.
fn either(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let is_read = |text: &&str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    match std::str::from_utf8(bytes).ok().filter(is_read) {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

/// A document as itself, other text as a string.
fn readable(text: String) -> Option<Box<RawValue>> {
    let is_document = text.starts_with(['{', '[']) && !text.contains(['\n', '\r']);
    let document = is_document.then(|| RawValue::from_string(text.clone()).ok()).flatten();
    document.or_else(|| serde_json::value::to_raw_value(&text).ok())
}

impl From<&Outcome> for Effects {
    fn from(outcome: &Outcome) -> Self {
        let emits = outcome.emits.iter().map(|(topic, payload)| {
            let (text, payload_base64) = either(payload);
            Emit { topic: topic.clone(), payload: text.and_then(readable), payload_base64 }
        });
        let state = outcome.state.iter().map(|(key, value)| {
            let (key, key_base64) = either(key);
            match value.as_deref().map(either) {
                Some((value, value_base64)) => Op::Set(Set { key, key_base64, value, value_base64 }),
                None => Op::Delete(Delete { key, key_base64 }),
            }
        });
        let logs = outcome.logs.iter();
        Self {
            error: outcome.result.as_ref().err().map(Error::from),
            emits: Some(emits.collect()),
            state: Some(state.collect()),
            logs: Some(
                logs.map(|(level, text)| Log { level: level_word(*level).to_owned(), text: text.clone() }).collect(),
            ),
        }
    }
}
