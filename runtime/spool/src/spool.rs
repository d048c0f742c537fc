//! The log: append, commit, acknowledge, make room.

use std::collections::VecDeque;
use std::io;

use crate::batch::{Batch, Target};
use crate::format::{encode_acks, segment_name, Acks, SegmentHeader, KIND_ACK, KIND_NOTES, KIND_RESERVED, SPARE_NAME};
use crate::Storage;

/// Log sequence number of a frame: contiguous from 1 over the life of a log.
pub type Lsn = u64;

/// Sizes, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is closed when less than a batch's room is left of this.
    pub segment_bytes: u64,
    /// All files together, with the spare. A batch begun below this is still written.
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
        let segment = (max_bytes / 8).clamp(Self::SEGMENT_BYTES_MIN, Self::SEGMENT_BYTES_MAX) & !4095;
        Self { segment_bytes: segment, max_bytes, frame_max_bytes: 4 << 20 }
    }

    /// How much of a segment must be left for another batch to go there.
    fn batch_room(&self) -> u64 {
        (self.segment_bytes / 4).min(256 << 10)
    }

    /// How big a batch may grow; a single frame may be bigger.
    fn batch_max(&self) -> usize {
        usize::try_from(self.batch_room()).unwrap_or(usize::MAX)
    }
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
    /// [`Spool::wants_checkpoint`] was not heeded.
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

/// A commit that waits for its sync.
#[derive(Debug)]
pub struct Commit<F> {
    /// Give it back to [`Spool::end_commit`].
    pub id: u64,
    /// Call [`Storage::sync_data`] on this, on any thread.
    pub file: F,
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
    /// Syncs that succeeded since start.
    pub syncs: u64,
    /// Syncs that failed since start.
    pub sync_failures: u64,
}

/// A segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub id: u64,
    pub base_lsn: Lsn,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Where its frames end.
    pub end: u64,
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
    segments: VecDeque<Segment>,
    current: Option<Current<S::File>>,
    next_segment: u64,
    spare_bytes: Option<u64>,
    disk_full: bool,
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
    damage_seen: Lsn,
    usage: Usage,
}

/// What recovery found, to start from.
pub(crate) struct Found {
    pub epoch: u64,
    pub segments: VecDeque<Segment>,
    pub next_segment: u64,
    pub spare_bytes: Option<u64>,
    pub next_lsn: Lsn,
    pub checkpoint_segment: u64,
    pub acks: Acks,
    pub damaged_frames: u64,
}

impl<S: Storage> Spool<S> {
    pub(crate) fn from_found(storage: S, options: Options, found: Found) -> Self {
        let usage = Usage { damaged_frames: found.damaged_frames, ..Usage::default() };
        Self {
            storage,
            options,
            epoch: found.epoch,
            segments: found.segments,
            current: None,
            next_segment: found.next_segment,
            spare_bytes: found.spare_bytes,
            disk_full: false,
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
            damage_seen: found.next_lsn - 1,
            usage,
        }
    }

    pub(crate) fn storage(&self) -> &S {
        &self.storage
    }

    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Frames between `after` and `found` are missing. Damage that recovery saw is not counted twice.
    pub(crate) fn note_gap(&mut self, after: Lsn, found: Lsn) {
        let from = after.max(self.damage_seen);
        self.usage.damaged_frames += found.saturating_sub(from).saturating_sub(1);
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
                if current.has_checkpoint && segment.end + self.options.batch_room() <= self.options.segment_bytes =>
            {
                Target { segment: current.id, batch: current.next_batch, opens: false }
            }
            _ => Target { segment: self.next_segment, batch: 0, opens: true },
        }
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

    /// Whose acknowledgements hold segments back. With none, nothing is held back.
    pub fn set_streams(&mut self, streams: &[u8]) {
        self.streams = streams.to_vec();
    }

