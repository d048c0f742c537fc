//! The two systems on the card: the one that is started, written where the boot loader looks, and a new one, written to the
//! slot that is not in use.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use eyot_card::{LOADER_FILE, LOADER_KEY, SECTOR_BYTES, SLOTS, SLOT_ARGUMENT, TRIAL_FILE, TRIAL_HEAD};
use rustix::fs::{fadvise, Advice};
use rustix::mount::{mount_remount, MountFlags};
use sha2::{Digest, Sha256};

use crate::card::{self, Card};
use crate::trial::{self, State, Update, RECORD_MAX_BYTES};

/// Of [`TRIAL_FILE`], only the first sector ever changes.
const TRIAL_BYTES: usize = SECTOR_BYTES as usize;
/// Below the data, what there is of updates.
const STAGING: &str = "update";
/// The one that came last.
const RECORD: &str = "update/record";
/// What eyotd has for us: a new system that it has verified, and what that is.
const STAGED: &str = "update/system.img";
const STAGED_RECORD: &str = "update/ready";
/// What eyotd is to say of the system.
pub const SYSTEM_FILE: &str = "/run/system.json";
/// Copied at one time.
const PIECE_BYTES: usize = 1 << 20;

fn at(name: &str) -> PathBuf {
    Path::new(card::DATA).join(name)
}

/// Number of the partition whose system runs.
pub fn started() -> u8 {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let said = command_line.split_whitespace().find_map(|argument| argument.strip_prefix(SLOT_ARGUMENT)?.parse().ok());
    let said = said.filter(|slot| SLOTS.contains(slot));
    said.or_else(|| Some(loader_file()?.1)).unwrap_or(SLOTS[0])
}

/// Whether the boot loader can start a system once, and the other one after that.
pub fn is_tried_once() -> bool {
    Path::new(card::CONFIG).join(TRIAL_FILE).exists()
}

/// Where the number is in the boot loader's file, and which.
fn loader_file() -> Option<(u64, u8)> {
    let text = fs::read(Path::new(card::CONFIG).join(LOADER_FILE)).ok()?;
    let at = LOADER_KEY.len() + text.windows(LOADER_KEY.len()).position(|window| window == LOADER_KEY.as_bytes())?;
    let slot = text.get(at)?.checked_sub(b'0').filter(|slot| SLOTS.contains(slot))?;
    Some((at as u64, slot))
}

/// Has the boot loader start this one from now on. It is one byte of one sector: the old number or the new one.
pub fn switch(slot: u8) -> io::Result<()> {
    let (at, now) = loader_file()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no autoboot.txt on the first partition"))?;
    if now == slot {
        return Ok(());
    }
    overwrite(LOADER_FILE, &[b'0' + slot], at)
}

/// Has the boot loader start this one next: once, if it can.
fn start_next(slot: u8) -> io::Result<()> {
    if !is_tried_once() {
        return switch(slot);
    }
    let text = format!("{TRIAL_HEAD}{slot}\n");
    overwrite(TRIAL_FILE, format!("{text:#<TRIAL_BYTES$}").as_bytes(), 0)
}

/// Writes over a part, no more than a sector, of a file on the first partition.
fn overwrite(name: &str, bytes: &[u8], at: u64) -> io::Result<()> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount(card::CONFIG, flags, c"umask=0077")?;
    let write = || {
        let file = File::options().write(true).open(Path::new(card::CONFIG).join(name))?;
        file.write_all_at(bytes, at)?;
        file.sync_all()
    };
    let written = write();
    rustix::fs::sync();
    mount_remount(card::CONFIG, flags | MountFlags::RDONLY, c"umask=0077")?;
    written
}

/// The update that came last, if one ever did.
pub fn last_update() -> Option<Update> {
    let mut text = String::new();
    File::open(at(RECORD)).ok()?.take(RECORD_MAX_BYTES).read_to_string(&mut text).ok()?;
    Update::read(&text)
}

