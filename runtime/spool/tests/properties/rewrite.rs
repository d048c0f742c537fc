//! What a rewrite costs, merges and leaves, step by step.

use eyot_spool::memory::{MemoryStorage, Operation};
use eyot_spool::{Fate, Lsn, Options, Replay, Rewrite, RewriteStep, Rewritten, Spool, Storage, KIND_GONE};

use crate::model::{Recorder, State};
use crate::world::lists;

const SEGMENT_BYTES: u64 = 64 << 10;
const OPTIONS: Options =
    Options { segment_bytes: SEGMENT_BYTES, max_bytes: Options::MAX_BYTES_MIN * 2, frame_max_bytes: 100 << 10 };

/// Keeps one frame of so many.
struct OneOf(Lsn, Vec<u8>);

impl Rewrite for OneOf {
    fn frame(&mut self, lsn: Lsn, _kind: u8, _body: &[u8], _replacement: &mut Vec<u8>) -> Fate {
        if lsn.is_multiple_of(self.0) {
            return Fate::Keep;
        }
        self.1.extend_from_slice(&lsn.to_le_bytes());
        Fate::Drop
    }

    fn gone(&mut self, body: &[u8]) {
        self.1.extend_from_slice(body);
    }

    fn take_gone(&mut self, body: &mut Vec<u8>) {
        body.append(&mut self.1);
    }

    fn boundary(&mut self, note: &mut Vec<u8>) {
        note.extend_from_slice(b"one of some");
    }
}

fn filled(storage: &MemoryStorage, segments: u64) -> Spool<MemoryStorage> {
    let mut spool = Spool::open(storage.clone(), OPTIONS, 1, &mut Recorder::default()).unwrap();
    // A stream that is done with nothing: all segments stay.
    spool.set_streams(&[0]);
    while spool.usage().segments < segments {
        if spool.wants_checkpoint() {
            spool.checkpoint(&State::default().encode(0));
        }
        for _ in 0..8 {
            spool.append(1, &[7; 1000]).unwrap();
        }
        let commit = spool.begin_commit().unwrap().unwrap();
        spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
    }
    spool
}

/// Rewrites sealed segments by their index; none if they did not fit together.
fn rewrite(
    storage: &MemoryStorage,
    spool: &mut Spool<MemoryStorage>,
    segments: std::ops::RangeInclusive<usize>,
    one_of: Lsn,
) -> Option<Rewritten> {
    let sealed: Vec<_> = spool.sealed().collect();
    assert!(spool.begin_rewrite(sealed[*segments.start()].id, sealed[*segments.end()].id, 1).unwrap());
    carry_through(storage, spool, &mut OneOf(one_of, Vec::new()))
}

/// Steps the rewrite that has begun to its end; none if its segments did not fit together.
fn carry_through(
    storage: &MemoryStorage,
    spool: &mut Spool<MemoryStorage>,
    decider: &mut dyn Rewrite,
) -> Option<Rewritten> {
    loop {
        match spool.step_rewrite(decider).unwrap() {
            RewriteStep::More => {}
            RewriteStep::TooLong => return None,
            RewriteStep::Sync(commit) => {
                let ended = spool.end_rewrite_sync(commit.id, storage.sync_data(&commit.file)).unwrap();
                if ended.is_some() {
                    return ended;
                }
            }
        }
    }
}

/// Numbers of the frames there are; what is missing must be explained.
fn numbers(spool: &mut Spool<MemoryStorage>) -> Vec<Lsn> {
    let (mut reader, mut last, mut found) = (spool.reader(0), 0, Vec::new());
    while let Some(frame) = spool.read(&mut reader).unwrap() {
        assert_eq!(frame.first, last + 1, "{} is not explained", last + 1);
        last = frame.lsn;
        match frame.kind {
            KIND_GONE => assert!(lists(frame.first, frame.lsn, frame.body)),
            _ => found.push(frame.lsn),
        }
    }
    assert_eq!((last, spool.usage().damaged_frames), (spool.durable(), 0));
    found
}

fn every(one_of: Lsn, upto: Lsn, durable: Lsn) -> Vec<Lsn> {
    (1..=durable).filter(|lsn| *lsn > upto || lsn % one_of == 0).collect()
}

#[test]
fn several_segments_become_one_and_that_one_grows() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 10);
    let before = spool.usage();
    let (mut upto, durable) = (0, spool.durable());
    for round in 1..4 {
        let rewritten = rewrite(&storage, &mut spool, 0..=if round == 1 { 1 } else { 2 }, 60).unwrap();
        assert!(rewritten.is_durable && rewritten.first_lsn == 1 && rewritten.last_lsn > upto);
        upto = rewritten.last_lsn;
        assert_eq!(numbers(&mut spool), every(60, upto, durable), "round {round}");
    }
    let usage = spool.usage();
    assert_eq!(usage.segments, before.segments - 5, "six have become one");
    assert!(usage.bytes < before.bytes - 5 * SEGMENT_BYTES, "and that one takes only what it needs: {usage:?}");
    assert_eq!(usage.bytes, storage.used_bytes());
}

