//! What one message did: emits, state operations and log lines, in buffers that the next message reuses.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use eyot_wire::capture::Outcome;
use eyot_wire::code::Failure;
use eyot_wire::module::LOG_LINE_MAX_BYTES;

use crate::limits::LOG_LINES_MAX;
use crate::pending::PendingState;
use crate::state::State;

/// One message a function sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit<'a> {
    /// A valid topic that `allow.emit` permits.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
}

/// One change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateOp<'a> {
    /// Store a value.
    Set {
        /// Key.
        key: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// Remove a key.
    Delete {
        /// Key.
        key: &'a [u8],
    },
}

impl StateOp<'_> {
    /// Key and new value; none if it is removed.
    fn to_owned(self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Set { key, value } => (key.to_vec(), Some(value.to_vec())),
            Self::Delete { key } => (key.to_vec(), None),
        }
    }
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 0
    Error,
    /// 1
    Warn,
    /// 2
    Info,
    /// 3
    Debug,
    /// 4, and any other number
    Trace,
}

impl Level {
    /// One word, as in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of this number.
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Info,
            3 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// One line a function logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Severity.
    pub level: Level,
    /// Text, at most [`LOG_LINE_MAX_BYTES`].
    pub text: &'a str,
}

/// Emits that were refused, by reason. The function saw an error code for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedEmits {
    /// `allow.emit` does not permit the topic.
    pub not_allowed: u32,
    /// Not a topic, or a pointer outside memory.
    pub malformed: u32,
    /// Over `limits.output`, or over the number of emits of one message.
    pub over_limit: u32,
}

impl RefusedEmits {
    /// For whatever reason.
    pub fn total(&self) -> u64 {
        [self.not_allowed, self.malformed, self.over_limit].into_iter().map(u64::from).sum()
    }
}

#[derive(Debug)]
struct EmitSpan {
    topic_end: usize,
    payload_end: usize,
}

#[derive(Debug)]
struct LogSpan {
    level: Level,
    end: usize,
}

/// The effects of the last message.
///
/// After a failed message there are no emits and no state operations; log lines and counters remain.
#[derive(Debug, Default)]
pub struct Effects {
    topics: String,
    payloads: Vec<u8>,
    emits: Vec<EmitSpan>,
    refused: RefusedEmits,
    pub(crate) state: PendingState,
    log_text: String,
    logs: Vec<LogSpan>,
    logs_dropped: u32,
}

impl Effects {
    /// Emits in the order the function made them.
    pub fn emits(&self) -> impl Iterator<Item = Emit<'_>> {
        let (mut topic_start, mut payload_start) = (0, 0);
        self.emits.iter().map(move |span| {
            let topic = self.topics.get(topic_start..span.topic_end).unwrap_or_default();
            let payload = self.payloads.get(payload_start..span.payload_end).unwrap_or_default();
            (topic_start, payload_start) = (span.topic_end, span.payload_end);
            Emit { topic, payload }
        })
    }

    /// Number of emits.
    pub fn emit_count(&self) -> usize {
        self.emits.len()
    }

    /// Bytes of all emitted topics and payloads.
    pub fn emit_bytes(&self) -> usize {
        self.topics.len() + self.payloads.len()
    }

    /// Changes of the state, the last one of each key, in the order they were made.
    pub fn state_ops(&self) -> impl Iterator<Item = StateOp<'_>> {
        self.state.ops()
    }

    /// Makes the changes part of `state`, which is copied first if it is shared.
    pub fn apply_to(&self, state: &mut Arc<State>) {
        if self.state.len() > 0 {
            self.state.apply(Arc::make_mut(state));
        }
    }

    /// All of them on their own, with how the message ended.
    pub fn outcome(&self, result: Result<(), Failure>) -> Outcome {
        Outcome {
            result,
            emits: self.emits().map(|emit| (emit.topic.to_string(), emit.payload.to_vec())).collect(),
            state: self.state_ops().map(StateOp::to_owned).collect(),
            logs: self.logs().map(|log| (log.level as u8, log.text.to_string())).collect(),
            emits_refused: u32::try_from(self.refused.total()).unwrap_or(u32::MAX),
        }
    }

    /// Bytes of memory they take up, but for a few for each emit and state operation.
    pub fn memory_bytes(&self) -> usize {
        self.topics.capacity() + self.payloads.capacity() + self.log_text.capacity() + self.state.memory_bytes()
    }

    /// Gives back memory that an earlier and larger message needed.
    pub fn shrink(&mut self) {
        self.topics.shrink_to_fit();
        self.payloads.shrink_to_fit();
        self.log_text.shrink_to_fit();
        self.state.shrink();
    }

    /// Log lines, oldest first, at most [`LOG_LINES_MAX`].
    pub fn logs(&self) -> impl Iterator<Item = LogLine<'_>> {
        let mut start = 0;
        self.logs.iter().map(move |span| {
            let text = self.log_text.get(start..span.end).unwrap_or_default();
            start = span.end;
            LogLine { level: span.level, text }
        })
    }

    /// Log calls of which nothing was kept: over the number of lines, or a pointer outside memory.
    pub fn logs_dropped(&self) -> u32 {
        self.logs_dropped
    }

    /// Emits that were refused.
    pub fn refused_emits(&self) -> RefusedEmits {
        self.refused
    }

    pub(crate) fn refused_mut(&mut self) -> &mut RefusedEmits {
        &mut self.refused
    }

    pub(crate) fn clear(&mut self) {
        self.clear_outcome();
        self.refused = RefusedEmits::default();
        self.log_text.clear();
        self.logs.clear();
        self.logs_dropped = 0;
    }

    /// Takes back what a failed message wanted; what it said stays.
    pub(crate) fn clear_outcome(&mut self) {
        self.topics.clear();
        self.payloads.clear();
        self.emits.clear();
        self.state.clear();
    }

    pub(crate) fn push_emit(&mut self, topic: &str, payload: &[u8]) {
        self.topics.push_str(topic);
        self.payloads.extend_from_slice(payload);
        self.emits.push(EmitSpan { topic_end: self.topics.len(), payload_end: self.payloads.len() });
    }

    pub(crate) fn logs_full(&self) -> bool {
        self.logs.len() >= LOG_LINES_MAX
    }

    pub(crate) fn drop_log(&mut self) {
        self.logs_dropped = self.logs_dropped.saturating_add(1);
    }

    /// Keeps a line; bytes that are not UTF-8 become U+FFFD, what is too long is cut at a character.
    pub(crate) fn push_log(&mut self, level: i32, bytes: &[u8]) {
        let most = self.log_text.len() + LOG_LINE_MAX_BYTES;
        'line: for chunk in bytes.utf8_chunks() {
            let broken = if chunk.invalid().is_empty() { None } else { Some(char::REPLACEMENT_CHARACTER) };
            for character in chunk.valid().chars().chain(broken) {
                if self.log_text.len() + character.len_utf8() > most {
                    break 'line;
                }
                self.log_text.push(character);
            }
        }
        self.logs.push(LogSpan { level: Level::from_number(level), end: self.log_text.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_a_character() {
        let mut effects = Effects::default();
        let mut text = "x".repeat(LOG_LINE_MAX_BYTES - 1);
        text.push('é');
        effects.push_log(0, text.as_bytes());
        effects.push_log(9, b"a\xffb");
        let lines: Vec<_> = effects.logs().collect();
        assert_eq!(lines[0], LogLine { level: Level::Error, text: &text[..LOG_LINE_MAX_BYTES - 1] });
        assert_eq!(lines[1], LogLine { level: Level::Trace, text: "a\u{fffd}b" });
    }
}
