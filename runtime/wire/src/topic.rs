//! MQTT topic names and topic filters (MQTT 5.0, section 4.7).

use core::fmt;

/// Longest topic name or filter Eyot handles. MQTT allows 65,535; a gateway has no use for them.
pub const TOPIC_MAX_BYTES: usize = 1024;
/// Most levels of one. MQTT has no limit; mosquitto closes the connection on more.
pub const TOPIC_LEVELS_MAX: usize = 201;

/// Why a topic name or filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No characters at all.
    Empty,
    /// Longer than [`TOPIC_MAX_BYTES`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Holds a control character or a Unicode noncharacter: MQTT forbids U+0000, and lets brokers close the connection on
    /// the others, which they do.
    ControlCharacter,
    /// Has more than [`TOPIC_LEVELS_MAX`] levels.
    TooDeep,
    /// A filter of a subscription that is shared with other clients: it would give away messages that others wait for.
    Shared,
    /// A topic name holds `+` or `#`.
    Wildcard,
    /// In a filter, `+` or `#` shares a level with other characters, or `#` is not the last level.
    MisplacedWildcard,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 1024 bytes",
            Self::NotUtf8 => "is not UTF-8",
            Self::ControlCharacter => "contains a control character or a noncharacter, on which brokers close the connection",
            Self::TooDeep => "has more than 201 levels, on which brokers close the connection",
            Self::Shared => "is a shared subscription ($share/...), which would take messages from others; subscribe to the topics behind its group",
            Self::Wildcard => "contains a wildcard (+ or #), which only a filter may",
            Self::MisplacedWildcard => {
                "has a misplaced wildcard: + and # stand alone in their level, # only at the end"
            }
        })
    }
}

impl core::error::Error for TopicError {}

fn common(bytes: &[u8]) -> Result<&str, TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > TOPIC_MAX_BYTES {
        return Err(TopicError::TooLong);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    if bytes.iter().filter(|byte| **byte == b'/').count() >= TOPIC_LEVELS_MAX {
        return Err(TopicError::TooDeep);
    }
    // Most topics are ASCII, and looking at bytes is quicker than at characters.
    let is_unsafe = match text.is_ascii() {
        true => bytes.iter().any(u8::is_ascii_control),
        false => text.chars().any(|c| c.is_control() || is_noncharacter(c)),
    };
    if is_unsafe {
        return Err(TopicError::ControlCharacter);
    }
    Ok(text)
}

/// Code points that Unicode keeps free of characters for ever.
const fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || c as u32 & 0xfffe == 0xfffe
}

/// Checks a topic name as it may be published to.
pub fn parse_topic(bytes: &[u8]) -> Result<&str, TopicError> {
    let text = common(bytes)?;
    if bytes.iter().any(|b| matches!(b, b'+' | b'#')) {
        return Err(TopicError::Wildcard);
    }
    Ok(text)
}

