//! What the cache holds and the disk does not.

use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::Storage;

use crate::full::{commit, open, prepare};

/// A sync failed, and then the process ended: the next one found in the cache what never came onto the disk, and took it for
/// durable when a sync of that said so.
#[test]
fn what_recovery_found_in_the_cache_after_a_failed_sync_stays() {
    for (seed, frames) in (0..40).map(|seed| (seed, 1 + seed % 3)) {
        let storage = MemoryStorage::new(seed);
        let (mut spool, _) = open(&storage, 1);
        prepare(&mut spool);
        spool.append(1, b"durable").unwrap();
        commit(&storage, &mut spool);
        for _ in 0..frames {
            spool.append(1, b"in the cache").unwrap();
        }
        let begun = spool.begin_commit().unwrap().unwrap();
        storage.fail(Operation::SyncData, 1, Fault::FailedSync);
        let synced = storage.sync_data(&begun.file);
        assert!(spool.end_commit(begun.id, synced).is_err());
        drop(spool);
        let (spool, found) = open(&storage, 2);
        assert_eq!((spool.durable(), found.state.frames), (1 + frames, 1 + frames), "seed {seed}");
        drop(spool);
        storage.crash();
        let (spool, found) = open(&storage, 3);
        assert_eq!((spool.durable(), found.state.frames), (1 + frames, 1 + frames), "seed {seed}: it was durable");
    }
}
