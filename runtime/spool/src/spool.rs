//! The log: append, commit, acknowledge, make room.

// Long because append, commit and what follows a failed commit are one state and read best together.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::batch::{Batch, Target};
use crate::format::{
    encode_acks, encode_frame, salt, segment_name, Acks, SegmentHeader, ACKS_NAME, HEADER_BYTES, KIND_ACK,
    KIND_CLOSING, KIND_NOTES, KIND_RESERVED, NEXT_NAME, REWRITE_NAME, SPARE_NAME,
};
use crate::options::{AppendError, CommitError, Options, Usage};
use crate::reader::{ReadError, Reader};
use crate::{wear, Storage};

mod acks;
mod rewrite;
mod room;

pub(crate) use acks::{has_acks_file, ACKS_BYTES};
use rewrite::Rewriting;
pub(crate) use room::give_back;

/// Log sequence number of a frame: contiguous from 1 over the life of a log.
pub type Lsn = u64;

/// A commit that waits for its sync.
#[derive(Debug)]
pub struct Commit<F> {
    /// Give it back to [`Spool::end_commit`].
    pub id: u64,
    /// Call [`Storage::sync_data`] on this, on any thread.
    pub file: F,
}

/// A segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub id: u64,
    pub salt: u32,
    pub base_lsn: Lsn,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Where its frames end.
    pub end: u64,
    /// Where its durable frames end.
    pub durable_end: u64,
    /// Where its blocks end that were ever written.
    pub filled: u64,
    /// The caller's mark of its last rewrite; 0 if it is as it was appended.
    pub mark: u64,
}

impl Segment {
    /// Its last frame may be followed by what a rewrite dropped.
    pub fn is_rewritten(&self) -> bool {
        self.mark != 0
    }
}

/// The segment being written.
struct Current<F> {
    id: u64,
    file: F,
    next_batch: u32,
    /// False after a failure: then the next batch begins a segment that has one.
    has_checkpoint: bool,
}

struct Flying {
    id: u64,
    batch: Batch,
    last_lsn: Lsn,
    acks: Acks,
}

/// The log over a storage.
pub struct Spool<S: Storage> {
    storage: S,
    options: Options,
    epoch: u64,
    /// Different each time the log is opened.
    opened_with: u64,
    segments: VecDeque<Segment>,
    current: Option<Current<S::File>>,
    next_segment: u64,
    spare_bytes: Option<u64>,
    /// Of the spare's, how many were ever written.
    spare_filled: u64,
    has_acks_file: bool,
    disk_full: bool,
    /// What the batch takes that found no room; 0 if there is none.
    missing_bytes: u64,
    /// The log was opened with less room than the reserve takes: its quota was lowered.
    lacks_reserve: bool,
    open: Batch,
    idle_batch: Batch,
    flying: Option<Flying>,
    next_commit: u64,
    next_lsn: Lsn,
    durable: Lsn,
    /// Newest segment that durably begins with a checkpoint: recovery needs it.
    checkpoint_segment: u64,
    streams: Vec<u8>,
    acks: Acks,
    acks_unwritten: bool,
    acks_durable: Acks,
    write_buffer: Vec<u8>,
    /// Frames whose damage recovery counted.
    replayed: Range<Lsn>,
    /// Frames up to here were read, and what was missing among them counted.
    damage_seen: Lsn,
    rewriting: Option<Rewriting<S::File>>,
    /// Makes the salt of each rewrite its own.
    rewrites: u64,
    /// A rewrite is in place, and its name may not be durable.
    name_is_volatile: bool,
    usage: Usage,
}

/// What recovery found, to start from.
pub(crate) struct Found {
    pub epoch: u64,
    pub segments: VecDeque<Segment>,
    pub next_segment: u64,
    pub spare_bytes: Option<u64>,
    pub has_acks_file: bool,
    pub next_lsn: Lsn,
    pub checkpoint_segment: u64,
    pub acks: Acks,
    pub damaged_frames: u64,
    /// The first frame that recovery looked at.
    pub replayed_from: Lsn,
}

impl<S: Storage> Spool<S> {
    pub(crate) fn from_found(storage: S, options: Options, opened_with: u64, found: Found) -> Self {
        let usage = Usage { damaged_frames: found.damaged_frames, ..Usage::default() };
        let mut spool = Self {
            storage,
            options,
            epoch: found.epoch,
            opened_with,
            segments: found.segments,
            current: None,
            next_segment: found.next_segment,
            spare_bytes: found.spare_bytes,
            spare_filled: 0,
            has_acks_file: found.has_acks_file,
            disk_full: false,
            missing_bytes: 0,
            lacks_reserve: false,
            open: Batch::default(),
            idle_batch: Batch::default(),
            flying: None,
            next_commit: 1,
            next_lsn: found.next_lsn,
            durable: found.next_lsn - 1,
            checkpoint_segment: found.checkpoint_segment,
            streams: Vec::new(),
            acks_durable: found.acks.clone(),
            acks: found.acks,
            acks_unwritten: false,
            write_buffer: Vec::new(),
            replayed: found.replayed_from..found.next_lsn,
            damage_seen: 0,
            rewriting: None,
            rewrites: 0,
            name_is_volatile: false,
            usage,
        };
        spool.lacks_reserve = spool.is_beyond_quota() && !spool.has_reserve();
        spool
    }

