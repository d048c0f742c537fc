//! Updates of the whole system of a gateway that was flashed: received here, verified, and left for the first process, which
//! writes them to the card and starts anew.
//!
//! The first process says in the file that the environment variable [`SYSTEM`] names what runs: a JSON document with `board`,
//! `slot`, `version`, `staging`, and `update`, which is what became of the last one. Without it no update is taken.
//!
//! In the directory `staging`:
//! - `order`: the update that a signed command announced; `part`: the first bytes of it that are here;
//! - `system.img`: a whole one, verified; `ready`: its SHA-256 and its version, for the first process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use eyot_wire::control::parse_sha256;
use eyot_wire::system::{SystemUpdate, UpdateReport, UpdateState, SYSTEM_MAX_BYTES};
use sd_notify::NotifyState;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::file;

/// Names the file that says what runs.
pub const SYSTEM: &str = "EYOT_SYSTEM";
/// Largest such file.
pub const SYSTEM_FILE_MAX_BYTES: usize = 4096;
/// What tells the first process that there is an update.
const STAGED: &str = "X_EYOT_UPDATE=1";
/// Hashed at one time.
const PIECE_BYTES: usize = 256 << 10;
/// Largest `order`.
const ORDER_MAX_BYTES: usize = 4096;

/// Where updates are received.
#[derive(Clone, Debug, Default)]
pub struct Updates {
    system: Option<PathBuf>,
}

/// What the first process says.
#[derive(Deserialize)]
struct System {
    board: String,
    staging: PathBuf,
    #[serde(default)]
    update: Option<Last>,
}

#[derive(Deserialize)]
struct Last {
    sha256: String,
    state: String,
}

impl Updates {
    /// What runs is in the file `system`; none if no first process of ours started this.
    pub fn new(system: Option<PathBuf>) -> Self {
        Self { system }
    }

    /// What runs, as the first process says it: one JSON object. None if there is no such process.
    pub fn system(&self) -> Option<String> {
        self.read().map(|(text, _)| text)
    }

    fn read(&self) -> Option<(String, System)> {
        let text = String::from_utf8(file::read(self.system.as_deref()?, SYSTEM_FILE_MAX_BYTES).ok()?).ok()?;
        let system = serde_json::from_str(&text).ok()?;
        Some((text, system))
    }

    /// A signed command announces `update`: its bytes are taken from here on, those that are here already counted.
    pub fn begin(&self, update: &SystemUpdate) -> UpdateReport {
        let report = |state, bytes, reason| UpdateReport { sha256: update.sha256.clone(), state, bytes, reason };
        match self.admit(update) {
            Ok((state, bytes)) => report(state, bytes, None),
            Err(reason) => report(UpdateState::Rejected, 0, Some(reason)),
        }
    }

    fn admit(&self, update: &SystemUpdate) -> Result<(UpdateState, u64), String> {
        let not_ours = "this gateway runs on a system that is not eyot's; install a new package there";
        let (_, System { board, staging, update: last }) = self.read().ok_or(not_ours)?;
        if board != update.board {
            return Err(format!("it is for the board {}, and this is {board}; build one for it", update.board));
        }
        if !(1..=SYSTEM_MAX_BYTES).contains(&update.bytes) {
            return Err(format!("it has {} bytes, and a slot of the card {SYSTEM_MAX_BYTES}", update.bytes));
        }
        if let Some(last) = last {
            match (last.state.as_str(), last.sha256 == update.sha256) {
                ("confirmed", true) => return Ok((UpdateState::Unchanged, update.bytes)),
                ("written" | "started", true) => return Ok((UpdateState::Verified, update.bytes)),
                ("written" | "started", false) => {
                    return Err("another system is on trial; push it when that is confirmed or taken back".to_owned());
                }
                _ => {}
            }
        }
        let staging = Staging::at(staging);
        staging.announce(update).map_err(|e| format!("it cannot be kept: {e}; check the gateway's disk"))?;
        Ok((UpdateState::Receiving, staging.here()))
    }

