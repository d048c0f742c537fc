//! Parts of pushes that have come, and what is still missing of each.

use std::collections::{BTreeMap, BTreeSet};

use eyot_wire::control::{MISSING_MAX, PARTS_MAX};
use eyot_wire::module::MODULE_MAX_BYTES;

use crate::deploy::allowance::Allowance;
use crate::task::Part;

/// Pushes that are not whole yet, at most.
pub const PUSHES_MAX: usize = 8;
/// Silence after which a push is asked for what is missing, in microseconds; twice as long each time, up to the most.
pub const ASK_AFTER_US: u64 = 2_000_000;
/// The most.
pub const ASK_EVERY_MAX_US: u64 = 60_000_000;
/// Silence after which parts without a gap are tried for being the whole, although the last is as long as the first.
const TRY_AFTER_US: u64 = 300_000;
/// A push that has been silent for so long makes place for another.
const IDLE_US: u64 = 10_000_000;

/// What comes so soon after its push was refused was on its way, and is no other attempt.
const REFUSED_FOR_US: u64 = 2_000_000;
/// Why a push is refused that has more than a module may have.
const TOO_LARGE: &str = "more than 8388608 bytes came; no module may be larger";

/// One push.
#[derive(Debug)]
struct Push {
    /// Lengths by number; none for those being kept.
    parts: BTreeMap<u32, Option<u64>>,
    bytes: u64,
    /// Above the highest number that came, whether that part is here or not.
    next: u32,
    last_us: u64,
    /// When it is asked for what is missing, and how long after the last time.
    ask_us: u64,
    ask_every_us: u64,
    /// So many parts were tried, and none of the first so many are the whole.
    tried: u32,
    /// Parts that were tried, of which one at least is not what it should be, and that did not come again since.
    doubted: BTreeSet<u32>,
    /// The store could not try them.
    has_failed: bool,
    /// What it has taken of the allowance.
    spent: u64,
    /// It came as one piece.
    is_one_piece: bool,
    /// It is being taken; new parts do not matter.
    is_taken: bool,
}

/// What is to happen with a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be kept.
    Keep,
    /// It is here already.
    Known,
    /// It is refused, and what there is of its push with it; reason and remedy.
    Refused(String),
}

/// What a push waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub bytes: u64,
    pub numbers: Vec<u32>,
    pub next: u32,
}

/// All pushes.
#[derive(Debug)]
pub(crate) struct Staging {
    pushes: BTreeMap<[u8; 32], Push>,
    bytes_max: u64,
    ttl_us: u64,
    /// For parts, of which nobody knows who sent them.
    for_parts: Allowance,
    /// For what is whole and signed, as it may be and come again and again.
    for_wholes: Allowance,
    /// The push that was refused last because of what it has, and when.
    refused: Option<([u8; 32], u64)>,
}

impl Staging {
    pub fn new(bytes_max: u64, ttl_us: u64, vain_day_bytes: u64) -> Self {
        let (for_parts, for_wholes) = (Allowance::new(vain_day_bytes), Allowance::new(vain_day_bytes));
        Self { pushes: BTreeMap::new(), bytes_max, ttl_us, for_parts, for_wholes, refused: None }
    }

    /// Whether a whole module of so many bytes may be written, if it is signed as it must be.
    ///
    /// # Errors
    /// Reason and remedy.
    pub fn admit_whole(&mut self, bytes: u64, mono_us: u64) -> Result<(), String> {
        if self.for_wholes.spend(bytes, mono_us) {
            return Ok(());
        }
        // It is given back for what comes in force.
        Err(format!(
            "pushes that came to nothing have written {} bytes today, and no more are taken; find out who sends them, and send it \
             again later, or raise [deploy] vain_per_day",
            self.for_wholes.per_day()
        ))
    }

    /// What came as one piece was not written.
    pub fn not_written(&mut self, bytes: u64) {
        self.for_wholes.give_back(Allowance::cost(bytes));
    }

