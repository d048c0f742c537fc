//! Small file systems, to fill or to break. They need root; without it the test says so and proves nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::wait::{wait_for, STEP};

/// What [`SmallDisk::fill`] fills the disk with.
const FILLER: &str = "filler";

/// A file system of its own, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
    /// Its block device; none for a tmpfs.
    device: Option<String>,
}

impl SmallDisk {
    /// Mounts a tmpfs; `None` without the right to, which is reported.
    pub fn mount(test: &str, mebibytes: u32) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary directory");
        fs::create_dir(mount_point(&dir)).expect("a mount point");
        let size = format!("size={mebibytes}m");
        if run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &mount_point(&dir).to_string_lossy()]) {
            return Some(Self { dir, device: None });
        }
        skipped(test, "to mount a small disk")
    }

    /// Mounts an ext4 on a loop device, which turns read-only on its first error, as a Pi's card does; `None` without the
    /// right to or the device, which is reported.
    pub fn ext4(test: &str, mebibytes: u64) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary directory");
        fs::create_dir(mount_point(&dir)).expect("a mount point");
        let image = dir.path().join("image");
        File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("an image file");
        let image = image.to_string_lossy();
        // No blocks set aside for root: the daemon under test may be root, and its users' daemon is not.
        if !run("mkfs.ext4", &["-q", "-m", "0", "-e", "remount-ro", &image]) {
            return skipped(test, "mkfs.ext4 (apt-get install e2fsprogs)");
        }
        let Some(device) = stdout("losetup", &["--find", "--show", &image]) else {
            return skipped(test, "a loop device");
        };
        let disk = Self { dir, device: Some(device) };
        if disk.attach() {
            return Some(disk);
        }
        skipped(test, "to mount an ext4")
    }

    /// Where it is mounted: as a data directory it is all there is on this disk, and what lies beside it is not.
    pub fn path(&self) -> PathBuf {
        mount_point(&self.dir)
    }

    /// Takes all the space there is, as something else on the machine would.
    ///
    /// # Panics
    /// When the disk has more space than it can.
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.path().join(FILLER)).expect("a file");
        let mut chunk = vec![0x5a; 1 << 20];
        while !chunk.is_empty() {
            match filler.write(&chunk) {
                Ok(0) => chunk.clear(),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                    chunk.truncate(chunk.len() / 2);
                }
            }
        }
        // Space given out late would come back.
        filler.sync_all().expect("the filler is written");
    }

    /// Gives back what [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// When it did not take any.
    pub fn free(&self) {
        fs::remove_file(self.path().join(FILLER)).expect("the filler is there");
        // ext4 gives blocks out again when its journal has let go of them.
        run("sync", &["-f", &self.path().to_string_lossy()]);
    }

    /// # Panics
    /// When it cannot be remounted.
    pub fn make_read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro", &self.path().to_string_lossy()]), "the disk can be remounted");
    }

    /// Has an ext4 meet an error: it turns read-only under whoever writes, until [`repair`](Self::repair).
    ///
    /// # Panics
    /// When it is no ext4, or the kernel offers no way to.
    pub fn break_down(&self) {
        let device = self.device.as_deref().expect("an ext4");
        let name = device.trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").expect("the kernel feigns an error");
    }

    /// Unmounts, checks and mounts an ext4 again. Nobody may have a file open on it.
    ///
    /// # Panics
    /// When that fails.
    pub fn repair(&self) {
        let device = self.device.as_deref().expect("an ext4");
        let path = self.path();
        wait_for("the disk to be unmounted", STEP, || run("umount", &[&path.to_string_lossy()]).then_some(()));
        let checked = Command::new("e2fsck").args(["-fy", device]).output().expect("e2fsck runs");
        assert!(checked.status.code().is_some_and(|code| code < 4), "e2fsck: {checked:?}");
        assert!(self.attach(), "the disk can be mounted again");
    }

    fn attach(&self) -> bool {
        self.device.as_deref().is_some_and(|device| run("mount", &[device, &self.path().to_string_lossy()]))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a killed daemon may not have closed its files yet; the device goes with the last of them.
        run("umount", &["-l", &self.path().to_string_lossy()]);
        if let Some(device) = &self.device {
            run("losetup", &["--detach", device]);
        }
    }
}

fn mount_point(dir: &TempDir) -> PathBuf {
    dir.path().join("disk")
}

fn skipped<T>(test: &str, needs: &str) -> Option<T> {
    eprintln!("SKIPPED {test}: it needs root and {needs}; nothing was tested");
    None
}

fn run(program: &str, args: &[&str]) -> bool {
    output(program, args).is_some_and(|output| output.status.success())
}

fn stdout(program: &str, args: &[&str]) -> Option<String> {
    let output = output(program, args).filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn output(program: &str, args: &[&str]) -> Option<Output> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    Command::new(program).args(args).env("PATH", path).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()
}
