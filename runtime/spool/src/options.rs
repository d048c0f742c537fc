//! Sizes of a log, what it uses, and the errors of writing it.

use std::io;

use crate::format::FRAME_HEADER_BYTES;
use crate::spool::ACKS_BYTES;
use crate::Lsn;

/// Sizes, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is closed when less than a batch's room is left of this.
    pub segment_bytes: u64,
    /// All files together, with the spare. Only a frame of more than a sixteenth of this may go beyond. A log that holds more
    /// than fifteen sixteenths of this, less 16 KiB, when it is opened grows by two segments for notes at most, each as large as the first
    /// batch in it, until it holds less.
    pub max_bytes: u64,
    /// Largest body of a frame.
    pub frame_max_bytes: usize,
}

impl Options {
    /// Smallest quota a log can work with.
    pub const MAX_BYTES_MIN: u64 = 512 << 10;
    const SEGMENT_BYTES_MIN: u64 = 64 << 10;
    const SEGMENT_BYTES_MAX: u64 = 4 << 20;

    /// Segments of an eighth of the quota, but 64 KiB to 4 MiB.
    pub fn for_quota(max_bytes: u64) -> Self {
        let options = Self { segment_bytes: 0, max_bytes, frame_max_bytes: 4 << 20 };
        let segment = (options.segments_max_bytes() / 8).clamp(Self::SEGMENT_BYTES_MIN, Self::SEGMENT_BYTES_MAX);
        Self { segment_bytes: segment & !4095, ..options }
    }

    /// What segments of the usual size may take together; the rest of the quota is for what the last of them may be
    /// larger, and for acknowledgements on a full disk.
    pub(crate) fn segments_max_bytes(&self) -> u64 {
        let larger_bytes = (self.max_bytes / 16).min(self.frame_max_bytes as u64 + FRAME_HEADER_BYTES as u64);
        self.max_bytes - larger_bytes - ACKS_BYTES
    }

    /// How much of a segment must be left for another batch to go there.
    pub(crate) fn batch_room(&self) -> u64 {
        (self.segment_bytes / 4).min(256 << 10)
    }

    /// How big a batch may grow; a single frame may be bigger.
    pub(crate) fn batch_max(&self) -> usize {
        usize::try_from(self.batch_room()).unwrap_or(usize::MAX)
    }
}

/// What the log uses and has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, spare included.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// First frame still there.
    pub oldest_lsn: Lsn,
    /// Whether the reserve for a full disk is there.
    pub has_spare: bool,
    /// Frames that should be there and could not be read.
    pub damaged_frames: u64,
    /// Bytes written since start.
    pub bytes_written: u64,
    /// Bytes the device took for that, by the estimate of [`wear`](crate::wear).
    pub device_bytes: u64,
    /// Syncs that succeeded since start.
    pub syncs: u64,
    /// Syncs that failed since start.
    pub sync_failures: u64,
    /// Segments of no more use that the disk did not remove, since start: each is tried again.
    pub removal_failures: u64,
}

/// Why a frame is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Larger than the log holds.
    #[error("a record of {bytes} bytes is larger than the log takes ({max} bytes); emit less per message")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// [`Spool::wants_checkpoint`](crate::Spool::wants_checkpoint) was not heeded.
    #[error("a checkpoint must come first")]
    NeedsCheckpoint,
}

/// Why a commit did not come about. The batch is kept; try again later.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Quota or disk is exhausted.
    #[error("no room for the log: {0}; free disk space, or raise [spool] max_bytes")]
    Full(String),
    /// The file system is read-only.
    #[error("the file system is read-only: {0}; remount it writable, and check the disk")]
    ReadOnly(String),
    /// Anything else.
    #[error("writing the log failed: {0}; check the disk")]
    Io(String),
}

impl CommitError {
    /// Whether room is what is missing.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    pub(crate) fn from_io(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(text),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(text),
            _ => Self::Io(text),
        }
    }
}
