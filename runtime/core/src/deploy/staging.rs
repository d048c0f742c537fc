//! Parts of pushes that have come, and what is still missing of each.

use std::collections::BTreeMap;

use eyot_wire::control::{MISSING_MAX, PARTS_MAX};
use eyot_wire::module::MODULE_MAX_BYTES;

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
    /// So many parts were tried, and are not the whole.
    tried: u32,
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
}

impl Staging {
    pub fn new(bytes_max: u64, ttl_us: u64) -> Self {
        Self { pushes: BTreeMap::new(), bytes_max, ttl_us }
    }

    /// With the parts that the store has from before.
    pub fn restore(&mut self, parts: &[Part], mono_us: u64) {
        for part in parts {
            let push = self.pushes.entry(part.push).or_insert_with(|| Push::new(mono_us));
            push.next = push.next.max(part.number.saturating_add(1));
            if push.parts.insert(part.number, Some(part.bytes)).is_none() {
                push.bytes += part.bytes;
            }
        }
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
        if let Some(push) = self.pushes.get_mut(&id) {
            if push.is_taken || push.parts.contains_key(&number) {
                push.heard(mono_us);
                return (Verdict::Known, None);
            }
            if push.bytes.saturating_add(bytes) > MODULE_MAX_BYTES as u64 {
                let reason = format!("more than {MODULE_MAX_BYTES} bytes came; no module may be larger");
                return (Verdict::Refused(reason), None);
            }
        }
        let (room, forgotten) = self.make_room(&id, bytes, mono_us);
        if let Err(reason) = room {
            return (Verdict::Refused(reason), forgotten);
        }
        let push = self.pushes.entry(id).or_insert_with(|| Push::new(mono_us));
        push.parts.insert(number, None);
        push.next = push.next.max(number + 1);
        push.bytes += bytes;
        push.heard(mono_us);
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
        push.parts = BTreeMap::from([(0, Some(bytes))]);
        (push.bytes, push.next, push.tried, push.is_one_piece) = (bytes, 1, 0, true);
    }

    /// A push that may be whole, and of how many parts; it counts as taken from here on.
    pub fn next_whole(&mut self, mono_us: u64) -> Option<([u8; 32], u32)> {
        let (id, push) = self.pushes.iter_mut().find(|(_, push)| push.is_due(mono_us))?;
        push.is_taken = true;
        Some((*id, push.parts.len() as u32))
    }

    /// It was not the whole.
    pub fn incomplete(&mut self, id: &[u8; 32]) {
        if let Some(push) = self.pushes.get_mut(id) {
            push.is_taken = false;
            push.tried = push.parts.len() as u32;
        }
    }

