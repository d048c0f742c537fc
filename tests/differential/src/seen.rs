//! What can be seen of a message, and how it is compared.

use std::collections::BTreeMap;

/// One message, the same for both.
#[derive(Clone, Debug)]
pub struct Message {
    pub payload: Vec<u8>,
    pub now_ms: i64,
    pub seed: u64,
}

pub const TOPIC: &str = "in/a";
pub const CONFIG: [(&str, &str); 2] = [("unit", "celsius"), ("key", "value of key")];

/// What both are limited by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory_bytes: u64,
    pub output_bytes: u64,
    pub state_bytes: u64,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// With 0, after which the memory has this size, and whether `random` was called.
    Done { memory_bytes: usize, random_used: bool },
    /// With another number.
    Code(i32),
    /// With one of the traps of the WebAssembly specification, by wasmi's words for it.
    Trap(String),
    /// For want of memory.
    Memory,
    /// The allocator's block is not in memory.
    BadAlloc,
    /// Nested calls were too deep, or had too many values. How deep is too deep each runtime decides for itself.
    Stack,
    /// Fuel, of which there is more than any of the functions uses.
    Fuel,
}

/// A message's effects, and the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub end: End,
    pub emits: Vec<(String, Vec<u8>)>,
    /// The last one of each key, in the order they were made.
    pub state_ops: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub logs: Vec<(u8, String)>,
    pub logs_dropped: u32,
    /// Not allowed, malformed, over a limit.
    pub refused: [u32; 3],
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// How loading ended, if not with a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The module is not valid.
    Invalid(String),
    /// A segment does not fit.
    Instantiate,
    /// `eyot_abi` or `eyot_init` ended so.
    Start(End),
    /// Over a limit, or without a feature, that only our engine has.
    Ours(String),
}
