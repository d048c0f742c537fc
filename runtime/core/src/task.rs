//! What the core asks of the store of modules, and what it answers. Tasks take milliseconds and wait for the disk: they are
//! done on a thread of their own, one after the other in the order they were given.

use std::fmt;
use std::io;

use bytes::Bytes;
use eyot_wire::control::Order;
use eyot_wire::manifest::Manifest;
use eyot_wire::system::{SystemUpdate, UpdateReport};

use crate::active::Loaded;

/// Tasks that are not answered, at most.
pub const TASKS_MAX: usize = 64;

/// A function's configuration here: keys and values that replace or add to those of its manifest.
pub type Overrides = Vec<(String, String)>;

/// Something to do, in the store or with what is in it.
#[derive(Debug)]
pub enum Task {
    /// Keep a part of a push, durably. Answered by [`Answer::Kept`], or by [`Answer::Refused`] if it is a whole module that may
    /// not be pushed here.
    Keep {
        /// Comes back in the answer.
        ticket: u64,
        /// SHA-256 of the whole module; none if the part is the whole module, whose SHA-256 is to be found out.
        push: Option<[u8; 32]>,
        /// Number of the part.
        number: u32,
        /// The part.
        bytes: Bytes,
    },
    /// Put the parts 0 to `parts` - 1 of a push together; if that is the whole module, verify it and keep it, durably.
    /// Answered by [`Answer::Taken`].
    Take {
        /// SHA-256 of the whole module.
        push: [u8; 32],
        /// How many parts.
        parts: u32,
    },
    /// Make an instance of a module that is kept. Answered by [`Answer::Loaded`].
    Load {
        /// SHA-256 of the module.
        sha256: [u8; 32],
        /// Configuration.
        overrides: Overrides,
        /// A module that came with the configuration file is to be kept too: the way back leads there.
        keep: Option<[u8; 32]>,
    },
    /// Remove the parts of a push. No answer.
    Forget {
        /// SHA-256 of the whole module.
        push: [u8; 32],
    },
    /// Remove a module. No answer.
    Discard {
        /// Its SHA-256.
        sha256: [u8; 32],
    },
    /// Read and verify a signed command, and if it is one to follow, keep it, durably, until [`Done`](Self::Done). Answered by
    /// [`Answer::Ordered`].
    Read {
        /// Comes back in the answer.
        ticket: u64,
        /// As it came.
        text: Bytes,
    },
    /// A command is done with, or refused: it need not be kept. No answer.
    Done {
        /// Its nonce.
        nonce: String,
    },
    /// A task for what is pushed to a node: [`Keep`](Self::Keep), [`Take`](Self::Take), [`Forget`](Self::Forget) or
    /// [`Fetch`](Self::Fetch). Answered by [`Answer::Node`].
    Node {
        /// Which node, by its place in the configuration.
        node: u8,
        /// The task.
        task: Box<Task>,
    },
    /// Read a module that is kept. Answered by [`Answer::Fetched`].
    Fetch {
        /// Its SHA-256.
        sha256: [u8; 32],
    },
    /// A command has announced an update of the system, or of a node's program. Answered by [`Answer::Update`].
    Update(SystemUpdate),
    /// Keep bytes of an update. Answered by [`Answer::Update`].
    UpdatePart {
        /// Comes back in the answer.
        ticket: u64,
        /// SHA-256 of the update.
        sha256: [u8; 32],
        /// Where they begin.
        offset: u64,
        /// They.
        bytes: Bytes,
    },
    /// It is known what became of a node's program: it need not be kept any more.
    ProgramEnded {
        /// Place of the node.
        node: u8,
        /// SHA-256 of the program, in hexadecimal digits.
        sha256: String,
    },
    /// Find out what the system says of itself. Answered by [`Answer::System`].
    System,
    /// Keep a line of the audit log, durably. Answered by [`Answer::Audited`] if it is about a change.
    Audit {
        /// Number of the change; none of what was refused.
        change: Option<u64>,
        /// A JSON document, without the newline.
        line: String,
    },
}

