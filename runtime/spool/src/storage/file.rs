//! The real disk: a directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{fallocate, flock, FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::Storage;

const LOCK_NAME: &str = "lock";

/// A directory that belongs to this process until the last clone is dropped.
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

impl FileStorage {
    /// Takes possession of `path`, making the directory if it is missing. Fails if another process has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fail =
            |what: &str, error: &io::Error| io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(|e| fail("making directory", &e))?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // A parent that cannot be synced (for example one we may not read) has the directory since an earlier boot.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        let handle = File::open(path).map_err(|e| fail("opening directory", &e))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o640)
            .open(path.join(LOCK_NAME))
            .map_err(|e| fail("opening the lock in", &e))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let text = match error {
                Errno::WOULDBLOCK => {
                    format!("{} is in use by another eyotd; stop that one, or choose another data_dir", path.display())
                }
                other => format!("locking {}: {other}", path.display()),
            };
            io::Error::new(io::Error::from(error).kind(), text)
        })?;
        Ok(Self { directory: Arc::new(Directory { path: path.to_owned(), handle, _lock: lock }) })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/') && name != LOCK_NAME;
        if plain {
            Ok(self.directory.path.join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" is no name for a file of the log")))
        }
    }
}

impl Storage for FileStorage {
    type File = Arc<File>;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                if name != LOCK_NAME {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, reserve_bytes: u64) -> io::Result<Self::File> {
        let path = self.path(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(&path)?;
        let reserved = match fallocate(&file, FallocateFlags::empty(), 0, reserve_bytes) {
            // Not every file system can; then a full disk shows when it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(reserve_bytes),
            other => other.map_err(io::Error::from),
        };
        if let Err(error) = reserved {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        OpenOptions::new().read(true).write(true).open(self.path(name)?).map(Arc::new)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from)?, self.path(to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.handle.sync_all()
    }

    fn len(&self, file: &Self::File) -> io::Result<u64> {
        file.metadata().map(|m| m.len())
    }

    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self, file: &Self::File) -> io::Result<()> {
        file.sync_data()
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
}
