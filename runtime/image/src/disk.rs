//! The image of a disk: a partition table, file systems, and holes where nothing is.

use std::env;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_card::table::SIGNATURE;
use eyot_card::{Span, Table, SECTOR_BYTES};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

use crate::package::Files;
use crate::Error;

const MIB: u64 = 1 << 20;
/// Written in pieces, of which those that are zero are holes.
const PIECE_BYTES: usize = 64 << 10;

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u8,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

const fn partition(number: u8, start_mib: u64, mib: u64) -> Partition {
    Partition { number, start: start_mib * MIB, size: mib * MIB }
}

/// For people: configuration. The first boot loader of a Raspberry Pi is there too.
pub const CONFIG: Partition = partition(eyot_card::CONFIG, 1, 48);
/// The system, and room for the next one.
pub const SLOTS: [Partition; 2] = [partition(eyot_card::SLOTS[0], 49, 96), partition(eyot_card::SLOTS[1], 145, 96)];
/// What is kept; it grows to the end of the card.
pub const DATA: Partition = partition(eyot_card::DATA, 241, 64);
/// Bytes of an image.
pub const IMAGE_BYTES: u64 = DATA.start + DATA.size;

/// What the table says that the first partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// A FAT file system.
    Fat = 0x0c,
    /// One that a PC's firmware looks for a boot loader in.
    EfiSystem = 0xef,
}

const LINUX: u8 = 0x83;

/// File systems have dates; ours have always this one.
#[derive(Debug)]
struct NoTime;

const DAY: Date = Date { year: 2024, month: 1, day: 1 };
const NEVER: DateTime = DateTime { date: DAY, time: Time { hour: 0, min: 0, sec: 0, millis: 0 } };
/// The same for ext4.
const NEVER_UNIX_S: &str = "1704067200";

impl TimeProvider for NoTime {
    fn get_current_date(&self) -> Date {
        DAY
    }

    fn get_current_date_time(&self) -> DateTime {
        NEVER
    }
}

/// A FAT file system of `size` bytes with `files`.
///
/// # Errors
/// They do not fit.
pub fn fat(size: u64, label: [u8; 11], files: &Files) -> Result<Vec<u8>, Error> {
    let name = String::from_utf8_lossy(&label).trim().to_owned();
    let bytes: u64 = files.values().map(|content| content.len() as u64).sum();
    let full = || Error::TooLarge { what: name.clone(), bytes, room: size };
    let mut image = Cursor::new(vec![0; usize::try_from(size).map_err(|_| full())?]);
    let id = u32::from_le_bytes(SIGNATURE);
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(512).volume_id(id);
    fatfs::format_volume(&mut image, options.volume_label(label)).map_err(|_| full())?;
    let write = |image: &mut Cursor<Vec<u8>>| -> std::io::Result<()> {
        let file_system = FileSystem::new(image, FsOptions::new().time_provider(&NoTime))?;
        for (path, content) in files {
            let root = file_system.root_dir();
            for (at, _) in path.match_indices('/') {
                root.create_dir(path.get(..at).unwrap_or_default())?;
            }
            let mut file = root.create_file(path)?;
            file.write_all(content)?;
            file.flush()?;
        }
        file_system.unmount()
    };
    write(&mut image).map_err(|_| full())?;
    Ok(image.into_inner())
}

/// What is in a file of a FAT file system.
///
/// # Errors
/// There is none.
pub fn read_fat(image: &Path, partition: Partition, name: &str) -> Result<Vec<u8>, Error> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(image)?;
        let mut bytes = vec![0; usize::try_from(partition.size).unwrap_or_default()];
        file.seek(SeekFrom::Start(partition.start))?;
        file.read_exact(&mut bytes)?;
        let file_system = FileSystem::new(Cursor::new(bytes), FsOptions::new())?;
        let mut content = Vec::new();
        file_system.root_dir().open_file(name)?.read_to_end(&mut content)?;
        Ok(content)
    };
    read().map_err(|e| Error::file(image, &e, "give an image made by eyot image build"))
}

/// An empty ext4 of [`DATA`]'s size which can grow, made by the host's `mke2fs` in `directory`.
///
/// # Errors
/// There is no `mke2fs`, or it fails.
pub fn ext4(directory: &Path) -> Result<Vec<u8>, Error> {
    let at = directory.join("data.ext4");
    let failed = |reason: String| Error::Program { program: "mke2fs", reason, package: "e2fsprogs" };
    let make = File::create(&at).and_then(|file| file.set_len(DATA.size));
    make.map_err(|e| Error::file(&at, &e, "free some space"))?;
    let done = Command::new("mke2fs")
        .env("PATH", path_with_sbin())
        .env("E2FSPROGS_FAKE_TIME", NEVER_UNIX_S)
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-m",
            "0",
            "-L",
            "data",
            "-U",
            "65796f74-0000-4000-8000-000000000004",
        ])
        .args([
            "-E",
            "hash_seed=65796f74-0000-4000-8000-000000000005,resize=16777216,lazy_itable_init=0,lazy_journal_init=0",
        ])
        .arg(&at)
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !done.status.success() {
        return Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    std::fs::read(&at).map_err(|e| Error::file(&at, &e, "free some space"))
}

