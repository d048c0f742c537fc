//! A log on a full disk: what makes room there, and what a power cut leaves of it.

use std::io;

use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::{Lsn, Options, Spool, Storage};

use crate::model::{Recorder, State};

/// Frames of a seventh of a segment leave something of each unused.
const FRAME_BYTES: usize = 9 << 10;
const OPTIONS: Options =
    Options { segment_bytes: 64 << 10, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 100 << 10 };
/// A closing note, as the last resort has one.
const CLOSING: u8 = 0x60;

pub fn open(storage: &MemoryStorage, fresh: u64) -> (Spool<MemoryStorage>, Recorder) {
    let mut found = Recorder { keep: true, ..Recorder::default() };
    let mut spool = Spool::open(storage.clone(), OPTIONS, fresh, &mut found).unwrap();
    spool.set_streams(&[0]);
    (spool, found)
}

pub fn prepare(spool: &mut Spool<MemoryStorage>) {
    if spool.wants_checkpoint() {
        spool.checkpoint(&State::default().encode(0));
    }
}

pub fn commit(storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>) {
    let commit = spool.begin_commit().unwrap().unwrap();
    spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
}

/// A log whose last segment is about to be followed by another one.
fn filled(storage: &MemoryStorage, segments: u64) -> Spool<MemoryStorage> {
    let (mut spool, _) = open(storage, 1);
    while spool.usage().segments < segments || !spool.wants_checkpoint() {
        prepare(&mut spool);
        spool.append(1, &[7; FRAME_BYTES]).unwrap();
        commit(storage, &mut spool);
    }
    spool
}

/// Something else has filled the disk, and all up to the frame that is returned was delivered. A frame that waits finds no room.
pub fn stuck(seed: u64) -> (MemoryStorage, Spool<MemoryStorage>, Lsn) {
    let storage = MemoryStorage::new(seed);
    let spool = filled(&storage, 4);
    let delivered = spool.sealed().nth(1).unwrap().last_lsn;
    storage.unlink("spare.log").unwrap();
    drop(spool);
    let (mut spool, _) = open(&storage, 2);
    storage.set_capacity(Some(storage.used_bytes()));
    spool.ack(0, delivered);
    prepare(&mut spool);
    spool.append(1, b"waits").unwrap();
    assert!(spool.begin_commit().unwrap_err().is_full());
    assert_eq!(spool.usage().oldest_lsn, 1, "nothing goes before it is durable that it may");
    (storage, spool, delivered)
}

/// After a power cut: all that was not delivered is there, and whatever is not there is known to have been delivered.
pub fn check(storage: &MemoryStorage, delivered: Lsn, is_known: bool, what: &str) -> Recorder {
    storage.crash();
    storage.disarm();
    let (mut spool, found) = open(storage, 3);
    let known = spool.acked(0);
    assert!([0, delivered].contains(&known) && (known == delivered || !is_known), "{what}: {known}");
    let mut reader = spool.reader(known);
    let first = spool.read(&mut reader).unwrap().unwrap().lsn;
    assert_eq!((first, spool.usage().damaged_frames), (known + 1, 0), "{what}");
    // Recovery brings the note wherever it brings the acknowledgements.
    assert_eq!(found.notes > 0, known == delivered, "{what}: {} notes", found.notes);
    found
}

/// To have room to note what was delivered, a full disk gave that up first: after a power cut between the two, it was missing, and
/// nobody knew that it had arrived.
#[test]
fn what_was_delivered_goes_when_that_is_durable() {
    for seed in 0..60 {
        let (storage, mut spool, delivered) = stuck(seed);
        assert!(spool.commit_acks(CLOSING, &seed.to_le_bytes()).unwrap());
        assert_eq!((spool.acked_durably(0), spool.usage().oldest_lsn), (delivered, delivered + 1));
        assert_eq!(storage.used_bytes(), spool.usage().bytes);
        if seed % 3 == 0 {
            let found = check(&storage, delivered, true, &format!("seed {seed}, before the frame has room"));
            assert_eq!(found.state.note, seed);
            continue;
        }
        let begun = spool.begin_commit().unwrap().unwrap();
        if seed % 3 == 1 {
            check(&storage, delivered, true, &format!("seed {seed}, before the frame is durable"));
            continue;
        }
        let durable = spool.end_commit(begun.id, storage.sync_data(&begun.file)).unwrap();
        assert!(spool.has_acks_room(), "its place is there again");
        assert_eq!(storage.used_bytes(), spool.usage().bytes);
        storage.crash();
        let (spool, found) = open(&storage, 3);
        let last = found.frames.last().map(|(lsn, _, body)| (*lsn, body.clone()));
        assert_eq!((last, spool.acked(0)), (Some((durable, b"waits".to_vec())), delivered), "seed {seed}");
    }
}

