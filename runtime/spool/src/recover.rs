//! What an old log holds.
//!
//! A batch is written after the batch before it was synced, so at most the last batch of the last segment can be torn.
//! It counts up to its first bad byte: what follows was never promised, and was made knowing what is lost. Everywhere
//! else a bad frame is damage: it is passed over, and what follows it counts. A segment tells where the durable part of
//! the one before ends (`previous`) and the number it goes on with (`base_lsn`): what stands beyond is superseded.

use std::collections::VecDeque;
use std::io;

use crate::format::{
    decode_acks, decode_gone, parse_segment_name, peek_salt, segment_name, Acks, FrameHeader, RewriteHeader,
    SegmentHeader, ACKS_NAME, FRAME_HEADER_BYTES, HEADER_BYTES, KIND_ACK, KIND_CHECKPOINT, KIND_GONE, KIND_NOTES,
    KIND_RESERVED, NEXT_NAME, REWRITE_NAME, SPARE_NAME,
};
use crate::reader::{Parsed, Scanner};
use crate::spool::{give_back, has_acks_file, Found, Segment};
use crate::{Lsn, Options, Spool, Storage};

/// This many segments without a readable byte are no torn beginning but a destroyed log.
const BLANK_SEGMENTS_MAX: usize = 2;

/// Takes what recovery finds, in order.
pub trait Replay {
    /// The note of a rewritten segment, oldest segment first; these come before all else.
    fn rewritten(&mut self, _note: &[u8]) {}
    /// The newest checkpoint; comes first, and not at all for a new log.
    fn checkpoint(&mut self, bytes: &[u8]);
    /// A frame appended after that checkpoint.
    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8]);
    /// A note that stands after all frames shown so far. After a failed sync it may come twice in a row.
    fn note(&mut self, kind: u8, body: &[u8]);
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refuses.
    #[error("opening the log failed: {what}: {error}; check the disk and the directory's owner")]
    Io {
        /// File and operation.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// There is a log, and nothing in it can be read.
    #[error("the log's {segments} segments hold nothing readable; if it is lost, move them out of the data directory and start again")]
    Unreadable {
        /// How many files.
        segments: usize,
    },
    /// The quota is too small.
    #[error("max_bytes is {0}, the log needs at least {min}; raise [spool] max_bytes", min = Options::MAX_BYTES_MIN)]
    QuotaTooSmall(u64),
}

struct Old<F> {
    id: u64,
    salt: u32,
    file: F,
    bytes: u64,
    end: u64,
    header: Option<SegmentHeader>,
    base_lsn: Lsn,
}

impl<F> Old<F> {
    fn rewrite(&self) -> Option<&RewriteHeader> {
        self.header.as_ref()?.rewrite.as_ref()
    }

    fn segment(&self) -> Segment {
        Segment {
            id: self.id,
            salt: self.salt,
            base_lsn: self.base_lsn,
            bytes: self.bytes,
            end: self.end,
            durable_end: self.end,
            filled: self.end,
            mark: self.rewrite().map_or(0, |rewrite| rewrite.mark),
        }
    }
}

impl<S: Storage> Spool<S> {
    /// Opens the log in `storage`, or begins a new one. Memory does not grow with the log.
    ///
    /// `fresh` is a random number other than 0, another one each time: it becomes the epoch of a new log, and tells
    /// segments of this life from those of a life that ended before they were durable.
    pub fn open(storage: S, options: Options, fresh: u64, replay: &mut dyn Replay) -> Result<Self, OpenError> {
        if options.max_bytes < Options::MAX_BYTES_MIN {
            return Err(OpenError::QuotaTooSmall(options.max_bytes));
        }
        let fail = |what: &str| {
            let what = what.to_owned();
            move |error| OpenError::Io { what, error }
        };
        let names = storage.list().map_err(fail("list"))?;
        let mut ids: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
        ids.sort_unstable();
        let next_segment = ids.last().map_or(1, |id| id + 1);
        let mut scanner = Scanner::default();
        let mut old = VecDeque::new();
        for id in &ids {
            let what = segment_name(*id);
            if let Some(segment) = look_at(&storage, &mut scanner, *id).map_err(fail(&what))? {
                old.push_back(segment);
            }
        }
        if old.is_empty() && ids.len() > BLANK_SEGMENTS_MAX {
            return Err(OpenError::Unreadable { segments: ids.len() });
        }
        supersede(&mut old);
        trim_sealed(&mut old);
        trim_tail(&storage, &mut scanner, &mut old).map_err(fail("tail"))?;
        for id in ids.iter().filter(|id| old.iter().all(|s| s.id != **id)) {
            // It holds nothing that counts. If it stays, the next segment's base supersedes it.
            let _ = storage.unlink(&segment_name(*id));
        }
        let replayed = replay_all(&storage, &mut scanner, &old, replay).map_err(fail("replay"))?;
        for name in names.iter().filter(|name| [NEXT_NAME, REWRITE_NAME].contains(&name.as_str())) {
            // It was on its way to become a segment; nothing in it was promised.
            let _ = storage.unlink(name);
        }
        storage.sync_dir().map_err(fail("directory"))?;
        for segment in &mut old {
            segment.bytes = give_back(&storage, &options, segment.id, segment.end, segment.bytes);
        }
        let spare_bytes = match names.iter().any(|name| name == SPARE_NAME) {
            true => take_spare(&storage, options.segment_bytes).ok(),
            false => None,
        };
        if spare_bytes.is_none() {
            // There is none, or it is of no use: what is not counted must not take room.
            let _ = storage.unlink(SPARE_NAME);
        }
        let has_acks_file = has_acks_file(&storage);
        if !has_acks_file {
            let _ = storage.unlink(ACKS_NAME);
        }
        let epoch = old.iter().find_map(|s| s.header.as_ref()).map_or(fresh, |h| h.epoch);
        let found = Found {
            epoch,
            segments: old.iter().map(Old::segment).collect(),
            next_segment,
            spare_bytes,
            has_acks_file,
            next_lsn: replayed.last_lsn + 1,
            checkpoint_segment: replayed.checkpoint_segment,
            acks: replayed.acks,
            damaged_frames: replayed.damaged_frames,
            replayed_from: replayed.from,
        };
        Ok(Self::from_found(storage, options, fresh, found))
    }
}