#[test]
fn a_reader_goes_on_where_it_was() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 6);
    let mut readers: Vec<_> = (0..120).map(|_| spool.reader(0)).collect();
    for (index, reader) in readers.iter_mut().enumerate() {
        for _ in 0..index {
            spool.read(reader).unwrap();
        }
    }
    let upto = rewrite(&storage, &mut spool, 0..=1, 7).unwrap().last_lsn;
    for (index, mut reader) in readers.into_iter().enumerate() {
        let mut seen = Vec::new();
        while let Some(frame) = spool.read(&mut reader).unwrap() {
            seen.extend((frame.kind != KIND_GONE).then_some(frame.lsn));
        }
        let expected = every(7, upto, spool.durable());
        assert_eq!(seen, expected.into_iter().filter(|lsn| *lsn > index as Lsn).collect::<Vec<_>>());
    }
}

#[test]
fn the_file_ends_where_a_segment_does() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 8);
    let sealed: Vec<_> = spool.sealed().collect();
    // Half of each: two fit, the third does not.
    let rewritten = rewrite(&storage, &mut spool, 0..=5, 2).unwrap();
    assert_eq!(rewritten.last_lsn, sealed[0].last_lsn.max(sealed[1].last_lsn));
    assert_eq!(numbers(&mut spool), every(2, rewritten.last_lsn, spool.durable()));
    let used = spool.usage().bytes;
    assert_eq!(rewrite(&storage, &mut spool, 0..=1, 1), None, "a full one and all of another");
    assert_eq!((spool.usage().bytes, storage.used_bytes()), (used, used), "nothing is left of that");
    assert_eq!(spool.rewriting(), None);
}

#[test]
fn a_full_disk_is_rewritten_with_the_reserve() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 6);
    assert!(spool.usage().has_spare);
    storage.set_capacity(Some(storage.used_bytes()));
    let rewritten = rewrite(&storage, &mut spool, 0..=1, 60).unwrap();
    assert_eq!(numbers(&mut spool), every(60, rewritten.last_lsn, spool.durable()));
    assert!(spool.usage().has_spare, "what was freed is the reserve again");
}

/// What recovery is shown of rewrites.
#[derive(Default)]
struct Notes(Vec<Vec<u8>>);

impl Replay for Notes {
    fn rewritten(&mut self, note: &[u8]) {
        self.0.push(note.to_vec());
    }
    fn checkpoint(&mut self, _bytes: &[u8]) {}
    fn frame(&mut self, _lsn: Lsn, _kind: u8, _body: &[u8]) {}
    fn note(&mut self, _kind: u8, _body: &[u8]) {}
}

#[test]
fn recovery_is_shown_the_note_and_damage_stays_damage() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 6);
    let sealed: Vec<_> = spool.sealed().collect();
    // Into the third frame of the second segment: behind header and checkpoint, 1,024 bytes each.
    storage.corrupt(&format!("segment-{:016x}.log", sealed[1].id), 1024 + 48 + 2 * 1024 + 500, 1);
    let rewritten = rewrite(&storage, &mut spool, 0..=2, 3).unwrap();
    assert_eq!(spool.usage().damaged_frames, 0, "nobody who needs it has met it");
    drop(spool);
    storage.crash();
    let mut notes = Notes::default();
    let mut spool = Spool::open(storage.clone(), OPTIONS, 2, &mut notes).unwrap();
    assert_eq!(notes.0, [b"one of some".to_vec()]);
    let (mut reader, mut last, mut missing) = (spool.reader(0), 0, Vec::new());
    while let Some(frame) = spool.read(&mut reader).unwrap() {
        missing.extend(last + 1..frame.first);
        last = frame.lsn;
    }
    assert_eq!(missing, [sealed[1].first_lsn + 2]);
    assert_eq!((spool.usage().damaged_frames, rewritten.last_lsn), (1, sealed[2].last_lsn));
}

/// What the new file replaces may outlive it: it was not removed, or that was not durable.
#[test]
fn what_was_replaced_does_not_come_back() {
    for nth in 1..3 {
        let storage = MemoryStorage::new(1);
        let mut spool = filled(&storage, 6);
        let sealed: Vec<_> = spool.sealed().collect();
        // One becomes the spare, if that is missing; the others are unlinked.
        storage.fail(Operation::Unlink, nth + 1, eyot_spool::memory::Fault::Silent);
        let rewritten = rewrite(&storage, &mut spool, 1..=3, 5).unwrap();
        let names = storage.file_names();
        assert!(sealed[1..3].iter().any(|s| names.contains(&format!("segment-{:016x}.log", s.id))), "{names:?}");
        drop(spool);
        storage.crash();
        let mut spool = Spool::open(storage.clone(), OPTIONS, 2, &mut Notes::default()).unwrap();
        let first = rewritten.first_lsn;
        let is_left = |lsn: &Lsn| *lsn < first || lsn.is_multiple_of(5) || *lsn > rewritten.last_lsn;
        assert_eq!(numbers(&mut spool), (1..=spool.durable()).filter(is_left).collect::<Vec<_>>());
        spool.set_streams(&[0]);
        assert_eq!(storage.used_bytes(), spool.usage().bytes);
        assert_eq!(storage.file_names().len(), names.len() - 1, "what stayed is removed now");
    }
}

