//! A segmented, crash-safe log on flash, and nothing else.
//!
//! It appends frames in batches with one sync each, reads them back in order, forgets what every reader is done with,
//! and keeps to a quota. It never looks at a clock, starts a thread, draws a random number or knows what a frame means.
//! `FORMAT.md` beside this crate describes the bytes.
//!
//! Modules, in the order data passes through them:
//! - [`storage`]: the one way to the disk, and the real disk.
//! - [`memory`]: its twin in memory, which tears, fails and fills up on demand.
//! - `format`: frames and segment headers.
//! - `options`: sizes and errors.
//! - `batch`: frames that wait for their commit.
//! - `spool`: the log: append, commit, acknowledge, make room, rewrite what is old; `fate`: what of it is kept.
//! - [`wear`]: what a commit costs the device.
//! - `recover`: what an old log holds.
//! - `reader`: durable frames in order.

mod batch;
mod fate;
mod format;
pub mod memory;
mod options;
mod reader;
mod recover;
mod spool;
pub mod storage;
pub mod wear;

pub use fate::{Fate, Rewrite, RewriteStep, Rewritten, Sealed};
pub use format::KIND_GONE;
pub use options::{AppendError, CommitError, Options, Usage};
pub use reader::{Frame, ReadError, Reader};
pub use recover::{OpenError, Replay};
pub use spool::{Commit, Lsn, Spool};
pub use storage::{FileStorage, Storage};
