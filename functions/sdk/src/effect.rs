//! What a handler does to the world, and the two inputs that look like effects: arrival time and random bytes.

use alloc::string::ToString;
use core::fmt;

use crate::error::Error;
use crate::host;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// The function cannot do its work.
    Error = 0,
    /// Something is off, and the function goes on.
    Warn = 1,
    /// Worth knowing.
    Info = 2,
    /// For the author.
    Debug = 3,
    /// For the author, in every message.
    Trace = 4,
}

/// Publishes `payload` to `topic` once the message is committed.
///
/// # Errors
/// [`Error::NOT_ALLOWED`] when no filter of `allow.emit` in the manifest matches, [`Error::OVER_LIMIT`] when all emits
/// of the message together exceed `limits.output`, [`Error::BAD_POINTER`] when `topic` is not a topic name.
pub fn emit(topic: &str, payload: &[u8]) -> Result<(), Error> {
    Error::check(host::emit(topic, payload)).map(|_| ())
}

/// When the message arrived, in milliseconds since 1970-01-01 00:00 UTC. The same all through one message.
pub fn now_ms() -> i64 {
    host::now_ms()
}

/// Fills `out` with random bytes. They are recorded with the message, so that a replay sees the same ones.
///
/// # Errors
/// [`Error::NOT_ALLOWED`] while the function starts.
pub fn random(out: &mut [u8]) -> Result<(), Error> {
    Error::check(host::random(out)).map(|_| ())
}

/// What [`log!`](crate::log) expands to.
#[doc(hidden)]
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    match text.as_str() {
        Some(text) => host::log(level as i32, text),
        None => host::log(level as i32, &text.to_string()),
    }
}

/// Writes a line to the function's log, at [`Level::Info`] or the level given first. Rate-limited by the gateway, cut
/// at 1 KiB.
/// ```
/// use eyot_sdk::prelude::*;
/// log!("started");
/// log!(Level::Warn, "{} readings in {} ms", 3, 20);
/// ```
#[macro_export]
macro_rules! log {
    ($text:literal $($rest:tt)*) => {
        $crate::effect::log($crate::effect::Level::Info, ::core::format_args!($text $($rest)*))
    };
    ($level:expr, $($text:tt)+) => {
        $crate::effect::log($level, ::core::format_args!($($text)+))
    };
}
