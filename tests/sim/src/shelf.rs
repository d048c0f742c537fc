//! The gateway's store of modules that were pushed: each part and each module is whole or not there, and a power cut may
//! bring back what was removed last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use eyot_core::io::{Answer, Task};
use eyot_core::task::{Authorized, Candidate, Fresh, Overrides, Part, Shelf as Store, Taken, Unauthorized};
use eyot_core::Loaded;
use eyot_wire::control::Order;
use sha2::{Digest, Sha256};

use crate::guest::{self, Module};
use crate::planted::Planted;

/// Whoever signs commands, and modules.
const SIGNER: &str = "ada";

type Sha256Bytes = [u8; 32];

/// Parts by push and number, modules by their SHA-256.
#[derive(Debug, Default)]
struct Files {
    parts: BTreeMap<(Sha256Bytes, u32), Bytes>,
    modules: BTreeMap<Sha256Bytes, Bytes>,
    /// Commands that are not done with, in the order they came.
    commands: Vec<Order>,
    /// What was removed since their directory was synced, in order.
    removed_parts: Vec<((Sha256Bytes, u32), Bytes)>,
    removed_modules: Vec<(Sha256Bytes, Bytes)>,
    removed_commands: Vec<Order>,
    /// The module of the configuration file.
    configured: Option<Module>,
    planted: Option<Planted>,
}

/// The store. Clones are the same.
#[derive(Clone, Debug)]
pub struct Shelf(Rc<RefCell<Files>>);

impl Shelf {
    /// An empty one.
    pub fn new(planted: Option<Planted>) -> Self {
        Self(Rc::new(RefCell::new(Files { planted, ..Files::default() })))
    }

    /// The configuration file names this module.
    pub fn configure(&self, module: Module) {
        self.0.borrow_mut().configured = Some(module);
    }

