//! The store of modules that were pushed: parts that have come, whole modules, and the audit log, in files under the data
//! directory. Each file is whole or not there: it is written under another name, synced, and renamed.
//!
//! - `parts/<sha256>.<n>`: parts of pushes; `nodes/<node>/<sha256>.<n>`: of those to nodes;
//! - `modules/<sha256>.wasm`: verified modules;
//! - `commands/<nonce>.json`: verified commands that are not done yet;
//! - `../audit.ndjson`, `../audit.1.ndjson`: changes, the older ones in the second;
//! - `../refused.ndjson`, `../refused.1.ndjson`: the same of what was refused, so that no stranger can make changes go from
//!   the log by sending nonsense.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use eyot_core::task::{
    Answer, Authorized, Candidate, Fresh, Overrides, Part, Refusal, Shelf, Taken, Task, Unauthorized, TASKS_MAX,
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

use crate::board::FunctionBudget;
use crate::node::programs::Programs;
use crate::update::Updates;
use crate::{file, functions};

mod disk;
mod shelf;

use disk::{before, files, name, note, write, write_or_link};

/// The audit log begins anew at this size; the one before is kept.
pub const AUDIT_MAX_BYTES: u64 = 256 << 10;
/// Commands that are not done when the gateway starts, at most: as many as wait in the core, and those in between.
pub const COMMANDS_MAX: usize = 2 * TASKS_MAX;
/// End of the name of a file that is being written.
const UNFINISHED: &str = "new";

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
    /// The same for what is pushed to each node, with parts of its own.
    nodes: Vec<Store>,
    /// Of the system that the gateway runs on.
    updates: Updates,
    /// Of its nodes.
    programs: Programs,
    /// What a function must fit: of a node whose board is known.
    budget: Option<FunctionBudget>,
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
            nodes: Vec::new(),
            updates: Updates::default(),
            programs: Programs::default(),
            budget: None,
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

    /// With updates of the system, which says what it is, and of the programs of nodes.
    #[must_use]
    pub fn with_updates(self, updates: Updates, programs: Programs) -> Self {
        Self { updates, programs, ..self }
    }

    /// With a place for what is pushed to these nodes, by their names, with their boards. Parts for others are removed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn with_nodes<'a>(
        mut self,
        nodes: impl Iterator<Item = (&'a str, Option<FunctionBudget>)>,
    ) -> io::Result<Self> {
        let root = self.modules.with_file_name("nodes");
        let of = |(node, budget)| Self { parts: root.join(node), budget, ..self.clone() };
        let stores: Vec<Self> = nodes.map(of).collect();
        for dir in files(&root)? {
            let store = Self { parts: dir.clone(), ..self.clone() };
            let is_known = stores.iter().any(|known| known.parts == dir);
            for path in files(&dir)? {
                let is_unfinished = path.extension().is_some_and(|end| end == UNFINISHED);
                if is_unfinished || !is_known && store.is_ours(&path) {
                    let _ = fs::remove_file(path);
                }
            }
        }
        self.nodes = stores;
        Ok(self)
    }

    /// Does a task; what came of it, if someone waits for that. Call it on a thread of
    /// [`functions::spawn`](crate::functions::spawn).
    pub fn work(&self, task: Task) -> Option<Answer> {
        match task {
            Task::Keep { ticket, push, number, bytes } => {
                if push.is_none() {
                    // What nobody has signed must not wear out the flash, however often it comes.
                    if let Err(refusal) = self.check(&bytes) {
                        let push = Sha256::digest(&bytes).into();
                        return Some(Answer::Refused { ticket, push, refusal });
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
            Task::Node { node, task } => {
                let answer = Box::new(self.nodes.get(usize::from(node))?.work(*task)?);
                Some(Answer::Node { node, answer })
            }
            Task::Fetch { sha256 } => {
                let result = self.find_module(&sha256).map(|(_, module)| module.into());
                Some(Answer::Fetched { sha256, result })
            }
            Task::Read { ticket, text } => Some(Answer::Ordered { ticket, result: self.read(&text) }),
            Task::Update(update) => {
                let report = match &update.node {
                    Some(node) => self.programs.begin(node, &update),
                    None => self.updates.begin(&update),
                };
                Some(Answer::Update { ticket: None, report: Some(report) })
            }
            Task::UpdatePart { ticket, sha256, offset, bytes } => {
                let report = self.updates.part(&sha256, offset, &bytes);
                let report = report.or_else(|| self.programs.part(&sha256, offset, &bytes));
                Some(Answer::Update { ticket: Some(ticket), report })
            }
            Task::ProgramEnded { node, sha256 } => {
                self.programs.ended(usize::from(node), &sha256);
                None
            }
            Task::System => Some(Answer::System(self.updates.system())),
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
                return Taken::Refused(Refusal { release: None, is_authorized: false, reason });
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
            Ok(candidate) => {
                match write_or_link(&self.module(push), &whole, (parts == 1).then(|| self.part(push, 0))) {
                    Ok(()) => Taken::Ready(candidate),
                    Err(error) => Taken::Failed(error),
                }
            }
            Err(refusal) => {
                self.forget(push);
                Taken::Refused(refusal)
            }
        }
    }

    /// As [`check`](Self::check), and that it can run.
    fn verify(&self, whole: &[u8]) -> Result<Candidate, Refusal> {
        let candidate = self.check(whole)?;
        let Manifest { name, version, .. } = &candidate.manifest;
        let release = Some((name.clone(), version.to_string()));
        let refused = |reason: String| Refusal { release: release.clone(), is_authorized: true, reason };
        let options = match &self.budget {
            None => LoadOptions::default(),
            Some(budget) => {
                budget
                    .fit(&candidate.manifest, whole.len())
                    .map_err(|reason| refused(format!("does not fit: {reason}")))?;
                budget.load_options()
            }
        };
        Function::load(whole, options).map_err(|error| refused(format!("is refused: {error}")))?;
        Ok(candidate)
    }

    /// Whether it is a module that may be pushed here.
    fn check(&self, whole: &[u8]) -> Result<Candidate, Refusal> {
        let refused = |release, reason| Refusal { release, is_authorized: false, reason };
        let module = Module::read(whole).map_err(|error| refused(None, format!("it {error}")))?;
        let manifest = module.manifest().clone();
        let keys = self.trust.check_push(&module, unix_s(SystemTime::now()));
        let keys =
            keys.map_err(|e| refused(Some((manifest.name.clone(), manifest.version.to_string())), e.to_string()))?;
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

    /// A module that is kept, or else in the file that the configuration names; and where.
    fn find_module(&self, sha256: &[u8; 32]) -> Result<(PathBuf, Vec<u8>), String> {
        let kept = self.module(sha256);
        let configured = || self.configured.iter().find(|(known, _)| known == sha256).map(|(_, path)| path.clone());
        match (functions::read_module(&kept, sha256), configured()) {
            (Err(_), Some(path)) => functions::read_module(&path, sha256).map(|module| (path, module)),
            (module, _) => module.map(|module| (kept, module)),
        }
    }

    fn load_module(&self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        let (path, module) = self.find_module(sha256)?;
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
