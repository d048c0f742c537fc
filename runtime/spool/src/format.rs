//! Frames and segment headers, as `FORMAT.md` describes them. All integers are little-endian.

use crate::Lsn;

/// First bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"EYOTLOG\x01";
/// A segment's header takes this much; frames follow.
pub(crate) const HEADER_BYTES: usize = 1024;
/// A frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Where the salt is in a frame.
const SALT_AT: usize = 8;
/// Places looked at together for one.
const SALTS_AT_ONCE: usize = 32;
/// Most streams a segment header can list.
pub(crate) const STREAMS_MAX: usize = 32;
/// Largest note of the caller's about a rewrite.
pub(crate) const REWRITE_NOTE_MAX_BYTES: usize = 416;
/// Where the header of a rewritten segment says so.
const REWRITE_OFFSET: usize = 64 + STREAMS_MAX * 16;

/// Frame kind: the caller's state as of the frames before this segment.
pub(crate) const KIND_CHECKPOINT: u8 = 0xf0;
/// Frame kind: how far streams are done.
pub(crate) const KIND_ACK: u8 = 0xf1;
/// Frame kind: what a rewrite left in place of frames. Its body is the number of the first of them, then the caller's.
pub const KIND_GONE: u8 = 0xf2;
/// Kinds from here up to the log's own are notes: they have no number of their own but that of the frame before them.
pub(crate) const KIND_NOTES: u8 = 0x40;
/// Kinds from here up to the log's own end a batch, and are made anew when it is written again.
pub(crate) const KIND_CLOSING: u8 = 0x60;
/// Kinds from here on are the log's own.
pub(crate) const KIND_RESERVED: u8 = 0x80;

const BATCH_MASK: u32 = 0x00ff_ffff;
/// Frames and segments have smaller numbers than this: what claims a larger one is damaged. A thousand of them in a
/// microsecond reach it in a hundred years, so that counting on never overflows.
const NUMBERS_END: u64 = 1 << 62;

/// How far each stream is done, by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acks(pub Vec<(u8, Lsn)>);

impl Acks {
    pub fn get(&self, stream: u8) -> Lsn {
        self.0.iter().find(|(s, _)| *s == stream).map_or(0, |(_, lsn)| *lsn)
    }

    /// Moves a stream forward; false if it was there already.
    pub fn raise(&mut self, stream: u8, lsn: Lsn) -> bool {
        let room = self.0.len() < STREAMS_MAX;
        match self.0.iter_mut().find(|(s, _)| *s == stream) {
            Some((_, at)) if *at >= lsn => false,
            Some((_, at)) => {
                *at = lsn;
                true
            }
            None if room => {
                self.0.push((stream, lsn));
                true
            }
            None => false,
        }
    }
}

/// What the header of a rewritten segment says beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RewriteHeader {
    /// Where its frames end, whatever the segment after it says of the one that was here before.
    pub end: u64,
    /// The caller's.
    pub mark: u64,
    /// The caller's.
    pub note: Vec<u8>,
}

impl RewriteHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        let note = self.note.get(..REWRITE_NOTE_MAX_BYTES).unwrap_or(&self.note);
        for number in [self.end, self.mark, note.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(note);
    }

    fn decode(covered: &[u8]) -> Option<Option<Self>> {
        let end = u64_at(covered, REWRITE_OFFSET)?;
        if end == 0 {
            return Some(None);
        }
        let mark = u64_at(covered, REWRITE_OFFSET + 8)?;
        let length = usize::try_from(u64_at(covered, REWRITE_OFFSET + 16)?).ok()?;
        let note = covered.get(REWRITE_OFFSET + 24..)?.get(..length.min(REWRITE_NOTE_MAX_BYTES))?.to_vec();
        Some(Some(Self { end, mark, note }))
    }
}

