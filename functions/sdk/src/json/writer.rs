//! From fields to bytes.

use alloc::vec::Vec;

use super::number::{format, Text};
use super::text::escape;
use crate::error::Error;

/// Most decimals a number is written with.
pub const DECIMALS_MAX: usize = 15;
/// Room a document gets at first; most readings fit.
const ROOM_BYTES: usize = 256;

/// Writes an object, field by field.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
    failed: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An object without fields.
    pub fn new() -> Self {
        Self { out: Vec::with_capacity(ROOM_BYTES), failed: false }
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if self.out.is_empty() { b"{\"" } else { b",\"" });
        escape(&mut self.out, key);
        self.out.extend_from_slice(b"\":");
    }

    /// A string.
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.out.push(b'"');
        escape(&mut self.out, value);
        self.out.push(b'"');
        self
    }

    /// A number rounded to `decimals`, half away from zero, without trailing zeros. [`finish`](Self::finish) fails when
    /// it is not finite, when it has more than 15 digits that way, or with more than [`DECIMALS_MAX`] decimals.
    pub fn number(mut self, key: &str, value: f64, decimals: usize) -> Self {
        self.key(key);
        match format(value, decimals) {
            Some(text) if decimals <= DECIMALS_MAX => self.out.extend_from_slice(text.bytes()),
            _ => self.failed = true,
        }
        self
    }

    /// A whole number.
    pub fn integer(mut self, key: &str, value: i64) -> Self {
        self.key(key);
        self.out.extend_from_slice(Text::new(value < 0, value.unsigned_abs(), 0).bytes());
        self
    }

    /// `true` or `false`.
    pub fn boolean(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// A value that is JSON already, such as [`Value::raw`](super::Value::raw).
    pub fn raw(mut self, key: &str, json: &str) -> Self {
        self.key(key);
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// The document.
    ///
    /// # Errors
    /// [`Error::NOT_ENCODABLE`] when a number could not be written.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        if self.failed {
            return Err(Error::NOT_ENCODABLE);
        }
        self.out.extend_from_slice(if self.out.is_empty() { b"{}" } else { b"}" });
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field() {
        let inner = Writer::new().integer("min", i64::MIN).integer("max", i64::MAX).finish().unwrap();
        let out = Writer::new()
            .text("text", "a\"b\\c\n\u{1f}\u{e9}")
            .number("number", -1.25, 3)
            .boolean("yes", true)
            .boolean("no", false)
            .raw("inner", core::str::from_utf8(&inner).unwrap())
            .text("k\"", "");
        let out: serde_json::Value = serde_json::from_slice(&out.finish().unwrap()).unwrap();
        let expected = serde_json::json!({
            "text": "a\"b\\c\n\u{1f}\u{e9}", "number": -1.25, "yes": true, "no": false,
            "inner": { "min": i64::MIN, "max": i64::MAX }, "k\"": "",
        });
        assert_eq!(out, expected);
        assert_eq!(Writer::new().finish().unwrap(), b"{}");
    }

    #[test]
    fn a_number_that_json_lacks_fails_the_document() {
        assert_eq!(Writer::new().number("t", f64::NAN, 2).integer("n", 1).finish(), Err(Error::NOT_ENCODABLE));
        assert_eq!(Writer::new().number("t", 1.0, DECIMALS_MAX + 1).finish(), Err(Error::NOT_ENCODABLE));
    }
}
