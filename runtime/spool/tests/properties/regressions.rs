//! What the random histories, or reading, once found. Each test is the shortest history that shows it.

use std::io;

use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::{Options, Spool, Storage};

use crate::model::{Recorder, State};

const SEGMENT_BYTES: u64 = 64 << 10;
const OPTIONS: Options =
    Options { segment_bytes: SEGMENT_BYTES, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 100 << 10 };

fn open(storage: &MemoryStorage, fresh: u64) -> (Spool<MemoryStorage>, Recorder) {
    let mut found = Recorder { keep: true, ..Recorder::default() };
    let spool = Spool::open(storage.clone(), OPTIONS, fresh, &mut found).unwrap();
    (spool, found)
}

fn commit(storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>) -> bool {
    match spool.begin_commit() {
        Ok(Some(commit)) => spool.end_commit(commit.id, storage.sync_data(&commit.file)).is_ok(),
        _ => false,
    }
}

fn append(spool: &mut Spool<MemoryStorage>, body: &[u8]) {
    if spool.wants_checkpoint() {
        spool.checkpoint(&State::default().encode(0));
    }
    spool.append(1, body).unwrap();
}

/// Commits frames of an eighth of a segment until there are `count` segments.
fn fill(storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>, count: u64) {
    // A stream that is done with nothing: all segments stay.
    spool.set_streams(&[0]);
    while spool.usage().segments < count {
        append(spool, &[7; SEGMENT_BYTES as usize / 8]);
        assert!(commit(storage, spool));
    }
}

/// The opening segment held a checkpoint and a note, and was removed because it held no durable *frame*.
#[test]
fn a_failed_sync_does_not_take_a_durable_note_with_it() {
    for seed in 0..20 {
        let storage = MemoryStorage::new(seed);
        let (mut spool, _) = open(&storage, 1);
        spool.checkpoint(&State::default().encode(0));
        spool.note(0x40, &5u64.to_le_bytes()).unwrap();
        assert!(commit(&storage, &mut spool));
        append(&mut spool, b"a frame");
        storage.fail(Operation::SyncData, 1, Fault::FailedSync);
        assert!(!commit(&storage, &mut spool));
        storage.crash();
        let (_, found) = open(&storage, 2);
        assert_eq!((found.checkpoints.len(), found.state.note), (1, 5), "seed {seed}");
    }
}

/// The frame with the acknowledgements was added once for each try.
#[test]
fn a_batch_that_cannot_be_written_does_not_grow() {
    for operation in [Operation::Create, Operation::WriteAt, Operation::SyncData] {
        let storage = MemoryStorage::new(1);
        let (mut spool, _) = open(&storage, 1);
        spool.set_streams(&[0]);
        append(&mut spool, b"first");
        spool.ack(0, 1);
        let mut sizes = Vec::new();
        for _ in 0..10 {
            storage.fail(operation, 1, Fault::Error(io::ErrorKind::Other));
            assert!(!commit(&storage, &mut spool));
            sizes.push(spool.batch_bytes());
        }
        assert!(sizes.iter().all(|bytes| *bytes == 32), "{operation:?}: {sizes:?}");
        assert!(spool.has_unwritten_acks());
        storage.disarm();
        assert!(commit(&storage, &mut spool));
        storage.crash();
        assert_eq!(open(&storage, 2).0.acked(0), 1);
    }
}

/// A file on its way to become a segment, or a spare that could not be renamed or opened, took room that nobody counted.
#[test]
fn a_failed_commit_leaves_no_file_that_does_not_count() {
    for operation in [Operation::Rename, Operation::Open, Operation::WriteAt, Operation::SyncDir, Operation::SyncData] {
        for nth in 1..6 {
            let storage = MemoryStorage::new(1);
            let (mut spool, _) = open(&storage, 1);
            fill(&storage, &mut spool, 1);
            storage.fail(operation, nth, Fault::Error(io::ErrorKind::Other));
            for _ in 0..20 {
                append(&mut spool, &[7; SEGMENT_BYTES as usize / 8]);
                commit(&storage, &mut spool);
                assert_eq!(storage.used_bytes(), spool.usage().bytes, "{operation:?} {nth}");
            }
        }
    }
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    fill(&storage, &mut spool, 2);
    assert!(spool.usage().has_spare);
    // Two segments, then the spare.
    storage.fail(Operation::Open, 3, Fault::Error(io::ErrorKind::Other));
    let (mut spool, _) = open(&storage, 2);
    assert_eq!(storage.used_bytes(), spool.usage().bytes);
    spool.refresh_spare();
    assert!(spool.usage().has_spare);
}

