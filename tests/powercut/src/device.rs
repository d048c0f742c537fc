//! Loop devices and mounts. Only devices that this process attached are ever touched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{fadvise, Advice};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};

use crate::Error;

/// A file as a block device. The kernel detaches it when this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    held: File,
}

impl LoopDevice {
    /// Attaches a file to a free device; `direct`: past the page cache of the file.
    pub fn attach(file: &Path, direct: bool) -> Result<Self, Error> {
        let direct = if direct { "--direct-io=on" } else { "--direct-io=off" };
        let shown = run(Command::new("losetup").args(["--find", "--show", direct]).arg(file))?;
        let path = PathBuf::from(shown.trim());
        let held = File::open(&path).map_err(Error::io(&path));
        // Held open, it stays until it is closed, and no longer.
        run(Command::new("losetup").arg("--detach").arg(&path))?;
        Ok(Self { held: held?, path })
    }

    /// Mounts it as ext4 with the kernel's defaults, but for times of access. What the file holds may have changed since
    /// the last time.
    pub fn mount(&self, at: &Path) -> Result<Mounted, Error> {
        // The device stays open, and with it what the kernel remembers of it.
        fadvise(&self.held, 0, None, Advice::DontNeed).map_err(|error| Error::io(&self.path)(error.into()))?;
        mount(&self.path, at, "ext4", MountFlags::NOATIME, None)
            .map_err(|error| Error::Mount { at: at.to_owned(), error: error.into() })?;
        let name = self.path.file_name().map(PathBuf::from).unwrap_or_default();
        Ok(Mounted {
            at: at.to_owned(),
            errors: Path::new("/sys/fs/ext4").join(name).join("errors_count"),
            is_mounted: true,
        })
    }
}

/// A mounted file system. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    errors: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Errors that the file system found in itself, over its life.
    pub fn errors(&self) -> Result<u64, Error> {
        let text = std::fs::read_to_string(&self.errors).map_err(Error::io(&self.errors))?;
        text.trim().parse().map_err(|_| Error::Setup(format!("{} says {text:?}", self.errors.display())))
    }

    /// Unmounts it, and fails if somebody uses it.
    pub fn unmount(mut self) -> Result<(), Error> {
        self.is_mounted = false;
        unmount(&self.at, UnmountFlags::empty())
            .or_else(|error| unmount(&self.at, UnmountFlags::DETACH).and(Err(error)))
            .map_err(|error| Error::Mount { at: self.at.clone(), error: error.into() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}

/// Runs a program and returns what it wrote to stdout.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.output().map_err(|error| Error::Setup(format!("{command:?} does not start: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Setup(format!("{command:?} failed: {text}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