    /// The power fails: the last removals are undone, from some point on.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        let files = &mut *self.0.borrow_mut();
        let kept = rng.usize(0..=files.removed_parts.len());
        files.parts.extend(files.removed_parts.drain(..).skip(kept));
        let kept = rng.usize(0..=files.removed_modules.len());
        files.modules.extend(files.removed_modules.drain(..).skip(kept));
        let kept = rng.usize(0..=files.removed_commands.len());
        files.commands.extend(files.removed_commands.drain(..).skip(kept));
    }

    /// Does a task; `fails`: the disk does not let it. What came of it, if someone waits for that.
    pub fn work(&self, task: Task, fails: bool) -> Option<Answer> {
        let error = || io::Error::other("injected: the store fails");
        match task {
            Task::Keep { ticket, push, number, bytes } => {
                let push = push.unwrap_or_else(|| Sha256::digest(&bytes).into());
                let result = if fails { Err(error()) } else { Ok(()) };
                let length = bytes.len() as u64;
                if !fails {
                    let files = &mut *self.0.borrow_mut();
                    files.parts.insert((push, number), bytes);
                    files.removed_parts.clear();
                }
                Some(Answer::Kept { ticket, push, number, bytes: length, result })
            }
            Task::Take { push, .. } if fails => Some(Answer::Taken { push, result: Taken::Failed(error()) }),
            Task::Take { push, parts } => Some(Answer::Taken { push, result: self.take(&push, parts) }),
            Task::Load { sha256, .. } if fails => {
                Some(Answer::Loaded { sha256, result: Err("the store fails; send it again".to_owned()) })
            }
            Task::Load { sha256, overrides, keep } => {
                if let Some(keep) = keep {
                    self.keep_configured(&keep);
                }
                Some(Answer::Loaded { sha256, result: self.make(&sha256, &overrides).map(Fresh) })
            }
            Task::Forget { push } => {
                self.forget(&push);
                None
            }
            Task::Discard { sha256 } => {
                self.discard(&sha256);
                None
            }
            Task::Read { ticket, text } => {
                let order: Order = serde_json::from_slice(&text).expect("the operator sends documents");
                let files = &mut *self.0.borrow_mut();
                if !files.commands.iter().any(|known| known.nonce == order.nonce) {
                    files.commands.push(order.clone());
                    files.removed_commands.clear();
                }
                Some(Answer::Ordered { ticket, result: Ok(authorized(order)) })
            }
            Task::Done { nonce } => {
                let files = &mut *self.0.borrow_mut();
                let (gone, stay) = std::mem::take(&mut files.commands).into_iter().partition(|o| o.nonce == nonce);
                let gone: Vec<Order> = gone;
                files.commands = stay;
                files.removed_commands.extend(gone);
                None
            }
            // There are no nodes, and no system with slots.
            Task::Node { .. } | Task::Fetch { .. } | Task::ProgramEnded { .. } => None,
            Task::Update(_) | Task::UpdatePart { .. } | Task::System => None,
            Task::Audit { change, .. } => change.map(|change| Answer::Audited { change }),
        }
    }

    fn take(&self, push: &Sha256Bytes, parts: u32) -> Taken {
        let files = &mut *self.0.borrow_mut();
        let mut whole = Vec::new();
        for number in 0..parts {
            match files.parts.get(&(*push, number)) {
                Some(part) => whole.extend_from_slice(part),
                None => return Taken::Failed(io::ErrorKind::NotFound.into()),
            }
        }
        if Sha256::digest(&whole).as_slice() != push {
            return Taken::Incomplete;
        }
        let mut manifest = guest::manifest(&whole);
        if let Some(planted) = files.planted {
            manifest.rollout = planted.mistake(manifest.rollout);
        }
        files.modules.insert(*push, whole.into());
        files.removed_modules.clear();
        Taken::Ready(Candidate { manifest, content_sha256: *push, signers: vec![SIGNER.to_owned()] })
    }

    fn keep_configured(&self, sha256: &Sha256Bytes) {
        let files = &mut *self.0.borrow_mut();
        if let Some(module) = files.configured.as_ref().filter(|module| module.sha256 == *sha256) {
            files.modules.insert(*sha256, module.bytes.clone());
            files.removed_modules.clear();
        }
    }

    fn make(&self, sha256: &Sha256Bytes, overrides: &Overrides) -> Result<Loaded, String> {
        let files = self.0.borrow();
        let configured = files.configured.as_ref().filter(|module| module.sha256 == *sha256);
        let bytes = files.modules.get(sha256).or(configured.map(|module| &module.bytes));
        let bytes = bytes.cloned().ok_or("its module is not in the store; push it again under a higher version")?;
        Ok(guest::load(&Module { bytes, sha256: *sha256 }, overrides))
    }

    fn forget(&self, push: &Sha256Bytes) {
        let files = &mut *self.0.borrow_mut();
        let (gone, stay) = std::mem::take(&mut files.parts).into_iter().partition(|((of, _), _)| of == push);
        let gone: BTreeMap<_, _> = gone;
        files.parts = stay;
        files.removed_parts.extend(gone);
    }

    fn discard(&self, sha256: &Sha256Bytes) {
        let files = &mut *self.0.borrow_mut();
        files.removed_modules.extend(files.modules.remove_entry(sha256));
    }
}

fn authorized(order: Order) -> Authorized {
    Authorized { order, signer: SIGNER.to_owned() }
}

impl Store for Shelf {
    // The type is the trait's.
    #[allow(clippy::result_large_err)]
    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        self.0.borrow().commands.iter().cloned().map(|order| Ok(authorized(order))).collect()
    }

    fn audit(&mut self, _lines: &mut dyn Iterator<Item = &str>) {}

    fn load(&mut self, sha256: &Sha256Bytes, overrides: &Overrides) -> Result<Loaded, String> {
        self.make(sha256, overrides)
    }

    fn parts(&mut self) -> Vec<Part> {
        let files = self.0.borrow();
        let part = |((push, number), bytes): (&(Sha256Bytes, u32), &Bytes)| Part {
            push: *push,
            number: *number,
            bytes: bytes.len() as u64,
        };
        files.parts.iter().map(part).collect()
    }

    fn retain(&mut self, sha256: &[Sha256Bytes]) {
        let gone: Vec<Sha256Bytes> =
            self.0.borrow().modules.keys().filter(|known| !sha256.contains(known)).copied().collect();
        gone.iter().for_each(|sha256| self.discard(sha256));
    }
}
