//! A disk in memory that behaves as badly as a real one may.
//!
//! What is not synced is, after [`crash`](MemoryStorage::crash), kept, lost or torn at 512 bytes, by the seed. Faults
//! are armed on the n-th call of an operation. The twin is deterministic: same seed, same calls, same outcome.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::check_name;
use crate::Storage;

mod disk;

pub use disk::Snapshot;
use disk::{injected, not_found, Disk, NameChange};

/// Power cuts tear writes at multiples of this.
pub const SECTOR_BYTES: usize = 512;

/// The calls of [`Storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Storage::list`]
    List,
    /// [`Storage::create`]
    Create,
    /// [`Storage::open`]
    Open,
    /// [`Storage::rename`]
    Rename,
    /// [`Storage::unlink`]
    Unlink,
    /// [`Storage::sync_dir`]
    SyncDir,
    /// [`Storage::len`]
    Len,
    /// [`Storage::trim`]
    Trim,
    /// [`Storage::write_at`]
    WriteAt,
    /// [`Storage::read_at`]
    ReadAt,
    /// [`Storage::sync_data`]
    SyncData,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::List,
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Unlink,
        Self::SyncDir,
        Self::Len,
        Self::Trim,
        Self::WriteAt,
        Self::ReadAt,
        Self::SyncData,
    ];
}

/// Where a call comes from: operation, source file, line.
pub type Site = (Operation, &'static str, u32);

/// What goes wrong with one call. A fault that does not suit the operation is an error of kind `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and returns this error.
    Error(io::ErrorKind),
    /// A write stops somewhere in the middle and returns an error.
    ShortWrite,
    /// A sync of content fails as Linux does it: the pages are taken for clean and are never written, though they are
    /// still read from the cache until the power is cut.
    FailedSync,
    /// It returns success and does nothing. Calls that must return something (list, create, open, len, read) do it.
    Silent,
}

/// A handle; clones are the same file. It is stale after a crash. An unlinked file can be read until
/// its last handle is dropped, but unlike on a real disk its space is free at once.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    inode: u64,
    generation: u64,
    _alive: Arc<()>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryStorage {
    /// An empty disk; `seed` decides what crashes keep.
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power. Handles from before are stale; the disk can be opened again.
    ///
    /// Each unsynced write is kept, lost or torn, whatever becomes of those before it. Unsynced changes of names are
    /// kept up to some point, in order. Faults stay armed, limits stay set.
    pub fn crash(&self) {
        self.disk().crash();
    }

    /// The durable image: what a power cut that loses everything unsynced would leave.
    pub fn snapshot(&self) -> Snapshot {
        self.disk().snapshot()
    }

    /// Goes back to a snapshot, and with the seed's course too: the same calls then have the same outcome. Handles from
    /// before are stale, armed faults are taken back; limits and counters stay.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.disk().restore(snapshot);
    }

    /// Arms a fault for the `nth` next call of `operation`, counted from 1.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.disk().armed.push((operation, nth.max(1), fault));
    }

    /// Takes back all armed faults.
    pub fn disarm(&self) {
        self.disk().armed.clear();
    }

    /// Calls of `operation` so far, failed ones included.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.disk().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Where calls came from so far, each with the number of its first among those of its operation.
    pub fn sites(&self) -> BTreeMap<Site, u64> {
        self.disk().sites()
    }

    /// Bytes there are; none is no limit. What files have already stays theirs to write.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes of all files that have a name, reserved ones included.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// Every change fails as on a file system mounted read-only, [`Storage::sync_dir`] too; opening, reading and syncing
    /// content still work.
    pub fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    /// Syncs return success and do nothing: what the checkers must catch.
    pub fn set_lying_sync(&self, lying: bool) {
        self.disk().lying_sync = lying;
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.disk().bytes_written
    }

    /// Syncs so far, of content and of names, that did what they said.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// Flips bits of one byte, on the platter and in the cache; false if no such byte was ever written.
    pub fn corrupt(&self, name: &str, offset: usize, xor: u8) -> bool {
        let disk = &mut *self.disk();
        let Some((_, inode)) = disk.named(name) else { return false };
        let mut is_there = false;
        for byte in [&mut inode.live, &mut inode.durable].into_iter().filter_map(|image| image.get_mut(offset)) {
            *byte ^= xor;
            is_there = true;
        }
        is_there
    }

    /// Names of all files, in order; not counted as a call.
    pub fn file_names(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }

    /// Bytes of a file that were ever written, without what is only reserved.
    pub fn written_len(&self, name: &str) -> usize {
        self.disk().named(name).map_or(0, |(_, inode)| inode.live.len())
    }
}

