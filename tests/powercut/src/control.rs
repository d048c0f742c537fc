//! What does not sync: the rig must find out what comes of that, or it finds nothing.

use std::io;

use clap::ValueEnum;
use eyot_spool::Storage;
use serde::{Deserialize, Serialize};

/// What is left undone, silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Control {
    /// Nothing.
    #[default]
    Sound,
    /// The log does not `fdatasync`.
    NoSyncData,
    /// The log does not `fsync` its directory.
    NoSyncDir,
    /// The disk does not flush.
    NoFlush,
}

impl Control {
    /// Those that must be caught.
    pub const UNSOUND: [Self; 3] = [Self::NoSyncData, Self::NoSyncDir, Self::NoFlush];

    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::NoSyncData => "no fdatasync",
            Self::NoSyncDir => "no fsync of the directory",
            Self::NoFlush => "a disk that forgets flushes",
        }
    }
}

/// A storage that leaves something undone.
#[derive(Clone, Debug)]
pub struct Lax<S> {
    inner: S,
    control: Control,
}

impl<S: Storage> Lax<S> {
    /// `inner`, but for what `control` says.
    pub fn new(inner: S, control: Control) -> Self {
        Self { inner, control }
    }

    /// What it leaves undone.
    pub fn control(&self) -> Control {
        self.control
    }
}

impl<S: Storage> Storage for Lax<S> {
    type File = S::File;

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<Self::File> {
        self.inner.create(name, reserve_bytes)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        self.inner.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.inner.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.control == Control::NoSyncDir {
            return Ok(());
        }
        self.inner.sync_dir()
    }

    fn len(&self, file: &Self::File) -> io::Result<u64> {
        self.inner.len(file)
    }

    fn trim(&self, file: &Self::File, bytes: u64) -> io::Result<()> {
        self.inner.trim(file, bytes)
    }

    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(file, offset, bytes)
    }

    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, offset, buffer)
    }

    fn sync_data(&self, file: &Self::File) -> io::Result<()> {
        if self.control == Control::NoSyncData {
            return Ok(());
        }
        self.inner.sync_data(file)
    }
}
