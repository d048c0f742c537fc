//! The store of modules that were pushed: parts that have come, whole modules, and the audit log, in files under the data
//! directory. Each file is whole or not there: it is written under another name, synced, and renamed.
//!
//! - `parts/<sha256>.<n>`: parts of pushes;
//! - `modules/<sha256>.wasm`: verified modules;
//! - `commands/<nonce>.json`: verified commands that are not done yet;
//! - `../audit.ndjson`, `../audit.1.ndjson`: changes, the older ones in the second;
//! - `../refused.ndjson`, `../refused.1.ndjson`: the same of what was refused, so that no stranger can make changes go from
//!   the log by sending nonsense.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use eyot_core::task::{
    Answer, Authorized, Candidate, Fresh, Overrides, Part, Shelf, Taken, Task, Unauthorized, TASKS_MAX,
};
use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_trust::command;
use eyot_trust::policy::{unix_s, Policy};
use eyot_trust::verify::Module;
use eyot_wire::control::{is_nonce, parse_sha256, ORDER_MAX_BYTES, PARTS_MAX};
use eyot_wire::manifest::Manifest;
use eyot_wire::module::MODULE_MAX_BYTES;
use sha2::{Digest, Sha256};

use crate::{file, functions};

/// The audit log begins anew at this size; the one before is kept.
pub const AUDIT_MAX_BYTES: u64 = 256 << 10;
/// Commands that are not done when the gateway starts, at most: as many as wait in the core, and those in between.
pub const COMMANDS_MAX: usize = 2 * TASKS_MAX;
/// End of the name of a file that is being written.
const UNFINISHED: &str = "new";

/// Name and version, as far as they can be read, and the reason.
type Refusal = (Option<(String, String)>, String);

/// The store of one gateway.
#[derive(Clone)]
pub struct Store {
    parts: PathBuf,
    modules: PathBuf,
    commands: PathBuf,
    audit: PathBuf,
    refused: PathBuf,
    trust: Policy,
    /// The gateway's id, and those of its groups.
    ids: Vec<String>,
    /// Modules that came with the configuration file.
    configured: Vec<([u8; 32], PathBuf)>,
}

