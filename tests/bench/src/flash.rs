//! A file system on a device of its own, whose kernel counters say what a flash would have had to take.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const DISK_BYTES: u64 = 2 << 30;
const SECTOR_BYTES: u64 = 512;
/// Sectors written, among the fields of `/sys/block/<device>/stat`.
const SECTORS_WRITTEN: usize = 6;

/// An ext4 on a loop device; taken apart when dropped.
#[derive(Debug)]
pub struct Flash {
    dir: TempDir,
    device: String,
    mounted: bool,
}

impl Flash {
    /// Makes and mounts one.
    ///
    /// # Errors
    /// Not root, no loop devices, or no `mkfs.ext4`.
    pub fn mount() -> io::Result<Self> {
        // In memory if possible: what counts is what is written, not how long it takes.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let image = dir.path().join("image");
        File::create(&image)?.set_len(DISK_BYTES)?;
        // Nothing is left to be initialised while we count.
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &shown(&image)])?;
        let device = run("losetup", &["--find", "--show", &shown(&image)])?;
        let mut flash = Self { dir, device, mounted: false };
        fs::create_dir(flash.path())?;
        run("mount", &[&flash.device, &shown(&flash.path())])?;
        flash.mounted = true;
        Ok(flash)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Bytes the device has taken so far, after everything in memory was written out.
    ///
    /// # Errors
    /// The sync fails, or the kernel keeps no counters.
    pub fn written_bytes(&self) -> io::Result<u64> {
        if self.mounted {
            rustix::fs::syncfs(File::open(self.path())?)?;
        }
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.device.trim_start_matches("/dev/")))?;
        let sectors = stat.split_whitespace().nth(SECTORS_WRITTEN).and_then(|field| field.parse::<u64>().ok());
        sectors.map(|sectors| sectors * SECTOR_BYTES).ok_or_else(|| io::Error::other("the device has no counters"))
    }

    /// Unmounts, which writes the journal back to its places, and counts once more.
    ///
    /// # Errors
    /// As [`written_bytes`](Self::written_bytes), or something still uses the file system.
    pub fn unmount(mut self) -> io::Result<u64> {
        run("umount", &[&shown(&self.path())])?;
        self.mounted = false;
        self.written_bytes()
    }
}

impl Drop for Flash {
    fn drop(&mut self) {
        // Whatever fails here was said, or does not matter, before.
        if self.mounted {
            let _ = run("umount", &["-l", &shown(&self.path())]);
        }
        let _ = run("losetup", &["--detach", &self.device]);
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, args: &[&str]) -> io::Result<String> {
    // mkfs is not on every user's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let done = Command::new(program).args(args).env("PATH", path).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match done.status.success() {
        true => Ok(text(&done.stdout)),
        false => Err(io::Error::other(format!("{program} {}: {}", args.join(" "), text(&done.stderr)))),
    }
}
