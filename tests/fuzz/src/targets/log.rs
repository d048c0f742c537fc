//! The log's files, as a damaged or forged disk may show them.

use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Lsn, OpenError, Options, Replay, Spool, Storage};

const SEGMENT_HEADER_BYTES: usize = 1024;
const FRAME_HEADER_BYTES: usize = 24;
/// The salt's place in the header of a segment and in that of a frame.
const SALT_AT: (usize, usize) = (24, 8);

/// In the first byte of an input: checksums, and the salts of frames, are made right.
const MEND: u8 = 1;

fn options() -> Options {
    Options::for_quota(Options::MAX_BYTES_MIN)
}

/// Pieces of an input: a byte that says what a piece is, its length in two bytes, and its bytes.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&[what, low, high], more) = rest.split_first_chunk()?;
        let (piece, more) = more.split_at(usize::from(u16::from_le_bytes([low, high])).min(more.len()));
        rest = more;
        Some((what, piece))
    })
}

fn piece(what: u8, bytes: &[u8]) -> Vec<u8> {
    [&[what][..], &(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// The files whose names begin with another letter than those of segments, after which the numbers of segments go on.
const OTHER_FILES: [&str; 4] = ["spare.log", "next.log", "rewrite.log", "segment-0000000000000001.bak"];

fn file_name(what: u8) -> String {
    let id = match what.checked_sub(OTHER_FILES.len() as u8) {
        None => return OTHER_FILES.get(usize::from(what)).map_or_else(String::new, |name| (*name).to_owned()),
        // The last numbers there are.
        Some(id @ 240..) => u64::MAX - u64::from(251 - id),
        Some(id) => u64::from(id),
    };
    format!("segment-{id:016x}.log")
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
}

/// Makes the checksums of header and frames right, as they stand one after the other.
fn mend(segment: &mut [u8]) {
    let Some((header, frames)) = segment.split_at_mut_checked(SEGMENT_HEADER_BYTES) else { return };
    let salt: Vec<u8> = header.iter().skip(SALT_AT.0).take(4).copied().collect();
    let crc = crc32c::crc32c(header.get(..SEGMENT_HEADER_BYTES - 4).unwrap_or_default());
    put(header, SEGMENT_HEADER_BYTES - 4, &crc.to_le_bytes());
    let mut rest = frames;
    while let Some(&[_, _, _, _, l0, l1, l2, l3]) = rest.first_chunk() {
        let body_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some((frame, more)) = rest.split_at_mut_checked(FRAME_HEADER_BYTES.saturating_add(body_bytes)) else {
            return;
        };
        put(frame, SALT_AT.1, &salt);
        let crc = crc32c::crc32c(frame.get(4..).unwrap_or_default());
        put(frame, 0, &crc.to_le_bytes());
        let padding = frame.len().next_multiple_of(8) - frame.len();
        rest = more.get_mut(padding..).unwrap_or_default();
    }
}

/// What a log shows while it opens.
#[derive(Default)]
struct Shown {
    last: Lsn,
    frames: Vec<(Lsn, Vec<u8>)>,
}

impl Replay for Shown {
    fn checkpoint(&mut self, _: &[u8]) {}

    fn frame(&mut self, lsn: Lsn, _: u8, body: &[u8]) {
        assert!(lsn > self.last, "frames are shown in order: {lsn} after {}", self.last);
        self.last = lsn;
        self.frames.push((lsn, body.to_vec()));
    }

    fn note(&mut self, _: u8, _: &[u8]) {}
}

fn commit(spool: &mut Spool<MemoryStorage>, storage: &MemoryStorage) -> bool {
    match spool.begin_commit() {
        Ok(Some(commit)) => spool.end_commit(commit.id, storage.sync_data(&commit.file)).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Reads all there is, in order.
fn read_all(spool: &mut Spool<MemoryStorage>) -> Vec<(Lsn, Vec<u8>)> {
    let (mut reader, mut found) = (spool.reader(0), Vec::new());
    while let Ok(Some(frame)) = spool.read(&mut reader) {
        assert!(found.last().is_none_or(|(last, _)| *last < frame.lsn), "frames are read in order");
        assert!(found.len() < 10_000, "reading ends");
        found.push((frame.lsn, frame.body.to_vec()));
    }
    found
}

/// A log of any files opens or is refused; what is then appended and synced is found by the next one.
pub fn segments(bytes: &[u8]) -> bool {
    let Some((flags, rest)) = bytes.split_first() else { return false };
    let storage = MemoryStorage::new(1);
    for (what, piece) in pieces(rest) {
        let mut content = piece.to_vec();
        if flags & MEND != 0 {
            mend(&mut content);
        }
        let Ok(file) = storage.create(&file_name(what), content.len() as u64) else { continue };
        let _ = storage.write_at(&file, 0, &content).and_then(|()| storage.sync_data(&file));
    }
    let _ = storage.sync_dir();
    let mut shown = Shown::default();
    let mut spool = match Spool::open(storage.clone(), options(), 77, &mut shown) {
        Ok(spool) => spool,
        Err(OpenError::Unreadable { .. }) => return false,
        Err(error) => panic!("bytes make no other error: {error}"),
    };
    spool.set_streams(&[0]);
    let read = read_all(&mut spool);
    if spool.wants_checkpoint() {
        spool.checkpoint(b"checkpoint");
    }
    let Ok(lsn) = spool.append(1, b"appended") else { return false };
    assert!(lsn > shown.last && read.last().is_none_or(|(last, _)| lsn > *last), "numbers go on");
    if commit(&mut spool, &storage) {
        drop(spool);
        storage.crash();
        let mut again = Shown::default();
        let opened = Spool::open(storage.clone(), options(), 78, &mut again);
        assert!(opened.is_ok(), "{:?}", opened.err());
        assert_eq!(again.frames.last(), Some(&(lsn, b"appended".to_vec())), "what was synced is there");
    }
    !shown.frames.is_empty()
}

/// A log of two segments, the files it consists of in pieces.
fn segment_log() -> Vec<u8> {
    let storage = MemoryStorage::new(1);
    for life in 0..2 {
        let Ok(mut spool) = Spool::open(storage.clone(), options(), 7 + life, &mut Shown::default()) else { break };
        spool.set_streams(&[0, 3]);
        spool.checkpoint(b"state");
        for number in 0..3 {
            let _ = spool.append(1, format!("frame {life} {number}").as_bytes());
        }
        let _ = spool.note(0x40, b"note");
        spool.ack(0, spool.durable());
        commit(&mut spool, &storage);
        let _ = spool.append(1, b"in a batch of its own");
        spool.ack(3, 2);
        commit(&mut spool, &storage);
    }
    let mut all = vec![0];
    for name in storage.file_names().iter().filter(|name| name.starts_with("segment-")) {
        let id = name.get(8..24).and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or_default();
        let mut content = vec![0; storage.written_len(name)];
        if let Ok(file) = storage.open(name) {
            let _ = storage.read_at(&file, 0, &mut content);
        }
        while content.ends_with(&[0; 16]) {
            content.truncate(content.len() - 8);
        }
        all.extend(piece(id + OTHER_FILES.len() as u8, &content));
    }
    all
}

pub fn segment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let whole = segment_log();
    let mut mended = whole.clone();
    mended.iter_mut().take(1).for_each(|flags| *flags = MEND);
    vec![("log.bin", whole), ("mended.bin", mended)]
}