    /// It is done with.
    pub fn forget(&mut self, id: &[u8; 32]) {
        self.pushes.remove(id);
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
            is_one_piece: false,
            is_taken: false,
        }
    }

    fn heard(&mut self, mono_us: u64) {
        self.last_us = mono_us;
        self.ask_every_us = ASK_AFTER_US;
        self.ask_us = mono_us.saturating_add(ASK_AFTER_US);
    }

    /// No part is missing in between, none is on its way to the disk, and they were not tried before.
    fn may_be_whole(&self) -> bool {
        let count = self.parts.len() as u32;
        count > self.tried && self.next == count && self.parts.values().all(Option::is_some)
    }

    fn is_due(&self, mono_us: u64) -> bool {
        if self.is_taken || !self.may_be_whole() {
            return false;
        }
        let length = |part: Option<(&u32, &Option<u64>)>| part.and_then(|(_, bytes)| *bytes);
        let is_last_short = length(self.parts.last_key_value()) < length(self.parts.first_key_value());
        self.is_one_piece || is_last_short || mono_us >= self.last_us.saturating_add(TRY_AFTER_US)
    }

    fn missing(&self) -> Missing {
        let numbers = (0..self.next).filter(|number| !self.parts.contains_key(number)).take(MISSING_MAX).collect();
        Missing { bytes: self.bytes, numbers, next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 32] = [1; 32];
    const MIB: u64 = 1 << 20;

    fn staging() -> Staging {
        Staging::new(16 * MIB, 86_400_000_000)
    }

    fn put(staging: &mut Staging, id: [u8; 32], number: u32, bytes: u64, mono_us: u64) {
        assert_eq!(staging.admit(id, number, bytes, mono_us).0, Verdict::Keep);
        staging.kept(&id, number, bytes, true);
    }

    #[test]
    fn parts_in_any_order_are_whole_when_none_is_missing() {
        let mut staging = staging();
        put(&mut staging, A, 2, 50, 0);
        put(&mut staging, A, 0, 100, 1);
        assert_eq!(staging.next_whole(9_000_000), None);
        assert_eq!(staging.missing(&A), Missing { bytes: 150, numbers: vec![1], next: 3 });
        assert_eq!(staging.admit(A, 1, 100, 2).0, Verdict::Keep);
        assert_eq!(staging.next_whole(9_000_000), None, "it is not on the disk yet");
        staging.kept(&A, 1, 100, true);
        assert_eq!(staging.next_whole(2), Some((A, 3)), "the last is short");
        assert_eq!(staging.next_whole(2), None);
        staging.incomplete(&A);
        assert_eq!(staging.next_whole(9_000_000), None, "until there are more parts");
        put(&mut staging, A, 3, 100, 3);
        assert_eq!((staging.next_whole(4), staging.next_whole(300_004)), (None, Some((A, 4))));
    }

    #[test]
    fn what_is_missing_is_asked_for_ever_more_rarely() {
        let mut staging = staging();
        put(&mut staging, A, 1, 100, 0);
        assert_eq!(staging.next_to_ask(ASK_AFTER_US - 1), None);
        let mut asked = Vec::new();
        let mut now_us = 0;
        while asked.len() < 8 {
            now_us = now_us.max(staging.due_us().unwrap());
            if let Some((id, missing)) = staging.next_to_ask(now_us) {
                assert_eq!((id, missing.numbers, missing.next), (A, vec![0], 2));
                asked.push(now_us / 1_000_000);
            }
        }
        assert_eq!(asked, [2, 4, 8, 16, 32, 64, 124, 184]);
        assert_eq!(staging.next_expired(86_400_000_000), Some(A));
        assert_eq!((staging.len(), staging.due_us()), (0, None));
    }

    #[test]
    fn a_part_there_was_no_time_for_is_asked_for() {
        let mut staging = staging();
        staging.expect(A, 1, 0);
        staging.expect([2; 32], PARTS_MAX, 0);
        assert_eq!(staging.len(), 1, "no push has so many parts");
        assert_eq!(staging.next_to_ask(ASK_AFTER_US), Some((A, Missing { bytes: 0, numbers: vec![0, 1], next: 2 })));
        put(&mut staging, A, 0, 100, ASK_AFTER_US);
        assert_eq!(staging.next_whole(9_000_000), None, "the other is known to be missing");
        put(&mut staging, A, 1, 50, ASK_AFTER_US);
        assert_eq!(staging.next_whole(9_000_000), Some((A, 2)));
        for id in 0..=PUSHES_MAX as u8 {
            staging.expect([id; 32], 0, 0);
        }
        assert_eq!(staging.len(), PUSHES_MAX);
    }

    #[test]
    fn a_bomb_stays_small() {
        let mut staging = staging();
        assert!(matches!(staging.admit(A, PARTS_MAX, 1, 0).0, Verdict::Refused(_)));
        assert!(matches!(staging.admit(A, u32::MAX, 1, 0).0, Verdict::Refused(_)));
        for number in 0..8 {
            put(&mut staging, A, number, MIB, 0);
        }
        assert!(matches!(staging.admit(A, 8, 1, 0).0, Verdict::Refused(_)), "no module is larger");
        for id in 2..9 {
            put(&mut staging, [id; 32], 0, MIB, u64::from(id));
        }
        assert!(matches!(staging.admit([99; 32], 0, 1, 10).0, Verdict::Refused(_)), "so many pushes at once");
        assert_eq!(staging.admit([99; 32], 0, 2 * MIB, IDLE_US + 1), (Verdict::Keep, Some(A)), "the idle one goes");
        assert!(staging.bytes() <= 16 * MIB);
    }

    #[test]
    fn a_part_that_is_not_kept_may_come_again() {
        let mut staging = staging();
        assert_eq!(staging.admit(A, 0, 100, 0).0, Verdict::Keep);
        assert_eq!(staging.admit(A, 0, 100, 0).0, Verdict::Known);
        staging.kept(&A, 0, 100, false);
        assert_eq!((staging.len(), staging.bytes()), (0, 0));
        put(&mut staging, A, 0, 100, 0);
        let mut again = self::staging();
        again.restore(&[Part { push: A, number: 0, bytes: 100 }], 7);
        assert_eq!(again.next_whole(7 + TRY_AFTER_US), Some((A, 1)));
    }
}