/// A segment that a short write made longer was counted as if it were not.
#[test]
fn a_short_write_beyond_the_segment_counts() {
    for seed in 0..20 {
        let storage = MemoryStorage::new(seed);
        let (mut spool, _) = open(&storage, 1);
        fill(&storage, &mut spool, 1);
        append(&mut spool, &[7; 90 << 10]);
        storage.fail(Operation::WriteAt, 1, Fault::ShortWrite);
        assert!(!commit(&storage, &mut spool));
        assert_eq!(storage.used_bytes(), spool.usage().bytes, "seed {seed}");
    }
}

/// The power was cut after everything was acknowledged and before the removals were durable. With the log full and no
/// acknowledgement left to write, nothing would ever have removed them again.
#[test]
fn a_full_log_whose_frames_are_all_done_is_emptied_when_opened() {
    let mut came_back_full = 0;
    for seed in 0..40 {
        let storage = MemoryStorage::new(seed);
        let (mut spool, _) = open(&storage, 1);
        spool.set_streams(&[0]);
        while !(spool.wants_checkpoint() && spool.is_full()) {
            append(&mut spool, &[7; SEGMENT_BYTES as usize / 8]);
            assert!(commit(&storage, &mut spool));
        }
        spool.ack(0, spool.durable());
        spool.checkpoint(&State::default().encode(0));
        spool.note(0x40, &1u64.to_le_bytes()).unwrap();
        assert!(commit(&storage, &mut spool));
        storage.crash();
        let (mut spool, _) = open(&storage, 2);
        assert_eq!(spool.acked(0), spool.durable(), "seed {seed}");
        came_back_full += u32::from(spool.is_full());
        spool.set_streams(&[0]);
        assert!(!spool.is_full(), "seed {seed}: {:?}", spool.usage());
    }
    assert!(came_back_full > 0, "no power cut undid the removals: this test shows nothing");
}

/// The disk, not the quota, was full. The reserve had become the last segment, so the acknowledgements that would have
/// made room found none.
#[test]
fn a_full_disk_is_emptied_by_acknowledgements_that_find_no_room() {
    let storage = MemoryStorage::new(1);
    storage.set_capacity(Some(5 * SEGMENT_BYTES));
    let (mut spool, _) = open(&storage, 1);
    spool.set_streams(&[0]);
    while !(spool.wants_checkpoint() && spool.is_full()) {
        append(&mut spool, &[7; SEGMENT_BYTES as usize / 8]);
        assert!(commit(&storage, &mut spool));
    }
    spool.ack(0, spool.durable());
    spool.checkpoint(&State::default().encode(0));
    spool.note(0x40, &1u64.to_le_bytes()).unwrap();
    assert!(commit(&storage, &mut spool), "{:?}", spool.usage());
    assert!(!spool.is_full() && spool.usage().has_spare, "{:?}", spool.usage());
}

/// Notes behind the torn one were cut off by the first recovery and believed by the second, which saw a segment after
/// them and no checkpoint in it.
#[test]
fn what_one_recovery_cut_off_stays_cut_off() {
    let mut cut = 0;
    for seed in 0..100 {
        let storage = MemoryStorage::new(seed);
        let (mut spool, _) = open(&storage, 1);
        append(&mut spool, b"promised");
        assert!(commit(&storage, &mut spool));
        for number in [1u64, 2] {
            let mut note = number.to_le_bytes().to_vec();
            note.resize(1500, 9);
            spool.note(0x40, &note).unwrap();
        }
        assert!(spool.begin_commit().unwrap().is_some());
        storage.crash();
        let (mut spool, first) = open(&storage, 2);
        cut += u32::from(first.state.note < 2);
        spool.checkpoint(&first.state.encode(0));
        let lsn = spool.append(1, b"later").unwrap();
        storage.fail(Operation::WriteAt, 1, Fault::Error(io::ErrorKind::Other));
        assert!(!commit(&storage, &mut spool) && commit(&storage, &mut spool));
        storage.crash();
        let (_, second) = open(&storage, 3);
        assert_eq!(second.state, first.state.after_frame(lsn, 1, b"later"), "seed {seed}");
    }
    assert!(cut > 20, "only {cut} power cuts tore the last batch: this test shows nothing");
}