impl Storage for MemoryStorage {
    type File = MemoryFile;

    #[track_caller]
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = &mut *self.disk();
        disk.begin(Operation::List)?;
        Ok(disk.names.keys().cloned().collect())
    }

    #[track_caller]
    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<MemoryFile> {
        let disk = &mut *self.disk();
        disk.begin(Operation::Create)?;
        check_name(name)?;
        if disk.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists")));
        }
        disk.check_writable()?;
        disk.check_room(reserve_bytes)?;
        disk.add(name, reserve_bytes)
    }

    #[track_caller]
    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let disk = &mut *self.disk();
        disk.begin(Operation::Open)?;
        check_name(name)?;
        disk.handle(name)
    }

    #[track_caller]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        let is_silent = disk.begin(Operation::Rename)?;
        check_name(from).and_then(|()| check_name(to))?;
        if !disk.names.contains_key(from) {
            return Err(not_found(from));
        }
        disk.check_writable()?;
        if !is_silent && from != to {
            disk.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    #[track_caller]
    fn unlink(&self, name: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        let is_silent = disk.begin(Operation::Unlink)?;
        check_name(name)?;
        if !disk.names.contains_key(name) {
            return Err(not_found(name));
        }
        disk.check_writable()?;
        if !is_silent {
            disk.change_names(NameChange::Unlink(name.to_owned()));
        }
        Ok(())
    }

    #[track_caller]
    fn sync_dir(&self) -> io::Result<()> {
        let disk = &mut *self.disk();
        let is_silent = disk.begin(Operation::SyncDir)?;
        disk.check_writable()?;
        if !is_silent && !disk.lying_sync {
            disk.sync_names();
            disk.syncs += 1;
        }
        Ok(())
    }

    #[track_caller]
    fn len(&self, file: &MemoryFile) -> io::Result<u64> {
        let disk = &mut *self.disk();
        disk.begin(Operation::Len)?;
        disk.inode(file).map(|inode| inode.len())
    }

    #[track_caller]
    fn trim(&self, file: &MemoryFile, bytes: u64) -> io::Result<()> {
        let disk = &mut *self.disk();
        let is_silent = disk.begin(Operation::Trim)?;
        disk.check_writable()?;
        if !is_silent {
            disk.inode(file)?.trim(bytes);
        }
        Ok(())
    }

    #[track_caller]
    fn write_at(&self, file: &MemoryFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let disk = &mut *self.disk();
        let fault = disk.enter(Operation::WriteAt);
        let before = disk.inode(file)?.len();
        let kept = match fault {
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::FailedSync) => return Err(injected(io::ErrorKind::Other)),
            Some(Fault::Silent) => return Ok(()),
            // Less than all of it, or nothing would be wrong but the answer.
            Some(Fault::ShortWrite) => disk.rng.usize(0..bytes.len().max(1)),
            None => bytes.len(),
        };
        disk.check_writable()?;
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| injected(io::ErrorKind::InvalidInput))?;
        disk.check_room(end.saturating_sub(before))?;
        disk.bytes_written += kept as u64;
        disk.inode(file)?.write(offset, bytes.get(..kept).unwrap_or_default());
        if fault.is_some() {
            return Err(injected(io::ErrorKind::Other));
        }
        Ok(())
    }

    #[track_caller]
    fn read_at(&self, file: &MemoryFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = &mut *self.disk();
        disk.begin(Operation::ReadAt)?;
        let inode = disk.inode(file)?;
        let length = usize::try_from(inode.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let written = inode.live.get(offset as usize..).unwrap_or_default();
        let copied = written.len().min(length);
        if let (Some(target), Some(source)) = (buffer.get_mut(..copied), written.get(..copied)) {
            target.copy_from_slice(source);
        }
        // What is reserved and was never written reads as zeros.
        if let Some(rest) = buffer.get_mut(copied..length) {
            rest.fill(0);
        }
        Ok(length)
    }

    #[track_caller]
    fn sync_data(&self, file: &MemoryFile) -> io::Result<()> {
        let disk = &mut *self.disk();
        let fault = disk.enter(Operation::SyncData);
        let is_lying = disk.lying_sync;
        let inode = disk.inode(file)?;
        match fault {
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::ShortWrite) => return Err(injected(io::ErrorKind::Other)),
            Some(Fault::FailedSync) => {
                inode.unsynced.clear();
                return Err(injected(io::ErrorKind::Other));
            }
            Some(Fault::Silent) => {}
            None if is_lying => {}
            None => {
                inode.sync();
                disk.syncs += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(storage: &MemoryStorage, name: &str) -> Option<Vec<u8>> {
        let file = storage.open(name).ok()?;
        let mut buffer = vec![0; storage.len(&file).unwrap() as usize];
        storage.read_at(&file, 0, &mut buffer).unwrap();
        Some(buffer)
    }

    /// What 64 crashes of the same history left of `name`.
    fn outcomes(history: impl Fn(&MemoryStorage)) -> Vec<Option<Vec<u8>>> {
        let outcome = |seed| {
            let storage = MemoryStorage::new(seed);
            history(&storage);
            storage.crash();
            read(&storage, "a")
        };
        (0..64).map(outcome).collect()
    }

    #[test]
    fn what_is_synced_survives_every_crash() {
        let all = outcomes(|storage| {
            let file = storage.create("a", 0).unwrap();
            storage.write_at(&file, 0, b"kept").unwrap();
            storage.sync_data(&file).unwrap();
            storage.sync_dir().unwrap();
        });
        assert!(all.iter().all(|o| o.as_deref() == Some(b"kept")));
    }

    #[test]
    fn what_is_not_synced_may_be_kept_lost_or_torn() {
        let all = outcomes(|storage| {
            let file = storage.create("a", 0).unwrap();
            storage.sync_dir().unwrap();
            storage.write_at(&file, 0, &[7; 2048]).unwrap();
        });
        let sevens = |o: &Option<Vec<u8>>| o.as_ref().unwrap().iter().filter(|b| **b == 7).count();
        assert!(all.iter().any(|o| sevens(o) == 2048) && all.iter().any(|o| sevens(o) == 0));
        assert!(all.iter().any(|o| (1..2048).contains(&sevens(o))));
        assert!(all.iter().all(|o| sevens(o) % SECTOR_BYTES == 0));
    }

    #[test]
    fn a_name_is_durable_only_with_its_directory() {
        let all = outcomes(|storage| {
            let file = storage.create("a", 0).unwrap();
            storage.write_at(&file, 0, b"x").unwrap();
            storage.sync_data(&file).unwrap();
        });
        assert!(all.iter().any(Option::is_some) && all.iter().any(Option::is_none));
    }

    #[test]
    fn a_failed_sync_loses_what_it_should_have_saved() {
        let storage = MemoryStorage::new(1);
        let file = storage.create("a", 8).unwrap();
        storage.sync_dir().unwrap();
        storage.write_at(&file, 0, b"gone").unwrap();
        storage.fail(Operation::SyncData, 1, Fault::FailedSync);
        assert!(storage.sync_data(&file).is_err());
        storage.sync_data(&file).unwrap();
        assert_eq!(&read(&storage, "a").unwrap()[..4], b"gone", "the cache still has it");
        storage.crash();
        assert_eq!(&read(&storage, "a").unwrap()[..4], &[0; 4]);
        assert!(storage.sync_data(&file).is_err(), "handles do not survive a power cut");
    }

    #[test]
    fn room_and_read_only_and_armed_faults_are_told_apart() {
        let storage = MemoryStorage::new(1);
        storage.set_capacity(Some(100));
        assert_eq!(storage.create("a", 101).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let file = storage.create("a", 90).unwrap();
        storage.write_at(&file, 0, &[1; 90]).unwrap();
        assert_eq!(storage.write_at(&file, 90, &[1; 11]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        storage.set_read_only(true);
        assert_eq!(storage.write_at(&file, 0, b"x").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        storage.set_read_only(false);
        storage.fail(Operation::WriteAt, 2, Fault::ShortWrite);
        storage.write_at(&file, 0, b"x").unwrap();
        assert!(storage.write_at(&file, 0, b"x").is_err());
        storage.write_at(&file, 0, b"x").unwrap();
        assert_eq!(storage.calls(Operation::WriteAt), 6);
    }

    /// Sectors of the second write may be there without those of the first.
    #[test]
    fn writes_survive_in_any_order() {
        let all = outcomes(|storage| {
            let file = storage.create("a", 2048).unwrap();
            storage.sync_dir().unwrap();
            storage.write_at(&file, 0, &[1; 1024]).unwrap();
            storage.write_at(&file, 1024, &[2; 1024]).unwrap();
        });
        let whole = |o: &Option<Vec<u8>>, at: usize| o.as_ref().unwrap()[at..at + 1024].iter().all(|b| *b != 0);
        assert!(
            all.iter().any(|o| !whole(o, 0) && whole(o, 1024)) && all.iter().any(|o| whole(o, 0) && !whole(o, 1024))
        );
    }

    #[test]
    fn names_survive_in_order() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let storage = MemoryStorage::new(seed);
            storage.create("old", 0).unwrap();
            storage.sync_dir().unwrap();
            storage.create("new", 0).unwrap();
            storage.rename("new", "newer").unwrap();
            storage.unlink("old").unwrap();
            storage.crash();
            seen.insert(storage.file_names().join(" "));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["new old", "newer", "newer old", "old"]);
    }

    #[test]
    fn syncs_that_lie_are_found_out_by_a_crash() {
        let lost = |lie: fn(&MemoryStorage)| {
            let all = outcomes(|storage| {
                lie(storage);
                let file = storage.create("a", 4).unwrap();
                storage.write_at(&file, 0, b"lost").unwrap();
                storage.sync_data(&file).unwrap();
                storage.sync_dir().unwrap();
            });
            all.iter().filter(|o| o.as_deref() != Some(b"lost")).count()
        };
        let content_lost = outcomes(|storage| {
            let file = storage.create("a", 4).unwrap();
            storage.sync_dir().unwrap();
            storage.set_lying_sync(true);
            storage.write_at(&file, 0, b"lost").unwrap();
            storage.sync_data(&file).unwrap();
        });
        assert!(content_lost.iter().any(|o| o.as_deref() == Some(&[0; 4])));
        assert_eq!(lost(|_| {}), 0);
        assert!(lost(|storage| storage.set_lying_sync(true)) > 0);
        assert!(lost(|storage| storage.fail(Operation::SyncData, 1, Fault::Silent)) > 0);
        assert!(lost(|storage| storage.fail(Operation::SyncDir, 1, Fault::Silent)) > 0);
    }

    #[test]
    fn faults_strike_the_call_they_are_armed_for() {
        let storage = MemoryStorage::new(1);
        let file = storage.create("a", 0).unwrap();
        for nth in [3, 1, 2] {
            storage.fail(Operation::SyncData, nth, Fault::Error(io::ErrorKind::Other));
        }
        let failed: Vec<bool> = (0..5).map(|_| storage.sync_data(&file).is_err()).collect();
        assert_eq!(failed, [true, true, true, false, false]);
        assert_eq!((storage.calls(Operation::SyncData), storage.syncs()), (5, 2));
        for operation in Operation::ALL {
            storage.fail(operation, 1, Fault::Error(io::ErrorKind::TimedOut));
        }
        let results = [
            storage.list().map(drop),
            storage.create("b", 0).map(drop),
            storage.open("a").map(drop),
            storage.rename("a", "b"),
            storage.unlink("a"),
            storage.sync_dir(),
            storage.len(&file).map(drop),
            storage.trim(&file, 0),
            storage.write_at(&file, 0, b"x"),
            storage.read_at(&file, 0, &mut [0]).map(drop),
            storage.sync_data(&file),
        ];
        assert!(results.into_iter().all(|r| r.unwrap_err().kind() == io::ErrorKind::TimedOut));
        assert_eq!(storage.file_names(), ["a"]);
    }

    #[test]
    fn a_short_write_leaves_less_than_all_of_it() {
        for seed in 0..64 {
            let storage = MemoryStorage::new(seed);
            let file = storage.create("a", 0).unwrap();
            storage.fail(Operation::WriteAt, 1, Fault::ShortWrite);
            assert!(storage.write_at(&file, 0, &[1; 8]).is_err());
            assert!(storage.written_len("a") < 8, "seed {seed}");
            assert_eq!(storage.bytes_written(), storage.written_len("a") as u64);
        }
    }

    #[test]
    fn a_full_disk_leaves_files_what_they_have_and_unlinked_ones_their_content() {
        let storage = MemoryStorage::new(1);
        let file = storage.create("a", 100).unwrap();
        storage.set_capacity(Some(50));
        storage.write_at(&file, 99, b"x").unwrap();
        assert_eq!(storage.write_at(&file, 100, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        storage.unlink("a").unwrap();
        storage.sync_dir().unwrap();
        assert_eq!(storage.used_bytes(), 0);
        storage.create("b", 50).unwrap();
        let mut last = [0];
        assert_eq!(storage.read_at(&file, 99, &mut last).unwrap(), 1);
        assert_eq!(&last, b"x");
    }

    #[test]
    fn a_snapshot_is_the_durable_image_and_brings_the_same_outcome() {
        let storage = MemoryStorage::new(3);
        let file = storage.create("a", 0).unwrap();
        storage.write_at(&file, 0, b"durable").unwrap();
        storage.sync_data(&file).unwrap();
        storage.sync_dir().unwrap();
        storage.write_at(&file, 0, b"dirty").unwrap();
        storage.create("b", 0).unwrap();
        let snapshot = storage.snapshot();
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            storage.restore(&snapshot);
            assert!(storage.len(&file).is_err(), "handles do not survive going back");
            assert_eq!(
                (storage.file_names(), read(&storage, "a").unwrap()),
                (vec!["a".to_owned()], b"durable".to_vec())
            );
            storage.write_at(&storage.open("a").unwrap(), 0, &[7; 8192]).unwrap();
            storage.crash();
            outcomes.push(read(&storage, "a"));
        }
        assert_eq!(outcomes[0], outcomes[1]);
    }

    #[test]
    fn corruption_is_there_after_a_crash() {
        let storage = MemoryStorage::new(1);
        let file = storage.create("a", 0).unwrap();
        storage.write_at(&file, 0, b"abc").unwrap();
        storage.sync_data(&file).unwrap();
        storage.sync_dir().unwrap();
        assert!(storage.corrupt("a", 1, 0x20));
        assert!(!storage.corrupt("a", 3, 1) && !storage.corrupt("b", 0, 1));
        assert_eq!(read(&storage, "a").unwrap(), b"aBc");
        storage.crash();
        assert_eq!(read(&storage, "a").unwrap(), b"aBc");
    }
}
