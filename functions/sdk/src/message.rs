//! The message a handler is given.

use crate::error::Error;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The topic it was published to.
    pub topic: &'a str,
    /// Its body, at most 256 KiB.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Level `index` of the topic, counted from 0: level 1 of `sensors/barn-7/raw` is `barn-7`.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when the topic has fewer levels.
    pub fn level(&self, index: usize) -> Result<&'a str, Error> {
        // By bytes: a quarter of the code that `str::split` takes.
        let mut slashes = self.topic.bytes().enumerate().filter(|&(_, byte)| byte == b'/').map(|(at, _)| at);
        let start = match index.checked_sub(1) {
            Some(before) => slashes.nth(before).ok_or(Error::MALFORMED)? + 1,
            None => 0,
        };
        let end = slashes.next().unwrap_or(self.topic.len());
        self.topic.get(start..end).ok_or(Error::MALFORMED)
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Error> {
        core::str::from_utf8(self.payload).map_err(|_| Error::MALFORMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_stands_between_slashes() {
        for topic in ["a/b/c", "a", "/a//b/", "/", "caf\u{e9}/x"] {
            let msg = Message { topic, payload: b"" };
            let levels: Vec<_> = topic.split('/').collect();
            for index in 0..levels.len() + 2 {
                assert_eq!(msg.level(index).ok(), levels.get(index).copied(), "{topic} {index}");
            }
        }
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(Message { topic: "t", payload: "\u{e9}".as_bytes() }.text(), Ok("\u{e9}"));
        assert_eq!(Message { topic: "t", payload: b"\xff" }.text(), Err(Error::MALFORMED));
    }
}
