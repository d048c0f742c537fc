//! What is on the disk in memory, and what of it a power cut leaves.

use std::collections::BTreeMap;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Weak};

use super::{Fault, MemoryFile, Operation, Site, SECTOR_BYTES};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// As the page cache has it.
    pub live: Vec<u8>,
    /// As the platter has it.
    pub durable: Vec<u8>,
    /// Writes since the last sync, in order.
    pub unsynced: Vec<(u64, Vec<u8>)>,
    pub reserved: u64,
    /// Alive while there are handles: they keep the content of an unlinked file.
    handles: Weak<()>,
}

impl Inode {
    pub fn len(&self) -> u64 {
        self.reserved.max(self.live.len() as u64)
    }

    /// What is there beyond `bytes` goes at once: the log trims files that do not count yet.
    pub fn trim(&mut self, bytes: u64) {
        self.reserved = bytes;
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.live.truncate(length);
        self.durable.truncate(length);
        for (offset, written) in &mut self.unsynced {
            written.truncate(usize::try_from(bytes.saturating_sub(*offset)).unwrap_or(usize::MAX));
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        write_to(&mut self.live, offset, bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }

    pub fn sync(&mut self) {
        for (offset, bytes) in self.unsynced.drain(..) {
            write_to(&mut self.durable, offset, &bytes);
        }
    }

    fn is_open(&self) -> bool {
        self.handles.strong_count() > 0
    }

    /// The file as it was last synced, with no handles.
    fn durable_only(&self) -> Self {
        Self {
            live: self.durable.clone(),
            durable: self.durable.clone(),
            unsynced: Vec::new(),
            reserved: self.reserved,
            handles: Weak::new(),
        }
    }
}

fn write_to(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(target) = image.get_mut(start..end) {
        target.copy_from_slice(bytes);
    }
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Unlink(String),
}

/// True if a file lost its name.
fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) -> bool {
    match change {
        NameChange::Create(name, inode) => names.insert(name.clone(), *inode).is_some(),
        NameChange::Rename(from, to) => {
            let inode = names.remove(from);
            inode.is_some_and(|inode| names.insert(to.clone(), inode).is_some())
        }
        NameChange::Unlink(name) => names.remove(name).is_some(),
    }
}

/// What power does to one thing that was not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Kept,
    Lost,
    /// Each sector on its own.
    Torn,
}