    /// A trusted key has signed it, and it may come in force: it takes nothing of the allowance.
    pub fn vouch(&mut self, id: &[u8; 32]) {
        let Some(push) = self.pushes.get_mut(id) else { return };
        let spent = std::mem::take(&mut push.spent);
        if push.is_one_piece { &mut self.for_wholes } else { &mut self.for_parts }.give_back(spent);
    }

    /// With the parts that the store has from before. Returns pushes for which there is no room any more.
    pub fn restore(&mut self, parts: &[Part], mono_us: u64) -> Vec<[u8; 32]> {
        let mut gone = BTreeSet::new();
        for part in parts {
            // Twice: those in parts and those in one piece.
            let has_place = self.pushes.contains_key(&part.push) || self.pushes.len() < 2 * PUSHES_MAX;
            let has_room = self.bytes().saturating_add(part.bytes) <= 2 * self.bytes_max.max(MODULE_MAX_BYTES as u64);
            if part.number >= PARTS_MAX || !has_place || !has_room || gone.contains(&part.push) {
                self.pushes.remove(&part.push);
                gone.insert(part.push);
                continue;
            }
            let push = self.pushes.entry(part.push).or_insert_with(|| Push::new(mono_us));
            push.next = push.next.max(part.number.saturating_add(1));
            if push.parts.insert(part.number, Some(part.bytes)).is_none() {
                push.bytes += part.bytes;
            }
        }
        gone.into_iter().collect()
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.pushes.values().map(|push| push.bytes).sum()
    }

    /// Modules that came in one piece and wait for their turn: how many, and their bytes.
    pub fn one_piece(&self) -> (usize, u64) {
        let pieces = || self.pushes.values().filter(|push| push.is_one_piece);
        (pieces().count(), pieces().map(|push| push.bytes).sum())
    }

