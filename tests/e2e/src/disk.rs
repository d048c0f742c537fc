//! Small file systems, to fill or to make read-only. They need root; without it the test says so and proves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A tmpfs of its own, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one; `None` without the right to, which is reported.
    pub fn mount(test: &str, mebibytes: u32) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary directory");
        let size = format!("size={mebibytes}m");
        if run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &dir.path().to_string_lossy()]) {
            return Some(Self { dir });
        }
        eprintln!("SKIPPED {test}: it needs root to mount a small disk; nothing was tested");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A data directory on it.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// # Panics
    /// When it cannot be remounted.
    pub fn make_read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro", &self.dir.path().to_string_lossy()]), "the disk can be remounted");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a killed daemon may not have closed its files yet.
        run("umount", &["-l", &self.dir.path().to_string_lossy()]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).status().is_ok_and(|status| status.success())
}
