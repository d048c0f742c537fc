//! Values that outlive the message, under keys of at most 256 bytes.
//!
//! Changes happen when the message is committed, together with its outputs. Two messages whose order matters must have
//! the same topic: only then does one see the state the other left.

use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::error::Error;
use crate::host;

/// Room a value gets at first; longer ones are asked for again.
const VALUE_MIN_BYTES: usize = 128;

/// The value under `key`, if there is one.
///
/// # Errors
/// [`Error::BAD_STATE`] when it is not a `T`, [`Error::OVER_LIMIT`] when `key` is too long, [`Error::NOT_ALLOWED`] while
/// the function starts.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    match get_bytes(key)? {
        Some(bytes) => postcard::from_bytes(&bytes).map(Some).map_err(|_| Error::BAD_STATE),
        None => Ok(None),
    }
}

/// Keeps `value` under `key`.
///
/// # Errors
/// [`Error::OVER_LIMIT`] when the state would exceed `limits.state` of the manifest or `key` is too long,
/// [`Error::NOT_ENCODABLE`] when `value` has a part that postcard cannot encode, [`Error::NOT_ALLOWED`] while the
/// function starts.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    set_bytes(key, &postcard::to_allocvec(value).map_err(|_| Error::NOT_ENCODABLE)?)
}

/// Like [`get`], without a format.
///
/// # Errors
/// Those of [`get`] but for [`Error::BAD_STATE`].
pub fn get_bytes(key: &str) -> Result<Option<Vec<u8>>, Error> {
    read(VALUE_MIN_BYTES, |out| host::state_get(key, out))
}

/// Like [`set`], without a format.
///
/// # Errors
/// Those of [`set`] but for [`Error::NOT_ENCODABLE`].
pub fn set_bytes(key: &str, value: &[u8]) -> Result<(), Error> {
    Error::check(host::state_set(key, value)).map(|_| ())
}

/// Forgets `key`; answers whether it was there.
///
/// # Errors
/// [`Error::OVER_LIMIT`] when `key` is too long, [`Error::NOT_ALLOWED`] while the function starts.
pub fn delete(key: &str) -> Result<bool, Error> {
    match Error::check(host::state_delete(key)) {
        Ok(_) => Ok(true),
        Err(Error::NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs a call that copies a value of unknown length, twice if it is longer than `room_bytes`.
pub(crate) fn read(room_bytes: usize, mut call: impl FnMut(&mut [u8]) -> i32) -> Result<Option<Vec<u8>>, Error> {
    let mut out = alloc::vec![0; room_bytes];
    loop {
        match Error::check(call(&mut out)) {
            Ok(len) if len <= out.len() => {
                out.truncate(len);
                return Ok(Some(out));
            }
            Ok(len) => out.resize(len, 0),
            Err(Error::NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
