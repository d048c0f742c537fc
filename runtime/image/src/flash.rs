//! An image onto a card: which devices must not be touched, and that every byte is there afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use eyot_card::Table;
use rustix::fs::{fadvise, Access, Advice, OFlags};

use crate::disk::IMAGE_BYTES;
use crate::{Error, Progress};

/// Written and read back in pieces.
const PIECE_BYTES: usize = 1 << 20;
/// Cards are no larger; disks of computers often are.
const CARD_MAX_BYTES: u64 = 2 << 40;

/// An image to be written.
#[derive(Debug)]
pub struct Image(File);

impl Image {
    /// Looks at the file: it must be a whole image.
    ///
    /// # Errors
    /// It is something else, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let not = |reason: String| Error::NoImage { path: path.display().to_string(), reason };
        let mut file = File::open(path).map_err(|e| not(e.to_string()))?;
        let bytes = file.metadata().map_err(|e| not(e.to_string()))?.len();
        if bytes != IMAGE_BYTES || !is_ours(&mut file).unwrap_or_default() {
            return Err(not("is no image".to_owned()));
        }
        Ok(Self(file))
    }
}

/// A device that may be overwritten.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    /// Of the whole device.
    pub bytes: u64,
    /// What the kernel says that it is.
    pub model: String,
}

impl Target {
    /// Looks at `path`: it must be a whole disk that nothing uses.
    ///
    /// # Errors
    /// It is something else, or in use.
    pub fn look(path: &Path) -> Result<Self, Error> {
        let refused =
            |reason: String, remedy| Err(Error::Refused { device: path.display().to_string(), reason, remedy });
        let path_is = fs::canonicalize(path).and_then(|path| Ok((fs::metadata(&path)?, path)));
        let (metadata, path) = match path_is {
            Ok(found) => found,
            Err(error) => return refused(error.to_string(), "name the card's device; lsblk lists them"),
        };
        if !metadata.file_type().is_block_device() {
            return refused("is not a disk".to_owned(), "name the card's device; lsblk lists them");
        }
        let device = metadata.rdev();
        let node = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let node = fs::canonicalize(node).map_err(|e| Error::file(&path, &e, "name the card's device"))?;
        if node.join("partition").exists() {
            return refused("is a partition".to_owned(), "name the whole disk");
        }
        let uses = Uses::of(&node);
        if let Some(at) = uses.mounted() {
            return refused(format!("is mounted at {at}"), "unmount it, if it is the card, or name another");
        }
        if let Some(by) = uses.held() {
            return refused(format!("is used by {by}"), "name the card's device");
        }
        if rustix::fs::access(&path, Access::READ_OK | Access::WRITE_OK).is_err() {
            return refused("you may not write to it".to_owned(), "run this as root, with sudo");
        }
        let read = |name: &str| fs::read_to_string(node.join(name)).unwrap_or_default().trim().to_owned();
        let bytes = read("size").parse::<u64>().unwrap_or_default().saturating_mul(512);
        if read("ro") == "1" {
            return refused("is write-protected".to_owned(), "move the card's switch");
        }
        if bytes < IMAGE_BYTES {
            return refused(format!("has only {} MiB", bytes >> 20), "use a larger card");
        }
        if bytes > CARD_MAX_BYTES {
            return refused(format!("has {} GiB, more than any card", bytes >> 30), "name the card's device");
        }
        let model = [read("device/vendor"), read("device/model"), read("device/name")].join(" ");
        Ok(Self { path, bytes, model: model.trim().to_owned() })
    }

    /// Writes `image` and reads it back, past all caches; how many bytes that was.
    ///
    /// # Errors
    /// The device fails, is taken away, or does not keep what was written.
    pub fn flash(&self, Image(mut from): Image, progress: &dyn Progress) -> Result<u64, Error> {
        let failed = |e: io::Error| Error::file(&self.path, &e, "check the card and its reader, or use another");
        // Exclusively: the kernel refuses while anything has it mounted.
        let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        let mut device =
            OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(&self.path).map_err(failed)?;
        progress.begin("writing", IMAGE_BYTES);
        self.write(&mut from, &mut device, progress).map_err(failed)?;
        progress.begin("reading back", IMAGE_BYTES);
        from.seek(SeekFrom::Start(0)).map_err(failed)?;
        let same = self.compare(&mut from, &mut device, progress).map_err(failed)?;
        if let Some(at) = same {
            return Err(Error::File {
                path: self.path.display().to_string(),
                reason: format!("does not keep what is written to it: byte {at} is different"),
                remedy: "use another card",
            });
        }
        Ok(IMAGE_BYTES)
    }

    fn write(&self, from: &mut File, device: &mut File, progress: &dyn Progress) -> io::Result<()> {
        let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
        loop {
            let length = from.read(&mut piece)?;
            let Some(part) = piece.get(..length).filter(|part| !part.is_empty()) else { break };
            device.write_all(part)?;
            at += length as u64;
            progress.at(at);
        }
        device.sync_all()?;
        // What is read back is to come from the card.
        fadvise(&*device, 0, None, Advice::DontNeed)?;
        device.seek(SeekFrom::Start(0))?;
        Ok(())
    }

    /// Where they differ first.
    fn compare(&self, from: &mut File, device: &mut File, progress: &dyn Progress) -> io::Result<Option<u64>> {
        let (mut expected, mut found, mut at) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES], 0);
        loop {
            let length = from.read(&mut expected)?;
            let (Some(expected), Some(found)) = (expected.get(..length), found.get_mut(..length)) else { break };
            if length == 0 {
                break;
            }
            device.read_exact(found)?;
            if let Some(offset) = expected.iter().zip(&*found).position(|(a, b)| a != b) {
                return Ok(Some(at + offset as u64));
            }
            at += length as u64;
            progress.at(at);
        }
        Ok(None)
    }
}

/// Whether it has our partition table. It is at its beginning again.
fn is_ours(image: &mut File) -> io::Result<bool> {
    let mut sector = [0; 512];
    image.read_exact(&mut sector)?;
    image.seek(SeekFrom::Start(0))?;
    Ok(Table::read(sector).is_some())
}

/// What uses a disk or one of its partitions.
struct Uses {
    /// `major:minor` of each.
    devices: Vec<String>,
    nodes: Vec<PathBuf>,
}

impl Uses {
    fn of(disk: &Path) -> Self {
        let mut nodes = vec![disk.to_owned()];
        for entry in fs::read_dir(disk).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                nodes.push(entry.path());
            }
        }
        let device = |node: &PathBuf| fs::read_to_string(node.join("dev")).unwrap_or_default().trim().to_owned();
        Self { devices: nodes.iter().map(device).collect(), nodes }
    }

    /// Where it is mounted; a file system on it may be mounted without a name that could be compared.
    fn mounted(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let at = |line: &str| {
            let mut words = line.split(' ').skip(2);
            let device = words.next()?;
            self.devices.iter().any(|ours| ours == device).then(|| words.nth(1).unwrap_or("/").to_owned())
        };
        mounts.lines().find_map(at)
    }

    /// Volumes, arrays and swap.
    fn held(&self) -> Option<String> {
        for node in &self.nodes {
            let holder = fs::read_dir(node.join("holders")).into_iter().flatten().flatten().next();
            if let Some(holder) = holder {
                return Some(holder.file_name().to_string_lossy().into_owned());
            }
            let name = node.file_name()?.to_string_lossy().into_owned();
            let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
            if swaps.lines().any(|line| line.split_whitespace().next() == Some(&format!("/dev/{name}"))) {
                return Some("swap".to_owned());
            }
        }
        None
    }
}