/// How large the spare is, and no larger than a segment of the present quota.
fn take_spare<S: Storage>(storage: &S, segment_bytes: u64) -> io::Result<u64> {
    let file = storage.open(SPARE_NAME)?;
    let bytes = storage.len(&file)?;
    if bytes > segment_bytes {
        storage.trim(&file, segment_bytes)?;
    }
    Ok(bytes.min(segment_bytes))
}

/// A segment as its header tells; none if neither header nor any frame is readable.
fn look_at<S: Storage>(storage: &S, scanner: &mut Scanner, id: u64) -> io::Result<Option<Old<S::File>>> {
    let file = storage.open(&segment_name(id))?;
    let bytes = storage.len(&file)?;
    // With the first frame, which has the salt too.
    let mut head = vec![0; HEADER_BYTES + FRAME_HEADER_BYTES];
    let read = storage.read_at(&file, 0, &mut head)?;
    head.truncate(read);
    let header = SegmentHeader::decode(&head).filter(|h| h.segment == id);
    let salt = header.as_ref().map(|h| h.salt).or_else(|| peek_salt(head.get(HEADER_BYTES..)?)).unwrap_or(0);
    let mut segment = Old { id, salt, file, bytes, end: bytes, base_lsn: 0, header };
    if let Some(rewrite) = segment.rewrite() {
        segment.end = rewrite.end.min(bytes);
    }
    segment.base_lsn = match &segment.header {
        Some(header) => header.base_lsn,
        None => {
            let mut first = None;
            walk(storage, scanner, &segment, |_, header, _| {
                let lsn = if header.kind < KIND_NOTES { header.lsn } else { header.lsn + 1 };
                first.get_or_insert(lsn);
                false
            })?;
            match first {
                Some(lsn) => lsn,
                None => return Ok(None),
            }
        }
    };
    Ok(Some(segment))
}

/// Shows every readable frame in order, until `visit` says false.
fn walk<S: Storage>(
    storage: &S,
    scanner: &mut Scanner,
    segment: &Old<S::File>,
    mut visit: impl FnMut(u64, &FrameHeader, &[u8]) -> bool,
) -> io::Result<()> {
    scanner.reset();
    let mut offset = HEADER_BYTES as u64;
    loop {
        match scanner.parse(storage, &segment.file, segment.salt, offset, segment.end)? {
            Parsed::Frame(header) => {
                if !visit(offset, &header, scanner.body(offset, &header)) {
                    return Ok(());
                }
                offset += header.span() as u64;
            }
            Parsed::Other => offset = scanner.resync(storage, &segment.file, segment.salt, offset, segment.end)?,
            Parsed::End => return Ok(()),
        }
    }
}

/// What a rewritten segment replaces may still be there: it begins where that one does, and so holds nothing that counts.
fn supersede<F>(old: &mut VecDeque<Old<F>>) {
    let mut base_lsn = Lsn::MAX;
    for segment in old.iter_mut().rev() {
        if segment.rewrite().is_some() {
            base_lsn = base_lsn.min(segment.base_lsn);
        }
        segment.base_lsn = segment.base_lsn.min(base_lsn);
    }
}

/// Cuts off each segment what the one after it says was never durable.
fn trim_sealed<F>(old: &mut VecDeque<Old<F>>) {
    let told: Vec<(u64, u64)> = old.iter().filter_map(|s| s.header.as_ref().map(|h| h.previous)).collect();
    for (previous, end) in told {
        if let Some(segment) = old.iter_mut().find(|s| s.id == previous && s.rewrite().is_none()) {
            segment.end = end.min(segment.end);
        }
    }
}

