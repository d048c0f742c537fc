//! JSON objects, field by field: small enough for a microcontroller, fast enough for an interpreter.
//!
//! Measured on the example `celsius`, in wasmi: 17 KB and 2.1 us a message. With serde-json-core and `f32` fields it
//! was 66 KB and 4.2 us, most of that for the last digit of any float; picojson took 5.5 us for the reading alone.
//! Where that does not matter, `serde_json_core::from_slice(msg.payload)` works in a function too.
//! ```
//! use eyot_sdk::prelude::*;
//!
//! fn double(document: &[u8]) -> Result<Vec<u8>, Error> {
//!     let mut t = None;
//!     let mut fields = json::object(document)?;
//!     while let Some((key, value)) = fields.next()? {
//!         if key == "t" {
//!             t = Some(value.number()?);
//!         }
//!     }
//!     json::Writer::new().number("t", 2.0 * t.ok_or(Error::MALFORMED)?, 2).finish()
//! }
//! assert_eq!(double(br#"{"id": "a", "t": 20.125}"#), Ok(br#"{"t":40.25}"#.to_vec()));
//! ```

mod number;
mod reader;
mod text;
mod writer;

pub(crate) use number::parse as parse_number;
pub use reader::{object, Object, Value, DEPTH_MAX};
pub use writer::{Writer, DECIMALS_MAX};

#[cfg(test)]
mod tests;