    /// Pushes that are not whole yet.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pushes.len()
    }

    /// Whether a part is to be kept, and which push is to be forgotten to make place for it.
    pub fn admit(&mut self, id: [u8; 32], number: u32, bytes: u64, mono_us: u64) -> (Verdict, Option<[u8; 32]>) {
        if number >= PARTS_MAX {
            let reason = format!("part {number} is one too many: a push has at most {PARTS_MAX}; make larger parts");
            return (Verdict::Refused(reason), None);
        }
        let is_late = |(refused, at_us)| refused == id && mono_us.saturating_sub(at_us) < REFUSED_FOR_US;
        if self.refused.is_some_and(is_late) {
            return (Verdict::Refused(TOO_LARGE.to_owned()), None);
        }
        if let Some(push) = self.pushes.get_mut(&id) {
            push.heard(mono_us);
            push.give_up(number);
            if push.is_one_piece || push.parts.contains_key(&number) {
                return (Verdict::Known, None);
            }
            if push.bytes.saturating_add(bytes) > MODULE_MAX_BYTES as u64 {
                self.refused = Some((id, mono_us));
                return (Verdict::Refused(TOO_LARGE.to_owned()), None);
            }
        }
        let (room, forgotten) = self.make_room(&id, bytes, mono_us);
        if let Err(reason) = room {
            return (Verdict::Refused(reason), forgotten);
        }
        if !self.for_parts.spend(bytes, mono_us) {
            let reason = format!(
                "parts of pushes that came to nothing have written {} bytes today, and no more are taken; send it in one piece, \
                 or again later, or raise [deploy] vain_per_day",
                self.for_parts.per_day()
            );
            return (Verdict::Refused(reason), forgotten);
        }
        let push = self.pushes.entry(id).or_insert_with(|| Push::new(mono_us));
        push.parts.insert(number, None);
        push.next = push.next.max(number + 1);
        push.bytes += bytes;
        push.spent += Allowance::cost(bytes);
        (Verdict::Keep, forgotten)
    }

    /// A part came that could not be taken then: it is asked for again, if there is place for its push.
    pub fn expect(&mut self, id: [u8; 32], number: u32, mono_us: u64) {
        if number >= PARTS_MAX || !self.pushes.contains_key(&id) && self.pushes.len() >= PUSHES_MAX {
            return;
        }
        let push = self.pushes.entry(id).or_insert_with(|| Push::new(mono_us));
        push.next = push.next.max(number + 1);
        push.heard(mono_us);
    }

    fn make_room(&mut self, id: &[u8; 32], bytes: u64, mono_us: u64) -> (Result<(), String>, Option<[u8; 32]>) {
        let is_new = !self.pushes.contains_key(id);
        let has_room =
            |s: &Self| (!is_new || s.pushes.len() < PUSHES_MAX) && s.bytes().saturating_add(bytes) <= s.bytes_max;
        if has_room(self) {
            return (Ok(()), None);
        }
        let idle = self
            .pushes
            .iter()
            .filter(|(other, push)| *other != id && !push.is_taken && mono_us.saturating_sub(push.last_us) >= IDLE_US);
        let oldest = idle.min_by_key(|(_, push)| push.last_us).map(|(other, _)| *other);
        if let Some(oldest) = &oldest {
            self.pushes.remove(oldest);
        }
        if has_room(self) {
            return (Ok(()), oldest);
        }
        let reason = format!(
            "there is no room: other pushes have begun, and {} bytes of them are here; send it again later, or raise \
             [deploy] staging_max",
            self.bytes()
        );
        (Err(reason), oldest)
    }

    /// Whether this part is on its way to the store.
    pub fn is_expecting(&self, id: &[u8; 32], number: u32) -> bool {
        self.pushes.get(id).is_some_and(|push| matches!(push.parts.get(&number), Some(None)))
    }

    /// A part is kept, or was not.
    pub fn kept(&mut self, id: &[u8; 32], number: u32, bytes: u64, is_kept: bool) {
        let Some(push) = self.pushes.get_mut(id) else { return };
        if is_kept {
            push.parts.insert(number, Some(bytes));
        } else if push.parts.remove(&number).is_some() {
            push.bytes = push.bytes.saturating_sub(bytes);
            if push.parts.is_empty() {
                self.pushes.remove(id);
            }
        }
    }

    /// A push came as one piece, and is kept.
    pub fn whole(&mut self, id: [u8; 32], bytes: u64, mono_us: u64) {
        let push = self.pushes.entry(id).or_insert_with(|| Push::new(mono_us));
        if push.is_taken {
            return;
        }
        // Parts of it that came before are as good as the whole.
        self.for_parts.give_back(std::mem::take(&mut push.spent));
        push.spent = Allowance::cost(bytes);
        push.parts = BTreeMap::from([(0, Some(bytes))]);
        (push.bytes, push.next, push.tried, push.is_one_piece) = (bytes, 1, 0, true);
    }

    /// A push that may be whole, and of how many parts; it counts as taken from here on.
    pub fn next_whole(&mut self, mono_us: u64) -> Option<([u8; 32], u32)> {
        let (id, push) = self.pushes.iter_mut().find(|(_, push)| push.is_due(mono_us))?;
        push.is_taken = true;
        push.tried = push.first();
        Some((*id, push.tried))
    }

    /// It was not the whole.
    pub fn incomplete(&mut self, id: &[u8; 32]) {
        if let Some(push) = self.pushes.get_mut(id) {
            push.is_taken = false;
            push.doubted = (0..push.tried).collect();
        }
    }

    /// The store could not say: it is tried again when it is next asked for.
    pub fn failed(&mut self, id: &[u8; 32]) {
        if let Some(push) = self.pushes.get_mut(id) {
            (push.is_taken, push.has_failed) = (false, true);
        }
    }

    /// Whether parts of it have come.
    pub fn has(&self, id: &[u8; 32]) -> bool {
        self.pushes.contains_key(id)
    }

    /// It is done with; false if there was nothing of it.
    pub fn forget(&mut self, id: &[u8; 32]) -> bool {
        self.pushes.remove(id).is_some()
    }

    /// A push that was silent for too long; it is forgotten.
    pub fn next_expired(&mut self, mono_us: u64) -> Option<[u8; 32]> {
        let ttl_us = self.ttl_us;
        let is_old = |push: &Push| !push.is_taken && mono_us.saturating_sub(push.last_us) >= ttl_us;
        let id = self.pushes.iter().find(|(_, push)| is_old(push)).map(|(id, _)| *id)?;
        self.pushes.remove(&id);
        Some(id)
    }

    /// A push to ask for what is missing.
    pub fn next_to_ask(&mut self, mono_us: u64) -> Option<([u8; 32], Missing)> {
        let (id, push) = self.pushes.iter_mut().find(|(_, push)| !push.is_taken && mono_us >= push.ask_us)?;
        push.ask_us = mono_us.saturating_add(push.ask_every_us);
        push.ask_every_us = (2 * push.ask_every_us).min(ASK_EVERY_MAX_US);
        if std::mem::take(&mut push.has_failed) {
            push.tried = 0;
        }
        Some((*id, push.missing()))
    }

    /// What one waits for.
    pub fn missing(&self, id: &[u8; 32]) -> Missing {
        self.pushes.get(id).map(Push::missing).unwrap_or_default()
    }

    /// When something is due.
    pub fn due_us(&self) -> Option<u64> {
        let due = |push: &Push| {
            let expires = push.last_us.saturating_add(self.ttl_us);
            let tries = push.may_be_whole().then(|| push.last_us.saturating_add(TRY_AFTER_US));
            push.ask_us.min(expires).min(tries.unwrap_or(u64::MAX))
        };
        self.pushes.values().filter(|push| !push.is_taken).map(due).min()
    }
}