/// Debian keeps file system tools where users do not look.
fn path_with_sbin() -> std::ffi::OsString {
    let mut paths: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    paths.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    env::join_paths(paths).unwrap_or_default()
}

/// Writes an image with these `contents`, each in its partition, of which the first is of this `kind`.
///
/// # Errors
/// The file cannot be written.
pub fn write(image: &mut File, kind: ConfigKind, contents: &[(Partition, &[u8])]) -> std::io::Result<()> {
    image.set_len(0)?;
    image.set_len(IMAGE_BYTES)?;
    for (partition, content) in contents {
        let mut at = partition.start;
        for piece in content.chunks(PIECE_BYTES) {
            if piece.iter().any(|byte| *byte != 0) {
                image.seek(SeekFrom::Start(at))?;
                image.write_all(piece)?;
            }
            at += piece.len() as u64;
        }
    }
    image.seek(SeekFrom::Start(0))?;
    image.write_all(table(kind).ok_or(ErrorKind::InvalidInput)?.sector())?;
    image.sync_all()
}

/// The first sector, of a disk whose first partition is of this kind.
fn table(kind: ConfigKind) -> Option<Table> {
    let span =
        |partition: Partition| Span { start: partition.start / SECTOR_BYTES, sectors: partition.size / SECTOR_BYTES };
    let [first, second] = SLOTS.map(|slot| (ConfigKind::Fat as u8, span(slot)));
    Table::new([(kind as u8, span(CONFIG)), first, second, (LINUX, span(DATA))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other() {
        let all = [CONFIG, SLOTS[0], SLOTS[1], DATA];
        for pair in all.windows(2) {
            assert_eq!(pair[0].start + pair[0].size, pair[1].start);
        }
    }

    #[test]
    fn files_are_read_back_and_the_same_files_make_the_same_bytes() {
        let files = Files::from([
            ("config.txt".to_owned(), b"arm_64bit=1\n".to_vec()),
            ("overlays/a long name.dtbo".to_owned(), vec![7; 100_000]),
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![8; 10]),
            ("EFI/debian/grub.cfg".to_owned(), vec![9; 10]),
        ]);
        let once = fat(SLOTS[0].size, *b"BOOT-A     ", &files).unwrap();
        assert!(once == fat(SLOTS[0].size, *b"BOOT-A     ", &files).unwrap());
        let mut image = tempfile::NamedTempFile::new().unwrap();
        write(image.as_file_mut(), ConfigKind::Fat, &[(SLOTS[0], &once)]).unwrap();
        assert_eq!(read_fat(image.path(), SLOTS[0], "overlays/a long name.dtbo").unwrap(), vec![7; 100_000]);
        assert_eq!(read_fat(image.path(), SLOTS[0], "EFI/BOOT/BOOTX64.EFI").unwrap(), [8; 10]);
        assert_eq!(read_fat(image.path(), SLOTS[0], "EFI/debian/grub.cfg").unwrap(), [9; 10]);
        assert_eq!(read_fat(image.path(), SLOTS[0], "config.txt").unwrap(), b"arm_64bit=1\n");
        let error = read_fat(image.path(), SLOTS[0], "nothing").unwrap_err().to_string();
        assert!(error.contains("eyot image build"), "{error}");
    }

    #[test]
    fn the_table_has_each_partition_and_our_signature() {
        assert_eq!(table(ConfigKind::EfiSystem).unwrap().sector()[446 + 4], 0xef);
        let table = *table(ConfigKind::Fat).unwrap().sector();
        assert!(Table::read(table).is_some());
        let entry = |number: usize| {
            let entry = &table[430 + 16 * number..446 + 16 * number];
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            (entry[0], entry[4], word(8), word(12))
        };
        // Active, type, first sector, sectors.
        assert_eq!(entry(1), (0x80, 0x0c, 2048, 98_304));
        assert_eq!(entry(2), (0, 0x0c, 100_352, 196_608));
        assert_eq!(entry(3), (0, 0x0c, 296_960, 196_608));
        assert_eq!(entry(4), (0, 0x83, 493_568, 131_072));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let files = Files::from([("big".to_owned(), vec![1; 50 << 20])]);
        let error = fat(CONFIG.size, *b"EYOT       ", &files).unwrap_err().to_string();
        assert!(error.contains("EYOT") && error.contains("52428800"), "{error}");
    }

    #[test]
    fn data_is_the_same_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let once = ext4(directory.path()).unwrap();
        assert_eq!(once.len() as u64, DATA.size);
        assert!(once == ext4(directory.path()).unwrap());
    }
}
