//! Room for the log: which segments can go, the reserve, and what to do when there is none.

use std::ops::RangeInclusive;

use super::*;

/// Segments that frames leave free: one for acknowledgements and notes, one to replace it when it is full.
const RESERVE_SEGMENTS: u64 = 2;

/// What file systems allocate at least.
const BLOCK_BYTES: u64 = 4096;

/// Gives back what is reserved behind `end` of a segment that ended early, with its life or by a failure: nothing more is
/// appended to it. Returns what it takes then. A gateway that is restarted every day of a long outage, or whose disk fails
/// again and again, must not fill its quota with that.
pub(crate) fn give_back<S: Storage>(storage: &S, options: &Options, id: u64, end: u64, bytes: u64) -> u64 {
    let used = end.next_multiple_of(BLOCK_BYTES);
    // One that ended in its time has less left, and is worth more as a spare. So is the place of acknowledgements.
    if bytes.saturating_sub(used) < options.batch_room() || bytes == ACKS_BYTES {
        return bytes;
    }
    // If the disk refuses, it stays reserved, and counted.
    let trimmed = storage.open(&segment_name(id)).and_then(|file| storage.trim(&file, used));
    trimmed.map_or(bytes, |()| used)
}

impl<S: Storage> Spool<S> {
    /// A file for a new segment that begins with so many bytes, under [`NEXT_NAME`]: the spare, or a new one. With it, how
    /// much it has room for, and how much of that was ever written.
    pub(super) fn new_file(&mut self, bytes: u64) -> Result<(S::File, u64, u64), CommitError> {
        if self.spare_bytes.is_none() && self.has_no_room() {
            // What is appended goes before what is rewritten.
            self.cancel_rewrite();
        }
        // Left over from a commit that failed, or not there.
        let _ = self.storage.unlink(NEXT_NAME);
        let least_bytes = bytes.next_multiple_of(BLOCK_BYTES);
        let result = self.try_new_file(least_bytes);
        let is_full = result.as_ref().is_err_and(CommitError::is_full);
        self.missing_bytes = if is_full { least_bytes } else { 0 };
        result
    }

    fn try_new_file(&mut self, least_bytes: u64) -> Result<(S::File, u64, u64), CommitError> {
        if let Some(bytes) = self.spare_bytes.take() {
            // The spare's earlier name must be gone for good before its content is overwritten.
            let renamed = self.storage.rename(SPARE_NAME, NEXT_NAME).and_then(|()| self.storage.sync_dir());
            if let Ok(file) = renamed.and_then(|()| self.storage.open(NEXT_NAME)) {
                return Ok((file, bytes, self.spare_filled));
            }
            // Whichever name it has now: it is not counted any more.
            let _ = self.storage.unlink(NEXT_NAME);
            let _ = self.storage.unlink(SPARE_NAME);
        }
        let most_bytes = self.new_segment_bytes(least_bytes)?;
        let mut bytes = most_bytes;
        loop {
            let error = match self.storage.create(NEXT_NAME, bytes) {
                Ok(file) => {
                    self.disk_full = bytes < most_bytes;
                    return Ok((file, bytes, 0));
                }
                Err(error) => CommitError::from_io(NEXT_NAME, &error),
            };
            self.disk_full |= error.is_full();
            if !error.is_full() || bytes <= least_bytes {
                return Err(error);
            }
            // There may be room for less: acknowledgements need little, and make more.
            bytes = (bytes / 2).next_multiple_of(BLOCK_BYTES).max(least_bytes);
        }
    }

    /// How large a new segment may be. Notes get one even where a quota that was lowered has no room for their reserve, but
    /// then no larger than what is left, or else than they need: nobody is to find the log at its quota and growing.
    fn new_segment_bytes(&self, least_bytes: u64) -> Result<u64, CommitError> {
        let segment_bytes = self.options.segment_bytes;
        let left_bytes = self.options.segments_max_bytes().saturating_sub(self.used_bytes());
        if left_bytes >= segment_bytes {
            return Ok(segment_bytes);
        }
        if self.lacks_reserve && self.open.first_lsn().is_none() {
            return Ok(least_bytes.max(left_bytes & !(BLOCK_BYTES - 1)));
        }
        Err(CommitError::Full(format!("the quota of {} bytes is used up", self.options.max_bytes)))
    }

    /// What the oldest segments take that every stream is done with.
    pub(super) fn done_bytes(&self, acks: &Acks) -> u64 {
        let done = self.done(acks);
        let followed = self.segments.iter().zip(self.segments.iter().skip(1));
        let go = followed.take_while(|(s, next)| s.id < self.checkpoint_segment && next.base_lsn <= done + 1);
        go.map(|(segment, _)| segment.bytes).sum()
    }

    /// Whether the quota has room for the reserve beside the segments.
    pub(super) fn has_reserve(&self) -> bool {
        let segments_bytes = self.used_bytes() - self.spare_bytes.unwrap_or(0);
        segments_bytes + RESERVE_SEGMENTS * self.options.segment_bytes <= self.options.segments_max_bytes()
    }

