//! What is in a log's frames, and what a rewrite makes of them.

use eyot_spool::{Fate, Lsn, Rewrite};

use crate::history::Form;
use crate::session::NOTES;

/// Sizes of bodies.
const BODY_BYTES_MAX: usize = 800;
const BIG_BODY_BYTES_MAX: usize = 12 << 10;
const NAME_BYTES: usize = 8;

/// Kind and body of the frame or note with this name; the name stands in front.
pub fn content(id: u64) -> (u8, Vec<u8>) {
    let mut rng = fastrand::Rng::with_seed(id);
    let bytes_max = if rng.u32(0..20) == 0 { BIG_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
    let mut body = vec![0; NAME_BYTES + rng.usize(0..bytes_max)];
    let (name, rest) = body.split_at_mut(NAME_BYTES);
    name.copy_from_slice(&id.to_le_bytes());
    rng.fill(rest);
    (rng.u8(0..NOTES), body)
}

/// The body that a rewrite puts in the place of this one.
pub fn shortened(body: &[u8]) -> &[u8] {
    &body[..NAME_BYTES + (body.len() - NAME_BYTES) / 2]
}

/// A rewrite that drops, shortens and keeps frames by a number of its own.
#[derive(Debug)]
pub struct Thinning {
    key: u64,
    /// What it did to which frame, so far.
    pub decided: Vec<(Lsn, Form)>,
}

impl Thinning {
    /// `key` decides which, and how many.
    pub fn new(key: u64) -> Self {
        Self { key, decided: Vec::new() }
    }
}

impl Rewrite for Thinning {
    fn frame(&mut self, lsn: Lsn, _kind: u8, body: &[u8], replacement: &mut Vec<u8>) -> Fate {
        let luck = (lsn ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        if luck < self.key % 256 {
            self.decided.push((lsn, Form::Gone));
            return Fate::Drop;
        }
        let id = body.first_chunk().map_or(0, |name| u64::from_le_bytes(*name));
        let whole = content(id).1;
        // What is short stays so.
        if !luck.is_multiple_of(3) || body != whole || whole.len() < NAME_BYTES + 2 {
            return Fate::Keep;
        }
        replacement.extend_from_slice(shortened(&whole));
        self.decided.push((lsn, Form::Short));
        Fate::Replace
    }

    fn gone(&mut self, _body: &[u8]) {}

    fn take_gone(&mut self, _body: &mut Vec<u8>) {}

    fn boundary(&mut self, _note: &mut Vec<u8>) {}
}