/// What stands at the head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub epoch: u64,
    pub segment: u64,
    /// Stands in each of its frames.
    pub salt: u32,
    /// Number of the first frame in this segment; everything before it was durable elsewhere.
    pub base_lsn: Lsn,
    /// The segment before this one, and where its durable frames end: what stands there after that does not count.
    pub previous: (u64, u64),
    pub acks: Acks,
    pub rewrite: Option<RewriteHeader>,
}

impl SegmentHeader {
    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&u64::from(self.salt).to_le_bytes());
        out.extend_from_slice(&self.base_lsn.to_le_bytes());
        out.extend_from_slice(&self.previous.0.to_le_bytes());
        out.extend_from_slice(&self.previous.1.to_le_bytes());
        out.extend_from_slice(&(self.acks.0.len() as u64).to_le_bytes());
        for (stream, lsn) in &self.acks.0 {
            out.extend_from_slice(&u64::from(*stream).to_le_bytes());
            out.extend_from_slice(&lsn.to_le_bytes());
        }
        if let Some(rewrite) = &self.rewrite {
            out.resize(start + REWRITE_OFFSET, 0);
            rewrite.encode(out);
        }
        out.resize(start + HEADER_BYTES - 4, 0);
        let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads a header back; none if the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.get(..HEADER_BYTES)?.split_at_checked(HEADER_BYTES - 4)?;
        if crc32c::crc32c(covered) != u32_at(crc, 0)? || covered.get(..8)? != MAGIC {
            return None;
        }
        let count = usize::try_from(u64_at(covered, 56)?).ok().filter(|n| *n <= STREAMS_MAX)?;
        let numbers = [u64_at(covered, 16)?, u64_at(covered, 32)?];
        if numbers.iter().any(|number| *number >= NUMBERS_END) {
            return None;
        }
        let ack = |i: usize| Some((u8::try_from(u64_at(covered, 64 + i * 16)?).ok()?, u64_at(covered, 72 + i * 16)?));
        let acks = (0..count).map(ack).collect::<Option<Vec<_>>>()?;
        Some(Self {
            epoch: u64_at(covered, 8)?,
            segment: u64_at(covered, 16)?,
            salt: u32_at(covered, 24)?,
            base_lsn: u64_at(covered, 32)?,
            previous: (u64_at(covered, 40)?, u64_at(covered, 48)?),
            acks: Acks(acks),
            rewrite: RewriteHeader::decode(covered)?,
        })
    }
}

/// A frame's header, but for its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub body_bytes: usize,
    pub kind: u8,
    /// Commit within the segment, counted from 0.
    pub batch: u32,
    pub lsn: Lsn,
}

impl FrameHeader {
    /// Bytes from the start of this frame to the start of the next.
    pub fn span(&self) -> usize {
        span(self.body_bytes)
    }
}

/// Bytes a frame with this body takes.
pub(crate) fn span(body_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(ALIGN)
}

/// Salt of a segment made by a log that was opened with this number. A file that was a segment of the same id in a life
/// that left no trace may hold whole frames of that life.
pub(crate) fn salt(opened_with: u64, segment: u64) -> u32 {
    let mixed = (opened_with ^ segment).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 ^ mixed as u32
}

/// Appends a frame to `out`. The salt tells it from what stood in a recycled file before.
pub(crate) fn encode_frame(out: &mut Vec<u8>, salt: u32, batch: u32, kind: u8, lsn: Lsn, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&salt.to_le_bytes());
    out.extend_from_slice(&((batch & BATCH_MASK) << 8 | u32::from(kind)).to_le_bytes());
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(body);
    seal(out, start);
    out.resize(start + span(body.len()), 0);
}

