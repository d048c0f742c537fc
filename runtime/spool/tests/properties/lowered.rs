//! A log that is opened with a lower quota than it was filled under.

use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Spool, Storage};

use crate::model::{Recorder, State};

const BEFORE: Options = Options { segment_bytes: 128 << 10, max_bytes: 8 << 20, frame_max_bytes: 100 << 10 };
const LOWERED: Options =
    Options { segment_bytes: 64 << 10, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 100 << 10 };
/// A segment of nothing but a checkpoint and a note: one block.
const NOTES_BYTES: u64 = 4096;
/// What segments may take together; the rest is for what the last of them may be larger.
const SEGMENTS_MAX_BYTES: u64 = LOWERED.max_bytes / 16 * 15;

fn commit(storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>) {
    let commit = spool.begin_commit().unwrap().unwrap();
    spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
}

fn prepare(spool: &mut Spool<MemoryStorage>) {
    if spool.wants_checkpoint() {
        spool.checkpoint(&State::default().encode(0));
    }
}

/// A log of so many segments of the larger quota, none of whose frames is done with, opened with the lower one.
fn lowered(storage: &MemoryStorage, segments: u64) -> Spool<MemoryStorage> {
    let mut spool = Spool::open(storage.clone(), BEFORE, 1, &mut Recorder::default()).unwrap();
    spool.set_streams(&[0]);
    while spool.usage().segments < segments {
        prepare(&mut spool);
        spool.append(1, &[7; 16 << 10]).unwrap();
        commit(storage, &mut spool);
    }
    drop(spool);
    let mut spool = Spool::open(storage.clone(), LOWERED, 2, &mut Recorder::default()).unwrap();
    spool.set_streams(&[0]);
    spool
}

/// Notes took a whole segment each where there was no room for it, and two at a time: what had just come down to its quota
/// went beyond it again.
#[test]
fn notes_take_no_more_beyond_the_quota_than_they_need() {
    for segments in 2..12 {
        let storage = MemoryStorage::new(1);
        let mut spool = lowered(&storage, segments);
        let opened_bytes = spool.usage().bytes;
        let most_bytes = match opened_bytes <= SEGMENTS_MAX_BYTES {
            true => LOWERED.max_bytes,
            false => LOWERED.max_bytes.max(opened_bytes + 2 * NOTES_BYTES),
        };
        let (mut room, mut begun) = (false, 0);
        for number in 0..200 {
            begun += u32::from(spool.wants_checkpoint());
            prepare(&mut spool);
            spool.note(0x40, &[number as u8; 2000]).unwrap();
            commit(&storage, &mut spool);
            let bytes = spool.usage().bytes;
            assert!(bytes <= most_bytes, "{segments} segments: {bytes} of {most_bytes}, {opened_bytes} when opened");
            assert_eq!(bytes, storage.used_bytes());
            room |= !spool.is_full();
        }
        assert!(begun > 5, "{segments} segments: {begun} begun for notes");
        let last = spool.durable();
        spool.ack(0, last);
        for _ in 0..3 {
            prepare(&mut spool);
            spool.note(0x40, b"the last").unwrap();
            commit(&storage, &mut spool);
        }
        assert!(spool.usage().bytes <= SEGMENTS_MAX_BYTES && !spool.is_full(), "{segments}: {:?}", spool.usage());
        assert!(room || segments > 2, "two segments leave room for a third");
    }
}
