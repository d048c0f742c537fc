//! The root file system: a `cpio` archive in the kernel's "newc" form, which it unpacks into memory.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::Error;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;
/// Major and minor number of `/dev/console`.
const CONSOLE_DEVICE: (u32, u32) = (5, 1);

/// An archive in the making. All times in it are 0, and all owners root.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// Adds directories; each after those it is in.
    pub fn directories(&mut self, paths: &[&str]) {
        for path in paths {
            self.entry(path, DIRECTORY, &[], (0, 0));
        }
    }

    /// Adds a program.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content, (0, 0));
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, content, (0, 0));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, to.as_bytes(), (0, 0));
    }

    /// Adds the console, which the first process speaks to before there are devices.
    pub fn console(&mut self) {
        self.entry("dev/console", CONSOLE, &[], CONSOLE_DEVICE);
    }

    /// The whole, compressed.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        gzip(&self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8], (major, minor): (u32, u32)) {
        self.entries += 1;
        // inode, mode, uid, gid, links, mtime, size, device of the archive, device, length of the name, checksum.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_bytes = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_bytes, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// `bytes` in gzip, which every kernel and every boot loader reads, without a date.
///
/// # Errors
/// Never, as far as is known.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(7));
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.map_err(|e| Error::package("gzip", e))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_is_what_cpio_reads() {
        let mut archive = Initramfs::default();
        archive.directories(&["dev"]);
        archive.console();
        archive.program("init", b"#!");
        archive.link("etc", "run");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&archive.finish().unwrap()[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len() % 4, 0);
        let text = String::from_utf8_lossy(&plain);
        let names = ["dev\0", "dev/console\0", "init\0", "etc\0", "TRAILER!!!\0"];
        let at: Vec<_> = names.iter().map(|name| text.find(name).unwrap()).collect();
        assert!(at.is_sorted());
        for at in at {
            assert_eq!(&plain[at - 110..at - 104], b"070701");
        }
        assert!(text.contains("init\0\0#!\0\0"), "the content begins at a multiple of four");
    }
}