    /// Bytes of the update with this SHA-256, from `offset` on. None if no command has announced it.
    pub fn part(&self, sha256: &[u8; 32], offset: u64, bytes: &[u8]) -> Option<UpdateReport> {
        let (_, System { staging, .. }) = self.read()?;
        let staging = Staging::at(staging);
        let update = staging.announced().filter(|update| parse_sha256(&update.sha256).as_ref() == Some(sha256))?;
        let result = staging.add(&update, offset, bytes).and_then(|whole| match whole {
            Some(true) => staging.leave(&update).map(|()| whole),
            _ => Ok(whole),
        });
        let (state, reason) = match result {
            Ok(None) => (UpdateState::Receiving, None),
            Ok(Some(true)) => (UpdateState::Verified, None),
            Ok(Some(false)) => (UpdateState::Rejected, Some(other_than_signed())),
            Err(error) => {
                let reason = format!("it cannot be kept: {error}; check the gateway's disk, and push it again");
                (UpdateState::Rejected, Some(reason))
            }
        };
        let bytes = if state == UpdateState::Verified { update.bytes } else { staging.here() };
        if state == UpdateState::Rejected {
            // Nothing of it is of use: what else comes needs another signed command.
            staging.clear();
        }
        Some(UpdateReport { sha256: update.sha256, state, bytes, reason })
    }
}

/// The reason, where bytes came that nobody signed.
pub(crate) fn other_than_signed() -> String {
    "what came has another SHA-256 than the command says; push it again".to_owned()
}

/// Where it is received.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
}

impl Staging {
    /// In a directory that is there when something is announced.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is here is of this update from now on.
    pub fn announce(&self, update: &SystemUpdate) -> io::Result<()> {
        if self.announced().as_ref() == Some(update) {
            return Ok(());
        }
        self.clear();
        fs::write(self.file("order"), serde_json::to_vec(update)?)
    }

    /// Takes what goes on where the last ended, and nothing else. Whether it is the whole that was announced, once all is here.
    pub fn add(&self, update: &SystemUpdate, offset: u64, bytes: &[u8]) -> io::Result<Option<bool>> {
        let end = offset.saturating_add(bytes.len() as u64);
        if offset == self.here() && end <= update.bytes {
            OpenOptions::new().create(true).append(true).open(self.file("part"))?.write_all(bytes)?;
        }
        if self.here() < update.bytes {
            return Ok(None);
        }
        let mut part = File::open(self.file("part"))?;
        if parse_sha256(&update.sha256) != Some(sha256_of(&mut part)?) {
            return Ok(Some(false));
        }
        part.sync_all()?;
        Ok(Some(true))
    }

    /// For the first process.
    fn leave(&self, update: &SystemUpdate) -> io::Result<()> {
        fs::rename(self.file("part"), self.file("system.img"))?;
        let mut ready = File::create(self.file("ready"))?;
        writeln!(ready, "{} {}", update.sha256, update.version)?;
        ready.sync_all()?;
        self.sync_dir()?;
        self.clear();
        let _ = sd_notify::notify(&[NotifyState::Custom(STAGED)]);
        Ok(())
    }

    /// What is whole is called so from now on.
    pub fn rename_to(&self, path: &Path) -> io::Result<()> {
        fs::rename(self.file("part"), path)?;
        self.sync_dir()
    }

    pub fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// The update that is coming.
    pub fn announced(&self) -> Option<SystemUpdate> {
        let order = file::read(&self.file("order"), ORDER_MAX_BYTES).ok()?;
        serde_json::from_slice(&order).ok()
    }

    /// How many bytes of it are here.
    pub fn here(&self) -> u64 {
        fs::metadata(self.file("part")).map_or(0, |part| part.len())
    }