    /// Whether what is there does not come from a quota like the present one.
    pub(super) fn is_beyond_quota(&self) -> bool {
        let is_large = |segment: &Segment| segment.bytes > self.options.segment_bytes;
        self.used_bytes() > self.options.segments_max_bytes() || self.segments.iter().any(is_large)
    }

    /// Whether a segment can be begun for notes.
    fn has_room_for_notes(&self) -> bool {
        self.spare_bytes.is_some() || !self.has_no_room() || self.lacks_reserve && !self.disk_full
    }

    fn has_no_room(&self) -> bool {
        self.disk_full || self.used_bytes() + self.options.segment_bytes > self.options.segments_max_bytes()
    }

    /// A file for a rewrite, under [`REWRITE_NAME`]: a new one if there is room, else the spare.
    pub(super) fn rewrite_file(&mut self) -> Result<(S::File, u64), CommitError> {
        let segment_bytes = self.options.segment_bytes;
        // Left over from one that was given up, or not there.
        let _ = self.storage.unlink(REWRITE_NAME);
        if !self.has_no_room() {
            match self.storage.create(REWRITE_NAME, segment_bytes) {
                Ok(file) => return Ok((file, segment_bytes)),
                Err(error) => self.disk_full |= CommitError::from_io(REWRITE_NAME, &error).is_full(),
            }
        }
        let Some(bytes) = self.spare_bytes.take() else {
            return Err(CommitError::Full("there is no reserve to rewrite old segments with".to_owned()));
        };
        let renamed = self.storage.rename(SPARE_NAME, REWRITE_NAME).and_then(|()| self.storage.sync_dir());
        match renamed.and_then(|()| self.storage.open(REWRITE_NAME)) {
            Ok(file) => Ok((file, bytes)),
            Err(error) => {
                // Whichever name it has now: it is not counted any more.
                let _ = self.storage.unlink(REWRITE_NAME);
                let _ = self.storage.unlink(SPARE_NAME);
                Err(CommitError::from_io(REWRITE_NAME, &error))
            }
        }
    }

    /// Takes the file of a rewrite back, into the spare if there is none.
    pub(super) fn drop_rewrite_file(&mut self, bytes: u64) {
        let keep = self.spare_bytes.is_none() && bytes == self.options.segment_bytes;
        if keep && self.storage.rename(REWRITE_NAME, SPARE_NAME).is_ok() {
            self.spare_bytes = Some(bytes);
            self.spare_filled = 0;
        } else {
            let _ = self.storage.unlink(REWRITE_NAME);
        }
    }

    fn done(&self, acks: &Acks) -> Lsn {
        self.streams.iter().map(|s| acks.get(*s)).min().unwrap_or(self.durable)
    }

    /// Whether the oldest segment, with nothing in it that is of use, stays only for its checkpoint: a commit now, be it of
    /// nothing but a note, begins a new segment, and then it goes.
    pub fn awaits_checkpoint(&self) -> bool {
        let Some(first) = self.segments.front() else { return false };
        let next_base = self.segments.get(1).map_or(self.next_lsn, |next| next.base_lsn);
        let is_done = next_base <= self.done(&self.acks) + 1;
        // Not for the sake of a checkpoint that fills a segment by itself: the next would be no smaller.
        let has_use = next_base > first.base_lsn || self.current.as_ref().is_none_or(|c| c.id != first.id);
        self.wants_checkpoint() && first.id >= self.checkpoint_segment && has_use && is_done
    }

    /// Whether a segment stays only until it is durable that every stream is done with it.
    pub fn awaits_acks(&self) -> bool {
        self.acks_unwritten && self.done_bytes(&self.acks) > 0
    }

