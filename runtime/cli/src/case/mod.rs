//! A case: one message with all that the function reads, to be run again, and what is to come of it.
//!
//! - `document`: cases, dead letters and effects as JSON;
//! - `runner`: a case through a function;
//! - `compare`: what came of it, beside what was to come.

pub mod compare;
pub mod document;
pub mod runner;

use std::path::Path;

use eyot_engine::Level;
use eyot_wire::capture::{Capture, Outcome};
use eyot_wire::module::PAYLOAD_MAX_BYTES;
use eyot_wire::topic::parse_topic;

use crate::case::document::{Document, Error as Ending};
use crate::error::Error;
use crate::{file, output};

/// Largest file of cases.
const FILE_MAX_BYTES: usize = 256 << 20;
/// Arrival time of a case that names none: 2026-01-01 00:00 UTC.
pub const NOW_MS_DEFAULT: i64 = 1_767_225_600_000;

/// One message, and what is to come of it.
pub struct Case {
    /// Name, version and SHA-256 of the function that was run, as far as they are known.
    pub recorded_by: RecordedBy,
    pub topic: String,
    pub payload: Vec<u8>,
    pub now_ms: i64,
    pub seed: u64,
    pub state: Vec<(Vec<u8>, Vec<u8>)>,
    /// There was a state, and it is not here.
    pub state_left_out: bool,
    pub config: Vec<(String, String)>,
    pub expected: Expected,
}

/// The function of a recording.
#[derive(Clone, Debug, Default)]
pub struct RecordedBy {
    pub function: Option<String>,
    pub version: Option<String>,
    pub sha256: Option<String>,
}

/// What is to come of a message, as far as it is said.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub ending: Option<Result<(), Ending>>,
    pub emits: Option<Vec<(String, Payload)>>,
    pub state: Option<Vec<Change>>,
    /// Level and text.
    pub logs: Option<Vec<(String, String)>>,
}

/// A key of the state and its new value; none if it is removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A payload that is to be emitted.
#[derive(Clone, Debug)]
pub enum Payload {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This document, however it is written.
    Json(serde_json::Value),
}

impl Payload {
    pub fn is(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Bytes(expected) => expected == bytes,
            Self::Json(expected) => {
                serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|got| got == *expected)
            }
        }
    }

    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Self::Bytes(bytes) => output::shown(bytes),
            Self::Json(value) => output::shown(value.to_string().as_bytes()),
        }
    }
}

impl From<&Outcome> for Expected {
    fn from(outcome: &Outcome) -> Self {
        let emits = outcome.emits.iter().map(|(topic, payload)| (topic.clone(), Payload::Bytes(payload.clone())));
        let logs = outcome.logs.iter().map(|(level, text)| (level_word(*level).to_owned(), text.clone()));
        Self {
            ending: Some(outcome.result.as_ref().copied().map_err(Ending::from)),
            emits: Some(emits.collect()),
            state: Some(outcome.state.clone()),
            logs: Some(logs.collect()),
        }
    }
}

impl From<Capture> for Case {
    fn from(capture: Capture) -> Self {
        let expected = Expected::from(&capture.outcome);
        Self {
            recorded_by: RecordedBy {
                function: Some(capture.function),
                version: Some(capture.version),
                sha256: Some(hex::encode(capture.sha256)),
            },
            topic: capture.topic,
            payload: capture.payload,
            now_ms: capture.now_ms,
            seed: capture.seed,
            state_left_out: capture.state.is_none(),
            state: capture.state.unwrap_or_default(),
            config: capture.config,
            expected,
        }
    }
}

/// One word for the level of a log line.
pub fn level_word(level: u8) -> &'static str {
    Level::from_number(level.into()).word()
}

/// What a file holds.
pub enum Recording {
    Captures(Vec<Capture>),
    Documents(Vec<Document>),
}

/// Reads captures, dead letters or cases, one after the other.
///
/// # Errors
/// The file cannot be read, or holds none or something else.
pub fn read(path: &Path) -> Result<Recording, Error> {
    let bytes = file::read(path, FILE_MAX_BYTES)?;
    let remedy = "give captures, dead letters of a function, or cases, as `eyot replay --help` has them";
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return captures(&bytes)
            .map(Recording::Captures)
            .map_err(|reason| Error::bad_input(path.display(), reason, remedy));
    }
    let documents: Result<Vec<Document>, _> = serde_json::Deserializer::from_slice(&bytes).into_iter().collect();
    documents.map(Recording::Documents).map_err(|e| Error::bad_input(path.display(), e, remedy))
}

fn captures(bytes: &[u8]) -> Result<Vec<Capture>, String> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    loop {
        // What `mosquitto_sub` without -N puts behind each message.
        if let [b'\n', more @ ..] = rest {
            rest = more;
        }
        if rest.is_empty() && !found.is_empty() {
            return Ok(found);
        }
        let (capture, more) = Capture::decode(rest).map_err(|reason| {
            format!("number {}, from byte {} on, {reason}", found.len() + 1, bytes.len() - rest.len())
        })?;
        found.push(capture);
        rest = more;
    }
}

impl Case {
    /// Whether a function may be given it; `thing` is what the error is about.
    ///
    /// # Errors
    /// Its topic or payload is not of a message.
    pub fn check(&self, thing: &str) -> Result<(), Error> {
        parse_topic(self.topic.as_bytes()).map_err(|e| {
            let reason = format!("topic \"{}\": {e}", output::shown(self.topic.as_bytes()));
            Error::bad_input(thing, reason, "give the topic of one message")
        })?;
        if self.payload.len() > PAYLOAD_MAX_BYTES {
            let reason = format!("payload is larger than {PAYLOAD_MAX_BYTES} bytes, the most a function is given");
            return Err(Error::bad_input(thing, reason, "send less in one message"));
        }
        Ok(())
    }
}
