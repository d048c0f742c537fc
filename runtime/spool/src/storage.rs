//! The one way to the disk.

use std::io;

mod file;

pub use file::FileStorage;

/// Who holds a lock on this file owns the directory.
const LOCK_NAME: &str = "lock";

/// A flat directory of files, as far as the log needs one.
///
/// Nothing is durable until the call that makes it so returned: [`sync_data`](Self::sync_data) for the content of a
/// file, [`sync_dir`](Self::sync_dir) for the names of files created, renamed or unlinked. Errors are those of the
/// operating system; `ErrorKind::StorageFull` (also for an exhausted disk quota) and `ErrorKind::ReadOnlyFilesystem`
/// are told apart by the log.
pub trait Storage: Clone + Send + 'static {
    /// An open file; clones are the same file.
    type File: Clone + Send + Sync + 'static;

    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new file with room for `reserve_bytes`, without writing them. Fails if the name is taken. On failure
    /// no file is left behind.
    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<Self::File>;
    /// Opens an existing file for reading and, unless the file system is read-only, for writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file a new name, replacing any file of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; its space is free when the last clone of it is dropped.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Length of a file in bytes, with what is reserved.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Ends a file at `bytes` and gives back the room it has beyond.
    fn trim(&self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, or fails with any part of them written.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Makes the content of a file durable. May be called from any thread.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;
}

/// Whether the log may use this name: a plain file name, not hidden, not the lock's.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) && name != LOCK_NAME;
    if is_plain {
        return Ok(());
    }
    let text = format!("{name:?} is no name for a file of the log; use a plain file name");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
