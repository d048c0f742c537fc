//! What the twin's disk holds: files with a live and a durable image, names likewise.

use std::collections::BTreeMap;
use std::io;

use super::{Fault, MemoryFile, Operation};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub live: Vec<u8>,
    pub durable: Vec<u8>,
    pub unsynced: Vec<(u64, Vec<u8>)>,
    pub reserved: u64,
}

impl Inode {
    pub fn len(&self) -> u64 {
        self.reserved.max(self.live.len() as u64)
    }
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Unlink(String),
}

#[derive(Debug)]
pub(super) struct Disk {
    pub rng: fastrand::Rng,
    pub inodes: BTreeMap<u64, Inode>,
    pub next_inode: u64,
    pub names: BTreeMap<String, u64>,
    pub durable_names: BTreeMap<String, u64>,
    pub unsynced_names: Vec<NameChange>,
    pub generation: u64,
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub lying_sync: bool,
    pub armed: Vec<(Operation, u64, Fault)>,
    pub calls: BTreeMap<Operation, u64>,
    pub bytes_written: u64,
}

pub(super) fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
    }
}

pub(super) fn write_to(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(target) = image.get_mut(start..end) {
        target.copy_from_slice(bytes);
    }
}

impl Disk {
    /// Counts the call and says what is armed for it.
    pub fn enter(&mut self, operation: Operation) -> Option<Fault> {
        *self.calls.entry(operation).or_default() += 1;
        let mut struck = None;
        self.armed.retain_mut(|(armed, left, fault)| {
            if *armed != operation || struck.is_some() {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                struck = Some(*fault);
            }
            *left > 0
        });
        struck
    }

    pub fn change(&mut self, operation: Operation) -> io::Result<bool> {
        match self.enter(operation) {
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::ShortWrite | Fault::FailedSync) => return Err(injected(io::ErrorKind::Other)),
            Some(Fault::Silent) => return Ok(false),
            None => {}
        }
        if self.read_only {
            return Err(injected(io::ErrorKind::ReadOnlyFilesystem));
        }
        Ok(true)
    }

    pub fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(Inode::len).sum()
    }

    pub fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more > capacity => Err(injected(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    pub fn inode(&mut self, file: &MemoryFile) -> io::Result<&mut Inode> {
        if file.generation != self.generation {
            return Err(io::Error::other("stale handle: the power was cut since it was opened"));
        }
        self.inodes.get_mut(&file.inode).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub fn rename_live(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }
}

pub(super) fn injected(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, format!("injected: {kind}"))
}
