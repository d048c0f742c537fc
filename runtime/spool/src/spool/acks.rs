//! The last resort of a full disk: acknowledgements that would make room, and have none to be written to.
//!
//! A small file is kept for them. They become a segment of their own in it, with nothing of the batch that waits: when
//! that is durable, what they are about can go, and the batch has its room.

use super::*;

/// What that file takes: a header, and the largest note of a caller that has one for each stream.
pub(crate) const ACKS_BYTES: u64 = 16 << 10;

/// Whether the file is there, with all of its room.
pub(crate) fn has_acks_file<S: Storage>(storage: &S) -> bool {
    storage.open(ACKS_NAME).and_then(|file| storage.len(&file)).is_ok_and(|bytes| bytes == ACKS_BYTES)
}

impl<S: Storage> Spool<S> {
    /// Whether acknowledgements have their own room on a full disk.
    pub fn has_acks_room(&self) -> bool {
        self.has_acks_file
    }

    /// Whether a commit found no room, and the acknowledgements that are not durable yet would make it.
    pub fn acks_make_room(&self) -> bool {
        self.missing_bytes > 0 && self.done_bytes(&self.acks) >= self.missing_bytes
    }

    /// For a commit that found no room: if the acknowledgements that are not durable yet would make it, makes them durable by
    /// themselves, with a note of the caller's `kind` (0x60 to 0x7f), and removes what they are about. The note must be true of
    /// all durable frames, and of none that waits in the batch. Waits for the disk. False if they would not make enough room, or have
    /// none of their own; after an error nothing has happened, or a power cut may show that they are durable after all.
    pub fn commit_acks(&mut self, kind: u8, note: &[u8]) -> Result<bool, CommitError> {
        if !self.acks_make_room() || !self.has_acks_file || self.flying.is_some() {
            return Ok(false);
        }
        let target = self.new_target();
        let header = SegmentHeader {
            epoch: self.epoch,
            segment: target.segment,
            salt: target.salt,
            base_lsn: self.durable + 1,
            previous: self.segments.back().map_or((0, 0), |last| (last.id, last.end)),
            acks: self.acks.clone(),
            rewrite: None,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + note.len());
        header.encode(&mut bytes);
        let kind = kind & (KIND_RESERVED - 1) | KIND_CLOSING;
        encode_frame(&mut bytes, target.salt, target.batch, kind, self.durable, note);
        let end = bytes.len() as u64;
        if end > ACKS_BYTES {
            return Err(CommitError::Full(format!("a note of {end} bytes is too long for the reserve")));
        }
        // The header names the end of the segment before: nothing is to follow there.
        self.current = None;
        self.next_segment = target.segment + 1;
        self.open.aim_anew(self.new_target());
        self.write_acks(target, &bytes)?;
        self.usage.bytes_written += end;
        self.usage.device_bytes += wear::new_segment_bytes(end);
        self.usage.syncs += 1;
        self.segments.push_back(Segment {
            id: target.segment,
            salt: target.salt,
            base_lsn: self.durable + 1,
            bytes: ACKS_BYTES,
            end,
            durable_end: end,
            filled: end,
            mark: 0,
        });
        self.acks_unwritten = false;
        self.acks_durable = self.acks.clone();
        self.name_is_volatile = false;
        self.recycle(&self.acks_durable.clone());
        Ok(true)
    }

    /// Makes the file durable with this in it, and then a segment. If that fails it is given up: its room may not be there, or no
    /// good, and whoever counts on it again would give up ever more for what does not come about.
    fn write_acks(&mut self, target: Target, bytes: &[u8]) -> Result<(), CommitError> {
        let name = segment_name(target.segment);
        // Its earlier name must be gone for good before its content is overwritten.
        let written = self.storage.sync_dir().and_then(|()| {
            let file = self.storage.open(ACKS_NAME)?;
            self.storage.write_at(&file, 0, bytes)?;
            self.storage.sync_data(&file)?;
            self.storage.rename(ACKS_NAME, &name)?;
            self.storage.sync_dir()
        });
        self.has_acks_file = false;
        written.map_err(|error| {
            self.usage.sync_failures += 1;
            // Whichever name it has now: it is not counted any more. If it stays after all, it is true, and holds no frame.
            let _ = self.storage.unlink(ACKS_NAME);
            let _ = self.storage.unlink(&name);
            CommitError::from_io(ACKS_NAME, &error)
        })
    }

    /// Shows the frames that wait for their commit.
    pub fn show_batch(&self, visit: &mut dyn FnMut(Lsn, u8, &[u8])) {
        self.open.show(visit);
    }
}
