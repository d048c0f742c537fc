//! MQTT topic names and topic filters (MQTT 5.0, section 4.7).

use core::fmt;

/// Longest topic name or filter Eyot handles. MQTT allows 65,535; a gateway has no use for them.
pub const TOPIC_MAX_BYTES: usize = 1024;

/// Why a topic name or filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No characters at all.
    Empty,
    /// Longer than [`TOPIC_MAX_BYTES`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Holds U+0000.
    Nul,
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
            Self::Nul => "contains a NUL character",
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
    if bytes.contains(&0) {
        return Err(TopicError::Nul);
    }
    Ok(text)
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
        assert_eq!(parse_topic(b"a\0"), Err(TopicError::Nul));
        assert_eq!(parse_topic(b"\xff"), Err(TopicError::NotUtf8));
        assert_eq!(parse_topic(&vec![b'a'; TOPIC_MAX_BYTES + 1]), Err(TopicError::TooLong));
    }

    #[test]
    fn filters_are_checked() {
        for good in ["#", "+", "a/#", "+/b", "a/+/c", "/", "$share/x/y"] {
            assert_eq!(parse_filter(good.as_bytes()), Ok(good));
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
