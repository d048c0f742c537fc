//! A disk that remembers: a file system with one file, which a loop device takes for its medium.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use crate::image::{Image, SECTOR_BYTES};
use crate::tape::{Clock, Event, Tape};

/// Name of the one file.
pub const FILE_NAME: &str = "disk";
const FILE_INODE: INodeNo = INodeNo(2);
/// Nothing about the file changes while it is mounted.
const ATTRIBUTES_LAST: Duration = Duration::from_secs(3_600);

/// The disk, as the rig holds it.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    clock: Clock,
    bytes: u64,
    forgets_flushes: bool,
}

#[derive(Debug)]
struct State {
    image: Image,
    events: Vec<Event>,
}

impl Disk {
    /// A blank disk; one that `forgets_flushes` says it did what it did not.
    pub fn new(bytes: usize, forgets_flushes: bool) -> Self {
        let state = State { image: Image::blank(bytes), events: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), clock: Clock::default(), bytes: bytes as u64, forgets_flushes }
    }

    /// Shows it as the file [`FILE_NAME`] in `directory`, until what is returned is dropped.
    pub fn mount(&self, directory: &Path) -> io::Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("eyot-powercut".to_owned())];
        fuser::spawn_mount(self.clone(), directory, &config)
    }

    /// Puts another content in, durably, and begins a new record. Nobody may be using the disk.
    pub fn load(&self, image: Image) {
        let mut state = self.state();
        state.image = image;
        state.events.clear();
        self.clock.set(0);
    }

    /// Takes the record out.
    pub fn take(&self, base: Image) -> Tape {
        Tape { base, events: std::mem::take(&mut self.state().events) }
    }

    /// Counts the events.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, state: &mut State, event: Event) {
        state.events.push(event);
        self.clock.set(state.events.len());
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            FILE_INODE => (FileType::RegularFile, 0o600, self.bytes),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / SECTOR_BYTES as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// What is not here is refused by default: no request changes the disk without being recorded.
impl Filesystem for Disk {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE_INODE).filter(|_| parent == INodeNo::ROOT && name == FILE_NAME) {
            Some(attributes) => reply.entry(&ATTRIBUTES_LAST, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&ATTRIBUTES_LAST, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: what the loop device does arrives here, and when it does it.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&self.state().image.read(offset, size as usize));
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        match u32::try_from(data.len()) {
            Ok(size) if state.image.write(offset, data) => {
                self.record(&mut state, Event::Write { offset, bytes: data.to_vec() });
                reply.written(size);
            }
            _ => reply.error(Errno::ENOSPC),
        }
    }

    fn flush(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // Despite its name this is a close(2), which makes nothing durable.
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        if !self.forgets_flushes {
            let mut state = self.state();
            self.record(&mut state, Event::Flush);
        }
        reply.ok();
    }
}