/// Cuts the torn part off the last segment, and drops it if nothing is left; then the one before is the last.
fn trim_tail<S: Storage>(storage: &S, scanner: &mut Scanner, old: &mut VecDeque<Old<S::File>>) -> io::Result<()> {
    while let Some(last) = old.back_mut() {
        // As if the highest batch so far were the last: where what counts ends, and whether a bad byte ended it.
        let (mut batch, mut start, mut end, mut is_torn) = (0, HEADER_BYTES as u64, HEADER_BYTES as u64, false);
        let mut reached = end;
        let header_is_bad = last.header.is_none();
        walk(storage, scanner, last, |offset, header, _| {
            if header.batch > batch {
                // All before it was synced.
                (batch, start, end, is_torn) = (header.batch, reached, reached, false);
            }
            is_torn |= header.batch == batch && (offset != end || header_is_bad && batch == 0);
            reached = offset + header.span() as u64;
            end = if is_torn { end } else { reached };
            true
        })?;
        last.end = end;
        if end > HEADER_BYTES as u64 {
            // The first batch was durable before the segment had its name.
            return if batch > 0 { write_again(storage, &last.file, start, end) } else { Ok(()) };
        }
        old.pop_back();
    }
    Ok(())
}

/// Where a sync failed and only the process ended since, the cache has what the disk has not, and takes it for written: a sync
/// would do nothing.
fn write_again<S: Storage>(storage: &S, file: &S::File, start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    let read = storage.read_at(file, start, &mut bytes)?;
    bytes.truncate(read);
    storage.write_at(file, start, &bytes)
}

#[derive(Default)]
struct Replayed {
    from: Lsn,
    last_lsn: Lsn,
    checkpoint_segment: u64,
    acks: Acks,
    damaged_frames: u64,
}

fn replay_all<S: Storage>(
    storage: &S,
    scanner: &mut Scanner,
    old: &VecDeque<Old<S::File>>,
    replay: &mut dyn Replay,
) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    for rewrite in old.iter().filter_map(Old::rewrite) {
        replay.rewritten(&rewrite.note);
    }
    for (stream, lsn) in old.iter().filter_map(|s| s.header.as_ref()).flat_map(|h| &h.acks.0) {
        replayed.acks.raise(*stream, *lsn);
    }
    let start = checkpoint_index(storage, scanner, old, replay)?;
    if let Some((index, true)) = start {
        replayed.checkpoint_segment = old.get(index).map_or(0, |s| s.id);
    }
    let from = start.map_or(0, |(index, _)| index);
    replayed.from = old.get(from).map_or(1, |s| s.base_lsn);
    replayed.last_lsn = replayed.from.saturating_sub(1);
    for (index, segment) in old.iter().enumerate().skip(from) {
        let next_base = old.get(index + 1).map_or(Lsn::MAX, |s| s.base_lsn);
        walk(storage, scanner, segment, |_, header, body| {
            if header.kind == KIND_ACK {
                for (stream, lsn) in decode_acks(body) {
                    replayed.acks.raise(stream, lsn);
                }
            } else if header.kind < KIND_NOTES && header.lsn > replayed.last_lsn && header.lsn < next_base {
                replayed.damaged_frames += header.lsn - replayed.last_lsn - 1;
                replayed.last_lsn = header.lsn;
                replay.frame(header.lsn, header.kind, body);
            } else if header.kind == KIND_GONE && header.lsn >= replayed.last_lsn && header.lsn < next_base {
                let first = decode_gone(body).map_or(header.lsn + 1, |(first, _)| first.min(header.lsn + 1));
                replayed.damaged_frames += first.saturating_sub(replayed.last_lsn + 1);
                replayed.last_lsn = header.lsn;
            } else if (KIND_NOTES..KIND_RESERVED).contains(&header.kind)
                && header.lsn >= replayed.last_lsn
                && header.lsn < next_base
            {
                replayed.damaged_frames += header.lsn - replayed.last_lsn;
                replayed.last_lsn = header.lsn;
                replay.note(header.kind, body);
            }
            true
        })?;
        if next_base != Lsn::MAX && next_base > replayed.last_lsn + 1 {
            replayed.damaged_frames += next_base - replayed.last_lsn - 1;
            replayed.last_lsn = next_base - 1;
        }
        // After a crash of the process alone, these frames may be in the page cache only. They are about to be acted on.
        storage.sync_data(&segment.file)?;
    }
    Ok(replayed)
}

/// Index of the segment to replay from, and whether it begins with a checkpoint, which is handed to `replay`.
fn checkpoint_index<S: Storage>(
    storage: &S,
    scanner: &mut Scanner,
    old: &VecDeque<Old<S::File>>,
    replay: &mut dyn Replay,
) -> io::Result<Option<(usize, bool)>> {
    for (index, segment) in old.iter().enumerate().rev() {
        let mut found = false;
        walk(storage, scanner, segment, |offset, header, body| {
            if offset == HEADER_BYTES as u64 && header.kind == KIND_CHECKPOINT {
                replay.checkpoint(body);
                found = true;
            }
            false
        })?;
        if found {
            return Ok(Some((index, true)));
        }
    }
    Ok((!old.is_empty()).then_some((0, false)))
}