    /// Nothing is coming.
    pub fn clear(&self) {
        let _ = fs::remove_file(self.file("order"));
        let _ = fs::remove_file(self.file("part"));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn sha256_of(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut piece, mut digest) = (vec![0; PIECE_BYTES], Sha256::new());
    loop {
        let length = file.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
    }
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first process says what runs, with what more there is to say.
    fn updates(dir: &Path, more: &str) -> Updates {
        let text = format!("{{\"board\":\"qemu-virt\",\"slot\":2,\"staging\":\"{}\"{more}}}", dir.display());
        fs::write(dir.join("system.json"), text).unwrap();
        Updates::new(Some(dir.join("system.json")))
    }

    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn update(bytes: &[u8]) -> SystemUpdate {
        SystemUpdate {
            node: None,
            board: "qemu-virt".to_owned(),
            version: "0.2.0".to_owned(),
            sha256: hex::encode(Sha256::digest(bytes)),
            bytes: bytes.len() as u64,
        }
    }

    #[test]
    fn what_comes_in_order_is_verified_and_left_for_the_first_process() {
        let dir = tempfile::tempdir().unwrap();
        let updates = updates(dir.path(), "");
        let (system, update) = (vec![7; 1000], update(&[7; 1000]));
        assert_eq!(updates.part(&digest(&[7; 1000]), 0, &system), None, "nobody announced it");
        assert_eq!(updates.begin(&update).state, UpdateState::Receiving);
        let here = |offset: usize, length: usize| {
            updates.part(&digest(&[7; 1000]), offset as u64, &system[offset..offset + length]).unwrap()
        };
        assert_eq!(here(0, 400).bytes, 400);
        assert_eq!(here(600, 400).bytes, 400, "there is a gap");
        assert_eq!(here(0, 400).bytes, 400, "it is here");
        assert_eq!(updates.begin(&update).bytes, 400, "a second command goes on with it");
        assert_eq!(here(400, 600).state, UpdateState::Verified);
        assert_eq!(fs::read(dir.path().join("system.img")).unwrap(), system);
        assert_eq!(fs::read_to_string(dir.path().join("ready")).unwrap(), format!("{} 0.2.0\n", update.sha256));
        assert_eq!(updates.part(&digest(&[7; 1000]), 0, &system), None, "it is over");
    }

    #[test]
    fn what_is_not_what_was_signed_is_thrown_away_and_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let updates = updates(dir.path(), "");
        let update = update(&[7; 1000]);
        updates.begin(&update);
        let report = updates.part(&digest(&[7; 1000]), 0, &[8; 1000]).unwrap();
        assert_eq!(report.state, UpdateState::Rejected);
        assert_eq!(updates.part(&digest(&[7; 1000]), 0, &[7; 1000]), None);
        assert!(!dir.path().join("ready").exists() && !dir.path().join("part").exists());
        updates.begin(&update);
        assert_eq!(updates.part(&digest(&[7; 1000]), 0, &[7; 1001]).unwrap().bytes, 0, "more than was signed");
    }

    #[test]
    fn what_does_not_belong_here_is_refused_and_what_runs_is_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let good = update(&[7; 1000]);
        let reason = |updates: &Updates, update: &SystemUpdate| updates.begin(update).reason.unwrap_or_default();
        assert!(reason(&Updates::new(None), &good).contains("install a new package"));
        let updates = updates(dir.path(), "");
        let other = SystemUpdate { board: "rpi-5".to_owned(), ..good.clone() };
        assert!(reason(&updates, &other).contains("for the board rpi-5, and this is qemu-virt"));
        let large = SystemUpdate { bytes: SYSTEM_MAX_BYTES + 1, ..good.clone() };
        assert!(reason(&updates, &large).contains("a slot of the card"));
        for (state, expected) in [("confirmed", UpdateState::Unchanged), ("started", UpdateState::Verified)] {
            let last = format!(",\"update\":{{\"sha256\":\"{}\",\"state\":\"{state}\"}}", good.sha256);
            let updates = self::updates(dir.path(), &last);
            assert_eq!(updates.begin(&good).state, expected);
            let another = SystemUpdate { sha256: "ab".repeat(32), ..good.clone() };
            assert_eq!(reason(&updates, &another).contains("on trial"), state == "started");
        }
    }
}
