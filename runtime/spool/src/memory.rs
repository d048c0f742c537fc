//! A disk in memory that behaves as badly as a real one may.
//!
//! What is not synced is, after [`crash`](MemoryStorage::crash), kept, lost or torn at 512 bytes, by the seed. Faults
//! are armed on the n-th call of an operation. The twin is deterministic: same seed, same calls, same outcome.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Storage;

mod disk;

use disk::{apply, injected, write_to, Disk, Inode, NameChange};

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
    /// [`Storage::write_at`]
    WriteAt,
    /// [`Storage::read_at`]
    ReadAt,
    /// [`Storage::sync_data`]
    SyncData,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::List,
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Unlink,
        Self::SyncDir,
        Self::Len,
        Self::WriteAt,
        Self::ReadAt,
        Self::SyncData,
    ];
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and returns this error.
    Error(io::ErrorKind),
    /// A write stops somewhere in the middle and returns an error.
    ShortWrite,
    /// A sync fails as Linux does it: the pages are taken for clean and are never written.
    FailedSync,
    /// It returns success and does nothing.
    Silent,
}

/// A handle; clones are the same file. It is stale after a crash.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    inode: u64,
    generation: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryStorage {
    /// An empty disk; `seed` decides what crashes keep.
    pub fn new(seed: u64) -> Self {
        let disk = Disk {
            rng: fastrand::Rng::with_seed(seed),
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            generation: 0,
            capacity: None,
            read_only: false,
            lying_sync: false,
            armed: Vec::new(),
            calls: BTreeMap::new(),
            bytes_written: 0,
        };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power. Handles from before are stale; the disk can be opened again.
    pub fn crash(&self) {
        let disk = &mut *self.disk();
        let kept = if disk.unsynced_names.is_empty() { 0 } else { disk.rng.usize(0..=disk.unsynced_names.len()) };
        for change in disk.unsynced_names.drain(..).take(kept) {
            apply(&mut disk.durable_names, &change);
        }
        disk.names.clone_from(&disk.durable_names);
        // Some cuts lose everything unsynced, some nothing, most are a mix.
        let keep_percent = disk.rng.choice([0, 100, 50, 90]).unwrap_or(0);
        for inode in disk.inodes.values_mut() {
            for (offset, bytes) in inode.unsynced.drain(..) {
                let mut at = offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let sector_end = (at / SECTOR_BYTES as u64 + 1) * SECTOR_BYTES as u64;
                    let (piece, after) = rest.split_at(rest.len().min((sector_end - at) as usize));
                    if disk.rng.u32(0..100) < keep_percent {
                        write_to(&mut inode.durable, at, piece);
                    }
                    at += piece.len() as u64;
                    rest = after;
                }
            }
            inode.live.clone_from(&inode.durable);
        }
        let names = &disk.names;
        disk.inodes.retain(|inode, _| names.values().any(|named| named == inode));
        disk.generation += 1;
    }

    /// Arms a fault for the `nth` next call of `operation`, counted from 1.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.disk().armed.push((operation, nth.max(1), fault));
    }

    /// Takes back all armed faults.
    pub fn disarm(&self) {
        self.disk().armed.clear();
    }

    /// Calls of `operation` so far.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.disk().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Bytes there are; none is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes of all files, reserved ones included.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// Every change fails as on a file system mounted read-only.
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

    /// Flips bits of one byte, on the platter and in the cache.
    pub fn corrupt(&self, name: &str, offset: usize, xor: u8) {
        let disk = &mut *self.disk();
        let Some(inode) = disk.names.get(name).and_then(|inode| disk.inodes.get_mut(inode)) else { return };
        for image in [&mut inode.live, &mut inode.durable] {
            if let Some(byte) = image.get_mut(offset) {
                *byte ^= xor;
            }
        }
    }

    /// Bytes of a file that were ever written, without what is only reserved.
    pub fn written_len(&self, name: &str) -> usize {
        let disk = self.disk();
        disk.names.get(name).and_then(|inode| disk.inodes.get(inode)).map_or(0, |inode| inode.live.len())
    }
}

impl Storage for MemoryStorage {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let disk = &mut *self.disk();
        match disk.enter(Operation::List) {
            Some(Fault::Error(kind)) => Err(injected(kind)),
            _ => Ok(disk.names.keys().cloned().collect()),
        }
    }

    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<MemoryFile> {
        let disk = &mut *self.disk();
        disk.change(Operation::Create)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.check_room(reserve_bytes)?;
        let inode = disk.next_inode;
        disk.next_inode += 1;
        disk.inodes.insert(inode, Inode { reserved: reserve_bytes, ..Inode::default() });
        disk.rename_live(NameChange::Create(name.to_owned(), inode));
        Ok(MemoryFile { inode, generation: disk.generation })
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let disk = &mut *self.disk();
        if let Some(Fault::Error(kind)) = disk.enter(Operation::Open) {
            return Err(injected(kind));
        }
        let inode = *disk.names.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(MemoryFile { inode, generation: disk.generation })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if disk.change(Operation::Rename)? {
            disk.rename_live(NameChange::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if disk.change(Operation::Unlink)? {
            disk.rename_live(NameChange::Unlink(name.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let disk = &mut *self.disk();
        if !disk.change(Operation::SyncDir)? || disk.lying_sync {
            return Ok(());
        }
        for change in disk.unsynced_names.drain(..) {
            apply(&mut disk.durable_names, &change);
        }
        Ok(())
    }

    fn len(&self, file: &MemoryFile) -> io::Result<u64> {
        let disk = &mut *self.disk();
        match disk.enter(Operation::Len) {
            Some(Fault::Error(kind)) => Err(injected(kind)),
            _ => disk.inode(file).map(|inode| inode.len()),
        }
    }

    fn write_at(&self, file: &MemoryFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let disk = &mut *self.disk();
        let fault = disk.enter(Operation::WriteAt);
        let kept = match fault {
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::Silent) => return Ok(()),
            Some(Fault::ShortWrite | Fault::FailedSync) => disk.rng.usize(0..=bytes.len()),
            None => bytes.len(),
        };
        if disk.read_only {
            return Err(injected(io::ErrorKind::ReadOnlyFilesystem));
        }
        let growth = (offset + bytes.len() as u64).saturating_sub(disk.inode(file)?.len());
        disk.check_room(growth)?;
        let written = bytes.get(..kept).unwrap_or_default();
        disk.bytes_written += kept as u64;
        let inode = disk.inode(file)?;
        write_to(&mut inode.live, offset, written);
        inode.unsynced.push((offset, written.to_vec()));
        if fault.is_some() {
            return Err(injected(io::ErrorKind::Other));
        }
        Ok(())
    }

    fn read_at(&self, file: &MemoryFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = &mut *self.disk();
        if let Some(Fault::Error(kind)) = disk.enter(Operation::ReadAt) {
            return Err(injected(kind));
        }
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

    fn sync_data(&self, file: &MemoryFile) -> io::Result<()> {
        let disk = &mut *self.disk();
        let fault = disk.enter(Operation::SyncData);
        let lying = disk.lying_sync || fault == Some(Fault::Silent);
        let inode = disk.inode(file)?;
        match fault {
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::FailedSync | Fault::ShortWrite) => {
                inode.unsynced.clear();
                return Err(injected(io::ErrorKind::Other));
            }
            _ if lying => return Ok(()),
            _ => {}
        }
        for (offset, bytes) in inode.unsynced.drain(..) {
            write_to(&mut inode.durable, offset, &bytes);
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
}