fn seal(out: &mut [u8], start: usize) {
    let crc = crc32c::crc32c(out.get(start + 4..).unwrap_or_default());
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The salt of what may be a frame.
pub(crate) fn peek_salt(bytes: &[u8]) -> Option<u32> {
    u32_at(bytes, SALT_AT)
}

/// The first of so many places a frame may begin at that has this salt. What was reserved and never written is megabytes of
/// zeros, and recovery looks through all of it: many places at once.
pub(crate) fn find_salt(bytes: &[u8], places: usize, salt: u32) -> Option<usize> {
    let (words, _) = bytes.get(SALT_AT..).unwrap_or_default().as_chunks::<ALIGN>();
    let words = words.get(..places).unwrap_or(words);
    let is_it = |word: &[u8; ALIGN]| u64::from_le_bytes(*word) as u32 == salt;
    let (blocks, _) = words.as_chunks::<SALTS_AT_ONCE>();
    let has_it = |block: &[[u8; ALIGN]; SALTS_AT_ONCE]| block.iter().fold(false, |any, word| any | is_it(word));
    let passed = SALTS_AT_ONCE * blocks.iter().take_while(|block| !has_it(block)).count();
    words.iter().skip(passed).position(is_it).map(|place| passed + place)
}

/// Reads a frame header without checking its checksum; none if there are too few bytes, the salt is another's, or no frame has
/// its number.
pub(crate) fn peek_frame(bytes: &[u8], salt: u32) -> Option<FrameHeader> {
    if peek_salt(bytes) != Some(salt) {
        return None;
    }
    let word = u32_at(bytes, 12)?;
    let lsn = u64_at(bytes, 16).filter(|lsn| *lsn < NUMBERS_END)?;
    Some(FrameHeader { body_bytes: u32_at(bytes, 4)? as usize, kind: (word & 0xff) as u8, batch: word >> 8, lsn })
}

/// The body of the frame with this header at the start of `bytes`; none if the checksum is wrong.
pub(crate) fn checked_body<'a>(bytes: &'a [u8], header: &FrameHeader) -> Option<&'a [u8]> {
    let covered = bytes.get(4..FRAME_HEADER_BYTES.checked_add(header.body_bytes)?)?;
    if crc32c::crc32c(covered) != u32_at(bytes, 0)? {
        return None;
    }
    covered.get(FRAME_HEADER_BYTES - 4..)
}

/// Body of a frame that stands for those from `first` on.
pub(crate) fn encode_gone(first: Lsn, out: &mut Vec<u8>) {
    out.extend_from_slice(&first.to_le_bytes());
}

/// Reads the body of such a frame: the first number it stands for, and what the caller put there.
pub(crate) fn decode_gone(body: &[u8]) -> Option<(Lsn, &[u8])> {
    Some((u64_at(body, 0)?, body.get(8..)?))
}

/// Body of an ack frame.
pub(crate) fn encode_acks(acks: &Acks, out: &mut Vec<u8>) {
    for (stream, lsn) in &acks.0 {
        out.push(*stream);
        out.extend_from_slice(&lsn.to_le_bytes());
    }
}

