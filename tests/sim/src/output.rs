//! What the function emits, and what becomes of a message it fails on, as a destination reads it.

use base64::prelude::{Engine as _, BASE64_STANDARD};

use crate::force;
use crate::guest::FIRST_VERSION;

/// One output: part of what one message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The sensor of the message.
    pub topic: u32,
    /// The message's number there.
    pub number: u64,
    /// Version of the function that made it.
    pub version: u8,
    /// `a`, `b` or `c`, or [`Output::EXTRA`], [`Output::DEAD`], [`Output::REFUSED`] or [`Output::DOWN`].
    pub part: u8,
    /// The function was run on the message, and failed; no other dead letter says that.
    pub has_failed: bool,
}

impl Output {
    /// The part of a dead letter.
    pub const DEAD: u8 = b'D';

    /// The part of a dead letter about an output that was refused.
    pub const REFUSED: u8 = b'R';

    /// The part that the function emits that comes and goes.
    pub const EXTRA: u8 = b'e';

    /// The part of what came down from the cloud.
    pub const DOWN: u8 = b'd';

    /// Reads a payload: `<topic>:<number>/<version><part>`, or a dead letter about a message `<topic>:<number>`, or about
    /// an output.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        if is_letter(payload) {
            let message = BASE64_STANDARD.decode(after(text, "\"payload_base64\":\"")?.split('"').next()?).ok()?;
            if refused(payload).is_some() {
                return Self::parse(&message).map(|output| Self { part: Self::REFUSED, ..output });
            }
            let version = force::number(after(text, "\"version\":\"")?);
            let (topic, number) = message_of(std::str::from_utf8(&message).ok()?)?;
            let has_failed = !text.contains("\"reason\":\"quarantined\"");
            return Some(Self { topic, number, version, part: Self::DEAD, has_failed });
        }
        // Of all outputs, these are most of what a history sees.
        let [message @ .., b'/', version, part] = payload else { return None };
        let (topic, number) = message_of(text.get(..message.len())?)?;
        let (version, part) = (*version, *part);
        Some(Self { topic, number, version: version.checked_sub(FIRST_VERSION)?, part, has_failed: false })
    }

    /// A bit for each part.
    pub fn bit(part: u8) -> u8 {
        match part {
            Self::DEAD => 8,
            Self::DOWN => 16,
            Self::EXTRA => 32,
            letter => 1 << (letter - b'a'),
        }
    }
}

/// Epoch and number of the output that a dead letter is about; none of other payloads.
pub fn refused(payload: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(payload).ok().filter(|_| is_letter(payload))?;
    let text = Some(text).filter(|text| text.contains("\"reason\":\"refused\""))?;
    let number = |key| after(text, key)?.split(',').next()?.parse().ok();
    Some((number("\"epoch\":")?, number("\"seq\":")?))
}

/// Dead letters are documents, and nothing else is.
fn is_letter(payload: &[u8]) -> bool {
    payload.first() == Some(&b'{')
}

fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, rest)| rest)
}

/// Topic, which is one digit, and number of a message's payload.
pub fn message_of(text: &str) -> Option<(u32, u64)> {
    let (topic, number) = text.split_at_checked(1).and_then(|(topic, rest)| Some((topic, rest.strip_prefix(':')?)))?;
    Some((topic.parse().ok()?, number.parse().ok()?))
}
