//! From bytes to fields.

use alloc::borrow::Cow;

use super::number::{scan, Decimal};
use super::text::unescape;
use crate::error::Error;

/// Deepest nesting of objects and arrays that is read.
pub const DEPTH_MAX: usize = 16;

/// Starts reading a document that is an object.
///
/// # Errors
/// [`Error::MALFORMED`] when it is not UTF-8, or does not start as an object.
pub fn object(document: &[u8]) -> Result<Object<'_>, Error> {
    let text = core::str::from_utf8(document).map_err(|_| Error::MALFORMED)?;
    let mut cursor = Cursor { text, at: 0 };
    cursor.space();
    cursor.expect(b'{')?;
    Ok(Object { cursor, entries: 0, depth: 0 })
}

/// The fields of an object, in the order they were written.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    cursor: Cursor<'a>,
    entries: usize,
    depth: usize,
}

impl<'a> Object<'a> {
    /// The next field; `None` at the end of the object. Keys are as they are written, escapes not undone. A document is
    /// known to be well-formed only once its end was reached.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when the document is no JSON, or is nested deeper than [`DEPTH_MAX`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(&'a str, Value<'a>)>, Error> {
        if !self.cursor.more(b'}', self.entries)? {
            if self.depth == 0 {
                self.cursor.space();
                self.cursor.end()?;
            }
            return Ok(None);
        }
        self.entries += 1;
        let key = self.cursor.string()?;
        self.cursor.space();
        self.cursor.expect(b':')?;
        let value = self.cursor.value(self.depth + 1)?;
        Ok(Some((key, value)))
    }
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    raw: &'a str,
    kind: Kind,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Null,
    Bool(bool),
    Number(Decimal),
    Text,
    Array,
    Object,
}

impl<'a> Value<'a> {
    /// The value as it is written in the document.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else.
    pub fn boolean(&self) -> Result<bool, Error> {
        match self.kind {
            Kind::Bool(value) => Ok(value),
            _ => Err(Error::MALFORMED),
        }
    }

    /// A number: exact for up to 15 digits and exponents up to 22, otherwise the last bits may be off.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else, or too large for an `f64`.
    pub fn number(&self) -> Result<f64, Error> {
        match self.kind {
            Kind::Number(number) => number.to_f64().ok_or(Error::MALFORMED),
            _ => Err(Error::MALFORMED),
        }
    }

    /// A whole number, written without point and exponent.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else, or beyond `i64`.
    pub fn integer(&self) -> Result<i64, Error> {
        match self.kind {
            Kind::Number(number) => number.to_i64().ok_or(Error::MALFORMED),
            _ => Err(Error::MALFORMED),
        }
    }

    /// A string, escapes undone.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else, or has half of a surrogate pair.
    pub fn text(&self) -> Result<Cow<'a, str>, Error> {
        match (self.kind, self.raw.get(1..self.raw.len() - 1)) {
            (Kind::Text, Some(text)) => unescape(text).ok_or(Error::MALFORMED),
            _ => Err(Error::MALFORMED),
        }
    }

    /// An object within the object.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else.
    pub fn object(&self) -> Result<Object<'a>, Error> {
        match self.kind {
            Kind::Object => Ok(Object { cursor: Cursor { text: self.raw, at: 1 }, entries: 0, depth: self.depth }),
            _ => Err(Error::MALFORMED),
        }
    }

    /// Calls `each` with the elements of an array.
    ///
    /// # Errors
    /// [`Error::MALFORMED`] when it is something else; the first error of `each`.
    pub fn elements(&self, mut each: impl FnMut(Value<'a>) -> Result<(), Error>) -> Result<(), Error> {
        if !matches!(self.kind, Kind::Array) {
            return Err(Error::MALFORMED);
        }
        let mut cursor = Cursor { text: self.raw, at: 1 };
        let mut entries = 0;
        while cursor.more(b']', entries)? {
            entries += 1;
            each(cursor.value(self.depth + 1)?)?;
        }
        Ok(())
    }
}

/// A place in a document.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::MALFORMED);
        }
        self.at += 1;
        Ok(())
    }

    fn end(&self) -> Result<(), Error> {
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(Error::MALFORMED)
        }
    }

    fn since(&self, start: usize) -> Result<&'a str, Error> {
        self.text.get(start..self.at).ok_or(Error::MALFORMED)
    }

    /// Steps over the comma between entries to the next one, or over `close`.
    fn more(&mut self, close: u8, entries: usize) -> Result<bool, Error> {
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if entries > 0 {
            self.expect(b',')?;
            self.space();
        }
        Ok(true)
    }

    /// What stands between quotes, as it is written.
    fn string(&mut self) -> Result<&'a str, Error> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(b' '..) => self.at += 1,
                _ => return Err(Error::MALFORMED),
            }
        }
        let text = self.since(start);
        self.at += 1;
        text
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => {
                self.string()?;
                Kind::Text
            }
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = scan(self.text.as_bytes(), start).ok_or(Error::MALFORMED)?;
                self.at = end;
                Kind::Number(number)
            }
            Some(b'{' | b'[') => self.nested(depth)?,
            Some(b't') => self.word("true", Kind::Bool(true))?,
            Some(b'f') => self.word("false", Kind::Bool(false))?,
            _ => self.word("null", Kind::Null)?,
        };
        Ok(Value { raw: self.since(start)?, kind, depth })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, Error> {
        let start = self.at;
        self.at += word.len();
        if self.since(start)? == word {
            Ok(kind)
        } else {
            Err(Error::MALFORMED)
        }
    }

    /// Steps over an object or an array.
    fn nested(&mut self, depth: usize) -> Result<Kind, Error> {
        if depth >= DEPTH_MAX {
            return Err(Error::MALFORMED);
        }
        let is_array = self.peek() == Some(b'[');
        self.at += 1;
        let mut entries = 0;
        while self.more(if is_array { b']' } else { b'}' }, entries)? {
            entries += 1;
            if !is_array {
                self.string()?;
                self.space();
                self.expect(b':')?;
            }
            self.value(depth + 1)?;
        }
        Ok(if is_array { Kind::Array } else { Kind::Object })
    }
}