/// Keeps it, durably: the old record or the new one.
pub fn keep(update: &Update) -> io::Result<()> {
    let new = at("update/record.new");
    let mut file = File::create(&new)?;
    file.write_all(update.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, at(RECORD))?;
    File::open(at(STAGING))?.sync_all()
}

/// Says what runs, for eyotd.
pub fn tell(update: Option<&Update>) {
    let board = fs::read_to_string("/etc/board").unwrap_or_default();
    let update = update.map(|update| {
        let (state, reason) = update.words();
        // All else is text that needs no escapes.
        let reason = reason.replace(['"', '\\'], "'");
        let Update { slot, version, sha256, .. } = update;
        format!(
            ",\"update\":{{\"slot\":{slot},\"version\":\"{version}\",\"sha256\":\"{sha256}\",\"state\":\"{state}\",\"reason\":\"{reason}\"}}"
        )
    });
    let text = format!(
        "{{\"board\":\"{}\",\"slot\":{},\"version\":\"{}\",\"staging\":\"{}\"{}}}",
        board.trim(),
        started(),
        env!("CARGO_PKG_VERSION"),
        at(STAGING).display(),
        update.unwrap_or_default()
    );
    let new = format!("{SYSTEM_FILE}.new");
    let made = fs::create_dir_all(at(STAGING));
    if let Err(error) = made.and_then(|()| fs::write(&new, text)).and_then(|()| fs::rename(&new, SYSTEM_FILE)) {
        crate::say!("what runs cannot be told to eyotd: {error}");
    }
}

/// Whether eyotd has left a new system.
pub fn is_staged() -> bool {
    at(STAGED_RECORD).exists()
}

/// Writes what eyotd has staged to the slot that is not in use, reads it back, and has it started next; or says why not.
pub fn install(card: &Card) -> io::Result<Update> {
    let staged = staged();
    let installed = staged.map(|mut update| {
        if let Err(error) = write(card, &update) {
            update.state = State::Returned(format!("it could not be written: {error}"));
        }
        update
    });
    // Whether it is there now or cannot be: it is of no more use.
    let _ = fs::remove_file(at(STAGED_RECORD));
    let _ = fs::remove_file(at(STAGED));
    let update = installed?;
    keep(&update)?;
    if update.state == State::Written {
        start_next(update.slot)?;
    }
    Ok(update)
}

fn staged() -> io::Result<Update> {
    let text = fs::read_to_string(at(STAGED_RECORD))?;
    let mut words = text.split_whitespace().map(str::to_owned);
    let (Some(sha256), Some(version)) = (words.next(), words.next()) else { return Err(bad("it has no name")) };
    Ok(Update { slot: trial::other(started()), version, sha256, state: State::Written })
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

fn write(card: &Card, update: &Update) -> io::Result<()> {
    let mut staged = File::open(at(STAGED))?;
    let mut partition = File::options().read(true).write(true).open(card.partition(update.slot))?;
    let (bytes, digest) = copy(&mut staged, Some(&mut partition))?;
    if digest != update.sha256 {
        return Err(bad("it is not what was verified"));
    }
    partition.sync_all()?;
    // What is read back is to come from the card.
    fadvise(&partition, 0, None, Advice::DontNeed)?;
    partition.rewind()?;
    if copy(&mut partition.take(bytes), None)?.1 != update.sha256 {
        return Err(bad("the card does not keep what is written to it"));
    }
    Ok(())
}

/// How many bytes there are, and their SHA-256.
fn copy(from: &mut impl Read, mut to: Option<&mut File>) -> io::Result<(u64, String)> {
    let (mut piece, mut bytes, mut digest) = (vec![0; PIECE_BYTES], 0, Sha256::new());
    loop {
        let length = from.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        bytes += length as u64;
        if let Some(to) = &mut to {
            to.write_all(read)?;
        }
    }
    let digits = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, digits))
}
