//! A log that is full: what it can do about that, and what a power cut leaves of it.

use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::{Lsn, Options, Spool, Storage};

use crate::model::{Recorder, State};

/// Frames of a seventh of a segment leave something of each unused.
const FRAME_BYTES: usize = 9 << 10;
const OPTIONS: Options =
    Options { segment_bytes: 64 << 10, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 100 << 10 };

fn open(storage: &MemoryStorage, fresh: u64) -> Spool<MemoryStorage> {
    let mut spool = Spool::open(storage.clone(), OPTIONS, fresh, &mut Recorder::default()).unwrap();
    spool.set_streams(&[0]);
    spool
}

fn prepare(spool: &mut Spool<MemoryStorage>) {
    if spool.wants_checkpoint() {
        spool.checkpoint(&State::default().encode(0));
    }
}

fn commit(storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>) {
    let commit = spool.begin_commit().unwrap().unwrap();
    spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
}

/// A log whose last segment is about to be followed by another one.
fn filled(storage: &MemoryStorage, segments: u64) -> Spool<MemoryStorage> {
    let mut spool = open(storage, 1);
    while spool.usage().segments < segments || !spool.wants_checkpoint() {
        prepare(&mut spool);
        spool.append(1, &[7; FRAME_BYTES]).unwrap();
        commit(storage, &mut spool);
    }
    spool
}

/// A segment that nobody needs, and that the disk would not remove, stayed until the next commit: where the log was full, and
/// nothing was under way, there was none.
#[test]
fn what_could_not_be_removed_is_tried_again() {
    let storage = MemoryStorage::new(1);
    let mut spool = filled(&storage, 4);
    spool.ack(0, spool.durable());
    prepare(&mut spool);
    spool.note(0x40, b"the last").unwrap();
    let commit = spool.begin_commit().unwrap().unwrap();
    for operation in [Operation::Unlink, Operation::Rename] {
        // The first rename gives the new segment its name.
        let nth = if operation == Operation::Rename { 2 } else { 1 };
        storage.fail(operation, nth, Fault::Error(std::io::ErrorKind::Other));
    }
    spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
    storage.disarm();
    let left = spool.usage().segments;
    assert!(left > 1, "the disk did not let them go: {:?}", spool.usage());
    spool.refresh_spare();
    assert_eq!(spool.usage().segments, 1, "{left} were left");
    assert_eq!(storage.used_bytes(), spool.usage().bytes);
}

/// A log on a disk that something else has filled, about to note that all up to this frame was delivered.
pub fn about_to_note(seed: u64) -> (MemoryStorage, Spool<MemoryStorage>, Lsn) {
    let storage = MemoryStorage::new(seed);
    let spool = filled(&storage, 4);
    let delivered = spool.sealed().nth(1).unwrap().last_lsn;
    storage.unlink("spare.log").unwrap();
    drop(spool);
    let mut spool = open(&storage, 2);
    storage.set_capacity(Some(storage.used_bytes()));
    spool.ack(0, delivered);
    prepare(&mut spool);
    spool.note(0x40, b"what was delivered").unwrap();
    (storage, spool, delivered)
}

/// To have room to note what was delivered, a full disk gave that up first: after a power cut between the two, it was missing, and
/// nobody knew that it had arrived.
#[test]
fn what_was_delivered_goes_when_that_is_durable() {
    for seed in 0..60 {
        let (storage, mut spool, delivered) = about_to_note(seed);
        let begun = spool.begin_commit().unwrap().unwrap();
        let is_durable = seed % 3 > 0 && spool.end_commit(begun.id, storage.sync_data(&begun.file)).is_ok();
        drop(spool);
        storage.crash();
        let mut spool = open(&storage, 3);
        let known = spool.acked(0);
        assert!([0, delivered].contains(&known) && (known == delivered || !is_durable), "seed {seed}: {known}");
        let mut reader = spool.reader(known);
        let first = spool.read(&mut reader).unwrap().unwrap().lsn;
        assert_eq!((first, spool.usage().damaged_frames), (known + 1, 0), "seed {seed}");
    }
}