    pub(crate) fn storage(&self) -> &S {
        &self.storage
    }

    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Frames between those that were read and `found` are missing. Damage that recovery saw is not counted twice.
    pub(crate) fn note_gap(&mut self, reader: &Reader<S::File>, found: Lsn) {
        if reader.is_ahead {
            return;
        }
        let missing = reader.after.max(self.damage_seen) + 1..found;
        let counted = missing.start.max(self.replayed.start)..missing.end.min(self.replayed.end);
        let length = |range: &Range<Lsn>| range.end.saturating_sub(range.start);
        self.usage.damaged_frames += length(&missing) - length(&counted);
        self.damage_seen = self.damage_seen.max(found.saturating_sub(1));
    }

    /// Identity of this log: it changes when a log is made anew.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number the next appended frame gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// All frames up to here are on disk.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Bytes in the open batch.
    pub fn batch_bytes(&self) -> usize {
        self.open.bytes()
    }

    /// Whether the open batch takes another frame without growing beyond its bound.
    pub fn batch_has_room(&self) -> bool {
        self.open.bytes() < self.options.batch_max()
    }

    /// Whether a rewrite is in place that a power cut may undo: its directory's sync failed. The next commit makes it
    /// durable, or fails.
    pub fn may_undo_rewrite(&self) -> bool {
        self.name_is_volatile
    }

    /// Whether acknowledgements wait for the next batch.
    pub fn has_unwritten_acks(&self) -> bool {
        self.acks_unwritten
    }

    /// Whether the next append begins a new segment and needs the caller's [`checkpoint`](Self::checkpoint) first.
    pub fn wants_checkpoint(&self) -> bool {
        self.open.target().is_none() && self.next_target().opens
    }

    fn next_target(&self) -> Target {
        match (&self.current, self.segments.back()) {
            (Some(current), Some(segment))
                if current.has_checkpoint
                    && segment.end + self.options.batch_room() <= segment.bytes.min(self.options.segment_bytes) =>
            {
                Target { segment: current.id, salt: segment.salt, batch: current.next_batch, opens: false }
            }
            _ => self.new_target(),
        }
    }

    fn new_target(&self) -> Target {
        let segment = self.next_segment;
        Target { segment, salt: salt(self.opened_with, segment), batch: 0, opens: true }
    }

    /// The caller's state as of the last appended frame: recovery starts from it.
    pub fn checkpoint(&mut self, bytes: &[u8]) {
        if self.wants_checkpoint() {
            self.open.aim(self.next_target());
            self.open.set_checkpoint(bytes);
        }
    }

    /// Adds a frame of the caller's `kind` (below 0x40) to the open batch.
    pub fn append(&mut self, kind: u8, body: &[u8]) -> Result<Lsn, AppendError> {
        self.admit(body)?;
        let lsn = self.next_lsn;
        self.open.push(kind & (KIND_NOTES - 1), lsn, body, true);
        self.next_lsn += 1;
        Ok(lsn)
    }

    /// Adds a note of the caller's `kind` (0x40 to 0x7f): recovery shows it, readers pass over it, and a segment with
    /// nothing but notes is removed once a later one begins with a checkpoint.
    pub fn note(&mut self, kind: u8, body: &[u8]) -> Result<(), AppendError> {
        self.admit(body)?;
        self.open.push(kind & (KIND_RESERVED - 1) | KIND_NOTES, self.next_lsn - 1, body, false);
        Ok(())
    }

    fn admit(&mut self, body: &[u8]) -> Result<(), AppendError> {
        if body.len() > self.options.frame_max_bytes {
            return Err(AppendError::TooLarge { bytes: body.len(), max: self.options.frame_max_bytes });
        }
        if self.open.target().is_none() {
            let target = self.next_target();
            if target.opens {
                return Err(AppendError::NeedsCheckpoint);
            }
            self.open.aim(target);
        }
        Ok(())
    }

    /// `stream` has no more use for frames up to `lsn`. Durable with the next batch.
    pub fn ack(&mut self, stream: u8, lsn: Lsn) {
        self.acks_unwritten |= self.acks.raise(stream, lsn);
    }

    /// How far `stream` is done.
    pub fn acked(&self, stream: u8) -> Lsn {
        self.acks.get(stream)
    }