/// The segments were moved away, as the advice for an unreadable log says, and the spare was not. The new log counted
/// from 1 again, in a file full of frames of its old segment 1.
#[test]
fn a_new_log_believes_nothing_in_the_spare_of_the_old_one() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 0x1234_5678);
    // With no streams a segment is removed as soon as the next one is durable.
    while spool.usage().oldest_lsn == 1 {
        append(&mut spool, &[7; 2000]);
        assert!(commit(&storage, &mut spool));
    }
    assert!(spool.usage().has_spare, "segment 1 is the spare");
    for name in storage.list().unwrap().iter().filter(|name| name.starts_with("segment")) {
        storage.unlink(name).unwrap();
    }
    storage.sync_dir().unwrap();
    let (mut spool, found) = open(&storage, 0x9abc_def0);
    assert_eq!(found.state, State::default());
    append(&mut spool, &[8; 2000]);
    assert!(commit(&storage, &mut spool));
    storage.crash();
    let (_, found) = open(&storage, 3);
    assert_eq!(found.frames, [(1, 1, vec![8; 2000])]);
}

/// Recovery counts what it misses from the newest checkpoint on. What a reader missed before that was counted by nobody.
#[test]
fn damage_before_the_checkpoint_is_counted_when_it_is_read() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    fill(&storage, &mut spool, 3);
    let last = spool.durable();
    let names: Vec<String> = storage.list().unwrap().into_iter().filter(|name| name.starts_with("segment")).collect();
    for name in [&names[0], &names[2]] {
        // In the first frame after header and checkpoint.
        assert!(storage.corrupt(name, 4096, 1));
    }
    // What stands right before the last batch may belong to it, and be torn: that is cut off, not damaged.
    for _ in 0..2 {
        append(&mut spool, b"the end");
        assert!(commit(&storage, &mut spool));
    }
    let (mut spool, _) = open(&storage, 2);
    assert_eq!(spool.usage().damaged_frames, 1, "in the last segment");
    for _ in 0..2 {
        let mut reader = spool.reader(0);
        let mut seen = 0;
        while spool.read(&mut reader).unwrap().is_some() {
            seen += 1;
        }
        assert_eq!((seen, spool.usage().damaged_frames), (last, 2));
    }
}

/// The spare of a larger quota took most of a smaller one, and was never as small as what would have replaced it.
#[test]
fn a_spare_of_a_larger_quota_is_cut_to_a_segment() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    fill(&storage, &mut spool, 2);
    assert!(spool.usage().has_spare);
    let before = storage.used_bytes();
    let smaller = Options { segment_bytes: SEGMENT_BYTES / 8, ..OPTIONS };
    let spool = Spool::open(storage.clone(), smaller, 2, &mut Recorder::default()).unwrap();
    assert!(spool.usage().has_spare);
    assert!(storage.used_bytes() <= before - SEGMENT_BYTES / 8 * 7, "{before}");
    assert_eq!(spool.usage().bytes, storage.used_bytes());
}

/// Segments of the smallest quota hold less than that.
#[test]
fn a_checkpoint_of_an_eighth_of_the_quota_leaves_room() {
    let options = Options::for_quota(Options::MAX_BYTES_MIN);
    let checkpoint = State::default().encode(0).into_iter().chain(vec![0; (Options::MAX_BYTES_MIN / 8) as usize]);
    let checkpoint: Vec<u8> = checkpoint.collect();
    let storage = MemoryStorage::new(1);
    let mut spool = Spool::open(storage.clone(), options, 1, &mut Recorder::default()).unwrap();
    spool.set_streams(&[0]);
    let mut given_up = 0;
    for _ in 0..200 {
        let is_full = spool.is_full();
        if is_full {
            let lsns = spool.oldest_to_go().unwrap_or_else(|| panic!("{:?}", spool.usage()));
            spool.ack(0, *lsns.end());
            given_up += 1;
        }
        if spool.wants_checkpoint() {
            spool.checkpoint(&checkpoint);
        }
        match is_full {
            true => spool.note(0x40, b"given up").unwrap(),
            false => drop(spool.append(1, &[7; 4000]).unwrap()),
        }
        assert!(commit(&storage, &mut spool));
        let most = options.max_bytes + Options::MAX_BYTES_MIN / 8;
        assert!(spool.usage().bytes <= most, "{:?}", spool.usage());
    }
    assert!(given_up > 0);
}

