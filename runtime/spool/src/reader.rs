//! Durable frames in order, read in blocks.

use std::io;

use crate::format::{
    checked_body, decode_gone, find_salt, peek_frame, FrameHeader, ALIGN, FRAME_HEADER_BYTES, HEADER_BYTES, KIND_GONE,
    KIND_NOTES,
};
use crate::spool::{Segment, Spool};
use crate::{Lsn, Storage};

/// The log is read in blocks of this size.
const BLOCK_BYTES: usize = 64 << 10;

/// A block of one file, and frames within.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    block: Vec<u8>,
    start: u64,
}

/// What stands at an offset.
pub(crate) enum Parsed {
    Frame(FrameHeader),
    /// Not a frame of this segment.
    Other,
    /// The file, or its part in use, ends here.
    End,
}

impl Scanner {
    pub fn reset(&mut self) {
        self.block.clear();
    }

    /// Makes `[offset, offset + bytes)` available, or as much of it as there is before `end`.
    fn fill<S: Storage>(&mut self, storage: &S, file: &S::File, offset: u64, bytes: usize, end: u64) -> io::Result<()> {
        let have = self.start..self.start + self.block.len() as u64;
        let wanted = (offset + bytes as u64).min(end);
        if have.contains(&offset) && wanted <= have.end {
            return Ok(());
        }
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.max(BLOCK_BYTES));
        self.block.resize(length, 0);
        let read = storage.read_at(file, offset, &mut self.block)?;
        self.block.truncate(read);
        self.start = offset;
        Ok(())
    }

    fn at(&self, offset: u64) -> &[u8] {
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if offset < self.start {
            return &[];
        }
        self.block.get(from..).unwrap_or_default()
    }

    /// Reads the frame at `offset`; its body is then [`body`](Self::body).
    pub fn parse<S: Storage>(
        &mut self,
        storage: &S,
        file: &S::File,
        salt: u32,
        offset: u64,
        end: u64,
    ) -> io::Result<Parsed> {
        if offset + FRAME_HEADER_BYTES as u64 > end {
            return Ok(Parsed::End);
        }
        self.fill(storage, file, offset, FRAME_HEADER_BYTES, end)?;
        let Some(header) = peek_frame(self.at(offset), salt) else { return Ok(Parsed::Other) };
        if offset + header.span() as u64 > end.next_multiple_of(ALIGN as u64) {
            return Ok(Parsed::Other);
        }
        self.fill(storage, file, offset, header.span(), end)?;
        match checked_body(self.at(offset), &header) {
            Some(_) => Ok(Parsed::Frame(header)),
            None => Ok(Parsed::Other),
        }
    }

    /// Body of the frame last parsed at `offset`.
    pub fn body(&self, offset: u64, header: &FrameHeader) -> &[u8] {
        self.at(offset).get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.body_bytes).unwrap_or_default()
    }

    /// The next place after `offset` where a frame may begin, by its salt; `end` if there is none.
    pub fn resync<S: Storage>(
        &mut self,
        storage: &S,
        file: &S::File,
        salt: u32,
        offset: u64,
        end: u64,
    ) -> io::Result<u64> {
        let mut at = offset + ALIGN as u64;
        while at + FRAME_HEADER_BYTES as u64 <= end {
            self.fill(storage, file, at, FRAME_HEADER_BYTES, end)?;
            let Some(last) = self.at(at).len().checked_sub(FRAME_HEADER_BYTES) else { break };
            let places = last / ALIGN + 1;
            match find_salt(self.at(at), places, salt) {
                Some(place) => return Ok(at + (place * ALIGN) as u64),
                None => at += (places * ALIGN) as u64,
            }
        }
        Ok(end)
    }
}

/// A place in the log.
#[derive(Debug)]
pub struct Reader<F> {
    /// Frames up to here were read.
    pub(crate) after: Lsn,
    at: Option<Place<F>>,
    /// The segment to go on with, when the one before is done with.
    next: Option<u64>,
    scanner: Scanner,
    /// What is missing is for others to count: it reads ahead of them.
    pub(crate) is_ahead: bool,
}

#[derive(Debug)]
struct Place<F> {
    segment: u64,
    /// Another one when the segment was rewritten meanwhile.
    salt: u32,
    file: F,
    offset: u64,
}

/// A frame as it was appended, or what a rewrite made of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'r> {
    /// Its number.
    pub lsn: Lsn,
    /// The same; if it is of the kind [`KIND_GONE`], the first of the numbers it stands for, and one more than `lsn` if
    /// there are none.
    pub first: Lsn,
    /// The caller's kind, or [`KIND_GONE`].
    pub kind: u8,
    /// The caller's bytes; of [`KIND_GONE`], those of [`Rewrite::take_gone`](crate::Rewrite::take_gone).
    pub body: &'r [u8],
}

/// The log cannot be read at present; the reader stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("reading {name} failed: {error}; check the disk")]
pub struct ReadError {
    pub(crate) name: String,
    pub(crate) error: io::Error,
}

impl<F> Reader<F> {
    pub(crate) fn new(after: Lsn) -> Self {
        Self { after, at: None, next: None, scanner: Scanner::default(), is_ahead: false }
    }

    /// A reader from the beginning of `segment`, which goes on after `after`.
    pub(crate) fn ahead(after: Lsn, segment: u64) -> Self {
        Self { is_ahead: true, next: Some(segment), ..Self::new(after) }
    }
}

impl<S: Storage> Spool<S> {
    /// A reader of the frames after `after`.
    pub fn reader(&self, after: Lsn) -> Reader<S::File> {
        Reader::new(after)
    }