/// Reads the body of an ack frame.
pub(crate) fn decode_acks(body: &[u8]) -> impl Iterator<Item = (u8, Lsn)> + '_ {
    body.chunks_exact(9).filter_map(|entry| Some((*entry.first()?, u64_at(entry, 1)?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// File name of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("segment-{segment:016x}.log")
}

/// The segment a file name stands for; none if no segment has its number.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten().filter(|id| *id < NUMBERS_END)
}

/// File name of the reserve for a full disk.
pub(crate) const SPARE_NAME: &str = "spare.log";
/// File name of the reserve for acknowledgements.
pub(crate) const ACKS_NAME: &str = "acks.log";
/// File name of a segment that is not durable yet.
pub(crate) const NEXT_NAME: &str = "next.log";
/// File name of a segment that is being rewritten.
pub(crate) const REWRITE_NAME: &str = "rewrite.log";

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            epoch: 7,
            segment: 0x1_0000_0002,
            salt: 0xaabb_ccdd,
            base_lsn: 99,
            previous: (1, 0x400),
            acks: Acks(vec![(0, 5), (3, 98)]),
            rewrite: None,
        }
    }

    fn rewritten() -> SegmentHeader {
        let rewrite = RewriteHeader { end: 0x800, mark: 3, note: b"thinned".to_vec() };
        SegmentHeader { rewrite: Some(rewrite), ..header() }
    }

    #[test]
    fn headers_read_back_and_reject_any_flipped_bit() {
        for header in [header(), rewritten()] {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            assert_eq!(bytes.len(), HEADER_BYTES);
            assert_eq!(SegmentHeader::decode(&bytes), Some(header));
            for at in 0..bytes.len() {
                bytes[at] ^= 1;
                assert_eq!(SegmentHeader::decode(&bytes), None, "byte {at}");
                bytes[at] ^= 1;
            }
        }
    }

    #[test]
    fn a_full_header_has_room_for_the_longest_note() {
        let acks = Acks((0..STREAMS_MAX as u8).map(|stream| (stream, u64::MAX)).collect());
        let note = vec![7; REWRITE_NOTE_MAX_BYTES];
        let full = SegmentHeader { acks, rewrite: Some(RewriteHeader { end: 1, mark: u64::MAX, note }), ..header() };
        let mut bytes = Vec::new();
        full.encode(&mut bytes);
        assert_eq!((bytes.len(), SegmentHeader::decode(&bytes)), (HEADER_BYTES, Some(full)));
    }

    #[test]
    fn frames_read_back_and_reject_any_flipped_bit_and_any_other_segment() {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, 2, 5, 1, 42, b"hello");
        assert_eq!(bytes.len(), 32);
        let read = |bytes: &[u8], salt| {
            let header = peek_frame(bytes, salt)?;
            Some((header, checked_body(bytes, &header)?.to_vec()))
        };
        let expected = FrameHeader { body_bytes: 5, kind: 1, batch: 5, lsn: 42 };
        assert_eq!(read(&bytes, 2), Some((expected, b"hello".to_vec())));
        assert_eq!(read(&bytes, 3), None);
        for at in 0..FRAME_HEADER_BYTES + 5 {
            bytes[at] ^= 0x10;
            assert_eq!(read(&bytes, 2), None, "byte {at}");
            bytes[at] ^= 0x10;
        }
    }

    /// Format version 1, byte for byte. A change needs a new magic and a reader for both.
    #[test]
    fn golden_bytes_of_version_1() {
        let mut frame = Vec::new();
        encode_frame(&mut frame, 2, 5, 1, 42, b"hello");
        let text: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(text, "15ee5ac10500000002000000010500002a0000000000000068656c6c6f000000");
        let mut bytes = Vec::new();
        header().encode(&mut bytes);
        let head: String = bytes[..96].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            head,
            "45594f544c4f4701070000000000000002000000010000\
             00ddccbbaa0000000063000000000000000100000000000000\
             00040000000000000200000000000000\
             0000000000000000050000000000000003000000000000006200000000000000"
        );
        bytes.clear();
        rewritten().encode(&mut bytes);
        let rewrite: String = bytes[576..608].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(rewrite, "0008000000000000030000000000000007000000000000007468696e6e656400");
        let (mut body, mut gone) = (Vec::new(), Vec::new());
        encode_gone(40, &mut body);
        body.extend_from_slice(b"why");
        encode_frame(&mut gone, 2, 1, KIND_GONE, 42, &body);
        let text: String = gone.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(text, "77a2c34e0b00000002000000f20100002a0000000000000028000000000000007768790000000000");
    }

    #[test]
    fn names_read_back() {
        assert_eq!(parse_segment_name(&segment_name(0xabc)), Some(0xabc));
        for other in
            ["spare.log", "lock", "segment-1.log", "segment-zzzzzzzzzzzzzzzz.log", "segment-ffffffffffffffff.log"]
        {
            assert_eq!(parse_segment_name(other), None);
        }
    }
}
