//! The real disk: a directory.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{fallocate, flock, FallocateFlags, FlockOperation, OFlags};
use rustix::io::{retry_on_intr, Errno};

use super::{check_name, Storage, LOCK_NAME};

/// Files are for the daemon and its group.
const FILE_MODE: u32 = 0o640;

/// A directory that belongs to this process until the last clone is dropped.
///
/// Errors name the operation and the path (those on an open file: the directory), and keep their kind; an exhausted
/// quota of the file system is `StorageFull`.
#[derive(Clone, Debug)]
pub struct FileStorage {
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    /// Locked while open.
    _lock: File,
}

/// Says what failed and where; to be given to `map_err`, so that nothing is formatted on success.
fn failed<'a>(what: impl Display + 'a, path: &'a Path) -> impl FnOnce(io::Error) -> io::Error + 'a {
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::QuotaExceeded => io::ErrorKind::StorageFull,
            kind => kind,
        };
        io::Error::new(kind, format!("{what} {}: {error}", path.display()))
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("syncing directory", path))
}

/// Makes the directory, and durable what of its path was missing.
fn make_directory(path: &Path) -> io::Result<()> {
    let path = &std::path::absolute(path).map_err(failed("resolving", path))?;
    let missing = path.ancestors().take_while(|p| !p.exists()).count();
    std::fs::create_dir_all(path).map_err(failed("making directory", path))?;
    for parent in path.ancestors().skip(1).take(missing) {
        sync_directory(parent)?;
    }
    if let (0, Some(parent)) = (missing, path.parent()) {
        // Made by someone else, perhaps just now. One in a parent we may not read is not ours to make durable.
        let _ = sync_directory(parent);
    }
    Ok(())
}

fn lock(path: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        // A FIFO or a link of that name is an error, not something to wait for or to follow.
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path.join(LOCK_NAME))
        .map_err(failed("opening the lock in", path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => {
            let text =
                format!("{} is in use by another eyotd; stop that one, or choose another data_dir", path.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, text))
        }
        Err(other) => Err(failed("locking", path)(other.into())),
    }
}

/// Gives a new file its room.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        // fallocate refuses to do nothing.
        return Ok(());
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        // Not every file system can; then a full disk shows when it is written.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        other => other.map_err(io::Error::from),
    }
}