    /// How far `stream` is done after a power cut at this moment.
    pub fn acked_durably(&self, stream: u8) -> Lsn {
        self.acks_durable.get(stream)
    }

    /// How far `stream` will durably be done when the commit under way is; 0 if there is none.
    pub fn acked_by_commit(&self, stream: u8) -> Lsn {
        self.flying.as_ref().map_or(0, |flying| flying.acks.get(stream))
    }

    /// Whose acknowledgements hold segments back. With none, nothing is held back. Removes what none of them needs any
    /// more: a power cut may have undone that, and a full log would have no commit to do it again.
    pub fn set_streams(&mut self, streams: &[u8]) {
        self.streams = streams.to_vec();
        self.recycle(&self.acks_durable.clone());
    }

    /// Writes the open batch. The caller syncs the file and reports by [`end_commit`](Self::end_commit); until then no
    /// other commit begins. None if there is nothing to write, or a commit is under way.
    pub fn begin_commit(&mut self) -> Result<Option<Commit<S::File>>, CommitError> {
        self.begin(None)
    }

    /// As [`begin_commit`](Self::begin_commit), with a note of the caller's `kind` (0x60 to 0x7f) at the end of the batch,
    /// true of everything before it. If the commit fails, now or at its sync, the note is forgotten: the next one is to
    /// bring a new one. [`wants_checkpoint`](Self::wants_checkpoint) must have been heeded.
    pub fn begin_commit_with(&mut self, kind: u8, note: &[u8]) -> Result<Option<Commit<S::File>>, CommitError> {
        if let Err(error) = self.admit(note) {
            return Err(CommitError::Io(error.to_string()));
        }
        self.begin(Some((kind & (KIND_RESERVED - 1) | KIND_CLOSING, note)))
    }

    fn begin(&mut self, closing: Option<(u8, &[u8])>) -> Result<Option<Commit<S::File>>, CommitError> {
        if self.flying.is_some() || self.open.target().is_none() {
            return Ok(None);
        }
        let without_closing_bytes = self.open.bytes();
        if let Some((kind, note)) = closing {
            self.open.push(kind, self.next_lsn - 1, note, false);
        }
        if self.acks_unwritten {
            let mut body = Vec::with_capacity(self.acks.0.len() * 9);
            encode_acks(&self.acks, &mut body);
            self.open.push(KIND_ACK, self.next_lsn - 1, &body, false);
        }
        let acks = self.acks.clone();
        let file = match self.write_open() {
            Ok(file) => file,
            Err(error) => {
                // The next try writes them anew; a disk that stays full must not fill memory with them.
                self.open.truncate(without_closing_bytes);
                return Err(error);
            }
        };
        self.acks_unwritten = false;
        let id = self.next_commit;
        self.next_commit += 1;
        let batch = std::mem::replace(&mut self.open, std::mem::take(&mut self.idle_batch));
        self.flying = Some(Flying { id, batch, last_lsn: self.next_lsn - 1, acks });
        Ok(Some(Commit { id, file }))
    }

