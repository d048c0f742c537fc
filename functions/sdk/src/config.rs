//! Settings: `[config]` of the manifest, overridden by the gateway.
//!
//! They change only with a new start of the function, so read them in its `init`, see [`function!`](crate::function).

use alloc::string::String;

use crate::error::Error;
use crate::{host, json, state};

/// Room a value gets at first; longer ones are asked for again.
const VALUE_MIN_BYTES: usize = 32;

/// The value of `key`, if it has one.
///
/// # Errors
/// [`Error::OVER_LIMIT`] when `key` is longer than 256 bytes.
pub fn get(key: &str) -> Result<Option<String>, Error> {
    match state::read(VALUE_MIN_BYTES, |out| host::config_get(key, out))? {
        Some(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| Error::BAD_CONFIG),
        None => Ok(None),
    }
}

/// The value of `key` as a number, or `default` when it has none.
///
/// # Errors
/// [`Error::BAD_CONFIG`] when the value is not a number as JSON writes them, [`Error::OVER_LIMIT`] when `key` is longer
/// than 256 bytes.
pub fn number(key: &str, default: f64) -> Result<f64, Error> {
    match get(key)? {
        Some(text) => json::parse(text.as_bytes()).map_err(|_| Error::BAD_CONFIG),
        None => Ok(default),
    }
}