impl FileStorage {
    /// Takes possession of `path`, making the directory if it is missing. Fails with `WouldBlock` if another process
    /// has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        let handle = File::open(path).map_err(failed("opening directory", path))?;
        let lock = lock(path)?;
        Ok(Self { directory: Arc::new(Directory { path: path.to_owned(), handle, _lock: lock }) })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name).map(|()| self.directory.path.join(name))
    }

    /// Open files outlive their directory: what is synced to them then is gone with the process.
    fn is_still_there(&self) -> io::Result<()> {
        let links = self.directory.handle.metadata().map_err(self.failed_in("looking at directory"))?.nlink();
        if links == 0 {
            let text = format!("{} was removed while in use; start eyotd again", self.directory.path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(())
    }

    /// For a file whose name is not known any more.
    fn failed_in<'a>(&'a self, what: impl Display + 'a) -> impl FnOnce(io::Error) -> io::Error + 'a {
        failed(what, &self.directory.path)
    }
}

impl Storage for FileStorage {
    type File = Arc<File>;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory.path).map_err(self.failed_in("listing"))? {
            let entry = entry.map_err(self.failed_in("listing"))?;
            let is_file = entry.file_type().map_err(self.failed_in("listing"))?.is_file();
            let name = entry.file_name().into_string().ok().filter(|name| is_file && check_name(name).is_ok());
            names.extend(name);
        }
        Ok(names)
    }

    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<Self::File> {
        let path = self.path(name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(&path).map_err(failed("creating", &path))?;
        if let Err(error) = reserve(&file, reserve_bytes) {
            let _ = std::fs::remove_file(&path);
            return Err(failed(format_args!("reserving {reserve_bytes} bytes for"), &path)(error));
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        let path = self.path(name)?;
        let opened = match OpenOptions::new().read(true).write(true).open(&path) {
            // What is on a disk that broke can still be read.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            opened => opened,
        };
        opened.map(Arc::new).map_err(failed("opening", &path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        std::fs::rename(&from, &to).map_err(failed(format_args!("renaming {} to", from.display()), &to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        std::fs::remove_file(&path).map_err(failed("removing", &path))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.handle.sync_all().map_err(self.failed_in("syncing directory"))
    }

    fn len(&self, file: &Self::File) -> io::Result<u64> {
        file.metadata().map(|m| m.len()).map_err(self.failed_in("asking for the length of a file in"))
    }

    fn trim(&self, file: &Self::File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes).map_err(self.failed_in(format_args!("trimming to {bytes} bytes a file in")))
    }

    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let what = format_args!("writing {} bytes at {offset} of a file in", bytes.len());
        file.write_all_at(bytes, offset).map_err(|error| match Errno::from_io_error(&error) {
            // Opened while the file system was read-only.
            Some(Errno::BADF) => self.failed_in(what)(Errno::ROFS.into()),
            _ => self.failed_in(what)(error),
        })
    }

    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            match file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed_in(format_args!("reading at {at} of a file in"))(error)),
            }
        }
        Ok(done)
    }

    fn sync_data(&self, file: &Self::File) -> io::Result<()> {
        file.sync_data().map_err(self.failed_in("syncing a file in"))?;
        self.is_still_there()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let first = FileStorage::open(&path).unwrap();
        let error = FileStorage::open(&path).unwrap_err().to_string();
        assert!(error.contains("another eyotd") && error.contains("data_dir"), "{error}");
        drop(first);
        FileStorage::open(&path).unwrap();
    }

    #[test]
    fn files_keep_what_is_written_and_names_are_plain() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(dir.path()).unwrap();
        let file = storage.create("a", 8192).unwrap();
        assert_eq!(storage.len(&file).unwrap(), 8192);
        assert!(storage.create("a", 1).is_err());
        storage.write_at(&file, 8190, b"tail").unwrap();
        storage.trim(&file, 8194).unwrap();
        storage.sync_data(&file).unwrap();
        storage.rename("a", "b").unwrap();
        storage.sync_dir().unwrap();
        assert_eq!(storage.list().unwrap(), ["b"]);
        let mut buffer = [0; 8];
        let read = storage.read_at(&storage.open("b").unwrap(), 8190, &mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"tail");
        storage.unlink("b").unwrap();
        for bad in ["", "../x", "lock", ".hidden", "a/b"] {
            assert_eq!(storage.open(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn errors_say_what_and_where_and_keep_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(dir.path()).unwrap();
        let check = |error: io::Error, kind, what: &str, name: &str| {
            let text = error.to_string();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(text.contains(what) && text.contains(dir.path().join(name).to_str().unwrap()), "{text}");
        };
        storage.create("a", 0).unwrap();
        check(storage.create("a", 0).unwrap_err(), io::ErrorKind::AlreadyExists, "creating", "a");
        check(storage.open("b").unwrap_err(), io::ErrorKind::NotFound, "opening", "b");
        check(storage.rename("b", "c").unwrap_err(), io::ErrorKind::NotFound, "renaming", "c");
        check(storage.unlink("b").unwrap_err(), io::ErrorKind::NotFound, "removing", "b");
        let read_only = Arc::new(File::open(dir.path().join("a")).unwrap());
        let error = storage.write_at(&read_only, 7, b"xy").unwrap_err();
        assert!(error.to_string().contains("writing 2 bytes at 7"), "{error}");
        let quota = failed("writing", dir.path())(Errno::DQUOT.into());
        assert_eq!(quota.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_lock_that_is_no_file_is_neither_waited_for_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, dir.path().join(LOCK_NAME)).unwrap();
        assert!(FileStorage::open(dir.path()).is_err() && !elsewhere.exists());
        std::fs::remove_file(dir.path().join(LOCK_NAME)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join(LOCK_NAME), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(FileStorage::open(dir.path()).unwrap_err().to_string().contains("opening the lock"));
    }

    #[test]
    fn nothing_is_durable_in_a_directory_that_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(dir.path()).unwrap();
        let file = storage.create("a", 16).unwrap();
        storage.sync_data(&file).unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        let error = storage.sync_data(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("start eyotd again"), "{error}");
    }

    #[test]
    fn a_file_without_room_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(dir.path()).unwrap();
        assert!(storage.create("a", u64::MAX >> 1).is_err());
        assert!(storage.list().unwrap().is_empty());
        assert_eq!(storage.len(&storage.create("a", 0).unwrap()).unwrap(), 0);
    }

    #[test]
    fn only_what_the_log_may_open_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        std::fs::write(dir.path().join(".hidden"), b"").unwrap();
        storage.create("a", 1).unwrap();
        assert_eq!(storage.list().unwrap(), ["a"]);
    }
}