/// Keeps every frame, and says of one that a part of it went.
struct PartOf(Lsn, Vec<u8>, Vec<u8>);

impl Rewrite for PartOf {
    fn frame(&mut self, lsn: Lsn, _kind: u8, _body: &[u8], _replacement: &mut Vec<u8>) -> Fate {
        if lsn == self.0 {
            self.2.extend_from_slice(b"a part");
        }
        Fate::Keep
    }

    fn gone(&mut self, body: &[u8]) {
        self.1.extend_from_slice(body);
    }

    fn take_gone(&mut self, body: &mut Vec<u8>) {
        body.append(&mut self.1);
        std::mem::swap(&mut self.1, &mut self.2);
    }

    fn boundary(&mut self, _note: &mut Vec<u8>) {}
}

/// Segments of nothing but notes followed the last frame of the log, and readers at that frame never came to what stands
/// behind it: a part that a rewrite had dropped looked lost.
#[test]
fn what_went_of_the_very_last_frame_is_read_whatever_follows() {
    for notes in 1..4 {
        let storage = MemoryStorage::new(1);
        let mut spool = filled(&storage, 3);
        let last = spool.durable();
        for life in 0..notes {
            // A log that is opened begins a new segment.
            spool = Spool::open(storage.clone(), OPTIONS, 2 + life, &mut Notes::default()).unwrap();
            spool.set_streams(&[0]);
            spool.checkpoint(&State::default().encode(0));
            spool.note(0x40, &[0; 8]).unwrap();
            let commit = spool.begin_commit().unwrap().unwrap();
            // The one of the notes before stays.
            storage.fail(Operation::Unlink, 1, eyot_spool::memory::Fault::Error(std::io::ErrorKind::Other));
            storage.fail(Operation::Rename, 2, eyot_spool::memory::Fault::Error(std::io::ErrorKind::Other));
            spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
            storage.disarm();
        }
        let sealed = spool.sealed().last().unwrap();
        assert_eq!((sealed.last_lsn, spool.durable(), spool.next_lsn()), (last, last, last + 1));
        assert!(spool.begin_rewrite(sealed.id, sealed.id, 1).unwrap());
        carry_through(&storage, &mut spool, &mut PartOf(last, Vec::new(), Vec::new()));
        for after in [0, last - 1, last] {
            let mut reader = spool.reader(after);
            let mut found = Vec::new();
            while let Some(frame) = spool.read(&mut reader).unwrap() {
                found.push((frame.lsn, frame.kind, frame.body.to_vec()));
            }
            assert_eq!(
                found.last(),
                Some(&(last, KIND_GONE, b"a part".to_vec())),
                "{notes} segments of notes, from {after}"
            );
            assert_eq!(spool.read(&mut reader).unwrap(), None, "once is enough");
        }
    }
}

/// What an earlier rewrite had left behind the last frame of a segment was taken for the beginning of the next one, and a
/// later rewrite lost it: a part that was accounted for looked like damage.
#[test]
fn what_went_of_the_last_frame_of_a_segment_stays_told() {
    for (first, last) in [(1, 1), (1, 2), (0, 1), (0, 3)] {
        let storage = MemoryStorage::new(1);
        let mut spool = filled(&storage, 6);
        let sealed: Vec<_> = spool.sealed().collect();
        let at = sealed[1].last_lsn;
        assert!(spool.begin_rewrite(sealed[1].id, sealed[1].id, 1).unwrap());
        carry_through(&storage, &mut spool, &mut PartOf(at, Vec::new(), Vec::new())).unwrap();
        assert!(spool.begin_rewrite(sealed[first].id, sealed[last].id, 2).unwrap());
        // Of several segments most goes, so that they fit into one.
        let rewritten = carry_through(&storage, &mut spool, &mut OneOf(if first == last { 1 } else { 4 }, Vec::new()));
        assert!(rewritten.unwrap().last_lsn >= at);
        let (mut reader, mut told, mut expected) = (spool.reader(0), Vec::new(), 1);
        while let Some(frame) = spool.read(&mut reader).unwrap() {
            assert_eq!(frame.first, expected);
            expected = frame.lsn + 1;
            if frame.kind == KIND_GONE && frame.body.windows(6).any(|part| part == b"a part") {
                told.push(frame.first..=frame.lsn + 1);
            }
        }
        // Before what follows it.
        assert!(told.iter().any(|numbers| numbers.contains(&(at + 1))), "segments {first} to {last}: {told:?}");
    }
}
