//! The card: which disk it is, its configuration, its data, and that the data grows to the card's end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use eyot_card::{Span, Table, SECTOR_BYTES};
use rustix::io::Errno;
use rustix::mount::{mount, MountFlags};

use crate::{ioctl, say, superblock};

/// Where what the user put on the card is.
pub const CONFIG: &str = "/boot";
/// Where data is; eyotd's own is `eyot` in it.
pub const DATA: &str = "/var/lib";

/// For a card to be found by its driver.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// The kernel makes devices without telling us.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The disk with our table.
#[derive(Clone, Debug)]
pub struct Card {
    name: String,
    table: Table,
}

impl Card {
    /// Waits for it. None if there is none.
    pub fn find() -> Option<Self> {
        let begin = Instant::now();
        while begin.elapsed() < FOUND_WITHIN {
            for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(table) = read_table(&device(&name)) else { continue };
                let card = Self { name, table };
                if card.partition(eyot_card::DATA).exists() {
                    return Some(card);
                }
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }

    /// Its name in `/dev`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device of a partition.
    pub fn partition(&self, number: u8) -> PathBuf {
        let separator = if self.name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        device(&format!("{}{separator}{number}", self.name))
    }

    /// Mounts what the user put on it, for reading, and for root alone: passwords may be among it.
    pub fn mount_config(&self) -> io::Result<()> {
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount(self.partition(eyot_card::CONFIG), CONFIG, "vfat", flags, c"umask=0077")?;
        Ok(())
    }

    /// Mounts the data, and mends its superblock if that is what it takes.
    pub fn mount_data(&self) -> io::Result<()> {
        let partition = self.partition(eyot_card::DATA);
        let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let mount_it = || mount(&partition, DATA, "ext4", flags, c"commit=30,errors=remount-ro");
        match mount_it() {
            Err(Errno::BADMSG) if mend_superblock(&partition)? => {
                say!("a power cut had left half of its superblock; that is mended");
                mount_it()?;
            }
            result => result?,
        }
        Ok(())
    }

    /// Makes the data, which is mounted, as large as the card allows; how many MiB it has now. A cut in the middle is
    /// made up for at the next start.
    pub fn grow(&mut self) -> io::Result<u64> {
        let disk = File::options().read(true).write(true).open(device(&self.name))?;
        let sectors = fs::read_to_string(format!("/sys/block/{}/size", self.name))?;
        let sectors = sectors.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        if let Some(grown) = self.table.grown(sectors) {
            disk.write_all_at(grown.sector(), 0)?;
            disk.sync_all()?;
            ioctl::resize_partition(&disk, grown.data())?;
            self.table = grown;
        }
        let Span { sectors, .. } = self.table.data();
        let (has, block_bytes) = file_system_size(&self.partition(eyot_card::DATA))?;
        let blocks = sectors * SECTOR_BYTES / block_bytes;
        if blocks > has {
            ioctl::resize_file_system(&File::open(DATA)?, blocks)?;
        }
        Ok((sectors * SECTOR_BYTES) >> 20)
    }
}

fn device(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

fn read_table(disk: &Path) -> Option<Table> {
    let mut sector = [0; 512];
    File::open(disk).ok()?.read_exact(&mut sector).ok()?;
    Table::read(sector)
}

/// Whether there was something to mend.
fn mend_superblock(partition: &Path) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(partition)?;
    let mut block = [0; superblock::BYTES];
    file.read_exact_at(&mut block, superblock::AT)?;
    let Some(mended) = superblock::mended(block) else { return Ok(false) };
    file.write_all_at(&mended, superblock::AT)?;
    file.sync_all()?;
    Ok(true)
}

/// Blocks of the ext4 on `partition`, and the bytes of one.
fn file_system_size(partition: &Path) -> io::Result<(u64, u64)> {
    let mut block = [0; superblock::BYTES];
    File::open(partition)?.read_exact_at(&mut block, superblock::AT)?;
    let field = |at: usize| {
        block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).unwrap_or_default()
    };
    let blocks = u64::from(field(0x150)) << 32 | u64::from(field(4));
    Ok((blocks, 1024 << field(24).min(6)))
}
