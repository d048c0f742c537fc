//! Syncs: by a thread that waits for the disk, or, where the disk is quick and nothing else is at hand, on the core's own.
//!
//! To hand a sync to the thread and to be woken by it costs about as much as the sync of a quick disk itself. A disk that
//! was quick may be slow the next time: the core then waits for one sync, as it does when a segment begins.

use std::io;
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use eyot_spool::{Commit, Storage};
use flume::{Receiver, Sender};
use tracing::warn;

/// Syncs under way; the core has one or two.
const SYNCS_MAX: usize = 16;
/// A disk is quick when its last sync took no longer.
const QUICK: Duration = Duration::from_micros(500);

/// A commit and what came of its sync.
pub type Synced = (u64, io::Result<()>);

/// Syncs the files of a storage.
pub struct Syncer<S: Storage> {
    storage: S,
    todo: Sender<Commit<S::File>>,
    done: Receiver<(Synced, Duration)>,
    thread: JoinHandle<()>,
    /// What the last sync took.
    took: Duration,
}

impl<S: Storage> Syncer<S> {
    /// Starts the thread; it unparks the one that calls this.
    pub fn start(storage: S) -> io::Result<Self> {
        let (todo, to_sync) = flume::bounded(SYNCS_MAX);
        let (done_tx, done) = flume::bounded(SYNCS_MAX);
        let (theirs, waker) = (storage.clone(), thread::current());
        let work = move || work(&theirs, &to_sync, &done_tx, &waker);
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(work)?;
        Ok(Self { storage, todo, done, thread, took: Duration::MAX })
    }

    /// Whether a sync is hardly worth handing over.
    pub fn is_quick(&self) -> bool {
        self.took <= QUICK
    }

    /// Syncs at once.
    pub fn sync(&mut self, commit: &Commit<S::File>) -> Synced {
        let (synced, took) = timed(&self.storage, commit);
        self.took = took;
        synced
    }

    /// Has the thread sync.
    pub fn give(&self, commit: Commit<S::File>) {
        if self.todo.send(commit).is_err() {
            warn!("the sync thread is gone; nothing more is acknowledged");
        }
    }

    /// What the thread has done.
    pub fn try_recv(&mut self) -> Option<Synced> {
        let (synced, took) = self.done.try_recv().ok()?;
        self.took = took;
        Some(synced)
    }

    /// Ends the thread: only when none holds the storage is it free for the next to open.
    pub fn end(self) {
        drop((self.todo, self.storage));
        let _ = self.thread.join();
    }
}

fn timed<S: Storage>(storage: &S, commit: &Commit<S::File>) -> (Synced, Duration) {
    let start = Instant::now();
    let result = storage.sync_data(&commit.file);
    ((commit.id, result), start.elapsed())
}

fn work<S: Storage>(storage: &S, todo: &Receiver<Commit<S::File>>, done: &Sender<(Synced, Duration)>, waker: &Thread) {
    while let Ok(commit) = todo.recv() {
        if done.send(timed(storage, &commit)).is_err() {
            return;
        }
        waker.unpark();
    }
}

#[cfg(test)]
mod tests {
    use eyot_spool::memory::MemoryStorage;

    use super::*;

    #[test]
    fn a_disk_that_is_not_known_is_left_to_the_thread_and_either_way_every_commit_is_answered() {
        let storage = MemoryStorage::new(1);
        let file = storage.create("a", 0).unwrap();
        let mut syncer = Syncer::start(storage).unwrap();
        assert!(!syncer.is_quick());
        syncer.give(Commit { id: 1, file });
        let (id, result) = loop {
            match syncer.try_recv() {
                Some(synced) => break synced,
                None => thread::park(),
            }
        };
        assert_eq!((id, result.is_ok()), (1, true));
        let file = syncer.storage.open("a").unwrap();
        syncer.took = QUICK;
        assert!(syncer.is_quick());
        let (id, result) = syncer.sync(&Commit { id: 2, file });
        assert_eq!((id, result.is_ok()), (2, true));
        assert_ne!(syncer.took, QUICK, "what counts is the last sync");
        syncer.end();
    }
}