    fn write_open(&mut self) -> Result<S::File, CommitError> {
        let target = self.open.target().unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.write_buffer);
        let header = || SegmentHeader {
            epoch: self.epoch,
            segment: target.segment,
            salt: target.salt,
            base_lsn: self.open.first_lsn().unwrap_or(self.next_lsn),
            previous: self.segments.back().map_or((0, 0), |last| (last.id, last.end)),
            acks: self.acks_durable.clone(),
            rewrite: None,
        };
        self.open.encode(header, &mut buffer);
        let result = if target.opens { self.write_new(target, &buffer) } else { self.write_current(&mut buffer) };
        self.write_buffer = buffer;
        result
    }

    fn write_current(&mut self, buffer: &mut Vec<u8>) -> Result<S::File, CommitError> {
        let (Some(current), Some(segment)) = (&mut self.current, self.segments.back_mut()) else {
            return Err(CommitError::Io("no segment is open".to_owned()));
        };
        let bytes = buffer.len() as u64;
        let zeros = wear::fill_bytes(segment.end, bytes, segment.filled, segment.bytes);
        buffer.resize(buffer.len() + usize::try_from(zeros).unwrap_or(0), 0);
        let result = self.storage.write_at(&current.file, segment.end, buffer);
        if let Err(error) = result {
            let error = CommitError::from_io(&segment_name(current.id), &error);
            // A part may have been written, beyond what was reserved.
            segment.bytes = self.storage.len(&current.file).map_or(segment.bytes, |bytes| bytes.max(segment.bytes));
            self.seal(None);
            return Err(error);
        }
        let written = buffer.len() as u64;
        self.usage.bytes_written += written;
        self.usage.device_bytes += wear::write_bytes(segment.end, written, segment.filled);
        segment.filled = segment.filled.max(segment.end + written);
        segment.end += bytes;
        segment.bytes = segment.bytes.max(segment.end);
        current.next_batch += 1;
        Ok(current.file.clone())
    }

    /// Writes a new segment under a name that recovery ignores: it gets its own when it is durable, so that no name ever
    /// stands for what the file held before.
    fn write_new(&mut self, target: Target, bytes: &[u8]) -> Result<S::File, CommitError> {
        if let Some(last) = self.segments.back_mut() {
            last.bytes = give_back(&self.storage, &self.options, last.id, last.end, last.bytes);
        }
        let (file, reserved, filled) = self.new_file(bytes.len() as u64)?;
        self.next_segment = target.segment + 1;
        if let Err(error) = self.storage.write_at(&file, 0, bytes) {
            let error = CommitError::from_io(NEXT_NAME, &error);
            // What was reserved is not there on every file system.
            self.missing_bytes = if error.is_full() { reserved } else { 0 };
            self.seal(None);
            return Err(error);
        }
        self.usage.bytes_written += bytes.len() as u64;
        self.usage.device_bytes += wear::new_segment_bytes(bytes.len() as u64);
        self.segments.push_back(Segment {
            id: target.segment,
            salt: target.salt,
            base_lsn: self.open.first_lsn().unwrap_or(self.next_lsn),
            bytes: reserved.max(bytes.len() as u64),
            end: bytes.len() as u64,
            durable_end: HEADER_BYTES as u64,
            filled: filled.max(bytes.len() as u64),
            mark: 0,
        });
        let has_checkpoint = self.open.has_checkpoint();
        self.current = Some(Current { id: target.segment, file: file.clone(), next_batch: 1, has_checkpoint });
        Ok(file)
    }

    /// Gives the segment that is durable now its name.
    fn name_new(&self, target: Target) -> io::Result<()> {
        self.storage.rename(NEXT_NAME, &segment_name(target.segment)).and_then(|()| self.storage.sync_dir())
    }

    /// Closes the current segment after a failure: what is not durable moves to a new one.
    fn seal(&mut self, earlier: Option<&Batch>) {
        self.current = None;
        // What was on its way to become a segment takes room that nobody counts.
        let _ = self.storage.unlink(NEXT_NAME);
        if let Some(last) = self.segments.back().filter(|last| last.durable_end == HEADER_BYTES as u64) {
            // It may have its name already if making that durable is what failed. If it stays after all, it holds
            // nothing but what the next segment repeats.
            let _ = self.storage.unlink(&segment_name(last.id));
            self.segments.pop_back();
        } else if let Some(last) = self.segments.back_mut() {
            last.end = last.durable_end;
        }
        let target = self.new_target();
        match earlier {
            Some(earlier) => self.open.follow(earlier, target),
            None if self.open.target().is_some() => self.open.follow(&Batch::default(), target),
            None => {}
        }
    }

    /// Ends the commit: returns how far the log is durable now. After a failed sync the batch is kept for a new
    /// segment, and the old file is never synced again: its pages may be marked clean without being on disk.
    pub fn end_commit(&mut self, id: u64, result: io::Result<()>) -> Result<Lsn, CommitError> {
        let Some(flying) = self.flying.take_if(|flying| flying.id == id) else {
            return Ok(self.durable);
        };
        let opened = flying.batch.target().filter(|target| target.opens);
        let named = result.and_then(|()| match opened {
            Some(target) => self.name_new(target),
            None if self.name_is_volatile => self.storage.sync_dir(),
            None => Ok(()),
        });
        if let Err(error) = named {
            self.usage.sync_failures += 1;
            self.acks_unwritten = true;
            self.seal(Some(&flying.batch));
            return Err(CommitError::from_io("sync", &error));
        }
        self.usage.syncs += 1;
        self.name_is_volatile = false;
        self.durable = flying.last_lsn;
        self.acks_durable = flying.acks;
        if let Some(last) = self.segments.back_mut() {
            last.durable_end = last.end;
        }
        if let (true, Some(target)) = (flying.batch.has_checkpoint(), flying.batch.target()) {
            self.checkpoint_segment = target.segment;
        }
        self.idle_batch = flying.batch;
        self.idle_batch.clear();
        self.refresh_spare();
        Ok(self.durable)
    }

    /// As in [`usage`](Self::usage): bytes the device took since start.
    pub fn device_bytes(&self) -> u64 {
        self.usage.device_bytes
    }

    /// What the log uses and has seen.
    pub fn usage(&self) -> Usage {
        Usage {
            bytes: self.used_bytes() + if self.has_acks_file { ACKS_BYTES } else { 0 },
            segments: self.segments.len() as u64,
            oldest_lsn: self.segments.front().map_or(self.next_lsn, |s| s.base_lsn),
            has_spare: self.spare_bytes.is_some(),
            ..self.usage
        }
    }
}
