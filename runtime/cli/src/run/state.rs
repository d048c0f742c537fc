//! A function's state as a JSON file: one object, keys and values as text, or as `base64:…` where they are not text.

use std::collections::BTreeMap;
use std::path::Path;

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_engine::State;

use crate::error::Error;
use crate::file;
use crate::output::BASE64_PREFIX;

/// Largest state file: the largest state there is, with room for escapes.
const FILE_MAX_BYTES: usize = 8 << 20;

/// Reads a state; a file that does not exist is an empty one.
///
/// # Errors
/// The file cannot be read, or is not such an object.
pub fn read(path: &Path) -> Result<State, Error> {
    let mut state = State::default();
    if !path.exists() {
        return Ok(state);
    }
    let bytes = file::read(path, FILE_MAX_BYTES)?;
    let entries: BTreeMap<String, String> = serde_json::from_slice(&bytes).map_err(|e| malformed(path, e))?;
    for (key, value) in entries {
        let decoded = |text: &str| decode(text).map_err(|e| malformed(path, format_args!("key {key:?}: {e}")));
        state.set(&decoded(&key)?, &decoded(&value)?);
    }
    Ok(state)
}

fn malformed(path: &Path, reason: impl std::fmt::Display) -> Error {
    let remedy =
        "a state is one JSON object with text as values, \"base64:…\" for other bytes; correct or remove the file";
    Error::bad_input(path.display(), reason, remedy)
}

/// Writes a state, with sorted keys, one to a line.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, state: &State) -> Result<(), Error> {
    let entries: BTreeMap<_, _> = state.iter().map(|(key, value)| (encode(key), encode(value))).collect();
    let mut text = serde_json::to_vec_pretty(&entries).map_err(|e| {
        Error::failed(path.display(), format_args!("cannot be written: {e}"), "report this as a fault of eyot")
    })?;
    text.push(b'\n');
    file::write_atomically(path, &text)
}

/// Bytes as text.
pub fn encode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(BASE64_PREFIX) => text.to_owned(),
        _ => format!("{BASE64_PREFIX}{}", BASE64_STANDARD.encode(bytes)),
    }
}

/// What [`encode`] wrote.
pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    match text.strip_prefix(BASE64_PREFIX) {
        Some(encoded) => BASE64_STANDARD.decode(encoded),
        None => Ok(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        for bytes in [&b""[..], b"text", "\u{1f600}\0\n\"".as_bytes(), b"\xff\xfe", b"base64:", b"base64:AAA="] {
            assert_eq!(decode(&encode(bytes)).unwrap(), bytes, "{bytes:?}");
        }
        assert_eq!(encode(b"21.5"), "21.5");
        assert!(decode("base64:?").is_err());
    }
}
