//! Power cuts at any write, and what the real log and the real daemon make of what is left.
//!
//! An ext4 lies on a loop device whose medium is a file of a FUSE file system of ours, which records every write and
//! every flush. A workload runs on it and notes, for each promise, how many events the disk had seen. Then the images
//! that a power cut at any event could have left are mounted, opened, checked against what was promised, and used on. What
//! the opening itself writes is recorded the same way, and cut again.
//!
//! Modules, in the order data passes through them:
//! - [`namespace`][]: where the rig's mounts are, so that nothing outlives it.
//! - [`image`][], [`tape`][]: a disk's content, and what happened to it.
//! - [`disk`][]: the FUSE file system that records.
//! - [`device`][], [`recorder`][]: loop devices and mounts; ext4 on the recording disk, and on images.
//! - [`history`][]: what was appended to a log, acknowledged and promised, and when; what a cut may leave of it.
//! - [`control`][]: what does not sync, which the rig must catch.
//! - [`thinning`][]: what is in frames, and what rewrites make of them.
//! - [`session`][]: the real log, with its history.
//! - [`messages`][]: what a daemon was sent, acknowledged and delivered, and when; what must arrive after a cut.
//! - [`peer`][]: the broker that knows at which event it was acknowledged.
//! - [`subject`][], [`log`], [`daemon`][]: who is cut: the log by itself, and `eyotd`.
//! - [`cut`][]: what a cut leaves of a tape.
//! - [`case`][]: one cut as a file, to judge it again.
//! - [`sweep`][]: many cuts.
//! - [`report`][]: what came out.
// The rig's tables are indexed by its own constants.
#![allow(clippy::indexing_slicing)]

use std::io;
use std::path::{Path, PathBuf};

pub mod case;
pub mod control;
pub mod cut;
pub mod daemon;
pub mod device;
pub mod disk;
pub mod history;
pub mod image;
pub mod log;
pub mod messages;
pub mod namespace;
pub mod peer;
pub mod recorder;
pub mod report;
pub mod session;
pub mod subject;
pub mod sweep;
pub mod tape;
pub mod thinning;

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rig's own files.
    #[error("{what}: {error}")]
    Io {
        /// File or folder.
        what: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file system that does not mount, or does not go away.
    #[error("mounting or unmounting {at}: {error}")]
    Mount {
        /// Mount point.
        at: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Setup(String),
    /// The guarantee does not hold.
    #[error("{0}")]
    Breach(String),
}

impl Error {
    /// For `map_err`.
    pub fn io(what: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| Self::Io { what: what.to_owned(), error }
    }
}