    /// Removes the segments that every stream is done with and recovery does not need.
    pub(super) fn recycle(&mut self, acks: &Acks) {
        let done = self.done(acks);
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

    /// Removes a segment, into what is missing of the reserves; false if the disk refuses.
    fn remove(&mut self, index: usize) -> bool {
        let Some(segment) = self.segments.get(index) else { return false };
        if self.rewriting.as_ref().is_some_and(|r| r.covers(segment.id)) {
            self.cancel_rewrite();
        }
        let Some(segment) = self.segments.get(index) else { return false };
        let name = segment_name(segment.id);
        let keep = self.spare_bytes.is_none() && segment.bytes == self.options.segment_bytes;
        if keep && self.storage.rename(&name, SPARE_NAME).is_ok() {
            self.spare_bytes = Some(segment.bytes);
            self.spare_filled = segment.filled;
        } else if !self.has_acks_file && segment.bytes == ACKS_BYTES && self.storage.rename(&name, ACKS_NAME).is_ok() {
            self.has_acks_file = true;
        } else if self.storage.unlink(&name).is_err() {
            self.usage.removal_failures += 1;
            return false;
        }
        self.segments.remove(index);
        self.disk_full = false;
        true
    }

    /// Removes what is of no use any more, as the disk may have refused that before, and makes the reserves for a full disk if
    /// they are missing and there is room. Call now and then while [`is_full`](Self::is_full): it finds out whether the disk has
    /// space again.
    pub fn refresh_spare(&mut self) {
        self.recycle(&self.acks_durable.clone());
        if !self.has_acks_file {
            // One of another size, or not there.
            let _ = self.storage.unlink(ACKS_NAME);
            self.has_acks_file = self.storage.create(ACKS_NAME, ACKS_BYTES).is_ok();
        }
        self.lacks_reserve &= !self.has_reserve();
        if self.spare_bytes.is_some()
            || self.used_bytes() + self.options.segment_bytes > self.options.segments_max_bytes()
        {
            return;
        }
        match self.storage.create(SPARE_NAME, self.options.segment_bytes) {
            Ok(_) => {
                self.spare_bytes = Some(self.options.segment_bytes);
                self.spare_filled = 0;
                self.disk_full = false;
            }
            Err(error) => self.disk_full |= CommitError::from_io(SPARE_NAME, &error).is_full(),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let rewriting_bytes = self.rewriting.as_ref().map_or(0, |r| r.bytes);
        self.segments.iter().map(|s| s.bytes).sum::<u64>() + rewriting_bytes + self.spare_bytes.unwrap_or(0)
    }

    /// Whether the reserve would be gone with another of the caller's frames, by quota or by disk: the room for
    /// acknowledgements, which are what makes room, and for notes. By quota it is two segments, so that a segment full of
    /// notes can be followed by the one that replaces it.
    pub fn is_full(&self) -> bool {
        let target = self.open.target().unwrap_or_else(|| self.next_target());
        let (holds_frames, notes_only_bytes) = match self.segments.back().filter(|_| !target.opens) {
            Some(current) if current.base_lsn == self.next_lsn => (false, current.bytes),
            // What a full disk had room for is for acknowledgements.
            Some(current) => (current.bytes >= self.options.segment_bytes, 0),
            None => (self.open.first_lsn().is_some(), 0),
        };
        if holds_frames {
            return false;
        }
        // A rewrite gives way to what is appended.
        let rewriting_bytes = self.rewriting.as_ref().map_or(0, |r| r.bytes);
        let frames_bytes = self.used_bytes() - self.spare_bytes.unwrap_or(0) - rewriting_bytes - notes_only_bytes;
        let reserved = frames_bytes + (1 + RESERVE_SEGMENTS) * self.options.segment_bytes;
        self.disk_full || reserved > self.options.segments_max_bytes()
    }

    /// Bytes of the segments, and those beyond which the log is full: less than the quota, by what is kept in reserve.
    pub fn filled(&self) -> (u64, u64) {
        let reserve_bytes = (1 + RESERVE_SEGMENTS) * self.options.segment_bytes;
        let rewriting_bytes = self.rewriting.as_ref().map_or(0, |r| r.bytes);
        let filled_bytes = self.used_bytes() - self.spare_bytes.unwrap_or(0) - rewriting_bytes;
        (filled_bytes, self.options.segments_max_bytes().saturating_sub(reserve_bytes))
    }

    /// Numbers of the frames in the oldest segment that is not acknowledged yet, for a caller who means to acknowledge all of
    /// them: when that is durable, the segment goes. None if nothing can go but by acknowledgements of what comes later.
    pub fn oldest_to_go(&self) -> Option<RangeInclusive<Lsn>> {
        self.to_go().map(|(segment, next_base)| segment.base_lsn..=next_base - 1)
    }

    /// That segment, and the number after its last frame.
    fn to_go(&self) -> Option<(&Segment, Lsn)> {
        let done = self.done(&self.acks);
        let index = self.segments.iter().skip(1).take_while(|next| next.base_lsn <= done + 1).count();
        let first = self.segments.get(index)?;
        let next_base = self.segments.get(index + 1).map_or(self.next_lsn, |next| next.base_lsn);
        let can_go = first.id < self.checkpoint_segment || self.wants_checkpoint() && self.has_room_for_notes();
        let is_whole = next_base > first.base_lsn && next_base <= self.durable + 1;
        (can_go && is_whole).then_some((first, next_base))
    }

    /// Shows the frames of [`oldest_to_go`](Self::oldest_to_go), but for those that are damaged.
    pub fn show_oldest(&mut self, visit: &mut dyn FnMut(Lsn, u8, &[u8])) -> Result<(), ReadError> {
        let Some((segment, next_base)) = self.to_go() else { return Ok(()) };
        let is_rewritten = segment.is_rewritten();
        let mut reader = self.reader(segment.base_lsn.saturating_sub(1));
        while reader.after + 1 < next_base || is_rewritten {
            match self.read(&mut reader)? {
                Some(frame) if frame.lsn < next_base => visit(frame.lsn, frame.kind, frame.body),
                _ => break,
            }
        }
        Ok(())
    }
}
