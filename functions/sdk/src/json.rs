//! JSON payloads to and from the function's own types, by `serde_json` without its `std`.
//! ```
//! use eyot_sdk::prelude::*;
//!
//! #[derive(Deserialize, Serialize)]
//! struct Reading {
//!     id: String,
//!     t: f64,
//! }
//!
//! fn double(document: &[u8]) -> Result<Vec<u8>, Error> {
//!     let mut reading: Reading = json::parse(document)?;
//!     reading.t *= 2.0;
//!     json::to_vec(&reading)
//! }
//! assert_eq!(double(br#"{"unit": "C", "t": 20.125, "id": "a\n"}"#), Ok(br#"{"id":"a\n","t":40.25}"#.to_vec()));
//! ```
//! What to know:
//! - Fields that the type does not name are skipped; one that comes twice, or is missing and no `Option`, is an error.
//! - A field of type `&str` costs no copy and refuses text with escapes; `String` takes any text, and so does
//!   `Cow<str>` with `#[serde(borrow)]`.
//! - Numbers are exact up to 15 digits and exponents up to 22; beyond, the last bit of an `f64` may differ. One that is
//!   too large for its type is an error; `null` is no number.
//! - An `f64` is written with as many digits as it takes to read the same one again: 21 is `21.0`, 0.1 + 0.2 is
//!   `0.30000000000000004`. NaN and the infinities are written as `null`.
//! - What is skipped may be nested as deep as it likes: it costs fuel and a byte of memory a level, no stack. Types are
//!   read up to 128 levels deep; one that contains itself runs out of 8 KiB of stack earlier, and the function traps.
//!
//! Measured on the example `celsius`: 77 KB, and 2.6 us a message in wasmi; a parser by hand was 17 KB and 2.1 us.
//! serde-json-core was 17 % smaller and 1.5 times as slow, left escapes undone, read `null` as NaN and skipped what is no
//! JSON. `f32` saves a twentieth of the time and nothing of the size. With `opt-level = "s"` the module is a third
//! smaller and 1.3 times as slow; `opt-level = 2` is no different from 3.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::effect;
use crate::error::Error;

/// Reads a document: `let reading: Reading = json::parse(msg.payload)?`.
///
/// # Errors
/// [`Error::MALFORMED`] when it is no JSON, or not that of a `T`.
pub fn parse<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(document).map_err(|_| Error::MALFORMED)
}

/// Writes a document, without spaces, fields in the order of the type.
///
/// # Errors
/// [`Error::NOT_ENCODABLE`] when `value` has what JSON lacks, such as a map whose keys are no text.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|_| Error::NOT_ENCODABLE)
}

/// Publishes `value` as a document to `topic` once the message is committed.
///
/// # Errors
/// Those of [`to_vec`] and of [`emit`](effect::emit).
pub fn emit<T: Serialize + ?Sized>(topic: &str, value: &T) -> Result<(), Error> {
    effect::emit(topic, &to_vec(value)?)
}
