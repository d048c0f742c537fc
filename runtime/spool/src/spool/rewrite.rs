//! Rewriting old segments: their frames are kept, replaced or dropped one by one, and what is left goes into one new
//! file that takes the place of the last of them by a rename. Until then nothing has happened.
//!
//! The name is that of the last because its header's base then covers the ones before: from the rename on they hold
//! nothing that counts, whether they are still there or not.

use super::*;
use crate::fate::{Fate, Rewrite, RewriteStep, Rewritten, Sealed};
use crate::format::{encode_frame, encode_gone, RewriteHeader, KIND_GONE};

/// This much is written between two syncs, so that none of them holds up the commits behind it for long.
const SYNC_BYTES: u64 = 256 << 10;
/// Rewritten files end at multiples of a disk block.
const BLOCK_BYTES: u64 = 4096;
/// Rewritten frames are not those of a batch that may be torn.
const BATCH: u32 = 1;

/// Up to where everything of whole segments is written.
struct Boundary {
    segment: u64,
    end: u64,
    last_lsn: Lsn,
    note: Vec<u8>,
}

pub(super) struct Rewriting<F> {
    first: u64,
    last: u64,
    /// Its frames are read now, and the first frame behind it.
    current: u64,
    next_base: Lsn,
    /// The first segment that has to go into the new file for this to be worth anything.
    wanted: u64,
    mark: u64,
    salt: u32,
    base_lsn: Lsn,
    reader: Reader<F>,
    file: F,
    /// Bytes the file takes on disk.
    pub bytes: u64,
    /// Frames that are not written yet, and where they go.
    out: Vec<u8>,
    out_at: u64,
    synced_to: u64,
    /// Numbers that went since the last frame kept.
    run: Option<Range<Lsn>>,
    body: Vec<u8>,
    done: Option<Boundary>,
    /// The sync under way, and whether it is the last.
    syncing: Option<(u64, bool)>,
}

impl<F> Rewriting<F> {
    pub fn covers(&self, segment: u64) -> bool {
        (self.first..=self.last).contains(&segment)
    }

    fn end(&self) -> u64 {
        self.out_at + self.out.len() as u64
    }

    fn push(&mut self, kind: u8, lsn: Lsn, body: &[u8]) {
        encode_frame(&mut self.out, self.salt, BATCH, kind, lsn, body);
    }

    /// Writes down what went since the last frame kept; `next` is the number of what follows.
    fn flush_gone(&mut self, rewrite: &mut dyn Rewrite, next: Lsn) {
        let numbers = self.run.take().unwrap_or(next..next);
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        encode_gone(numbers.start, &mut body);
        let bare_bytes = body.len();
        rewrite.take_gone(&mut body);
        if !numbers.is_empty() || body.len() > bare_bytes {
            self.push(KIND_GONE, numbers.end - 1, &body);
        }
        self.body = body;
    }

    /// Numbers that went. What is missing in between is damage, and has to look like it.
    fn add_gone(&mut self, rewrite: &mut dyn Rewrite, numbers: Range<Lsn>) {
        if self.run.as_ref().is_some_and(|run| run.end != numbers.start) {
            let end = self.run.as_ref().map_or(0, |run| run.end);
            self.flush_gone(rewrite, end);
        }
        self.run = Some(self.run.as_ref().map_or(numbers.start, |run| run.start)..numbers.end);
    }

    fn take(&mut self, rewrite: &mut dyn Rewrite, lsn: Lsn, kind: u8, body: &[u8]) {
        let mut replacement = Vec::new();
        let fate = rewrite.frame(lsn, kind, body, &mut replacement);
        if fate == Fate::Drop {
            return self.add_gone(rewrite, lsn..lsn + 1);
        }
        self.flush_gone(rewrite, lsn);
        self.push(kind, lsn, if fate == Fate::Replace { &replacement } else { body });
    }
}