impl Store {
    /// In `data_dir`. Nothing is made there before there is something to keep; what was half written is removed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(
        data_dir: &Path,
        trust: Policy,
        ids: Vec<String>,
        configured: Vec<([u8; 32], PathBuf)>,
    ) -> io::Result<Self> {
        let root = data_dir.join("functions");
        let store = Self {
            parts: root.join("parts"),
            modules: root.join("modules"),
            commands: root.join("commands"),
            audit: data_dir.join("audit.ndjson"),
            refused: data_dir.join("refused.ndjson"),
            trust,
            ids,
            configured,
        };
        for dir in [&store.parts, &store.modules, &store.commands] {
            for path in files(dir)? {
                if path.extension().is_some_and(|end| end == UNFINISHED) {
                    let _ = fs::remove_file(path);
                } else if !store.is_ours(&path) {
                    tracing::warn!(path = %path.display(), "a file that is not the gateway's is left alone; remove it");
                }
            }
        }
        Ok(store)
    }

    /// Does a task; what came of it, if someone waits for that. Call it on a thread of
    /// [`functions::spawn`](crate::functions::spawn).
    pub fn work(&self, task: Task) -> Option<Answer> {
        match task {
            Task::Keep { ticket, push, number, bytes } => {
                if push.is_none() {
                    // What nobody has signed must not wear out the flash, however often it comes.
                    if let Err((release, reason)) = self.check(&bytes) {
                        let push = Sha256::digest(&bytes).into();
                        return Some(Answer::Refused { ticket, push, release, reason });
                    }
                }
                let push = push.unwrap_or_else(|| Sha256::digest(&bytes).into());
                let result = self.keep(&push, number, &bytes);
                Some(Answer::Kept { ticket, push, number, bytes: bytes.len() as u64, result })
            }
            Task::Take { push, parts } => Some(Answer::Taken { push, result: self.take(&push, parts) }),
            Task::Load { sha256, overrides, keep } => {
                let kept = keep.map_or(Ok(()), |keep| self.keep_configured(&keep));
                let result = kept.and_then(|()| self.load_module(&sha256, &overrides)).map(Fresh);
                Some(Answer::Loaded { sha256, result })
            }
            Task::Forget { push } => {
                self.forget(&push);
                None
            }
            Task::Discard { sha256 } => {
                let _ = fs::remove_file(self.module(&sha256));
                None
            }
            Task::Read { ticket, text } => Some(Answer::Ordered { ticket, result: self.read(&text) }),
            Task::Done { nonce } => {
                let _ = fs::remove_file(self.command(&nonce));
                None
            }
            Task::Audit { change, line } => {
                let log = if change.is_some() { &self.audit } else { &self.refused };
                match note(log, &line) {
                    Ok(()) => change.map(|change| Answer::Audited { change }),
                    Err(error) => {
                        tracing::error!(%error, "the audit log cannot be written; check the disk under data_dir");
                        None
                    }
                }
            }
        }
    }

    fn part(&self, push: &[u8; 32], number: u32) -> PathBuf {
        self.parts.join(format!("{}.{number}", hex::encode(push)))
    }

    fn module(&self, sha256: &[u8; 32]) -> PathBuf {
        self.modules.join(format!("{}.wasm", hex::encode(sha256)))
    }

    /// Whether it has a name that the store gives. What has another is somebody's, and not removed.
    fn is_ours(&self, path: &Path) -> bool {
        let Some((stem, end)) = name(path).rsplit_once('.') else { return false };
        match path.parent() {
            Some(dir) if dir == self.parts => parse_sha256(stem).is_some() && end.parse::<u32>().is_ok(),
            Some(dir) if dir == self.modules => parse_sha256(stem).is_some() && end == "wasm",
            _ => is_nonce(stem) && end == "json",
        }
    }

    fn command(&self, nonce: &str) -> PathBuf {
        self.commands.join(format!("{nonce}.json"))
    }

    fn keep(&self, push: &[u8; 32], number: u32, bytes: &[u8]) -> io::Result<()> {
        write(&self.part(push, number), bytes)
    }

    fn forget(&self, push: &[u8; 32]) {
        let prefix = format!("{}.", hex::encode(push));
        for path in files(&self.parts).unwrap_or_default() {
            if name(&path).starts_with(&prefix) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn take(&self, push: &[u8; 32], parts: u32) -> Taken {
        let mut whole = Vec::new();
        for number in 0..parts.min(PARTS_MAX) {
            if whole.len() > MODULE_MAX_BYTES {
                self.forget(push);
                let reason = format!("has more than {MODULE_MAX_BYTES} bytes; no module may be larger");
                return Taken::Refused { release: None, reason };
            }
            match file::read(&self.part(push, number), MODULE_MAX_BYTES) {
                Ok(part) => whole.extend_from_slice(&part),
                Err(error) => return Taken::Failed(error),
            }
        }
        let digest: [u8; 32] = Sha256::digest(&whole).into();
        if digest != *push {
            return Taken::Incomplete;
        }
        match self.verify(&whole) {
            Ok(candidate) => match write(&self.module(push), &whole) {
                Ok(()) => Taken::Ready(candidate),
                Err(error) => Taken::Failed(error),
            },
            Err((release, reason)) => {
                self.forget(push);
                Taken::Refused { release, reason }
            }
        }
    }

    /// As [`check`](Self::check), and that it can run.
    fn verify(&self, whole: &[u8]) -> Result<Candidate, Refusal> {
        let candidate = self.check(whole)?;
        Function::load(whole, LoadOptions::default()).map_err(|error| {
            let Manifest { name, version, .. } = &candidate.manifest;
            (Some((name.clone(), version.to_string())), format!("is refused: {error}"))
        })?;
        Ok(candidate)
    }

    /// Whether it is a module that may be pushed here.
    fn check(&self, whole: &[u8]) -> Result<Candidate, Refusal> {
        let module = Module::read(whole).map_err(|error| (None, format!("it {error}")))?;
        let manifest = module.manifest().clone();
        let release = Some((manifest.name.clone(), manifest.version.to_string()));
        let refused = |reason: String| (release.clone(), reason);
        let keys = self.trust.check_push(&module, unix_s(SystemTime::now())).map_err(|e| refused(e.to_string()))?;
        let signers = keys.iter().map(ToString::to_string).collect();
        Ok(Candidate { manifest, content_sha256: *module.content_sha256(), signers })
    }

    fn keep_configured(&self, sha256: &[u8; 32]) -> Result<(), String> {
        let Some((_, path)) = self.configured.iter().find(|(known, _)| known == sha256) else { return Ok(()) };
        if functions::read_module(&self.module(sha256), sha256).is_ok() {
            return Ok(());
        }
        let from = path.display();
        let module = file::read(path, MODULE_MAX_BYTES).map_err(|e| format!("{from} cannot be read: {e}"))?;
        if Sha256::digest(&module).as_slice() != sha256 {
            return Err(format!(
                "{from} was changed since the gateway started, and no copy of it is here; start it again"
            ));
        }
        write(&self.module(sha256), &module).map_err(|e| format!("{from} cannot be kept: {e}; check the disk"))
    }

    fn load_module(&self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        let kept = self.module(sha256);
        let configured = || self.configured.iter().find(|(known, _)| known == sha256).map(|(_, path)| path.clone());
        let (path, module) = match (functions::read_module(&kept, sha256), configured()) {
            (Err(_), Some(path)) => (path.clone(), functions::read_module(&path, sha256)?),
            (module, _) => (kept, module?),
        };
        functions::make(path, &module, *sha256, overrides.clone())
    }

    #[allow(clippy::result_large_err)] // one at a time, and soon in a box
    fn read(&self, text: &[u8]) -> Result<Authorized, Unauthorized> {
        let authorized = self.authorize(text, unix_s(SystemTime::now()))?;
        match write(&self.command(&authorized.order.nonce), text) {
            Ok(()) => Ok(authorized),
            Err(error) => {
                let reason =
                    format!("the command cannot be kept: {error}; check the gateway's disk, and send it again");
                Err(Unauthorized { claimed: Some(authorized.order), reason })
            }
        }
    }

    #[allow(clippy::result_large_err)] // one at a time, and soon in a box
    fn authorize(&self, text: &[u8], now_s: u64) -> Result<Authorized, Unauthorized> {
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        match command::open(&self.trust, &ids, text, now_s) {
            Ok((order, key)) => Ok(Authorized { order, signer: key.to_string() }),
            Err(error) => Err(Unauthorized { claimed: command::claimed(text), reason: format!("the command {error}") }),
        }
    }
}

impl Shelf for Store {
    fn load(&mut self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        self.load_module(sha256, overrides)
    }

    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        let found = files(&self.commands).unwrap_or_default().into_iter();
        let mut found: Vec<_> =
            found.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
        found.sort();
        let read = |(came, path): (SystemTime, PathBuf)| {
            let text = file::read(&path, ORDER_MAX_BYTES).ok()?;
            // A clock that is not set yet is behind.
            let kept = self.authorize(&text, unix_s(SystemTime::now().max(came)));
            let claimed = match &kept {
                Ok(Authorized { order, .. }) => Some(order),
                Err(Unauthorized { claimed, .. }) => claimed.as_ref(),
            };
            // Under another name it would never go.
            (claimed.map(|order| self.command(&order.nonce)) == Some(path)).then_some(kept)
        };
        found.into_iter().take(COMMANDS_MAX).filter_map(read).collect()
    }

    fn audit(&mut self, lines: &mut dyn Iterator<Item = &str>) {
        let before = before(&self.audit);
        let text = [&before, &self.audit].map(|path| fs::read_to_string(path).unwrap_or_default());
        for line in lines.filter(|line| !text.iter().any(|text| text.lines().any(|known| known == *line))) {
            if let Err(error) = note(&self.audit, line) {
                tracing::error!(%error, "the audit log cannot be written; check the disk under data_dir");
            }
        }
    }

    fn parts(&mut self) -> Vec<Part> {
        let part = |path: &PathBuf| {
            let (push, number) = name(path).split_once('.')?;
            let (push, number) = (parse_sha256(push)?, number.parse().ok()?);
            Some(Part { push, number, bytes: fs::metadata(path).ok()?.len() })
        };
        files(&self.parts).unwrap_or_default().iter().filter_map(part).collect()
    }

    fn retain(&mut self, sha256: &[[u8; 32]]) {
        let may_be_replaced = !self.trust.grants.is_empty() || self.trust.allow_unsigned;
        let configured: Vec<[u8; 32]> = self.configured.iter().map(|(sha256, _)| *sha256).collect();
        let configured = if may_be_replaced { configured } else { Vec::new() };
        let kept: Vec<PathBuf> = sha256.iter().chain(&configured).map(|sha256| self.module(sha256)).collect();
        for path in files(&self.modules).unwrap_or_default() {
            if self.is_ours(&path) && !kept.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
        // Now, while the files are what runs: who builds a new version there and pushes it is to have a way back.
        for sha256 in &configured {
            if let Err(reason) = self.keep_configured(sha256) {
                tracing::warn!(%reason, "a configured module is not kept for the way back from what is pushed over it");
            }
        }
    }
}

/// Adds a line to a log, durably; one that is too long begins anew.
fn note(log: &Path, line: &str) -> io::Result<()> {
    if fs::metadata(log).is_ok_and(|log| log.len() >= AUDIT_MAX_BYTES) {
        fs::rename(log, before(log))?;
    }
    let mut log = OpenOptions::new().create(true).read(true).append(true).open(log)?;
    let mut last = [b'\n'];
    if log.seek(SeekFrom::End(-1)).is_ok() {
        log.read_exact(&mut last)?;
    }
    // After a power cut in the middle of a line, the next is one of its own.
    let begin = if last == [b'\n'] { "" } else { "\n" };
    log.write_all(format!("{begin}{line}\n").as_bytes())?;
    log.sync_data()
}

/// The log before the present one.
fn before(log: &Path) -> PathBuf {
    log.with_extension("1.ndjson")
}

/// Writes a file so that it is whole or not there, also after a power cut.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make(dir)?;
    let unfinished = dir.join(format!("{}.{UNFINISHED}", name(path)));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, path)) {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

/// Makes a directory, and its name durable.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(above) = dir.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make(above)?;
    fs::create_dir(dir)?;
    File::open(above)?.sync_all()
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