/// What came of a task.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it goes about in a box
pub enum Answer {
    /// Of [`Task::Keep`].
    Kept {
        /// Its ticket.
        ticket: u64,
        /// SHA-256 of the whole module.
        push: [u8; 32],
        /// Number of the part.
        number: u32,
        /// Its length.
        bytes: u64,
        /// Why not, if not.
        result: io::Result<()>,
    },
    /// Of [`Task::Keep`] with a whole module: nothing of it is kept.
    Refused {
        /// Its ticket.
        ticket: u64,
        /// SHA-256 of the module.
        push: [u8; 32],
        /// Why.
        refusal: Refusal,
    },
    /// Of [`Task::Take`].
    Taken {
        /// SHA-256 of the whole module.
        push: [u8; 32],
        /// What it is.
        result: Taken,
    },
    /// Of [`Task::Load`].
    Loaded {
        /// SHA-256 of the module.
        sha256: [u8; 32],
        /// Why not, if not: reason and remedy.
        result: Result<Fresh, String>,
    },
    /// Of [`Task::Node`].
    Node {
        /// As in the task.
        node: u8,
        /// What came of the task in it.
        answer: Box<Answer>,
    },
    /// Of [`Task::Fetch`].
    Fetched {
        /// SHA-256 of the module.
        sha256: [u8; 32],
        /// The module; or why not, if not: reason and remedy.
        result: Result<Bytes, String>,
    },
    /// Of [`Task::Update`] and [`Task::UpdatePart`].
    Update {
        /// The ticket of a part.
        ticket: Option<u64>,
        /// How far the update is; none if it is unknown.
        report: Option<UpdateReport>,
    },
    /// Of [`Task::System`].
    System(
        /// A JSON object; none if the system says nothing.
        Option<String>,
    ),
    /// Of [`Task::Audit`].
    Audited {
        /// Number of the change.
        change: u64,
    },
    /// Of [`Task::Read`].
    Ordered {
        /// Its ticket.
        ticket: u64,
        /// Why not, if not.
        result: Result<Authorized, Unauthorized>,
    },
}

/// What parts come to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one at a time, and taken apart at once
pub enum Taken {
    /// Not the whole module: parts are missing at the end.
    Incomplete,
    /// A module that may be pushed here, now kept. Its parts are there as well, until [`Task::Forget`]: only when the log has
    /// what the push leads to is it safe to be without them.
    Ready(Candidate),
    /// A module that may not, or no module. Nothing of it is kept.
    Refused(Refusal),
    /// The store does not work.
    Failed(io::Error),
}

/// Why a module may not be pushed here.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The function's name and version, if it has any.
    pub release: Option<(String, String)>,
    /// Whether it is signed as a push has to be. What is not is nobody's word, and not told on the function's topic.
    pub is_authorized: bool,
    /// Reason and remedy.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn release(&self) -> Option<(&str, &str)> {
        self.release.as_ref().map(|(name, version)| (name.as_str(), version.as_str()))
    }
}

/// A verified module.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the module without signatures.
    pub content_sha256: [u8; 32],
    /// Short names of the keys that vouch for it; none if unsigned modules are allowed.
    pub signers: Vec<String>,
}

/// An instance, just made.
pub struct Fresh(pub Loaded);

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fresh").field(&self.0.function.manifest().name).finish()
    }
}

/// A command that is signed, meant for this gateway or a group of it, not expired, and within what its key may do.
#[derive(Clone, Debug)]
pub struct Authorized {
    /// What to do.
    pub order: Order,
    /// Short name of the key that signed it.
    pub signer: String,
}

/// A command that is not.
#[derive(Clone, Debug)]
pub struct Unauthorized {
    /// What its text asks for, as far as it can be read: whoever sent it waits for an answer under its nonce.
    pub claimed: Option<Order>,
    /// Reason and remedy.
    pub reason: String,
}

/// A part of a push that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// SHA-256 of the whole module.
    pub push: [u8; 32],
    /// Its number.
    pub number: u32,
    /// Its length.
    pub bytes: u64,
}

/// The store as it is when the gateway starts.
pub trait Shelf {
    /// As [`Task::Load`].
    ///
    /// # Errors
    /// Reason and remedy.
    fn load(&mut self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String>;

    /// Commands that were kept and are not done with, in the order they came; those that have become void meanwhile, why.
    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>>;

    /// Keeps those of these lines of the audit log that are not there, durably.
    fn audit(&mut self, lines: &mut dyn Iterator<Item = &str>);

    /// Parts of pushes.
    fn parts(&mut self) -> Vec<Part>;

    /// Parts of pushes to the node at this place.
    fn node_parts(&mut self, _node: u8) -> Vec<Part> {
        Vec::new()
    }

    /// Removes all modules but these.
    fn retain(&mut self, sha256: &[[u8; 32]]);
}