    /// Writes the open batch. The caller syncs the file and reports by [`end_commit`](Self::end_commit); until then no
    /// other commit begins. None if there is nothing to write, or a commit is under way.
    pub fn begin_commit(&mut self) -> Result<Option<Commit<S::File>>, CommitError> {
        if self.flying.is_some() || self.open.target().is_none() {
            return Ok(None);
        }
        if self.acks_unwritten {
            let mut body = Vec::with_capacity(self.acks.0.len() * 9);
            encode_acks(&self.acks, &mut body);
            self.open.push(KIND_ACK, self.next_lsn - 1, &body, false);
        }
        let acks = self.acks.clone();
        let file = self.write_open()?;
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
            base_lsn: self.open.first_lsn().unwrap_or(self.next_lsn),
            acks: self.acks_durable.clone(),
        };
        self.open.encode(header, &mut buffer);
        let result = if target.opens { self.write_new(target, &buffer) } else { self.write_current(&buffer) };
        self.write_buffer = buffer;
        result
    }

    fn write_current(&mut self, bytes: &[u8]) -> Result<S::File, CommitError> {
        let (Some(current), Some(segment)) = (&mut self.current, self.segments.back_mut()) else {
            return Err(CommitError::Io("no segment is open".to_owned()));
        };
        let result = self.storage.write_at(&current.file, segment.end, bytes);
        if let Err(error) = result {
            let error = CommitError::from_io(&segment_name(current.id), &error);
            self.seal(None);
            return Err(error);
        }
        segment.end += bytes.len() as u64;
        segment.bytes = segment.bytes.max(segment.end);
        current.next_batch += 1;
        self.usage.bytes_written += bytes.len() as u64;
        Ok(current.file.clone())
    }

    fn write_new(&mut self, target: Target, bytes: &[u8]) -> Result<S::File, CommitError> {
        let name = segment_name(target.segment);
        let (file, reserved) = self.new_file(&name)?;
        let written = self.storage.write_at(&file, 0, bytes).and_then(|()| self.storage.sync_dir());
        if let Err(error) = written {
            // Nothing in it was promised to anyone. If it cannot be removed either, recovery finds it without effect.
            let _ = self.storage.unlink(&name);
            let error = CommitError::from_io(&name, &error);
            self.next_segment = target.segment + 1;
            self.seal(None);
            return Err(error);
        }
        self.usage.bytes_written += bytes.len() as u64;
        self.next_segment = target.segment + 1;
        self.segments.push_back(Segment {
            id: target.segment,
            base_lsn: self.open.first_lsn().unwrap_or(self.next_lsn),
            bytes: reserved.max(bytes.len() as u64),
            end: bytes.len() as u64,
        });
        self.current = Some(Current {
            id: target.segment,
            file: file.clone(),
            next_batch: 1,
            has_checkpoint: self.open.has_checkpoint(),
        });
        Ok(file)
    }

    /// A file for a new segment: the spare, or a new one.
    fn new_file(&mut self, name: &str) -> Result<(S::File, u64), CommitError> {
        if self.spare_bytes.is_none() && self.used_bytes() + self.options.segment_bytes > self.options.max_bytes {
            // Last resort: acknowledgements that cannot be written any more make the room to write them. After a crash
            // the caller finds those frames gone and unacknowledged.
            self.recycle(&self.acks.clone());
        }
        if let Some(bytes) = self.spare_bytes {
            let renamed = self.storage.rename(SPARE_NAME, name).and_then(|()| self.storage.open(name));
            self.spare_bytes = None;
            if let Ok(file) = renamed {
                return Ok((file, bytes));
            }
            let _ = self.storage.unlink(name);
        }
        if self.used_bytes() + self.options.segment_bytes > self.options.max_bytes {
            return Err(CommitError::Full(format!("{name}: the quota of {} bytes is used up", self.options.max_bytes)));
        }
        match self.storage.create(name, self.options.segment_bytes) {
            Ok(file) => {
                self.disk_full = false;
                Ok((file, self.options.segment_bytes))
            }
            Err(error) => {
                let error = CommitError::from_io(name, &error);
                self.disk_full |= error.is_full();
                Err(error)
            }
        }
    }

    /// Closes the current segment after a failure: what is not durable moves to a new one.
    fn seal(&mut self, earlier: Option<&Batch>) {
        self.current = None;
        if let Some(last) = self.segments.back().filter(|last| last.base_lsn > self.durable) {
            // Nothing in it is durable. If it stays after all, the next segment's base supersedes it.
            let _ = self.storage.unlink(&segment_name(last.id));
            self.segments.pop_back();
        }
        let target = Target { segment: self.next_segment, batch: 0, opens: true };
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
        if let Err(error) = result {
            self.usage.sync_failures += 1;
            self.acks_unwritten = true;
            self.seal(Some(&flying.batch));
            return Err(CommitError::from_io("sync", &error));
        }
        self.usage.syncs += 1;
        self.durable = flying.last_lsn;
        self.acks_durable = flying.acks;
        if let (true, Some(target)) = (flying.batch.has_checkpoint(), flying.batch.target()) {
            self.checkpoint_segment = target.segment;
        }
        self.idle_batch = flying.batch;
        self.idle_batch.clear();
        self.recycle(&self.acks_durable.clone());
        self.refresh_spare();
        Ok(self.durable)
    }

    /// Removes the segments that every stream is done with and recovery does not need.
    fn recycle(&mut self, acks: &Acks) {
        let done = self.streams.iter().map(|s| acks.get(*s)).min().unwrap_or(self.durable);
        let mut index = 0;
        while let (Some(segment), Some(next)) = (self.segments.get(index), self.segments.get(index + 1)) {
            if segment.id >= self.checkpoint_segment {
                break;
            }
            let is_done = index == 0 && next.base_lsn <= done + 1;
            let has_notes_only = next.base_lsn == segment.base_lsn;
            if !(is_done || has_notes_only) || !self.remove(index) {
                index += 1;
            }
        }
    }

    /// Removes a segment, into the spare if there is none; false if the disk refuses.
    fn remove(&mut self, index: usize) -> bool {
        let Some(segment) = self.segments.get(index) else { return false };
        let name = segment_name(segment.id);
        let keep = self.spare_bytes.is_none() && segment.bytes == self.options.segment_bytes;
        if keep && self.storage.rename(&name, SPARE_NAME).is_ok() {
            self.spare_bytes = Some(segment.bytes);
        } else if self.storage.unlink(&name).is_err() {
            return false;
        }
        self.segments.remove(index);
        self.disk_full = false;
        true
    }

    /// Makes the reserve for a full disk if it is missing and there is room. Call now and then while
    /// [`is_full`](Self::is_full): it finds out whether the disk has space again.
    pub fn refresh_spare(&mut self) {
        if self.spare_bytes.is_some() || self.used_bytes() + self.options.segment_bytes > self.options.max_bytes {
            return;
        }
        match self.storage.create(SPARE_NAME, self.options.segment_bytes) {
            Ok(_) => {
                self.spare_bytes = Some(self.options.segment_bytes);
                self.disk_full = false;
            }
            Err(error) => self.disk_full |= CommitError::from_io(SPARE_NAME, &error).is_full(),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum::<u64>() + self.spare_bytes.unwrap_or(0)
    }

    /// Whether another segment for the caller's frames would leave no reserve, by quota or by disk. The reserve itself
    /// is for acknowledgements, which are what makes room.
    pub fn is_full(&self) -> bool {
        let segment = self.options.segment_bytes;
        let after = self.used_bytes() + if self.spare_bytes.is_some() { segment } else { 2 * segment };
        self.disk_full || after > self.options.max_bytes
    }

    /// Gives up the oldest segment, showing its frames first. False if the rest is needed: the segment being written,
    /// and everything from the newest checkpoint on.
    pub fn evict_oldest(&mut self, visit: &mut dyn FnMut(Lsn, u8, &[u8])) -> Result<bool, CommitError> {
        let (Some(first), Some(second)) = (self.segments.front(), self.segments.get(1)) else { return Ok(false) };
        if first.id >= self.checkpoint_segment {
            return Ok(false);
        }
        let (base, next_base, id) = (first.base_lsn, second.base_lsn, first.id);
        let mut reader = self.reader(base.saturating_sub(1));
        while reader.after + 1 < next_base {
            match self.read(&mut reader) {
                Ok(Some(frame)) if frame.lsn < next_base => visit(frame.lsn, frame.kind, frame.body),
                // What cannot be read cannot be shown; it must go all the same.
                _ => break,
            }
        }
        if self.remove(0) {
            Ok(true)
        } else {
            Err(CommitError::Io(format!("{} cannot be removed", segment_name(id))))
        }
    }

    /// What the log uses and has seen.
    pub fn usage(&self) -> Usage {
        Usage {
            bytes: self.used_bytes(),
            segments: self.segments.len() as u64,
            oldest_lsn: self.segments.front().map_or(self.next_lsn, |s| s.base_lsn),
            has_spare: self.spare_bytes.is_some(),
            ..self.usage
        }
    }
}
