//! The link between a gateway and a node: what they say to each other over a serial line, version 1.
//!
//! The line loses, breaks and invents bytes, and either end may start anew at any time; nothing else is below. So each
//! message is a line of its own, see [`line`]: it is whole or it is nothing.
//!
//! - **Sessions.** A node that has just started has session 0. It says [`Hello`] about once a second until it is answered
//!   [`ToNode::Welcome`], with a session that is its own from then on, over any number of connections, until it starts anew.
//! - **Readings** are numbered from 1 in each session, without gaps, and sent in order, at most [`WINDOW`] ahead of the last
//!   acknowledgement. A gateway takes the next one or one it has had, and nothing else; it acknowledges what is durable, up to
//!   a number. What stays unacknowledged for a while is sent again, from the first on. So nothing that was acknowledged is
//!   lost, and what a gateway took but did not acknowledge before it started anew comes twice.
//! - **Resuming.** [`Hello::first`] is the oldest number that the node still has. A gateway that knows the session answers
//!   how far it had come; the node then forgets what it need not send again.
//! - **Time** comes with the welcome and now and then; until then a node counts from its start. [`Reading::age_ms`] needs no
//!   clock that is set.
//! - **Modules** go to a node in chunks: [`ToNode::Begin`], then each [`ToNode::Chunk`] that the node asks for with
//!   [`Install::Wants`], until it says [`Install::Done`] or [`Install::Refused`]. [`ToNode::Remove`] leaves it without one.
//! - **The node's own program** goes in the same way behind [`ToNode::BeginProgram`], which is said until it is answered: once
//!   all of it is there the node starts anew with it, and says [`Install::Done`] when it keeps it. A node of before there was
//!   this message says nothing to it.
//!
//! Encoding: postcard. Integers are varints, text and bytes are length-prefixed, a variant is its number in the order below.
//! Variants are only ever added at the end; anything else is a new version.

use serde::{Deserialize, Serialize};

pub mod line;

pub use line::{encode, Body, Line, LineError, FRAME_MAX_BYTES, LINE_MAX_BYTES, VERSION};

/// Readings that may be on their way without an acknowledgement.
pub const WINDOW: u32 = 16;
/// Topic and payload of one reading, together.
pub const READING_MAX_BYTES: usize = 512;
/// Bytes of a module in one chunk.
pub const CHUNK_MAX_BYTES: usize = 512;
/// Text of a log line, or of a reason, on the link.
pub const TEXT_MAX_BYTES: usize = 256;
/// What either end waits for a sign of life from the other before it takes the link for broken, in milliseconds.
pub const SILENCE_MAX_MS: u32 = 15_000;

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNode<'a> {
    /// Who it is; see [`Hello`].
    #[serde(borrow)]
    Hello(Hello<'a>),
    /// One of its outputs.
    #[serde(borrow)]
    Reading(Reading<'a>),
    /// How it is.
    Status(Status),
    /// A line its function logged.
    Log {
        /// 0 error … 4 trace.
        level: u8,
        /// At most [`TEXT_MAX_BYTES`].
        text: &'a str,
    },
    /// How the installation of a module goes.
    #[serde(borrow)]
    Install(Install<'a>),
}

/// What a node says of itself until it is welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Its session; 0 if it has started anew.
    pub session: u32,
    /// Number of the oldest reading it still has, or else of the next one.
    pub first: u32,
    /// Its program, for people: name and version.
    pub program: &'a str,
    /// Largest module it has room for, in bytes.
    pub module_max_bytes: u32,
    /// SHA-256 of the module of its function, if it has one.
    pub function: Option<[u8; 32]>,
}

/// An output of a node's function, or a sample that no function is triggered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading<'a> {
    /// Its session.
    pub session: u32,
    /// Its number.
    pub seq: u32,
    /// Time since the sample was taken.
    pub age_ms: u32,
    /// A valid topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
}

/// What a node accounts for, since it started: `outputs = acked + pending + dropped_full + dropped_large`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Samples its sensors gave.
    pub samples: u32,
    /// Times a sensor gave none.
    pub sensor_errors: u32,
    /// Samples its function was run on and ended well.
    pub invoked: u32,
    /// Samples its function failed on; nothing came of them.
    pub failed: u32,
    /// Outputs, of the function or of samples that pass it by.
    pub outputs: u32,
    /// Outputs that a gateway acknowledged.
    pub acked: u32,
    /// Outputs that wait in the queue.
    pub pending: u32,
    /// Outputs for which the queue had no room.
    pub dropped_full: u32,
    /// Outputs that are larger than a reading may be.
    pub dropped_large: u32,
    /// Lines from the gateway that were none, or not for this version.
    pub bad_lines: u32,
    /// Readings that were sent again.
    pub resent: u32,
    /// Log lines for which there was no room.
    pub logs_dropped: u32,
}

impl Ledger {
    /// Whether every output is accounted for.
    pub fn balances(&self) -> bool {
        let known = [self.acked, self.pending, self.dropped_full, self.dropped_large];
        u64::from(self.outputs) == known.into_iter().map(u64::from).sum::<u64>()
    }
}

/// Sent every few seconds, and when something has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its session.
    pub session: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Its account.
    pub ledger: Ledger,
    /// Bytes of its heap in use, and the whole of it.
    pub heap_used_bytes: u32,
    /// See [`heap_used_bytes`](Self::heap_used_bytes).
    pub heap_bytes: u32,
    /// Fuel its function used for the last sample.
    pub fuel: u64,
}

/// What a node says of a module, or a program, that is sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Install<'a> {
    /// The chunk at this offset is next.
    Wants {
        /// Which module.
        sha256: [u8; 32],
        /// Bytes it has.
        offset: u32,
    },
    /// It runs.
    Done {
        /// Which module.
        sha256: [u8; 32],
    },
    /// It does not run, and what ran before goes on.
    Refused {
        /// Which module.
        sha256: [u8; 32],
        /// Why, at most [`TEXT_MAX_BYTES`].
        reason: &'a str,
    },
    /// The node runs no function.
    Removed,
}

/// What a gateway says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode<'a> {
    /// Say [`FromNode::Hello`]: sent when a connection is new.
    Who,
    /// The node may send readings.
    Welcome {
        /// Its session from now on.
        session: u32,
        /// All readings of that session up to this one are durable; 0 if none is known to be.
        acked: u32,
        /// Unix time in milliseconds.
        unix_ms: i64,
    },
    /// All readings up to this one are durable. Also a sign of life.
    Ack {
        /// Their session.
        session: u32,
        /// The last of them.
        seq: u32,
        /// Unix time in milliseconds.
        unix_ms: i64,
    },
    /// A module follows in chunks, in place of any that was begun before.
    Begin {
        /// SHA-256 of the module.
        sha256: [u8; 32],
        /// Its size in bytes.
        bytes: u32,
    },
    /// Part of it.
    Chunk {
        /// Which module.
        sha256: [u8; 32],
        /// Where it belongs.
        offset: u32,
        /// At most [`CHUNK_MAX_BYTES`].
        bytes: &'a [u8],
    },
    /// The node is to run no function; it says [`Install::Removed`].
    Remove,
    /// A program for the node itself follows in chunks, in place of any that was begun before.
    BeginProgram {
        /// SHA-256 of the program.
        sha256: [u8; 32],
        /// Its size in bytes.
        bytes: u32,
    },
}

#[cfg(test)]
mod tests;