/// Each call on the way fails, and then the power does, or the next try goes well.
#[test]
fn a_last_resort_that_fails_loses_nothing_and_is_tried_again() {
    let calls = [
        (Operation::SyncDir, 2),
        (Operation::Open, 1),
        (Operation::WriteAt, 1),
        (Operation::SyncData, 1),
        (Operation::Rename, 1),
    ];
    for (operation, nth) in calls.into_iter().flat_map(|(operation, most)| (1..=most).map(move |nth| (operation, nth)))
    {
        for (seed, fault) in (0..40).zip([Fault::Error(io::ErrorKind::Other), Fault::FailedSync].into_iter().cycle()) {
            let what = format!("{operation:?} {nth}, {fault:?}, seed {seed}");
            let (storage, mut spool, delivered) = stuck(seed);
            storage.fail(operation, nth, fault);
            assert!(spool.commit_acks(CLOSING, &seed.to_le_bytes()).is_err(), "{what}");
            assert_eq!((spool.usage().oldest_lsn, spool.acked_durably(0)), (1, 0), "{what}");
            assert_eq!(storage.used_bytes(), spool.usage().bytes, "{what}");
            assert!(!spool.has_acks_room(), "{what}: a place that is no good is not counted on again");
            if seed % 4 < 2 {
                check(&storage, delivered, false, &what);
                continue;
            }
            storage.set_capacity(None);
            spool.refresh_spare();
            assert!(spool.has_acks_room(), "{what}");
            storage.set_capacity(Some(storage.used_bytes()));
            commit(&storage, &mut spool);
            let last = spool.durable();
            assert_eq!(spool.acked_durably(0), delivered, "{what}");
            storage.crash();
            let (spool, found) = open(&storage, 3);
            assert_eq!((spool.acked(0), found.state.frames), (delivered, last), "{what}");
        }
    }
}

/// What is in the batch is not durable: the note must not know of it, and it is shown for that.
#[test]
fn the_batch_shows_what_waits_in_it() {
    let (_, spool, _) = stuck(1);
    let mut shown = Vec::new();
    spool.show_batch(&mut |lsn, kind, body| shown.push((lsn, kind, body.to_vec())));
    assert_eq!(shown, [(spool.durable() + 1, 1, b"waits".to_vec())]);
}

/// What the acknowledgements are about makes too little room, or none waits for it: then nothing happens.
#[test]
fn the_last_resort_is_the_last() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 4);
    spool.ack(0, spool.durable());
    assert!(!spool.commit_acks(CLOSING, b"12345678").unwrap(), "there is room");
    let (_, mut spool, _) = stuck(1);
    assert!(spool.commit_acks(CLOSING, &vec![0; 40 << 10]).unwrap_err().is_full());
    assert_eq!((spool.usage().oldest_lsn, spool.acked_durably(0)), (1, 0));
    assert!(spool.commit_acks(CLOSING, b"12345678").unwrap());
    assert!(!spool.commit_acks(CLOSING, b"12345678").unwrap(), "its place is taken");
}

/// A segment that nobody needs, and that the disk would not remove, stayed until the next commit: where the log was full, and
/// nothing was under way, there was none.
#[test]
fn what_could_not_be_removed_is_tried_again() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 4);
    spool.ack(0, spool.durable());
    prepare(&mut spool);
    spool.note(0x40, b"12345678").unwrap();
    let commit = spool.begin_commit().unwrap().unwrap();
    // The first rename gives the new segment its name.
    for (operation, nth) in [(Operation::Unlink, 1), (Operation::Rename, 2)] {
        storage.fail(operation, nth, Fault::Error(io::ErrorKind::Other));
    }
    spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
    let left = spool.usage().segments;
    assert!(left > 1, "the disk did not let them go: {:?}", spool.usage());
    assert_eq!(spool.usage().removal_failures, 1);
    spool.refresh_spare();
    assert_eq!((spool.usage().segments, spool.usage().removal_failures), (1, 1), "{left} were left");
    assert_eq!(storage.used_bytes(), spool.usage().bytes);
}
