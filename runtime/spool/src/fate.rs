//! What the caller decides about old frames, and what a rewrite tells.

use crate::spool::Commit;
use crate::Lsn;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It gets another body and keeps its number and kind.
    Replace,
    /// It goes.
    Drop,
}

/// Decides what a rewrite keeps. The calls come in the order of the log.
pub trait Rewrite {
    /// Decides about a frame; for [`Fate::Replace`] the new body is put into `replacement`, which is empty.
    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8], replacement: &mut Vec<u8>) -> Fate;
    /// An earlier rewrite left this in place of frames: it goes too, and has to be part of the next
    /// [`take_gone`](Self::take_gone). What stands between two segments may come twice.
    fn gone(&mut self, body: &[u8]);
    /// Puts into `body` what readers need to know of all that went since the last call. It will stand before the frame
    /// decided on last if that stays, else behind everything so far. If it is empty and no frame went, nothing is written.
    fn take_gone(&mut self, body: &mut Vec<u8>);
    /// A segment ends here, and the rewrite may: puts into `note` what recovery is to be shown then, at most 416 bytes.
    fn boundary(&mut self, note: &mut Vec<u8>);
}

/// A segment that can be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its id; grows with its place in the log.
    pub id: u64,
    /// Its first frame.
    pub first_lsn: Lsn,
    /// Its last frame.
    pub last_lsn: Lsn,
    /// Bytes of header and frames.
    pub bytes: u64,
    /// What [`Spool::begin_rewrite`](crate::Spool::begin_rewrite) was given when it was rewritten last; 0 if it never was.
    pub mark: u64,
}

/// What a step of a rewrite came to.
#[derive(Debug)]
pub enum RewriteStep<F> {
    /// There is more to do.
    More,
    /// The caller syncs the file as it does for commits, and reports by [`Spool::end_rewrite_sync`](crate::Spool::end_rewrite_sync).
    Sync(Commit<F>),
    /// What is kept does not fit in a segment together with what was merged in front of it; nothing has happened. Begin
    /// with the first segment that was not rewritten before.
    TooLong,
}

/// A rewrite that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// First frame of the segments it replaced.
    pub first_lsn: Lsn,
    /// Last frame of them. Less than was asked for when the new file was full before.
    pub last_lsn: Lsn,
    /// Whether a power cut cannot bring the old segments back.
    pub is_durable: bool,
}