impl<S: Storage> Spool<S> {
    /// The segments before the newest checkpoint that hold frames, oldest first.
    pub fn sealed(&self) -> impl Iterator<Item = Sealed> + '_ {
        let followers = self.segments.iter().skip(1);
        self.segments
            .iter()
            .zip(followers)
            .filter(|(segment, next)| segment.id < self.checkpoint_segment && next.base_lsn > segment.base_lsn)
            .map(|(segment, next)| Sealed {
                id: segment.id,
                first_lsn: segment.base_lsn,
                last_lsn: next.base_lsn - 1,
                bytes: segment.end,
                mark: segment.mark,
            })
    }

    /// Begins to rewrite the segments from `first` to `last` of [`sealed`](Self::sealed) into one; those with `mark` in front
    /// are merged, the others take part for the first time. False if there are no such segments, or a rewrite is under
    /// way. It takes a segment's room, and the reserve if there is no other.
    pub fn begin_rewrite(&mut self, first: u64, last: u64, mark: u64) -> Result<bool, CommitError> {
        let of_range: Vec<Sealed> = self.sealed().filter(|s| (first..=last).contains(&s.id)).collect();
        let (Some(start), Some(end)) = (of_range.first(), of_range.last()) else { return Ok(false) };
        if self.rewriting.is_some() || (start.id, end.id) != (first, last) {
            return Ok(false);
        }
        let wanted = of_range.iter().find(|s| s.mark != mark).map_or(first, |s| s.id);
        let (file, bytes) = self.rewrite_file()?;
        self.rewrites += 1;
        self.rewriting = Some(Rewriting {
            first,
            last,
            current: first,
            next_base: start.last_lsn + 1,
            wanted,
            mark,
            salt: salt(self.opened_with.wrapping_add(self.rewrites), last),
            base_lsn: start.first_lsn,
            reader: Reader::ahead(start.first_lsn.saturating_sub(1), first),
            file,
            bytes,
            out: Vec::new(),
            out_at: HEADER_BYTES as u64,
            synced_to: HEADER_BYTES as u64,
            run: None,
            body: Vec::new(),
            done: None,
            syncing: None,
        });
        Ok(true)
    }

    /// Numbers of the frames that a rewrite under way is about.
    pub fn rewriting(&self) -> Option<std::ops::RangeInclusive<Lsn>> {
        let rewriting = self.rewriting.as_ref()?;
        let last = self.sealed().find(|s| s.id == rewriting.last)?;
        Some(rewriting.base_lsn..=last.last_lsn)
    }

    /// Gives up the rewrite under way, if there is one: nothing has happened.
    pub fn cancel_rewrite(&mut self) {
        if let Some(rewriting) = self.rewriting.take() {
            self.drop_rewrite_file(rewriting.bytes);
        }
    }

    /// One frame further. Waits, with [`RewriteStep::More`], while a sync is under way. After an error the rewrite is given
    /// up.
    pub fn step_rewrite(&mut self, rewrite: &mut dyn Rewrite) -> Result<RewriteStep<S::File>, CommitError> {
        let Some(mut rewriting) = self.rewriting.take() else { return Ok(RewriteStep::More) };
        let result = match rewriting.syncing {
            Some(_) => Ok(RewriteStep::More),
            None => self.advance(&mut rewriting, rewrite),
        };
        self.rewriting = Some(rewriting);
        if !matches!(result, Ok(RewriteStep::More | RewriteStep::Sync(_))) {
            self.cancel_rewrite();
        }
        result
    }

    fn advance(
        &mut self,
        rewriting: &mut Rewriting<S::File>,
        rewrite: &mut dyn Rewrite,
    ) -> Result<RewriteStep<S::File>, CommitError> {
        let mut reader = std::mem::replace(&mut rewriting.reader, Reader::ahead(0, 0));
        let is_over = reader.after + 1 >= rewriting.next_base
            && rewriting.current == rewriting.last
            && !self.segments.iter().any(|s| s.id == rewriting.last && s.is_rewritten());
        let frame = if is_over { Ok(None) } else { self.read(&mut reader) };
        let frame = frame.map_err(|error| CommitError::Io(error.to_string()))?;
        // Of a frame for no number at all: what stands behind the last of a segment belongs to that. What stands before the first
        // of the next looks the same, and may be told twice.
        let found = frame.as_ref().map_or(Lsn::MAX, |frame| frame.lsn);
        // What cannot be read ends its segment all the same.
        while found >= rewriting.next_base && rewriting.current < rewriting.last {
            self.end_source(rewriting, rewrite);
        }
        match frame.filter(|_| found < rewriting.next_base) {
            Some(frame) if frame.kind == KIND_GONE => {
                rewrite.gone(frame.body);
                if frame.first <= frame.lsn {
                    rewriting.add_gone(rewrite, frame.first..frame.lsn + 1);
                }
            }
            Some(frame) => rewriting.take(rewrite, frame.lsn, frame.kind, frame.body),
            None => {
                self.end_source(rewriting, rewrite);
                return self.finish(rewriting);
            }
        }
        rewriting.reader = reader;
        self.keep_up(rewriting)
    }

    /// Everything of the segment at hand is written: the rewrite may end here.
    fn end_source(&self, rewriting: &mut Rewriting<S::File>, rewrite: &mut dyn Rewrite) {
        let end = rewriting.run.as_ref().map_or(rewriting.next_base, |run| run.end);
        rewriting.flush_gone(rewrite, end);
        let mut note = Vec::new();
        rewrite.boundary(&mut note);
        let (segment, last_lsn) = (rewriting.current, rewriting.next_base - 1);
        if rewriting.end() <= self.options.segment_bytes || rewriting.done.is_none() {
            rewriting.done = Some(Boundary { segment, end: rewriting.end(), last_lsn, note });
        }
        if let Some(next) = self.sealed().find(|s| s.id > segment) {
            rewriting.current = next.id;
            rewriting.next_base = next.last_lsn + 1;
        }
    }

    /// Writes and syncs what has gathered; ends early when the file is full.
    fn keep_up(&mut self, rewriting: &mut Rewriting<S::File>) -> Result<RewriteStep<S::File>, CommitError> {
        let is_too_long = rewriting.end() > self.options.segment_bytes;
        if is_too_long && rewriting.done.is_some() {
            return self.finish(rewriting);
        }
        let sync_bytes = SYNC_BYTES.min(self.options.segment_bytes / 4);
        if rewriting.out.len() as u64 >= sync_bytes / 4 {
            self.write_out(rewriting)?;
        }
        if rewriting.out_at >= rewriting.synced_to + sync_bytes {
            return Ok(self.sync_rewrite(rewriting, false));
        }
        Ok(RewriteStep::More)
    }

    fn write_out(&mut self, rewriting: &mut Rewriting<S::File>) -> Result<(), CommitError> {
        let more = rewriting.end().saturating_sub(rewriting.bytes);
        // It is not counted among the log's while it is worked on.
        if self.used_bytes() + rewriting.bytes + more > self.options.segments_max_bytes() && more > 0 {
            return Err(CommitError::Full("what a rewrite keeps has no room".to_owned()));
        }
        let written = self.storage.write_at(&rewriting.file, rewriting.out_at, &rewriting.out);
        rewriting.bytes += more;
        if let Err(error) = written {
            rewriting.bytes = self.storage.len(&rewriting.file).map_or(rewriting.bytes, |b| b.max(rewriting.bytes));
            return Err(CommitError::from_io(REWRITE_NAME, &error));
        }
        let bytes = rewriting.out.len() as u64;
        self.usage.bytes_written += bytes;
        self.usage.device_bytes += wear::write_bytes(rewriting.out_at, bytes, rewriting.out_at);
        rewriting.out_at = rewriting.end();
        rewriting.out.clear();
        Ok(())
    }

    fn sync_rewrite(&mut self, rewriting: &mut Rewriting<S::File>, is_last: bool) -> RewriteStep<S::File> {
        let id = self.next_commit;
        self.next_commit += 1;
        rewriting.syncing = Some((id, is_last));
        rewriting.synced_to = rewriting.out_at;
        RewriteStep::Sync(Commit { id, file: rewriting.file.clone() })
    }

    /// Writes what is left, and the header, up to the last boundary that fits.
    fn finish(&mut self, rewriting: &mut Rewriting<S::File>) -> Result<RewriteStep<S::File>, CommitError> {
        let Some(done) = rewriting.done.take() else { return Ok(RewriteStep::TooLong) };
        if done.segment < rewriting.wanted {
            return Ok(RewriteStep::TooLong);
        }
        rewriting.out.truncate(usize::try_from(done.end.saturating_sub(rewriting.out_at)).unwrap_or(usize::MAX));
        self.write_out(rewriting)?;
        let index = self.segments.partition_point(|s| s.id < rewriting.first);
        let previous = index.checked_sub(1).and_then(|before| self.segments.get(before));
        let header = SegmentHeader {
            epoch: self.epoch,
            segment: done.segment,
            salt: rewriting.salt,
            base_lsn: rewriting.base_lsn,
            previous: previous.map_or((0, 0), |s| (s.id, s.end)),
            acks: self.acks_durable.clone(),
            rewrite: Some(RewriteHeader { end: done.end, mark: rewriting.mark, note: done.note.clone() }),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        header.encode(&mut bytes);
        let trimmed = done.end.next_multiple_of(BLOCK_BYTES);
        self.storage
            .write_at(&rewriting.file, 0, &bytes)
            .and_then(|()| self.storage.trim(&rewriting.file, trimmed))
            .map_err(|error| CommitError::from_io(REWRITE_NAME, &error))?;
        self.usage.bytes_written += HEADER_BYTES as u64;
        self.usage.device_bytes += wear::new_segment_bytes(HEADER_BYTES as u64);
        rewriting.bytes = trimmed;
        rewriting.done = Some(done);
        Ok(self.sync_rewrite(rewriting, true))
    }

    /// Reports a sync of [`RewriteStep::Sync`]. After the last of them the new segment takes the place of the old ones;
    /// none before, or if `id` is of a rewrite that was given up. After an error the rewrite is given up.
    pub fn end_rewrite_sync(&mut self, id: u64, result: io::Result<()>) -> Result<Option<Rewritten>, CommitError> {
        let Some(rewriting) = self.rewriting.as_mut().filter(|r| r.syncing.is_some_and(|(sync, _)| sync == id)) else {
            return Ok(None);
        };
        let is_last = rewriting.syncing.take().is_some_and(|(_, is_last)| is_last);
        if let Err(error) = result {
            self.usage.sync_failures += 1;
            self.cancel_rewrite();
            return Err(CommitError::from_io(REWRITE_NAME, &error));
        }
        self.usage.syncs += 1;
        if !is_last {
            return Ok(None);
        }
        self.put_in_place()
    }

    fn put_in_place(&mut self) -> Result<Option<Rewritten>, CommitError> {
        let Some((rewriting, done)) = self.rewriting.take().and_then(|mut r| r.done.take().map(|done| (r, done)))
        else {
            return Ok(None);
        };
        let name = segment_name(done.segment);
        let place = self.segments.iter().position(|s| s.id == done.segment);
        if let Err(error) = self.storage.rename(REWRITE_NAME, &name) {
            self.drop_rewrite_file(rewriting.bytes);
            return Err(CommitError::from_io(&name, &error));
        }
        for segment in self.segments.iter_mut().filter(|s| (rewriting.first..done.segment).contains(&s.id)) {
            segment.base_lsn = rewriting.base_lsn;
        }
        if let Some(segment) = place.and_then(|index| self.segments.get_mut(index)) {
            *segment = Segment {
                id: done.segment,
                salt: rewriting.salt,
                base_lsn: rewriting.base_lsn,
                bytes: rewriting.bytes,
                end: done.end,
                durable_end: done.end,
                filled: rewriting.bytes,
                mark: rewriting.mark,
            };
        }
        let is_durable = self.storage.sync_dir().is_ok();
        self.usage.sync_failures += u64::from(!is_durable);
        self.name_is_volatile = !is_durable;
        if is_durable {
            self.disk_full = false;
        }
        // Those before hold nothing that counts any more.
        self.refresh_spare();
        Ok(Some(Rewritten { first_lsn: rewriting.base_lsn, last_lsn: done.last_lsn, is_durable }))
    }
}
