//! What the function emits, and what becomes of a message it fails on, as a destination reads it.

use base64::prelude::{Engine as _, BASE64_STANDARD};

/// One output: part of what one message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The sensor of the message.
    pub topic: u32,
    /// The message's number there.
    pub number: u64,
    /// Version of the function that made it.
    pub version: u8,
    /// `a`, `b` or `c`, or [`Output::DEAD`].
    pub part: u8,
}

impl Output {
    /// The part of a dead letter.
    pub const DEAD: u8 = b'D';

    /// Reads a payload: `<topic>:<number>/<version><part>`, or a dead letter about a message `<topic>:<number>`.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        if text.starts_with('{') {
            let version = after(text, "\"version\":\"")?.bytes().next()?;
            let message = BASE64_STANDARD.decode(after(text, "\"payload_base64\":\"")?.split('"').next()?).ok()?;
            let (topic, number) = message_of(std::str::from_utf8(&message).ok()?)?;
            return Some(Self { topic, number, version: version.checked_sub(b'0')?, part: Self::DEAD });
        }
        let (message, made) = text.split_once('/')?;
        let (topic, number) = message_of(message)?;
        let [version, part] = *made.as_bytes() else { return None };
        Some(Self { topic, number, version: version.checked_sub(b'0')?, part })
    }

    /// A bit for each part.
    pub fn bit(part: u8) -> u8 {
        match part {
            Self::DEAD => 8,
            letter => 1 << (letter - b'a'),
        }
    }
}

fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, rest)| rest)
}

/// Topic and number of a message's payload.
pub fn message_of(text: &str) -> Option<(u32, u64)> {
    let (topic, number) = text.split_once(':')?;
    Some((topic.parse().ok()?, number.parse().ok()?))
}
