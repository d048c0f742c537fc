//! A node's own program, renewed over the link: written beside the one that runs, verified, started once, and kept when it has
//! been with its gateway for a while. If it does not get so far, the next start is with the one before.

use core::fmt::Arguments;

use eyot_wire::link::Install;

use crate::install::{cut, Saying};

/// How long a new program has to be with its gateway before it is kept.
pub const KEPT_AFTER_MS: u64 = 10_000;
/// How long it may take to get so far, before the node starts anew with the one before.
pub const TRIAL_MAX_MS: u64 = 300_000;
/// How long a node that is to start anew waits for its outputs to be acknowledged.
pub const RESTART_WITHIN_MS: u64 = 5000;
/// Pieces of a program are a multiple of this long, but for the last: as much as any flash writes at once.
pub const PIECE_MULTIPLE_BYTES: usize = 32;

/// The flash failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotError;

/// Where a board has room for a second program, and a boot loader that starts it.
pub trait Slots {
    /// Largest program.
    fn max_bytes(&self) -> u32;

    /// SHA-256 of the program that runs, if it came over the link.
    fn running(&mut self) -> Option<[u8; 32]>;

    /// Whether the program with this SHA-256 was tried, and the one before came back. At least the last one is remembered.
    fn has_returned(&mut self, sha256: &[u8; 32]) -> bool;

    /// Whether the program that runs was started for the first time, and is not kept yet.
    fn is_on_trial(&mut self) -> bool;

    /// Writes a piece beside the program that runs, from its beginning on and in order; as long as [`PIECE_MULTIPLE_BYTES`] says.
    ///
    /// # Errors
    /// What was written is of no use.
    fn write(&mut self, offset: u32, piece: &[u8]) -> Result<(), SlotError>;

    /// Has what was written started next, if it has this SHA-256; whether it has.
    ///
    /// # Errors
    /// It is not started.
    fn finish(&mut self, sha256: &[u8; 32], bytes: u32) -> Result<bool, SlotError>;

    /// Keeps the program that runs.
    ///
    /// # Errors
    /// The next start is with the one before.
    fn keep(&mut self) -> Result<(), SlotError>;

    /// Starts the node anew.
    fn restart(&mut self);
}

struct Staging {
    sha256: [u8; 32],
    total: u32,
    /// Bytes that are written.
    here: u32,
}

/// What becomes of a program that is sent.
#[derive(Default)]
pub struct Updater<'a> {
    slots: Option<&'a mut dyn Slots>,
    staging: Option<Staging>,
    saying: Saying,
    is_on_trial: bool,
    /// With its gateway since.
    joined_ms: Option<u64>,
    /// A new program is ready; when it is started at the latest.
    restart_due_ms: Option<u64>,
}

impl<'a> Updater<'a> {
    /// Of a board that has slots.
    pub fn new(slots: &'a mut dyn Slots) -> Self {
        let is_on_trial = slots.is_on_trial();
        Self { slots: Some(slots), is_on_trial, ..Self::default() }
    }

    /// A program is to follow. One that was begun goes on if it is the same, and is given up otherwise.
    pub fn begin(&mut self, sha256: [u8; 32], total: u32) {
        self.saying.ask_now();
        let is_same = |staging: &Staging| (staging.sha256, staging.total) == (sha256, total);
        // What is about to be started, or on trial, is spoken of when it is known how that ends.
        if self.staging.as_ref().is_some_and(is_same) || self.restart_due_ms.is_some() {
            return;
        }
        self.staging = None;
        let Some(slots) = &mut self.slots else {
            let reason = "this node has no room for a second program; put this one there with a probe";
            return self.refuse(sha256, format_args!("{reason}"));
        };
        if slots.running() == Some(sha256) {
            // One on trial is spoken of when it is kept.
            if !self.is_on_trial {
                self.saying.done(sha256);
            }
        } else if self.is_on_trial {
            // What would be overwritten is the way back.
        } else if slots.has_returned(&sha256) {
            let reason = "it was started, and was not with its gateway for long enough: the one before is back";
            self.refuse(sha256, format_args!("{reason}; build it anew to have it tried again"));
        } else if (1..=slots.max_bytes()).contains(&total) {
            self.staging = Some(Staging { sha256, total, here: 0 });
        } else {
            let max_bytes = slots.max_bytes();
            self.refuse(sha256, format_args!("program is {total} bytes, this node takes 1 to {max_bytes}"));
        }
    }

    /// A chunk, if it is of the program that comes; whether it is.
    pub fn chunk(&mut self, now_ms: u64, sha256: [u8; 32], offset: u32, bytes: &[u8]) -> bool {
        let (Some(staging), Some(slots)) = (&mut self.staging, &mut self.slots) else { return false };
        if staging.sha256 != sha256 {
            return false;
        }
        // One that comes twice was asked for twice.
        if offset != staging.here {
            return true;
        }
        self.saying.ask_now();
        let room = usize::try_from(staging.total - staging.here).unwrap_or(usize::MAX);
        let whole = bytes.len() - bytes.len() % PIECE_MULTIPLE_BYTES;
        let piece = bytes.get(..if bytes.len() < room { whole } else { room }).unwrap_or_default();
        let written = slots.write(offset, piece);
        staging.here = staging.here.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        let ended = match written {
            Ok(()) if staging.here < staging.total => return true,
            Ok(()) => slots.finish(&sha256, staging.total),
            Err(error) => Err(error),
        };
        self.staging = None;
        match ended {
            Ok(true) => self.restart_due_ms = Some(now_ms + RESTART_WITHIN_MS),
            Ok(false) => self.refuse(sha256, format_args!("program has another SHA-256 than announced; send it again")),
            Err(SlotError) => {
                self.refuse(sha256, format_args!("the node's flash failed; send it again, or replace it"))
            }
        }
        true
    }

    /// Keeps a new program that is with its gateway long enough. Whether the node is now to start anew: because another is
    /// ready and nothing waits, or because the new one is not well.
    pub fn tend(&mut self, now_ms: u64, is_with_gateway: bool, is_idle: bool) -> bool {
        if let Some(due_ms) = self.restart_due_ms {
            return is_idle || now_ms >= due_ms;
        }
        let Some(slots) = self.slots.as_mut().filter(|_| self.is_on_trial) else { return false };
        let Some(joined_ms) = is_with_gateway.then(|| *self.joined_ms.get_or_insert(now_ms)) else {
            self.joined_ms = None;
            return now_ms >= TRIAL_MAX_MS;
        };
        if now_ms.saturating_sub(joined_ms) < KEPT_AFTER_MS {
            return false;
        }
        if slots.keep().is_err() {
            return true;
        }
        self.is_on_trial = false;
        if let Some(sha256) = slots.running() {
            self.saying.done(sha256);
        }
        false
    }

    /// Starts the node anew.
    pub fn restart(&mut self) {
        if let Some(slots) = &mut self.slots {
            slots.restart();
        }
    }

    fn refuse(&mut self, sha256: [u8; 32], reason: Arguments<'_>) {
        self.saying.refuse(sha256, cut(reason));
    }

    /// Passes what is to be said about it to `say`.
    pub fn poll<R>(&mut self, now_ms: u64, say: impl FnOnce(Install<'_>) -> R) -> Option<R> {
        let wanted = self.staging.as_ref().map(|staging| (staging.sha256, staging.here));
        self.saying.poll(now_ms, wanted, say)
    }
}
