//! ext4 on a disk that remembers.

use std::path::{Path, PathBuf};
use std::process::Command;

use fuser::BackgroundSession;

use crate::control::Control;
use crate::device::{run, LoopDevice};
use crate::disk::{Disk, FILE_NAME};
use crate::image::Image;
use crate::tape::{Clock, Tape};
use crate::Error;

/// Size of the disks, in bytes. Room for a log of a mebibyte beside ext4's own journal.
pub const DISK_BYTES: usize = 16 << 20;

/// Records what happens on a disk. Fields are dropped in this order.
#[derive(Debug)]
pub struct Recorder {
    room: PathBuf,
    mount_point: PathBuf,
    device: LoopDevice,
    _session: BackgroundSession,
    disk: Disk,
}

impl Recorder {
    /// A recorder that works below `room`, on a disk that flushes or does not.
    pub fn new(room: &Path, control: Control) -> Result<Self, Error> {
        let disk = Disk::new(DISK_BYTES, control == Control::NoFlush);
        let folder = made(room.join("medium"))?;
        let session = disk.mount(&folder).map_err(Error::io(&folder))?;
        let device = LoopDevice::attach(&folder.join(FILE_NAME), true)?;
        Ok(Self { room: room.to_owned(), mount_point: made(room.join("recorded"))?, device, _session: session, disk })
    }

    /// A folder for files that are not on the disk.
    pub fn room(&self) -> &Path {
        &self.room
    }

    /// Mounts `base`, lets `work` use it, unmounts it, and returns all that reached the disk meanwhile.
    pub fn record<T>(
        &self,
        base: Image,
        work: impl FnOnce(&Path, &Clock) -> Result<T, Error>,
    ) -> Result<(Tape, T), Error> {
        self.disk.load(base.clone());
        let mounted = self.device.mount(&self.mount_point)?;
        let result = work(mounted.path(), self.disk.clock())?;
        let errors = mounted.errors()?;
        mounted.unmount()?;
        if errors != 0 {
            return Err(Error::Breach(format!("the file system found {errors} errors in itself")));
        }
        Ok((self.disk.take(base), result))
    }
}

/// A fresh ext4, made below `room`.
pub fn fresh_ext4(room: &Path) -> Result<Image, Error> {
    let path = room.join("fresh.img");
    let file = std::fs::File::create(&path).map_err(Error::io(&path))?;
    file.set_len(DISK_BYTES as u64).map_err(Error::io(&path))?;
    // Everything is initialized now, so that no thread of the kernel does it while we record.
    let options = ["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    run(Command::new("mkfs.ext4").args(options).arg(&path))?;
    let image = Image::load(&path).map_err(Error::io(&path))?;
    std::fs::remove_file(&path).map_err(Error::io(&path))?;
    Ok(image)
}

fn made(folder: PathBuf) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(folder)
}