/// Checks a topic filter as it may be subscribed to.
pub fn parse_filter(bytes: &[u8]) -> Result<&str, TopicError> {
    let text = common(bytes)?;
    if text.starts_with("$share/") {
        return Err(TopicError::Shared);
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && level.len() != 1 || level == "#" && levels.peek().is_some() {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(text)
}

/// Whether `filter` (valid by [`parse_filter`]) selects `topic` (valid by [`parse_topic`]).
///
/// A wildcard in the first level does not match topics that begin with `$`, as MQTT demands.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        match (level, topic_levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether every topic that `narrow` selects is also selected by `wide`.
pub fn covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && !wide.starts_with('$') {
        return false;
    }
    let mut narrow_levels = narrow.split('/');
    for level in wide.split('/') {
        match (level, narrow_levels.next()) {
            ("#", _) => return true,
            (_, Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    narrow_levels.next().is_none()
}

/// Whether some topic is selected by both filters. The empty topic, which MQTT does not have, counts as one.
pub fn overlaps(a: &str, b: &str) -> bool {
    let hides = |filter: &str, other: &str| filter.starts_with(['+', '#']) && other.starts_with('$');
    if hides(a, b) || hides(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn topics_are_checked() {
        assert_eq!(parse_topic(b"a/b"), Ok("a/b"));
        assert_eq!(parse_topic(b""), Err(TopicError::Empty));
        assert_eq!(parse_topic(b"a/+"), Err(TopicError::Wildcard));
        for unsafe_one in ["a\0", "a\n", "\u{1f}", "a/\u{7f}", "\u{85}", "ü\u{1}", "\u{fdd0}", "\u{fffe}", "\u{10ffff}"]
        {
            assert_eq!(parse_topic(unsafe_one.as_bytes()), Err(TopicError::ControlCharacter), "{unsafe_one:?}");
            assert_eq!(parse_filter(unsafe_one.as_bytes()), Err(TopicError::ControlCharacter), "{unsafe_one:?}");
        }
        assert!(parse_topic("ü/\u{fdcf}/\u{fffd} ~".as_bytes()).is_ok());
        let deepest = "/".repeat(TOPIC_LEVELS_MAX - 1);
        assert_eq!(parse_topic(deepest.as_bytes()), Ok(deepest.as_str()));
        assert_eq!(parse_topic(format!("{deepest}/").as_bytes()), Err(TopicError::TooDeep));
        assert_eq!(parse_topic(b"\xff"), Err(TopicError::NotUtf8));
        assert_eq!(parse_topic(&vec![b'a'; TOPIC_MAX_BYTES + 1]), Err(TopicError::TooLong));
    }

    #[test]
    fn filters_are_checked() {
        for good in ["#", "+", "a/#", "+/b", "a/+/c", "/", "$SYS/#", "$shared"] {
            assert_eq!(parse_filter(good.as_bytes()), Ok(good));
        }
        for bad in ["$share/x/y", "$share/", "$share/g"] {
            assert_eq!(parse_filter(bad.as_bytes()), Err(TopicError::Shared), "{bad}");
        }
        for bad in ["a#", "a+/b", "#/a", "a/#/b", "++"] {
            assert_eq!(parse_filter(bad.as_bytes()), Err(TopicError::MisplacedWildcard), "{bad}");
        }
    }

    #[test]
    fn matching_follows_the_standard() {
        for (filter, topic, expected) in [
            ("sensors/+/raw", "sensors/7/raw", true),
            ("sensors/+/raw", "sensors/7/raw/x", false),
            ("sensors/#", "sensors", true),
            ("sensors/#", "sensors/a/b", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("+", "a/b", false),
            ("a/+", "a/", true),
            ("a", "a/", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn covering_is_matching_of_sets() {
        for (wide, narrow, expected) in [
            ("#", "a/+/c", true),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/+", "a/#", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/+", false),
            ("#", "$SYS/x", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }

    /// Every path of up to `depth` levels out of `first` and then `levels`.
    fn paths(first: &[&str], levels: &[&str], depth: usize) -> Vec<String> {
        let mut all: Vec<String> = first.iter().map(|level| (*level).to_owned()).collect();
        let mut longest = all.clone();
        for _ in 1..depth {
            longest =
                longest.iter().flat_map(|path| levels.iter().map(move |level| format!("{path}/{level}"))).collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    #[test]
    fn overlapping_is_to_have_a_topic_in_common() {
        let filters = paths(&["a", "b", "", "+", "#", "$a"], &["a", "", "+", "#"], 3);
        let filters: Vec<_> = filters.into_iter().filter(|f| parse_filter(f.as_bytes()).is_ok()).collect();
        // A level more than any filter has, and a name that none has.
        let topics = paths(&["a", "b", "c", "", "$a", "$c"], &["a", "c", ""], 4);
        let topics: Vec<_> = topics.into_iter().filter(|t| t.is_empty() || parse_topic(t.as_bytes()).is_ok()).collect();
        for one in &filters {
            let selected: Vec<_> = topics.iter().filter(|topic| matches(one, topic)).collect();
            for other in &filters {
                let common = selected.iter().find(|topic| matches(other, topic));
                assert_eq!(overlaps(one, other), common.is_some(), "{one} {other} {common:?}");
            }
        }
        assert!(filters.len() > 80 && topics.len() > 200);
    }
}
