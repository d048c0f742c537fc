//! Codes: what a host call answers a function, why an invocation fails, why a message is dropped.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a host call answers instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum HostError {
    /// No such key.
    NotFound = -1,
    /// The manifest does not permit it.
    NotAllowed = -2,
    /// A limit of the manifest or of the gateway would be exceeded.
    OverLimit = -3,
    /// A pointer outside memory, or bytes that are not UTF-8 or not a topic.
    BadPointer = -4,
}

impl HostError {
    /// The value the function sees.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// Why one invocation came to nothing. None of its effects happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// `eyot_handle` returned this non-zero value.
    Code(i32),
    /// The module trapped; the text names the trap.
    Trap(String),
    /// All fuel was used.
    Fuel,
    /// `eyot_alloc` returned 0, or memory could not grow.
    Memory,
    /// `eyot_alloc` returned a block that is not inside memory.
    BadAlloc,
    /// The message is larger than the function may be given.
    PayloadTooLarge,
    /// It ran longer than its deadline. The only failure that another machine, or another day, need not reproduce.
    Deadline,
    /// It failed on those before, and was not run.
    Quarantined,
}

impl Failure {
    /// The function's own error code, if that is what it failed with.
    pub const fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            _ => None,
        }
    }

    /// One word, stable, for dead letters, the ledger and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Code(_) => "error",
            Self::Trap(_) => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::BadAlloc => "bad-alloc",
            Self::PayloadTooLarge => "payload-too-large",
            Self::Deadline => "deadline",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => match sdk_error(*code) {
                Some(meaning) => write!(f, "eyot_handle returned error code {code} ({meaning}, in the Rust SDK)"),
                None => write!(f, "eyot_handle returned error code {code}"),
            },
            Self::Trap(text) => write!(f, "trap: {text}"),
            Self::Fuel => f.write_str("out of fuel"),
            Self::Memory => f.write_str("out of memory"),
            Self::BadAlloc => f.write_str("eyot_alloc returned a block outside of memory"),
            Self::PayloadTooLarge => f.write_str("payload is larger than a function may be given"),
            Self::Deadline => f.write_str("ran longer than its deadline"),
            Self::Quarantined => f.write_str("not run, because the function failed on the messages before"),
        }
    }
}

impl core::error::Error for Failure {}

/// What the Rust SDK means by an error code. A function without it may mean anything else.
pub const fn sdk_error(code: i32) -> Option<&'static str> {
    Some(match code {
        1 => "malformed payload",
        2 => "state has another format",
        3 => "malformed configuration value",
        4 => "value cannot be encoded",
        -1 => "not found",
        -2 => "not allowed",
        -3 => "over a limit",
        -4 => "not UTF-8 or not a topic",
        _ => return None,
    })
}

/// Why a message, or an output, was given up. Every drop is counted under one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum DropReason {
    /// A function failed on it; it went to the dead letters.
    DeadLetter = 0,
    /// No function's trigger matches its topic, nor does a `down` filter of the uplink it came from.
    NoFunction = 1,
    /// QoS 0, and the intake was full.
    IntakeFull = 2,
    /// The spool was full and `when_full = "drop-newest"`.
    SpoolFullNewest = 3,
    /// The spool was full and `when_full = "drop-oldest"` made room.
    SpoolFullOldest = 4,
    /// Topic is invalid, or topic or payload is over the limit.
    Malformed = 5,
    /// The destination refused it for good (for example not authorised, or packet too large).
    Refused = 6,
    /// The log held it but could not be read back.
    Corrupt = 7,
    /// Its uplink was removed from the configuration.
    UplinkRemoved = 8,
    /// It was older than its uplink's `ttl`.
    Expired = 9,
    /// So much waited for its uplink that `max_backlog` was reached.
    UplinkFull = 10,
    /// A reducer made less of the backlog, before there was no room for it.
    Reduced = 11,
    /// As many messages as may had come of one: functions wake each other, or themselves, in a circle.
    Loop = 12,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::DeadLetter,
        Self::NoFunction,
        Self::IntakeFull,
        Self::SpoolFullNewest,
        Self::SpoolFullOldest,
        Self::Malformed,
        Self::Refused,
        Self::Corrupt,
        Self::UplinkRemoved,
        Self::Expired,
        Self::UplinkFull,
        Self::Reduced,
        Self::Loop,
    ];

    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// One word, stable, for status, logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead_letter",
            Self::NoFunction => "no_function",
            Self::IntakeFull => "intake_full",
            Self::SpoolFullNewest => "spool_full_newest",
            Self::SpoolFullOldest => "spool_full_oldest",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Corrupt => "corrupt",
            Self::UplinkRemoved => "uplink_removed",
            Self::Expired => "expired",
            Self::UplinkFull => "uplink_full",
            Self::Reduced => "reduced",
            Self::Loop => "loop",
        }
    }
}