impl Push {
    fn new(mono_us: u64) -> Self {
        Self {
            parts: BTreeMap::new(),
            bytes: 0,
            next: 0,
            last_us: mono_us,
            ask_us: mono_us.saturating_add(ASK_AFTER_US),
            ask_every_us: ASK_AFTER_US,
            tried: 0,
            doubted: BTreeSet::new(),
            has_failed: false,
            spent: 0,
            is_one_piece: false,
            is_taken: false,
        }
    }

    fn heard(&mut self, mono_us: u64) {
        self.last_us = mono_us;
        self.ask_every_us = ASK_AFTER_US;
        self.ask_us = mono_us.saturating_add(ASK_AFTER_US);
    }

    /// A part comes again that was tried: whoever sends them all again is to be heard.
    fn give_up(&mut self, number: u32) {
        if self.is_taken || self.is_one_piece || !self.doubted.remove(&number) {
            return;
        }
        if let Some(bytes) = self.parts.remove(&number).flatten() {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.tried = 0;
        }
    }

    /// How many parts there are on the disk before the first that is missing. Parts behind a gap do not matter: they may be
    /// none of this push.
    fn first(&self) -> u32 {
        let kept = self.parts.iter().zip(0..).take_while(|((number, bytes), n)| *number == n && bytes.is_some());
        kept.count() as u32
    }

    fn may_be_whole(&self) -> bool {
        self.first() > self.tried
    }

    fn is_due(&self, mono_us: u64) -> bool {
        if self.is_taken || !self.may_be_whole() {
            return false;
        }
        let length = |part: Option<(&u32, &Option<u64>)>| part.and_then(|(_, bytes)| *bytes);
        let is_last_short = length(self.parts.last_key_value()) < length(self.parts.first_key_value());
        let has_no_gap = self.next == self.first();
        self.is_one_piece || has_no_gap && is_last_short || mono_us >= self.last_us.saturating_add(TRY_AFTER_US)
    }

    fn missing(&self) -> Missing {
        let numbers = (0..self.next).filter(|number| !self.parts.contains_key(number)).take(MISSING_MAX).collect();
        Missing { bytes: self.bytes, numbers, next: self.next }
    }
}

#[cfg(test)]
mod tests;