    /// The next durable frame; none at the end of what is durable. Frames that are damaged, or were given up, are
    /// passed over: their numbers are missing. Where a rewrite dropped frames, one of [`KIND_GONE`] stands for them; it
    /// may be read twice.
    pub fn read<'r>(&mut self, reader: &'r mut Reader<S::File>) -> Result<Option<Frame<'r>>, ReadError> {
        match self.find(reader) {
            Ok(Some((offset, header))) => {
                let body = reader.scanner.body(offset, &header);
                let (first, body) = match header.kind {
                    KIND_GONE => decode_gone(body).unwrap_or((header.lsn + 1, &[])),
                    _ => (header.lsn, body),
                };
                Ok(Some(Frame { lsn: header.lsn, first, kind: header.kind, body }))
            }
            Ok(None) => Ok(None),
            Err((name, error)) => {
                reader.at = None;
                Err(ReadError { name, error })
            }
        }
    }

    fn find(&mut self, reader: &mut Reader<S::File>) -> Result<Option<(u64, FrameHeader)>, (String, io::Error)> {
        while self.goes_on(reader) {
            let Some((segment, next_base)) = self.segment_for(reader) else {
                return Ok(None);
            };
            let (id, salt, end, base) = (segment.id, segment.salt, segment.end, segment.base_lsn);
            let is_rewritten = segment.is_rewritten();
            let fail = |error| (crate::format::segment_name(id), error);
            let mut place = match reader.at.take() {
                Some(place) if place.segment == id && place.salt == salt => place,
                _ => {
                    reader.scanner.reset();
                    let file = self.storage().open(&crate::format::segment_name(id)).map_err(fail)?;
                    // Segments before this one may have been given up meanwhile: that is no damage.
                    reader.after = reader.after.max(base.saturating_sub(1));
                    reader.next = None;
                    Place { segment: id, salt, file, offset: HEADER_BYTES as u64 }
                }
            };
            // What a rewrite dropped of its last frame stands behind that.
            if next_base.is_some_and(|base| reader.after + 1 >= base) && !is_rewritten {
                self.leave(reader, id);
                continue;
            }
            let storage = self.storage();
            // A live segment grows: what the block does not hold yet is read again.
            let parsed = reader.scanner.parse(storage, &place.file, salt, place.offset, end).map_err(fail)?;
            match parsed {
                Parsed::Frame(header) => {
                    let superseded = next_base.is_some_and(|base| header.lsn >= base);
                    if header.lsn > self.durable() && !superseded {
                        reader.at = Some(place);
                        return Ok(None);
                    }
                    let offset = place.offset;
                    place.offset += header.span() as u64;
                    reader.at = Some(place);
                    let is_new = match header.kind {
                        KIND_GONE => header.lsn >= reader.after,
                        kind => kind < KIND_NOTES && header.lsn > reader.after,
                    };
                    if is_new && !superseded {
                        let first = match header.kind {
                            KIND_GONE => decode_gone(reader.scanner.body(offset, &header)).map(|(first, _)| first),
                            _ => None,
                        };
                        self.note_gap(reader, first.unwrap_or(header.lsn));
                        reader.after = header.lsn;
                        return Ok(Some((offset, header)));
                    }
                }
                Parsed::Other if place.offset < end => {
                    place.offset =
                        reader.scanner.resync(storage, &place.file, salt, place.offset, end).map_err(fail)?;
                    reader.at = Some(place);
                }
                Parsed::Other | Parsed::End if next_base.is_some() => self.leave(reader, id),
                Parsed::Other | Parsed::End => {
                    reader.at = Some(place);
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Whether there may be more: frames, or what a rewrite dropped of the last of them, which stands behind that.
    fn goes_on(&self, reader: &Reader<S::File>) -> bool {
        reader.after < self.durable() || self.segment_for(reader).is_some_and(|(segment, _)| segment.is_rewritten())
    }

    /// The segment to read next, and the base of the one after it.
    fn segment_for(&self, reader: &Reader<S::File>) -> Option<(&Segment, Option<Lsn>)> {
        let segments = self.segments();
        let index = match reader.at.as_ref().map(|place| place.segment).or(reader.next) {
            Some(id) => segments.partition_point(|s| s.id < id),
            // Of several that begin with the same number, only the last holds frames that count. What a rewrite dropped of
            // the frame before stands behind that, in the segment before all of them.
            None => {
                let last = segments.partition_point(|s| s.base_lsn <= reader.after + 1).saturating_sub(1);
                let before = segments.partition_point(|s| s.base_lsn <= reader.after).checked_sub(1);
                let is_rewritten = |index: &usize| segments.get(*index).is_some_and(Segment::is_rewritten);
                before.filter(|index| *index < last && is_rewritten(index)).unwrap_or(last)
            }
        };
        let segment = segments.get(index)?;
        Some((segment, segments.get(index + 1).map(|s| s.base_lsn)))
    }

    /// Goes on with the segment after `id`.
    fn leave(&mut self, reader: &mut Reader<S::File>, id: u64) {
        reader.at = None;
        reader.scanner.reset();
        let segments = self.segments();
        if let Some(next) = segments.get(segments.partition_point(|s| s.id <= id)) {
            let base = next.base_lsn;
            reader.next = Some(next.id);
            // What stands before the next segment and was not found is gone.
            self.note_gap(reader, base);
            reader.after = reader.after.max(base.saturating_sub(1));
        }
    }
}