/// The durable image of a disk, to go back to. See [`MemoryStorage::snapshot`](super::MemoryStorage::snapshot).
#[derive(Clone, Debug)]
pub struct Snapshot {
    rng: fastrand::Rng,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub rng: fastrand::Rng,
    pub inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the last sync, in order.
    unsynced_names: Vec<NameChange>,
    /// Handles of another generation are stale.
    generation: u64,
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub lying_sync: bool,
    /// Faults, and how many calls from now they strike.
    pub armed: Vec<(Operation, u64, Fault)>,
    pub calls: BTreeMap<Operation, u64>,
    /// By operation and where the place it is called from is in memory: that is quicker to compare than its name.
    sites: BTreeMap<(Operation, usize), (&'static Location<'static>, u64)>,
    pub bytes_written: u64,
    pub syncs: u64,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self {
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
            sites: BTreeMap::new(),
            bytes_written: 0,
            syncs: 0,
        }
    }

    /// Counts the call and says what is armed for it. Of several faults armed for the same call, the first counts.
    #[track_caller]
    pub fn enter(&mut self, operation: Operation) -> Option<Fault> {
        let calls = self.calls.entry(operation).or_default();
        *calls += 1;
        let place = Location::caller();
        self.sites.entry((operation, std::ptr::from_ref(place).addr())).or_insert((place, *calls));
        let mut struck = None;
        self.armed.retain_mut(|(armed, left, fault)| {
            if *armed != operation {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                struck.get_or_insert(*fault);
            }
            *left > 0
        });
        struck
    }

    /// See [`MemoryStorage::sites`](super::MemoryStorage::sites).
    pub fn sites(&self) -> BTreeMap<Site, u64> {
        let mut sites = BTreeMap::new();
        for ((operation, _), (place, nth)) in &self.sites {
            let first = sites.entry((*operation, place.file(), place.line())).or_insert(*nth);
            *first = (*first).min(*nth);
        }
        sites
    }

    /// As [`enter`](Self::enter), where a fault is an error or silence; true for silence.
    #[track_caller]
    pub fn begin(&mut self, operation: Operation) -> io::Result<bool> {
        match self.enter(operation) {
            None => Ok(false),
            Some(Fault::Silent) => Ok(true),
            Some(Fault::Error(kind)) => Err(injected(kind)),
            Some(Fault::ShortWrite | Fault::FailedSync) => Err(injected(io::ErrorKind::Other)),
        }
    }

    pub fn check_writable(&self) -> io::Result<()> {
        if self.read_only {
            return Err(injected(io::ErrorKind::ReadOnlyFilesystem));
        }
        Ok(())
    }

    /// Bytes of files that have a name.
    pub fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(Inode::len).sum()
    }

    /// Room that a file has already is its own, however full the disk is.
    pub fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used().saturating_add(more) > capacity => {
                Err(injected(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }

    pub fn add(&mut self, name: &str, reserved: u64) -> io::Result<MemoryFile> {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode { reserved, ..Inode::default() });
        self.change_names(NameChange::Create(name.to_owned(), id));
        self.handle(name)
    }

    pub fn handle(&mut self, name: &str) -> io::Result<MemoryFile> {
        let generation = self.generation;
        let (id, inode) = self.named(name).ok_or_else(|| not_found(name))?;
        let alive = inode.handles.upgrade().unwrap_or_else(|| {
            let alive = Arc::new(());
            inode.handles = Arc::downgrade(&alive);
            alive
        });
        Ok(MemoryFile { inode: id, generation, _alive: alive })
    }

    pub fn named(&mut self, name: &str) -> Option<(u64, &mut Inode)> {
        let id = *self.names.get(name)?;
        Some((id, self.inodes.get_mut(&id)?))
    }

    pub fn inode(&mut self, file: &MemoryFile) -> io::Result<&mut Inode> {
        if file.generation != self.generation {
            return Err(io::Error::other("stale handle: the power was cut since it was opened"));
        }
        self.inodes.get_mut(&file.inode).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub fn change_names(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    pub fn sync_names(&mut self) {
        let mut is_any_gone = false;
        for change in self.unsynced_names.drain(..) {
            is_any_gone |= apply(&mut self.durable_names, &change);
        }
        if !is_any_gone {
            return;
        }
        let names = &self.durable_names;
        self.inodes.retain(|id, inode| inode.is_open() || names.values().any(|named| named == id));
    }

    /// A journal: names up to some change are kept. Content: in some cuts all is lost or kept, in most it is a mix.
    pub fn crash(&mut self) {
        let kept = self.rng.usize(0..=self.unsynced_names.len());
        for change in self.unsynced_names.drain(..).take(kept) {
            apply(&mut self.durable_names, &change);
        }
        let of_all = self.rng.choice([Some(Fate::Lost), Some(Fate::Kept), None, None]).flatten();
        for inode in self.inodes.values_mut() {
            for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
                let fate = of_all.or_else(|| self.rng.choice([Fate::Kept, Fate::Lost, Fate::Torn]));
                leave(&mut self.rng, fate.unwrap_or(Fate::Lost), &mut inode.durable, offset, &bytes);
            }
        }
        self.reset_to_durable();
    }

    pub fn snapshot(&self) -> Snapshot {
        let inodes = self.inodes.iter().map(|(id, inode)| (*id, inode.durable_only())).collect();
        Snapshot { rng: self.rng.clone(), inodes, names: self.durable_names.clone() }
    }

    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.rng = snapshot.rng.clone();
        self.inodes.clone_from(&snapshot.inodes);
        self.durable_names.clone_from(&snapshot.names);
        self.unsynced_names.clear();
        self.armed.clear();
        self.reset_to_durable();
    }

    fn reset_to_durable(&mut self) {
        self.names.clone_from(&self.durable_names);
        let names = &self.names;
        self.inodes.retain(|id, _| names.values().any(|named| named == id));
        for inode in self.inodes.values_mut() {
            *inode = inode.durable_only();
        }
        self.generation += 1;
    }
}

/// Does to `image` what a power cut may do with an unsynced write.
fn leave(rng: &mut fastrand::Rng, fate: Fate, image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let to_boundary = SECTOR_BYTES - (at % SECTOR_BYTES as u64) as usize;
        let (sector, after) = rest.split_at(rest.len().min(to_boundary));
        let survives = match fate {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn => rng.bool(),
        };
        if survives {
            write_to(image, at, sector);
        }
        at += sector.len() as u64;
        rest = after;
    }
}

pub(super) fn injected(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, format!("injected: {kind}"))
}

pub(super) fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}