/// Each life left the rest of its last segment reserved: a log that was opened often was full with a few frames in it.
#[test]
fn opening_a_log_again_and_again_does_not_fill_it() {
    let storage = MemoryStorage::new(1);
    for life in 1..=40 {
        let (mut spool, found) = open(&storage, life);
        spool.set_streams(&[0]);
        assert_eq!(found.state.frames, life - 1, "all frames are there");
        assert!(!spool.is_full(), "life {life}: {:?}", spool.usage());
        append(&mut spool, b"a frame");
        assert!(commit(&storage, &mut spool));
        if life % 2 == 0 {
            storage.crash();
        }
    }
    let (spool, _) = open(&storage, 99);
    assert!(spool.usage().bytes <= 40 * 4096 + 2 * SEGMENT_BYTES, "{:?}", spool.usage());
}

/// Each failed sync left the rest of its segment reserved: a few of them took the room that acknowledgements need, and frames
/// went before it was durable that they could go.
#[test]
fn syncs_that_fail_again_and_again_do_not_fill_a_log() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    spool.set_streams(&[0]);
    for number in 0..40 {
        assert!(!spool.is_full(), "{number}: {:?}", spool.usage());
        append(&mut spool, b"a frame");
        assert!(commit(&storage, &mut spool), "{number}: {:?}", spool.usage());
        append(&mut spool, b"another");
        storage.fail(Operation::SyncData, 1, Fault::FailedSync);
        assert!(!commit(&storage, &mut spool));
    }
    assert!(spool.usage().bytes <= storage.used_bytes());
}

/// Of a full disk, a log asked for a whole segment to note acknowledgements in, gave up for it what they were about, and did
/// not get it: after a crash nobody knew why those frames were gone.
#[test]
fn acknowledgements_are_content_with_what_a_full_disk_has_left() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    spool.set_streams(&[0]);
    for _ in 0..3 {
        append(&mut spool, b"a short segment");
        assert!(commit(&storage, &mut spool));
        storage.fail(Operation::SyncData, 1, Fault::FailedSync);
        append(&mut spool, b"the end of it");
        assert!(!commit(&storage, &mut spool));
        assert!(commit(&storage, &mut spool));
    }
    storage.unlink("spare.log").unwrap();
    let (mut spool, _) = open(&storage, 2);
    spool.set_streams(&[0]);
    let segments = spool.usage().segments;
    storage.set_capacity(Some(storage.used_bytes()));
    spool.ack(0, 1);
    spool.checkpoint(&[7; 10_000]);
    spool.append(1, b"taken before the disk was known to be full").unwrap();
    assert!(!commit(&storage, &mut spool), "there is room for nothing");
    assert_eq!((spool.usage().segments, spool.usage().oldest_lsn), (segments, 1), "the first makes too little");
    storage.set_capacity(Some(storage.used_bytes() + (40 << 10)));
    assert!(commit(&storage, &mut spool));
    assert_eq!((spool.acked_durably(0), spool.usage().oldest_lsn), (1, 2));
    assert!(spool.is_full(), "what was found is not for frames");
    assert_eq!(storage.used_bytes(), spool.usage().bytes);
    storage.set_capacity(None);
    spool.refresh_spare();
    assert!(!spool.is_full());
    append(&mut spool, b"a frame");
    assert!(commit(&storage, &mut spool));
}

/// A segment that ended because it was full is kept as it is: it becomes the spare.
#[test]
fn what_is_left_of_a_full_segment_stays_reserved() {
    let storage = MemoryStorage::new(1);
    let (mut spool, _) = open(&storage, 1);
    fill(&storage, &mut spool, 3);
    drop(spool);
    let (mut spool, _) = open(&storage, 2);
    append(&mut spool, b"a frame");
    assert!(commit(&storage, &mut spool));
    let syncs = spool.usage().syncs;
    spool.ack(0, spool.durable());
    append(&mut spool, b"another");
    assert!(commit(&storage, &mut spool) && spool.usage().syncs > syncs);
    assert!(spool.usage().has_spare);
}
